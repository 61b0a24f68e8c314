"""What a route or an entry of it asks for beside letting in, as written: a limit, header fields, a safer record.

Refuses fields that belong to the gateway, to a connection or to the framing of a message, and those by which the
gateway hardens answers: those are set in gateway.yaml, for everybody. It decides nothing about requests.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, Literal, cast

from gateway.document.place import Place
from gateway.document.quantity import duration, rate
from gateway.exchange.field_rules import FieldRules
from gateway.exchange.route import DELEGATED, Durability, LimitSpec
from gateway.wire.names import HOP_BY_HOP, fold, is_reserved

MAX_BURST: Final = 1_000_000
SHORTEST_AGE_S: Final = 10
MAX_FIELDS: Final = 32
"""Fields that one route may set on one side."""
NOBODY_COUNTED: Final = "per: key counts API keys and bearer tokens; this route takes neither (credentials)"
_NAME: Final = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,63}")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,1022}[\x21-\x7e])?")
"""RFC 9110 section 5.5, visible ASCII only: what is beyond it, servers read differently."""
_SIDES: Final = ("request", "response")
_STRENGTH: Final = {Durability.ASYNC: 0, Durability.GROUP: 1, Durability.STRICT: 2, Durability.REMOTE: 3}
_MESSAGE: Final = re.compile(
    r"content(?:-.*)?|if-.*|range|accept-ranges|date|age|server-timing-allow-origin|max-forwards"
)
"""What describes the body or its transfer: the gateway or the portal writes it (RFC 9110 sections 8, 13, 14)."""
_BROWSER: Final = re.compile(r"sec-.*|origin|referer|user-agent|accept|accept-encoding|service-worker")
"""What only a browser can say truthfully."""
_HARDENED: Final = re.compile(
    r"set-cookie2?|strict-transport-security|content-security-policy(?:-report-only)?|x-frame-options|x-content-type-options"
    r"|referrer-policy|permissions-policy|cross-origin-.*|clear-site-data|service-worker-allowed|(?:.*-)?cache-control"
    r"|surrogate-control|timing-allow-origin|access-control-.*"
)
_ANSWER: Final = re.compile(
    r"location|refresh|link|retry-after|www-authenticate|allow|alt-svc|sec-.*|status|server|etag|last-modified|expires|vary|pragma"
)
"""What belongs to one answer, or leads elsewhere."""


def positive(place: Place, value: float | None) -> float | None:
    """Report a quantity that is not above 0; None when it is none."""
    if value is not None and value <= 0:
        place.fail("must be more than 0", name="malformed-quantity")
        return None
    return value


def read_age(place: Place) -> float | None:
    """Read how old a proof may be, seconds: long enough to come back with it, or a person would be asked for ever."""
    age = positive(place, place.quantity(duration))
    if age is not None and age < SHORTEST_AGE_S:
        place.fail(f"nobody is back from the proof so soon; {SHORTEST_AGE_S}s at least", name="malformed-quantity")
        return None
    return age


def read_limit(place: Place, name: str, *, public: bool) -> LimitSpec | None:
    """Read `rate_limit`; `name` tells it from every other limit."""
    entries = place.fields(("rate", "burst", "per"))
    if entries is None:
        return None
    per_second = positive(entries["rate"], entries["rate"].quantity(rate))
    burst = entries["burst"].count(maximum=MAX_BURST)
    per = entries["per"].one_of(("ip", "user", "tenant", "route", "key"))
    if per in {"user", "key"} and public:
        entries["per"].fail(f"a public route knows no {per}; count per ip, tenant or route", name="contradiction")
    if per_second is None or burst is None or per is None:
        return None
    kind = cast("Literal['ip', 'user', 'tenant', 'route', 'key']", per)  # one_of has checked it
    return LimitSpec(name=name, rate_per_s=per_second, burst=burst, per=kind)


def counts_nobody(limit: LimitSpec | None, credentials: Collection[str]) -> bool:
    """Tell whether a limit is one of keys and tokens, on a route that takes neither."""
    return limit is not None and limit.per == "key" and DELEGATED.isdisjoint(credentials)


def read_durability(place: Place) -> Durability | None:
    """Read `audit: {durability: …}`."""
    entries = place.fields(("durability",))
    return None if entries is None else read_grade(entries["durability"])


def read_grade(place: Place) -> Durability | None:
    """Read how safe a record is."""
    word = place.one_of([durability.value for durability in Durability])
    return None if word is None else Durability(word)


def stronger(one: Durability, other: Durability | None) -> Durability:
    """Return the safer of two; None asks for nothing."""
    return one if other is None or _STRENGTH[one] >= _STRENGTH[other] else other


def read_headers(layers: list[Place], *, bound: str = "") -> FieldRules | None:
    """Read `headers: {request: …, response: …}`; of `layers` the first that names a field sets it. None when nothing is set.

    `bound` is the field that names the tenant of the route, lower case.
    """
    sides: dict[str, dict[str, tuple[str, str]]] = {side: {} for side in _SIDES}
    for place in layers:
        entries = place.fields((), _SIDES)
        if entries == {}:
            place.fail("write request, response or both, or remove the key", name="empty-value")
        for side, item in (entries or {}).items():
            for name, value in _read_side(item, is_request=side == "request", bound=bound).items():
                sides[side].setdefault(name, value)
    return _rules(sides["request"], sides["response"])


def merged(route: FieldRules | None, entry: FieldRules | None) -> FieldRules | None:
    """Put the fields of an entry beside those of its route, in whose place they stand where both name one."""
    if route is None or entry is None:
        return entry or route
    return FieldRules(
        request=tuple((dict(route.request) | dict(entry.request)).items()),
        response=tuple((dict(route.response) | dict(entry.response)).items()),
    )


def _rules(request: Mapping[str, tuple[str, str]], response: Mapping[str, tuple[str, str]]) -> FieldRules | None:
    if not request and not response:
        return None
    return FieldRules(request=_encoded(request), response=_encoded(response))


def _encoded(fields: Mapping[str, tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode("ascii"), value.encode("ascii")) for _, (name, value) in sorted(fields.items()))


def _read_side(place: Place, *, is_request: bool, bound: str) -> dict[str, tuple[str, str]]:
    """Read the fields of one side: folded name -> name in lower case and value."""
    entries = place.entries()
    if entries is None:
        return {}
    if not entries:
        place.fail("no field is named; name one, or remove the key", name="empty-value")
    if len(entries) > MAX_FIELDS:
        place.fail(f"more than {MAX_FIELDS} fields", name="malformed-value")
    found: dict[str, tuple[str, str]] = {}
    for written, item in entries.items():
        name = written.lower()
        folded = fold(name.encode("utf-8", "replace")).decode("utf-8", "replace")
        if not _NAME.fullmatch(written) or folded != name:
            item.key().fail(
                f"{written!r}: a field name has letters, digits and single '-' between them, 64 at most",
                name="malformed-name",
            )
        elif folded in found:
            item.key().fail(f"{written!r} is named a second time", name="declared-twice")
        else:
            refused = _why_not_request(name, bound) if is_request else _why_not_response(name)
            if refused:
                item.key().fail(f"{written!r} cannot be set here: {refused}", name="field-not-yours")
                continue
            value = item.text(
                _VALUE, "a value is visible ASCII, with spaces inside at most, 1024 characters", name="malformed-value"
            )
            if value is not None:
                found[folded] = name, value
    return found


def _why_not_request(name: str, bound: str) -> str:
    """Say why policy may not set a field for the upstream; empty when it may."""
    raw = name.encode("ascii")
    if name == bound:
        return "it names the tenant of the route, as the request says it"
    if raw in HOP_BY_HOP or _MESSAGE.fullmatch(name):
        return "it belongs to the connection or to the message"
    if name in {"traceparent", "tracestate"}:
        return "trace of gateway.yaml says which trace upstreams are told of"
    if is_reserved(raw, frozenset()):
        return "upstreams take it for who asks, where the request came from or what it means; the gateway alone sets it"
    return "only the browser can say it" if _BROWSER.fullmatch(name) else ""


def _why_not_response(name: str) -> str:
    """Say why policy may not set a field for the client; empty when it may."""
    raw = name.encode("ascii")
    if _HARDENED.fullmatch(name):
        return "it protects the browser; headers and the upstreams of gateway.yaml say what it is, for every route"
    if raw in HOP_BY_HOP or _MESSAGE.fullmatch(name) or name in {"host", "te", "via", "content-length"}:
        return "it belongs to the connection or to the message"
    if name.startswith(("x-gateway-", "x-audit-")) or name == "x-request-id":
        return "it is the gateway's own"
    return "it belongs to the portal's answer" if _ANSWER.fullmatch(name) else ""
