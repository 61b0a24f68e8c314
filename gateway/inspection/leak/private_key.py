"""Private keys in their armour (RFC 7468, RFC 9580 section 6, OpenSSH): known by the line that begins them.

Found as soon as their text begins; it belongs to the value up to the line that ends it.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.leak.reading import HOLD, Found, Reading, Skip, Tail, Text, beginnings
from gateway.inspection.leak.sighting import Kind

TRIGGER: Final = b"-----BEGIN "
OPENING: Final = beginnings([TRIGGER])

_BREAK: Final = rb"(?:[ \t\r\n\x01]|\\{1,4}[rnt]|<br[ /]{0,2}>|&#(?:10|13|xA|xa|xD|xd);){0,8}+"
_HEAD: Final = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----" + _BREAK + rb"([A-Za-z0-9+/=:,-]{8})"
)
_HEAD_REACH: Final = 192
_TAIL: Final = Tail(
    re.compile(rb"(?:[A-Za-z0-9+/=:,.()_ \t\r\n\x01&#;<>@-]|\\[nrt/\\])*+"),
    b"-----",
    32_768,
)


def claims(trigger: bytes) -> bool:
    """Tell whether a trigger is one of this module's."""
    return trigger == TRIGGER


def read(text: Text, at: int, _trigger: bytes) -> Reading:
    """Read on from the first byte of the armour."""
    data = text.data
    if not text.is_whole and len(data) - at < _HEAD_REACH:
        return HOLD
    head = _HEAD.match(data, at, at + _HEAD_REACH)
    if head is None or b"-----" in head[1]:
        return Skip(at + len(TRIGGER))
    return Found(Kind.SECRETS, at, head.end(), head[1], ((head.start(1), head.end()),), tail=_TAIL)
