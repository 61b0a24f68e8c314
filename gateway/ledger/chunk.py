"""Records on their way into a log, cut where a frame or a file has to end: a chunk becomes one frame.

Makes the entries and their hashes; where a chunk goes, and when it is safe, is `log`'s to decide.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from gateway.audit.entry import HEAD, LENGTH, MAGIC, SALT_BYTES
from gateway.exchange.stream import STREAM_NUMBERS, Stream

FILE_ENTRIES = 65_536
"""No file goes past a multiple of so many: a full one is one whole tile of level 1 (C2SP tlog-tiles)."""
FRAME_BUNDLE_BYTES = 512 << 10
FRAME_RECORDS = 4096

Group = tuple[int, Sequence[int], Sequence[bytes]]
"""Slot, ascending sequences, and a payload for each."""


class Chunk:
    """The entries of one frame, kept until they are safe."""

    __slots__ = ("frame", "groups", "has_intents", "leaves", "parts", "size")

    def __init__(self) -> None:
        self.has_intents = False
        """Some record announces a request: one search of the bundle spares a search of each record."""
        self.parts: list[bytes] = []
        """The bundle in pieces."""
        self.leaves: list[bytes] = []
        self.groups: list[Group] = []
        self.size = 0
        self.frame = b""


def cut(
    groups: Iterable[Group], *, stream: Stream, next_index: int, now_ns: int, random: Callable[[int], bytes]
) -> list[Chunk]:
    """Make the entries, their leaf hashes, and cut them into chunks; the first entry has `next_index`."""
    groups = list(groups)
    salts = random(SALT_BYTES * sum(len(payloads) for _, _, payloads in groups))
    pack, prefix, overhead = HEAD.pack, LENGTH.pack, HEAD.size
    number = STREAM_NUMBERS[stream]
    in_file = FILE_ENTRIES - next_index % FILE_ENTRIES
    chunk = Chunk()
    chunks = [chunk]
    leaves, parts = chunk.leaves, chunk.parts
    room, size, at = min(FRAME_RECORDS, in_file), 0, 0
    for slot, sequences, payloads in groups:
        start = 0
        for i, (sequence, payload) in enumerate(zip(sequences, payloads, strict=True)):
            cost = len(payload) + overhead
            if room == 0 or (size + cost > FRAME_BUNDLE_BYTES and size):
                if i > start:
                    chunk.groups.append((slot, sequences[start:i], payloads[start:i]))
                start = i
                chunk.size = size
                in_file = (in_file - len(leaves)) or FILE_ENTRIES
                chunk = Chunk()
                chunks.append(chunk)
                leaves, parts = chunk.leaves, chunk.parts
                room, size = min(FRAME_RECORDS, in_file), 0
            head = pack(MAGIC, 0, number, slot, now_ns, sequence, salts[at : at + SALT_BYTES])
            at += SALT_BYTES
            leaves.append(sha256(b"\0" + head + payload).digest())
            parts += (prefix(cost), head, payload)
            room -= 1
            size += cost + LENGTH.size
        if len(payloads) > start:
            chunk.groups.append((slot, sequences[start:], payloads[start:]))
    chunk.size = size
    return chunks if chunk.leaves else chunks[:-1]


def ends_file(size: int) -> bool:
    """Tell whether a log of so many entries has to begin another file."""
    return size % FILE_ENTRIES == 0


def beyond(group: Group, last: int) -> Group:
    """Return what of a group has a sequence above `last`."""
    slot, sequences, payloads = group
    at = bisect_right(sequences, last)
    return (slot, sequences[at:], payloads[at:]) if at else group
