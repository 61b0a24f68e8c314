"""Parse the head of a request by one strict grammar (RFC 9112 §2-§7, RFC 9110 §5).

The whole block must match; what is ambiguous is refused with a `Reason`. Everything here is a pure
function of the bytes and of the names that the configuration maps to identity, so that a parse may
be remembered. What depends on a route, an upstream or on trust is decided elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.exchange.reason import Reason
from gateway.wire.authority import Authority, parse_authority
from gateway.wire.cookies import split_cookies
from gateway.wire.names import HOP_BY_HOP, is_reserved
from gateway.wire.traceparent import MAX_TRACESTATE_BYTES, read_traceparent

_TCHAR: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

# request-line = method SP request-target SP HTTP-version CRLF
REQUEST_LINE: Final = re.compile(rb"(" + _TCHAR + rb"{1,32}) ([!-~]+) HTTP/1\.([01])\r\n").match
_ANY_VERSION: Final = re.compile(_TCHAR + rb"{1,32} [!-~]+ HTTP/[0-9]\.[0-9]\r\n").match
_LONG_METHOD: Final = re.compile(_TCHAR + rb"{33,} [!-~]+ HTTP/1\.[01]\r\n").match
_ENDLESS_TARGET: Final = re.compile(_TCHAR + rb"{1,32} [!-~]+\Z").match
# field-line = field-name ":" OWS field-value OWS CRLF; no obs-fold, no bare CR, no NUL
FIELD_LINES: Final = re.compile(rb"(?:" + _TCHAR + rb"+:[\t -~\x80-\xff]*\r\n)*").fullmatch
# Linear on every input: the value is taken greedily and gives back trailing white space once.
FIELDS: Final = re.compile(
    rb"([^:\r\n]+):[\t ]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[\t ]*\r\n"
).findall
_LENGTH: Final = re.compile(rb"[0-9]{1,18}").fullmatch
# Codings that end in chunked and have it once: unknown to us, but clear (RFC 9112 §6.1).
_OTHER_CODINGS: Final = re.compile(
    rb"(?:(?!chunked|identity)[a-z-]{1,32}[\t ]*,[\t ]*){1,8}chunked", re.IGNORECASE
).fullmatch
_EVENT_STREAM: Final = b"\naccept: text/event-stream"
_WEBSOCKET_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch

REFUSED_METHODS: Final = frozenset((b"CONNECT", b"TRACE", b"TRACK"))
SAFE_METHODS: Final = frozenset((b"GET", b"HEAD", b"OPTIONS"))

# Fields that the edge reads itself and writes anew, or never forwards.
_HANDLED: Final = frozenset(
    (b"host", b"content-length", b"expect", b"cookie", b"authorization", b"max-forwards", b"http2-settings", b"via",
     b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", b"traceparent", b"tracestate"),
)  # fmt: skip
_SPECIAL: Final = _HANDLED | HOP_BY_HOP
# One line each: a second copy would let two readers disagree (CVE-2021-32777).
_SINGLE: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"expect", b"authorization", b"content-type", b"origin", b"user-agent", b"upgrade",
     b"sec-websocket-key", b"sec-websocket-version", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"service-worker", b"referer", b"range", b"if-range",
     b"if-modified-since", b"if-unmodified-since", b"content-range", b"content-location", b"date", b"from", b"max-forwards", b"access-control-request-method"),
)  # fmt: skip
API_KEY_PREFIX: Final = b"gwk_"
"""What every API key of ours begins with."""
MAX_FORWARDS: Final = 255
"""The largest Max-Forwards that is passed on (RFC 9110 §7.6.2)."""
PSEUDONYM: Final = b"gateway"
"""What we call ourselves in Via (RFC 9110 §7.6.3)."""
MAX_PASSES: Final = 4
"""How often a request may have passed a gateway before: several in a row are ordinary, more are a loop (RFC 9110 §7.6)."""


@dataclass(slots=True, eq=False)
class Fields:
    """What the field block of a request says. Pure parse; shared by all requests that repeat the block."""

    forward: bytes = b""
    """Fields to pass on, `name: value CRLF` each, names lower case; without Authorization and without our cookies."""
    authority: Authority | None = None
    length: int | None = None
    """Content-Length; None when absent."""
    chunked: bool = False
    close: bool = False
    keep_alive: bool = False
    websocket: bool = False
    """A WebSocket handshake (RFC 6455 §4.1)."""
    websocket_key: bytes = b""
    expects_continue: bool = False
    authorization: bytes = b""
    api_keys: tuple[tuple[bytes, bytes], ...] = ()
    """Fields that hold an API key of ours, whatever they are called: they are never passed on."""
    secure_token: bytes | None = None
    plain_token: bytes | None = None
    secure_device: bytes | None = None
    plain_device: bytes | None = None
    own_cookies: bytes = b""
    user_agent: bytes = b""
    origin: bytes = b""
    navigates: bool = False
    """The answer will be shown to a person as a page."""
    unattended: bool = False
    """It opens a WebSocket or an event stream, which browsers open again by themselves."""
    service_worker: bool = False
    forwarded_for: tuple[bytes, ...] = ()
    forwarded_proto: bytes = b""
    forwarded: tuple[bytes, ...] = ()
    """Lines of the field Forwarded (RFC 7239)."""
    reserved: tuple[tuple[bytes, bytes], ...] = ()
    """What else no client may send through; a proxy that asks (`forward_auth`) says there what it asks about."""
    via: bytes = b""
    """What the client's Via says, with a comma and a space after it; empty when absent."""
    max_forwards: int | None = None
    """As received, 255 at most; one less goes on."""
    traceparent: bytes = b""
    """The place in a distributed trace; empty when absent or not valid."""
    tracestate: bytes = b""
    """What comes along with it, lines joined by commas; empty without a valid `traceparent`."""


