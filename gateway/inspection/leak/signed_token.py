"""JSON Web Tokens, signed or encrypted, whoever issued them (RFC 7515, RFC 7516): known by a header that says how.

Found as soon as the header has ended: what follows it, however long, belongs to the value.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from gateway.inspection.leak.reading import HOLD, Found, Reading, Skip, Tail, Text, beginnings, is_in_word
from gateway.inspection.leak.sighting import Kind

_START: Final = b"eyJ"
"""`{"`, as every header begins that no blank stands in."""
TRIGGER: Final = _START + rb"[A-Za-z0-9_-]{8}"
OPENING: Final = beginnings([_START]) + rb"|" + _START + rb"[A-Za-z0-9_-]{0,7}"

_LONGEST_HEADER: Final = 2_048
_HEADER: Final = re.compile(rb"eyJ[A-Za-z0-9_-]{8,2048}+")
_RUN: Final = re.compile(rb"[A-Za-z0-9_-]*+")
_WORD: Final = re.compile(rb"[A-Za-z0-9_]*+")
_BODY: Final = re.compile(rb"\.[A-Za-z0-9_.-]{5}")
_BODY_BYTES: Final = 6
_TAIL: Final = Tail(re.compile(rb"[A-Za-z0-9_.-]*+"), b"", 32_768)


def claims(trigger: bytes) -> bool:
    """Tell whether a trigger is one of this module's."""
    return trigger.startswith(_START)


def read(text: Text, at: int, _trigger: bytes) -> Reading:
    """Read on from the first byte of a header."""
    data = text.data
    if is_in_word(data, at) or _has_no_end(text, at):
        return Skip(_end_of_word(data, at, at + _LONGEST_HEADER))
    run = _RUN.match(data, at, at + _LONGEST_HEADER)
    end = at if run is None else run.end()
    if not text.is_whole and end - at < _LONGEST_HEADER and len(data) - end < _BODY_BYTES:
        return HOLD
    body = _BODY.match(data, end)
    header = _HEADER.match(data, at, end) if body is not None else None
    if header is None or body is None or not _says_how(header[0]):
        return Skip(_end_of_word(data, at, end))
    return Found(Kind.JWT, at, body.end(), data[at : body.end()], ((at, body.end()),), tail=_TAIL)


def _has_no_end(text: Text, at: int) -> bool:
    """Tell whether no header can end behind a place, without reading what stands there: many may seem to begin in one long word."""
    reach = at + _LONGEST_HEADER + 1
    return (text.is_whole or len(text.data) >= reach) and text.data.find(b".", at, reach) < 0


def _end_of_word(data: bytes, at: int, end: int) -> int:
    """Find where letters that cannot be a header end: no other header can begin among them."""
    return max(at + len(_START), _WORD.match(data, at, end).end())  # type: ignore[union-attr]  # matches always


def _says_how(header: bytes) -> bool:
    """Tell whether a header names its algorithm (RFC 7515 section 4.1.1)."""
    try:
        return b'"alg"' in base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4))
    except binascii.Error:
        return False
