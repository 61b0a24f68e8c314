"""One entry of the log: the bytes that a Merkle leaf covers.

Little endian: `"GWA1" | flags u8 | stream u8 | slot u16 | ingest time u64 ns | sequence u64 | salt 16 | payload`.
The random salt keeps a leaf hash from being guessed from a guessed payload. What the payload says
is not decided here.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from gateway.audit.protocol import MAX_PAYLOAD_BYTES
from gateway.exchange.errors import GatewayError
from gateway.exchange.stream import STREAM_NUMBERS, STREAMS_BY_NUMBER, Stream

MAGIC = b"GWA1"
HEAD = Struct("<4sBBHQQ16s")
SALT_BYTES = 16
LENGTH = Struct("<H")


class EntryError(GatewayError):
    """Bytes that are no entry, or no bundle of entries."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A stored record."""

    slot: int
    time_ns: int
    """When the daemon took it in, unix nanoseconds. Order in the log is by index, never by time."""
    sequence: int
    payload: bytes
    stream: Stream = Stream.SECURITY


def pack_entry(  # noqa: PLR0917 - the fields in the order of the bytes
    stream: Stream, slot: int, time_ns: int, sequence: int, salt: bytes, payload: bytes
) -> bytes:
    """Encode one entry."""
    return HEAD.pack(MAGIC, 0, STREAM_NUMBERS[stream], slot, time_ns, sequence, salt) + payload


def parse_entry(data: bytes) -> Entry:
    """Decode one entry. Raises `EntryError`."""
    if not HEAD.size < len(data) <= HEAD.size + MAX_PAYLOAD_BYTES:
        raise EntryError(f"an entry of {len(data)} bytes")
    magic, flags, number, slot, time_ns, sequence, _ = HEAD.unpack_from(data)
    stream = STREAMS_BY_NUMBER.get(number)
    if magic != MAGIC or flags != 0 or stream is None:
        raise EntryError("an entry of another version")
    return Entry(slot, time_ns, sequence, data[HEAD.size :], stream)


def split_bundle(bundle: bytes, count: int) -> list[bytes]:
    """Cut `(u16 length | entry)*` into exactly `count` entries. Raises `EntryError`."""
    entries: list[bytes] = []
    at, end = 0, len(bundle)
    for _ in range(count):
        if end - at < LENGTH.size:
            raise EntryError("a bundle with fewer entries than its frame says")
        stop = at + 2 + (bundle[at] | bundle[at + 1] << 8)
        if stop > end:
            raise EntryError("an entry that runs out of its bundle")
        entries.append(bundle[at + 2 : stop])
        at = stop
    if at != end:
        raise EntryError("a bundle with more bytes than its entries have")
    return entries
