"""What an edge and a process of the second engine say to each other, over a socket pair.

A message is a little-endian u32 length and a MessagePack value. The edge asks, the process answers, in order.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

LENGTH: Final = struct.Struct("<I")
LARGEST: Final = 64 * 1024 * 1024


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The first word of a process: it has this many rules."""

    rules: int


class NotLoaded(msgspec.Struct, frozen=True, tag="not-loaded"):
    """Or why it has none; it ends after this."""

    sentence: str


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A request to judge."""

    method: str
    target: bytes
    """As it goes upstream: path and query."""
    version: str
    client_ip: str
    fields: list[tuple[bytes, bytes]]
    body: bytes


class Match(msgspec.Struct, frozen=True, array_like=True):
    """A rule that matched; without what it matched."""

    rule: int
    severity: int
    """0 emergency to 7 debug; the rule set uses 2 critical, 3 error, 4 warning, 5 notice."""
    place: str
    """The variable that matched, such as `ARGS:q`; empty where none is named."""


class Judged(msgspec.Struct, frozen=True, array_like=True):
    """What the rules say of a request."""

    is_hostile: bool
    """A rule asked for the request to be stopped: its anomaly score reached the threshold."""
    matches: list[Match]
    micros: int
    """What it took."""


First = Loaded | NotLoaded
pack = msgspec.msgpack.Encoder().encode
unpack_first = msgspec.msgpack.Decoder(First).decode
unpack_asked = msgspec.msgpack.Decoder(Asked).decode
unpack_judged = msgspec.msgpack.Decoder(Judged).decode


def framed(message: Loaded | NotLoaded | Asked | Judged) -> bytes:
    """Write a message with its length."""
    data = pack(message)
    return LENGTH.pack(len(data)) + data