RequestLine = tuple[bytes, bytes, int, int]
"""Method, target, minor version, and the offset of the first field line. Nothing decided yet."""


def parse_request_line(block: bytes, max_target: int) -> RequestLine | Reason:
    """Parse the first line of `block`."""
    found = REQUEST_LINE(block)
    if found is None:
        if _LONG_METHOD(block) is not None:  # RFC 9112 §3
            return Reason.METHOD_NOT_IMPLEMENTED
        return Reason.VERSION_NOT_SUPPORTED if _ANY_VERSION(block) else Reason.MALFORMED_HEAD
    method, target, minor = found.groups()
    if len(target) > max_target:
        return Reason.TARGET_TOO_LONG
    if method in REFUSED_METHODS:
        return Reason.METHOD_NOT_IMPLEMENTED
    return method, target, 1 if minor == b"1" else 0, found.end()


def too_large(block: bytes) -> Reason:
    """What to answer to a head that exceeds its limit: 414 when its request line alone does (RFC 9112 §3), else 431."""
    endless = block.find(b"\r\n") < 0 and _ENDLESS_TARGET(block) is not None
    return Reason.TARGET_TOO_LONG if endless else Reason.HEAD_TOO_LARGE


def parse_fields(block: bytes, *, max_fields: int, mapped: frozenset[bytes]) -> Fields | Reason:
    """Parse the field lines of a request (each ending in CRLF, without the empty line).

    `mapped`: folded names no client may send, beside the shipped list (see `names`).
    """
    if FIELD_LINES(block) is None:
        return Reason.MALFORMED_HEAD
    lines: list[tuple[bytes, bytes]] = FIELDS(block)
    if len(lines) > max_fields:
        return Reason.TOO_MANY_FIELDS
    one: dict[bytes, bytes] = {}
    cookies: list[bytes] = []
    forwarded_for: list[bytes] = []
    forwarded: list[bytes] = []
    via: list[bytes] = []
    traceparents: list[bytes] = []
    tracestates: list[bytes] = []
    nominated: set[bytes] = set()
    ordinary: list[tuple[bytes, bytes]] = []
    for raw, value in lines:
        name = raw.lower()
        if name in _SINGLE:
            if name in one:
                return _duplicate(name)
            one[name] = value
        if name not in _SPECIAL:
            ordinary.append((name, value))
        elif name == b"cookie":
            cookies.append(value)
        elif name == b"connection":
            nominated.update(token.strip(b" \t").lower() for token in value.split(b","))
        elif name == b"x-forwarded-for":
            forwarded_for.append(value)
        elif name == b"x-forwarded-proto":
            one[name] = b"," if name in one else value
        elif name == b"forwarded":
            forwarded.append(value)
        elif name == b"via":
            via.append(value)
        elif name == b"traceparent":
            traceparents.append(value)
        elif name == b"tracestate":
            tracestates.append(value)
    fields = Fields(
        close=b"close" in nominated,
        keep_alive=b"keep-alive" in nominated,
        authorization=one.get(b"authorization", b""),
        user_agent=one.get(b"user-agent", b""),
        origin=one.get(b"origin", b""),
        service_worker=one.get(b"service-worker", b"").lower() == b"script",
        forwarded_for=tuple(forwarded_for),
        forwarded_proto=one.get(b"x-forwarded-proto", b""),
        forwarded=tuple(forwarded),
    )
    host = one.get(b"host")
    if host is None:
        return Reason.INVALID_HOST
    fields.authority = parse_authority(host)
    if fields.authority is None:
        return Reason.INVALID_HOST
    refused = _frame(fields, one) or _expect(fields, one)
    if refused is None and b"upgrade" in nominated and one.get(b"upgrade", b"").lower() == b"websocket":
        refused = _handshake(fields, one)
    if refused is None and via:
        refused = _trace(fields, via)
    if refused is not None:
        return refused
    # Connection may name hop-by-hop fields of the client's own; it never reaches the fields that we add after this parse.
    kept = [b"%b: %b\r\n" % pair for pair in ordinary if pair[0] not in nominated and not is_reserved(pair[0], mapped)]
    if len(kept) < len(ordinary):
        fields.reserved = tuple(pair for pair in ordinary if pair[0] not in nominated and is_reserved(pair[0], mapped))
    if traceparents and b"traceparent" not in nominated:
        fields.traceparent = read_traceparent(traceparents)
        state = b",".join(tracestates)
        if fields.traceparent and len(state) <= MAX_TRACESTATE_BYTES and b"tracestate" not in nominated:
            fields.tracestate = state
    if API_KEY_PREFIX in block:  # our credential is nobody else's business, on no route
        fields.api_keys = tuple(
            pair for pair in ordinary if pair[1].startswith(API_KEY_PREFIX) and pair[0] not in nominated
        )
        ours = {b"%b: %b\r\n" % pair for pair in fields.api_keys}
        kept = [line for line in kept if line not in ours]
    if cookies:
        split = split_cookies(b"; ".join(cookies))
        fields.secure_token, fields.plain_token, fields.own_cookies = split.secure_token, split.plain_token, split.own
        fields.secure_device, fields.plain_device = split.secure_device, split.plain_device
        if split.portal and b"cookie" not in nominated:
            kept.append(b"cookie: %b\r\n" % split.portal)
    if b"authorization" in nominated:
        fields.authorization = b""
    if b"max-forwards" in one:
        refused = _count_down(fields, one[b"max-forwards"])
        if refused is not None:
            return refused
        if fields.max_forwards:
            kept.append(b"max-forwards: %d\r\n" % (fields.max_forwards - 1))
    fields.forward = b"".join(kept)
    fields.navigates = _navigates(ordinary, one)
    fields.unattended = fields.websocket or _EVENT_STREAM in b"\n" + fields.forward
    return fields


