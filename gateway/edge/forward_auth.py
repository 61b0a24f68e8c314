"""Forward-auth: another proxy asks whether a request that it holds may pass (`/.gateway/check`).

Reads what is asked from the fields of the one style that is configured, and puts the answer so that the
asker understands it. Whether the request may pass is the pipeline's to say, as for any request. Only the
proxies that are named are answered; whatever of their question is missing, twice there, or of another
style refuses, because a client may have sent it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from email.utils import formatdate
from typing import Final, NamedTuple

from gateway.edge.answers import refusal_answer
from gateway.edge.challenge import challenge
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.hardening import field_lines, status_line
from gateway.edge.identity import blank_fields
from gateway.edge.peer import Peer
from gateway.edge.pipeline import retry_after
from gateway.edge.resolve import NO_ROUTE
from gateway.edge.snapshot import ForwardAuthRules, Upstream
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.route import Action, Durability
from gateway.wire.authority import Authority, parse_authority
from gateway.wire.forwarded import Client
from gateway.wire.names import fold
from gateway.wire.request import REFUSED_METHODS, SAFE_METHODS, Fields

CHECK: Final = b"/.gateway/check"
VIA: Final = "forward_auth"
"""How records and log lines call a request that another proxy asked about."""

_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}").fullmatch
_TARGET: Final = re.compile(rb"/[!-~]*").fullmatch
_URL: Final = re.compile(rb"(https?)://([!-.0-~]+)(/[!-~]*)").fullmatch
_ESCAPE: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
_RAW: Final = re.compile(rb"[|^\[\]{}`]")

# Fields by which some proxy says what it was asked for. Whichever of them is not the asker's is a client's.
_DECIDING: Final = frozenset(
    (b"x-original-method", b"x-original-uri", b"x-original-url", b"x-forwarded-method", b"x-forwarded-uri", b"x-forwarded-url",
     b"x-rewrite-url", b"x-envoy-original-path", b"x-envoy-original-method", b"x-envoy-original-host", b"x-http-method-override", b"x-http-method", b"x-method-override"),
)  # fmt: skip
_OF_STYLE: Final = {
    "nginx": frozenset((b"x-original-method", b"x-original-uri", b"x-original-url")),
    "forwarded": frozenset((b"x-forwarded-method", b"x-forwarded-uri", b"x-forwarded-host")),
    "envoy": frozenset[bytes](),
}
_INVALID: Final = Refusal("forward_auth", Reason.INVALID_CHECK)
_READING_ACTIONS: Final = frozenset((None, Action.VIEW, Action.DOWNLOAD))


class Question(NamedTuple):
    """A request as its proxy tells it."""

    method: bytes
    target: bytes
    authority: Authority
    is_secure: bool


def is_asked(x: Exchange, rules: ForwardAuthRules) -> bool:
    """Whether a proxy that may ask does; for everybody else there is nothing at this address."""
    target = x.raw_target
    end = len(CHECK)
    return (
        target.startswith(CHECK)
        and (len(target) == end or target[end : end + 1] in (b"/", b"?"))
        and x.peer.is_told  # attack: a client of a proxy that does not name it is not that proxy
        and rules.askers.include(x.peer.ip)
    )


def asked_about(x: Exchange, rules: ForwardAuthRules) -> tuple[Exchange, Refusal | None]:
    """The request that `x` asks about, ready to be decided; with a refusal when the question cannot be read."""
    fields = x.fields
    client = rules.proxies.client(x.peer.ip, fields.forwarded_for, fields.forwarded_proto, fields.forwarded)
    question = None
    if isinstance(client, Client) and "," in client.chain:  # the asker names somebody else than itself
        question = _question(x, rules, client.scheme)
    if not isinstance(client, Client) or question is None:
        return _exchange(x, x.peer, fields, x.method, CHECK), _INVALID
    peer = Peer(
        ip=client.address,
        port=x.peer.port,
        limiter_key=client.limiter_key,
        trusted=False,  # what its proxy says of it was read here, once
        redirects=False,
        secure=question.is_secure,
        tls="",
        via=VIA,
    )
    inner = replace(
        fields,
        authority=question.authority,
        length=None,
        chunked=False,
        websocket=fields.websocket or b"\r\nsec-websocket-key: " in b"\r\n" + fields.forward,
        expects_continue=False,
        forwarded_for=(),
        forwarded_proto=b"",
        forwarded=(),
        max_forwards=None,
    )
    refusal = Refusal("framing", Reason.METHOD_NOT_IMPLEMENTED) if question.method in REFUSED_METHODS else None
    return _exchange(x, peer, inner, question.method, question.target), refusal


def _exchange(x: Exchange, peer: Peer, fields: Fields, method: bytes, target: bytes) -> Exchange:
    if not peer.via:
        peer = replace(peer, via=VIA)
    y = Exchange(
        client=x.client,
        peer=peer,
        snapshot=x.snapshot,
        request_id=x.request_id,
        method=method,
        raw_target=target,
        version=x.version,
        fields=fields,
        started=x.started,
        started_mono=x.started_mono,
        secure=peer.secure,
        client_ip=peer.ip,
        route=NO_ROUTE,
        # bytes after a handshake that is not answered by 101 are not a request (CVE-2026-2833)
        close=x.close or x.fields.websocket or not x.body_done,
    )
    y.body_done, y.body_left = x.body_done, x.body_left
    return y


def _question(x: Exchange, rules: ForwardAuthRules, scheme: str) -> Question | None:
    """Read what is asked in the configured style; None when it is not said, or not said once."""
    fields, own = x.fields, _OF_STYLE[rules.style]
    said: dict[bytes, bytes] = {}
    for name, value in fields.reserved:
        folded = fold(name.replace(b"_", b"-"))
        if folded in own:
            if name != folded or folded in said:
                return None
            said[folded] = value
        elif folded in _DECIDING:  # CVE-2026-40575: the field of another proxy, so the client's
            return None
    target: bytes | None
    authority = fields.authority
    match rules.style:
        case "nginx":
            method, target = said.get(b"x-original-method", b""), said.get(b"x-original-uri")
            url = said.get(b"x-original-url")
            if url is not None:
                found = _URL(url)
                if found is None or target is not None or scheme not in ("", found[1].decode("ascii")):
                    return None
                scheme, target = found[1].decode("ascii"), found[3]
                authority = parse_authority(found[2])
        case "forwarded":
            method, target = said.get(b"x-forwarded-method", b""), said.get(b"x-forwarded-uri")
            authority = parse_authority(said.get(b"x-forwarded-host", b""))
        case _:
            method, target = x.method, x.raw_target[len(CHECK) :]
    if rules.style != "envoy" and (x.raw_target.partition(b"?")[0] != CHECK or x.method != b"GET"):
        return None  # Caddy adds the query of the request to its own address: it says nothing here
    if target is None or authority is None or not scheme or _METHOD(method) is None or _TARGET(target) is None:
        return None
    if len(target) > x.snapshot.wire.max_target:
        return None
    return Question(method, target, authority, scheme == "https")


def objection(y: Exchange) -> Refusal | None:
    """What stands against a request that the pipeline allowed, because another proxy will forward it.

    The upstream will see the target as the client wrote it: only its canonical form is safe there. Our own
    pages are reached through the gateway, not through a portal that happens to have them.
    """
    resolution = y.resolution
    assert resolution is not None  # noqa: S101 - admitted
    if resolution.match is None:
        return Refusal("route", Reason.NO_ROUTE)
    if _spelled_out(y.raw_target) != resolution.text:
        return Refusal("route", Reason.AMBIGUOUS_PATH)
    if y.durability is Durability.ASYNC and (y.method not in SAFE_METHODS or y.route.action not in _READING_ACTIONS):
        y.durability = Durability.GROUP  # this record is the intent
    return None


def _spelled_out(target: bytes) -> bytes:
    """Spell escapes in upper case, and what browsers leave raw as escapes: every upstream takes these for the same."""
    path, mark, query = target.partition(b"?")
    path = _ESCAPE.sub(lambda found: found[0].upper(), path)
    return _RAW.sub(lambda found: b"%%%02X" % found[0][0], path) + mark + query


def allowing_answer(y: Exchange, upstream: Upstream, identity: bytes) -> list[bytes]:
    """200 with the identity; every name of it is there even for nobody, so that a client's copy is overwritten."""
    names = upstream.field_names
    head = b"%bdate: %b\r\ncache-control: no-store\r\n%b: %b\r\n%bcontent-length: 0\r\n" % (
        status_line(200),
        formatdate(y.started, usegmt=True).encode("ascii"),
        names["request_id"],
        y.request_id,
        identity + blank_fields(names, identity) + _set_by_policy(y),
    )
    return [head, b""]


