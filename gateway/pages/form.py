"""The body of a form, read strictly: one coding, known names, each once."""

from __future__ import annotations

from aiohttp import web

from gateway.exchange.reason import Reason

MAX_FORM_BYTES = 65_536
_MAX_FIELDS = 16

PROOF_FIELDS = frozenset({"form", "form_token"})
"""The hidden fields of every form of ours."""


async def read_form(request: web.Request, names: frozenset[str]) -> dict[str, str] | Reason:
    """Read the fields in `names` and the proof from `application/x-www-form-urlencoded` (WHATWG URL §5.1).

    A missing field reads as empty, an unknown one is not read. A repeated one, a foreign media
    type or coding and bytes that are not UTF-8 refuse: two readers could understand them differently.
    """
    if request.content_type != "application/x-www-form-urlencoded" or "Content-Encoding" in request.headers:
        return Reason.MALFORMED_BODY
    if request.charset is not None and request.charset.lower() != "utf-8":
        return Reason.MALFORMED_BODY
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return Reason.BODY_TOO_LARGE
    return parse_form(body, names)


def parse_form(body: bytes, names: frozenset[str]) -> dict[str, str] | Reason:
    """Parse a whole body; see `read_form`."""
    values = dict.fromkeys(names | PROOF_FIELDS, "")
    if not body:
        return values
    pairs = body.split(b"&", _MAX_FIELDS)
    if len(pairs) > _MAX_FIELDS:
        return Reason.MALFORMED_BODY
    seen = set()
    for pair in pairs:
        name_bytes, _, value_bytes = pair.partition(b"=")
        name, value = _decode(name_bytes), _decode(value_bytes)
        if name is None or value is None or name in seen:
            return Reason.MALFORMED_BODY
        seen.add(name)
        if name in values:
            values[name] = value
    return values


def _decode(raw: bytes) -> str | None:
    """Percent-decode; None for a broken escape, a byte outside ASCII, or octets that are not UTF-8 or hold NUL."""
    head, *escapes = raw.replace(b"+", b" ").split(b"%")
    parts = [head]
    try:
        for escape in escapes:
            octet = escape[:2]
            if len(octet) != 2 or not octet.isalnum():  # noqa: PLR2004 - two digits
                return None
            parts.append(bytes((int(octet, 16),)) + escape[2:])
        raw.decode("ascii")
        text = b"".join(parts).decode()
    except (UnicodeDecodeError, ValueError):
        return None
    return None if "\0" in text else text
