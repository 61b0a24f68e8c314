"""Turn a header list of HTTP/2 into the same request that HTTP/1.1 would have been (RFC 9113 §8.2, §8.3).

What only HTTP/2 knows is checked here: pseudo-header fields, names in lower case, fields that belong to a
connection. The rest becomes the field block that HTTP/1.1 would have brought, and is read by its one
grammar: both versions give the same `Fields` or the same refusal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.exchange.reason import Reason
from gateway.wire.authority import parse_authority
from gateway.wire.hpack_encoder import CONNECTION_SPECIFIC
from gateway.wire.request import REFUSED_METHODS, Fields, parse_fields

Header = tuple[bytes, bytes]

_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_PATH: Final = re.compile(rb"[!-~]+").fullmatch
# RFC 9113 §8.2.1: tokens in lower case. h2-smuggling: a colon, a space or a line end in a name makes two fields of one.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
# h2-smuggling: CR, LF and NUL in a value; white space around it, which another reader trims.
_VALUE: Final = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?").fullmatch
_LONGEST_METHOD: Final = 32
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_SCHEMES: Final = frozenset((b"https", b"http"))
_HTTPS_PORT: Final = 443


class RequestHead(NamedTuple):
    """What the pseudo-header fields say, and the rest. Nothing decided yet."""

    method: bytes
    target: bytes
    authority: bytes | None
    regular: tuple[Header, ...]


def split_head(headers: Sequence[Header], *, max_target: int, any_scheme: bool) -> RequestHead | Reason:
    """Read the pseudo-header fields of a request (RFC 9113 §8.3.1).

    `any_scheme`: the client is a proxy that may speak for somebody on plain HTTP.
    """
    pseudo: dict[bytes, bytes] = {}
    at = 0
    for name, value in headers:
        if not name.startswith(b":"):
            break
        if name not in _PSEUDO or name in pseudo:
            return Reason.MALFORMED_HEAD
        pseudo[name] = value
        at += 1
    regular = tuple(headers[at:])
    method, path, scheme = pseudo.get(b":method", b""), pseudo.get(b":path", b""), pseudo.get(b":scheme", b"")
    if _METHOD(method) is None:
        return Reason.MALFORMED_HEAD
    if method in REFUSED_METHODS or len(method) > _LONGEST_METHOD:
        return Reason.METHOD_NOT_IMPLEMENTED
    if not path or scheme not in _SCHEMES or (scheme == b"http" and not any_scheme):
        return Reason.MALFORMED_HEAD
    if len(path) > max_target:
        return Reason.TARGET_TOO_LONG
    if _PATH(path) is None:
        return Reason.MALFORMED_HEAD
    # h2-smuggling: what does not begin with a slash would be absolute-form, or part of the request line
    if not path.startswith(b"/") and not (path == b"*" and method == b"OPTIONS"):
        return Reason.INVALID_TARGET
    return RequestHead(method, path, pseudo.get(b":authority"), regular)


def request_fields(
    authority: bytes | None,
    regular: Sequence[Header],
    *,
    has_body: bool,
    max_fields: int,
    mapped: frozenset[bytes],
) -> Fields | Reason:
    """Read the regular fields of a request as HTTP/1.1 would have brought them.

    `has_body`: more frames follow; without a length such a body goes upstream in chunks.
    """
    if authority is not None and _VALUE(authority) is None:
        return Reason.INVALID_HOST
    lines = [] if authority is None else [b"host: %b\r\n" % authority]
    crumbs: list[bytes] = []
    is_named = False
    for name, value in regular:
        if _NAME(name) is None or _VALUE(value) is None:
            return Reason.MALFORMED_HEAD
        if name in CONNECTION_SPECIFIC:  # RFC 9113 §8.2.2; h2-smuggling: H2.TE
            return Reason.AMBIGUOUS_FRAMING if name == b"transfer-encoding" else Reason.MALFORMED_HEAD
        if name == b"te" and value.lower() != b"trailers":
            return Reason.MALFORMED_HEAD
        if name == b"cookie":  # RFC 9113 §8.2.3
            crumbs.append(value)
        elif name == b"host" and authority is not None:
            if is_named or _entity(value) != _entity(authority):  # RFC 9113 §8.3.1
                return Reason.INVALID_HOST
            is_named = True
        else:
            lines.append(b"%b: %b\r\n" % (name, value))
    if crumbs:
        lines.append(b"cookie: %b\r\n" % b"; ".join(crumbs))
    fields = parse_fields(b"".join(lines), max_fields=max_fields, mapped=mapped)
    if not isinstance(fields, Fields):
        return fields
    if has_body:
        fields.chunked = fields.length is None
    elif fields.length:  # RFC 9113 §8.1.1; h2-smuggling: H2.CL
        return Reason.AMBIGUOUS_FRAMING
    return fields


def _entity(value: bytes) -> tuple[str, int] | None:
    authority = parse_authority(value)
    return None if authority is None else (authority.host, authority.port or _HTTPS_PORT)


def are_trailers(headers: Sequence[Header]) -> bool:
    """True if a second header list of a request is well formed; nobody ever sees what it says (RFC 9113 §8.1)."""
    return all(
        _NAME(name) is not None and _VALUE(value) is not None and name not in CONNECTION_SPECIFIC
        for name, value in headers
    )