def _set_by_policy(y: Exchange) -> bytes:
    """Write the fields that policy sets for the upstream; those it sets elsewhere alone are empty, like an identity of nobody.

    So are those that name the tenant on other routes alone: on this one nobody has judged what a client says there.
    """
    own = y.field_rules.request if y.field_rules is not None else ()
    policy, match = y.snapshot.policy, y.resolution.match if y.resolution is not None else None
    said = [name for name, _ in own]
    if match is not None and match.rule.tenancy is not None:
        said.append(match.rule.tenancy.field.encode("ascii"))
    others = (policy.set_fields | policy.bound_fields).difference(said)
    return field_lines(own) + field_lines(tuple((name, b"") for name in sorted(others)))


def refusing_answer(y: Exchange, refusal: Refusal, now: float) -> tuple[int, list[bytes]]:
    """Status and answer for the asker; where the asker passes answers on, the one that the client would have got."""
    rules = y.snapshot.forward_auth
    is_nginx = rules is not None and rules.style == "nginx"
    method = y.method
    if rules is None or rules.style != "envoy":
        # The proxy asks by GET, whatever it asks about: it waits for the body that the length announces.
        y.method = b"GET" if method == b"HEAD" else method
    status, parts = refusal_answer(y, refusal, now)
    y.method = method
    authority = y.fields.authority
    assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange
    origin = b"%b://%b" % (b"https" if y.secure else b"http", authority.text.encode("ascii"))
    if not is_nginx:  # Traefik takes a relative Location for one of ours
        return status, [parts[0].replace(b"\r\nlocation: /", b"\r\nlocation: %b/" % origin, 1), parts[1]]
    extra = b""
    if status == 302:
        start = parts[0].index(b"\r\nlocation: ") + len(b"\r\nlocation: ")
        extra = b"x-gateway-login: %b%b\r\n" % (origin, parts[0][start : parts[0].index(b"\r\n", start)])
        status = 401
    real = ANSWERS[refusal.reason].status
    if real in (429, 503):
        extra += b"retry-after: %d\r\n" % retry_after(refusal.retry_after_s)
    status = 401 if status == 401 else 403  # ngx_http_auth_request_module: any other status is an error, 500
    head = b"%bdate: %b\r\nx-request-id: %b\r\ncache-control: no-store\r\nx-gateway-status: %d\r\nx-gateway-reason: %b\r\n%b" % (
        status_line(status),
        formatdate(now, usegmt=True).encode("ascii"),
        y.request_id,
        real,
        refusal.reason.value.encode("ascii"),
        extra,
    )  # fmt: skip
    if status == 401:
        head += challenge(y, refusal)
    return status, [head + b"content-length: 0\r\n", b""]
