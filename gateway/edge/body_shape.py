"""How the bodies of requests are bounded where they are read: their coding, what they grow to, and how they are built.

The pure bounds are `gateway.inspection.decompress` and `gateway.inspection.shape`. A body is judged as it is decoded, and goes
upstream as it came. Where attacks are only recorded, and nobody set a bound, a body that is beyond one is recorded too.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.snapshot import RouteInspection
from gateway.edge.waf import judge_body, refuses_unread
from gateway.exchange.reason import Reason
from gateway.inspection.body import BodyUnreadableError, MediaType, media_type_of
from gateway.inspection.decompress import Budget, Coding, DecompressError, coding_of, compress, decompress
from gateway.inspection.shape import form, json_text, multipart_body, xml_document
from gateway.inspection.shape.limits import BodyLimits, Bound, ShapeError

_JSON: Final = frozenset(("application/json", "text/json", "application/csp-report"))
_XML: Final = frozenset(("application/xml", "text/xml"))
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_CODING: Final = b"content-encoding"
_DECLARING: Final = frozenset((Bound.XML_DOCTYPE, Bound.XML_ENTITY))


def judge_coding(x: Exchange, rules: RouteInspection) -> Refusal | None:
    """Refuse a body in a coding that is not undone here, or in several: what it says would stay unread."""
    try:
        _coding(x)
    except DecompressError as error:
        return _unread(x, rules, error.fault.value, Reason.ENCODING_NOT_ACCEPTED)
    return None


def decoded(x: Exchange, rules: RouteInspection, body: bytes) -> bytes | Refusal | None:
    """Return a body as its reader will have it; None where it cannot be had, and goes on all the same."""
    try:
        coding = _coding(x)
        if coding is None:
            return body
        limits = rules.body
        budget = Budget(min(limits.decompress_most_bytes, rules.max_body), limits.decompress_ratio)
        return decompress(body, coding, budget)
    except DecompressError as error:
        reason = Reason.BODY_TOO_LARGE if error.is_bomb else Reason.BODY_UNREADABLE
        return _unread(x, rules, error.fault.value, reason)


def encoded_again(x: Exchange, body: bytes) -> bytes:
    """Encode a body that a judge changed as its head says."""
    coding = _coding(x)
    return body if coding is None else compress(body, coding)


def weigh(x: Exchange, body: bytes) -> Refusal | None:
    """Refuse a body that is too intricate for its type, or is not what its type says."""
    rules = x.inspection
    assert rules is not None  # noqa: S101 - it is held because of it
    try:
        check(b"".join(lines_of(x, b"content-type")[:1]), body, rules.body)
    except ShapeError as error:
        if error.bound in _DECLARING and rules.waf is not None:
            refusal = judge_body(x, body)  # it says which attack that would be
            if refusal is not None:
                return refusal
        reason = Reason.BODY_TOO_COMPLEX if error.is_too_complex else Reason.BODY_UNREADABLE
        return _unread(x, rules, error.bound.value, reason, error.offset)
    except BodyUnreadableError:
        return _unread(x, rules, Bound.MALFORMED.value, Reason.BODY_UNREADABLE, 0)
    return None


def check(content_type: bytes, body: bytes, limits: BodyLimits) -> None:
    """Hold the bounds of its type against a body.

    Raises:
        ShapeError, BodyUnreadableError: it is beyond one, or is not what its type says.

    """
    media_type = media_type_of(content_type)
    essence = media_type.essence
    if not body:
        return
    if essence == _FORM:
        form.check(body, limits.form)
    elif essence in _JSON or essence.endswith("+json"):
        json_text.check(body, limits.json)
    elif essence in _XML or essence.endswith("+xml"):
        xml_document.check(body, limits.xml, media_type.parameters.get("charset"))
    elif essence == _MULTIPART:
        multipart_body.check(body, _boundary(media_type), limits.multipart)


def _boundary(media_type: MediaType) -> bytes:
    boundary = media_type.parameters.get("boundary", "")
    if not boundary:
        raise BodyUnreadableError("the multipart body has no boundary")
    return boundary.encode("latin-1")


def lines_of(x: Exchange, name: bytes) -> list[bytes]:
    """Return the values of a field of the request that go upstream, line by line."""
    start = name + b": "
    return [line[len(start) :] for line in x.fields.forward.split(b"\r\n") if line.startswith(start)]


def _coding(x: Exchange) -> Coding | None:
    return coding_of(b",".join(lines_of(x, _CODING)))


def _unread(x: Exchange, rules: RouteInspection, why: str, reason: Reason, offset: int | None = None) -> Refusal | None:
    """Record a body that is beyond a bound, and refuse it where bounds are held."""
    x.client.metrics.inspection_unread.inc((x.route.name, reason.value))
    is_refused = refuses_unread(x, rules)
    told: dict[str, object] = {"outcome": "refused" if is_refused else "unread", "because": why}
    if offset is not None:
        told["offset"] = offset
    x.noticed["body"] = told
    return Refusal("inspection", reason) if is_refused else None