def _duplicate(name: bytes) -> Reason:
    if name == b"host":
        return Reason.INVALID_HOST
    if name in (b"content-length", b"transfer-encoding"):
        return Reason.AMBIGUOUS_FRAMING
    if name == b"authorization":
        return Reason.CREDENTIALS_CONFLICT
    return Reason.MALFORMED_HEAD


def _frame(fields: Fields, one: dict[bytes, bytes]) -> Reason | None:
    """RFC 9112 §6: one length, or one `chunked`, never both."""
    coding = one.get(b"transfer-encoding")
    length = one.get(b"content-length")
    if coding is not None:
        if length is not None:  # smuggling: CL.TE, TE.CL
            return Reason.AMBIGUOUS_FRAMING
        if coding.lower() != b"chunked":  # smuggling: TE.TE
            return Reason.AMBIGUOUS_FRAMING if _OTHER_CODINGS(coding) is None else Reason.CODING_NOT_IMPLEMENTED
        fields.chunked = True
    if length is not None:
        if _LENGTH(length) is None:
            return Reason.AMBIGUOUS_FRAMING
        fields.length = int(length)
    return None


def _expect(fields: Fields, one: dict[bytes, bytes]) -> Reason | None:
    """RFC 9110 §10.1.1: 100-continue is the only expectation."""
    expectation = one.get(b"expect")
    if expectation is None:
        return None
    if expectation.lower() != b"100-continue":
        return Reason.EXPECTATION_FAILED
    fields.expects_continue = True
    return None


def _handshake(fields: Fields, one: dict[bytes, bytes]) -> Reason | None:
    """RFC 6455 §4.2.1: a handshake that is not one is refused, not passed on as an ordinary request."""
    fields.websocket_key = one.get(b"sec-websocket-key", b"")
    if _WEBSOCKET_KEY(fields.websocket_key) is None or b"sec-websocket-version" not in one:
        return Reason.MALFORMED_HEAD
    if fields.chunked or fields.length:  # smuggling: a body that a tunnel would carry
        return Reason.AMBIGUOUS_FRAMING
    if one[b"sec-websocket-version"] != b"13":
        return Reason.WEBSOCKET_VERSION
    fields.websocket = True
    return None


def _count_down(fields: Fields, remaining: bytes) -> Reason | None:
    """RFC 9110 §7.6.2: one less goes on. For OPTIONS; other methods may ignore it, and pass it on all the same."""
    if not remaining.isdigit():
        return Reason.MALFORMED_HEAD
    significant = remaining.lstrip(b"0")
    fields.max_forwards = min(int(significant[:9] or b"0"), MAX_FORWARDS)
    return None


def _trace(fields: Fields, via: list[bytes]) -> Reason | None:
    """RFC 9110 §7.6.3: keep the way that the request came, and notice when it came here too often."""
    value = b", ".join(line for line in via if line)
    passes = sum(member.split()[1:2] == [PSEUDONYM] for member in value.split(b","))
    if passes > MAX_PASSES:
        return Reason.LOOP_DETECTED
    fields.via = value + b", " if value else b""
    return None


def _navigates(ordinary: list[tuple[bytes, bytes]], one: dict[bytes, bytes]) -> bool:
    """Fetch metadata where the browser sends it, else an Accept that prefers HTML."""
    mode = one.get(b"sec-fetch-mode")
    if mode is not None:
        return mode.lower() == b"navigate"
    return any(b"text/html" in value.lower() for name, value in ordinary if name == b"accept")
