"""What an edge and a process of the second engine say to each other, over a socket pair.

A message is a little-endian u32 length and a MessagePack value. The edge asks, the process answers, in order.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from gateway.exchange.opinion import Opinion, Question

LENGTH: Final = struct.Struct("<I")
LARGEST: Final = 64 * 1024 * 1024


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The first word of a process: it has this many rules."""

    rules: int


class NotLoaded(msgspec.Struct, frozen=True, tag="not-loaded"):
    """Or why it has none; it ends after this."""

    sentence: str


First = Loaded | NotLoaded
pack = msgspec.msgpack.Encoder().encode
unpack_first = msgspec.msgpack.Decoder(First).decode
unpack_question = msgspec.msgpack.Decoder(Question).decode
unpack_opinion = msgspec.msgpack.Decoder(Opinion).decode


def framed(message: Loaded | NotLoaded | Question | Opinion) -> bytes:
    """Write a message with its length."""
    data = pack(message)
    return LENGTH.pack(len(data)) + data
