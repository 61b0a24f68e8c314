"""One stream of the log as it grows, up to its last checkpoint: what sinks, tiles and witnesses follow.

Entries after the checkpoint are nobody's yet: a crash may replace them by others, and a copy of them
would then be of something that never was in the log. It reads and never judges.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from gateway.audit.checkpoint import verify_checkpoint
from gateway.audit.filehead import FileHeadError
from gateway.audit.segment import SegmentError
from gateway.custody.threads import in_thread
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.spool import SpoolReader, numbers, read_head

POLL_S: Final = 0.2
_BATCH: Final = 512
_MOST_READERS: Final = 8
"""Places of one stream that are remembered: one for each sink that is as far as another is not."""


class Extent(msgspec.Struct, frozen=True):
    """What there is of a stream."""

    origin: str
    first: int
    """The oldest record that was not pruned."""
    size: int
    """One more than the newest record that is on stable storage."""
    note: bytes
    """The checkpoint itself: a signed note of `size` records."""


class Entries(NamedTuple):
    """Consecutive entries, whole as the leaves cover them."""

    first: int
    """Index of the first of them."""
    raw: list[bytes]


class Tail:
    """Follows one stream. `look` finds out what there is; `Watch` calls it."""

    def __init__(self, layout: Layout, keys: AuditKeys, stream: Stream) -> None:
        self.stream = stream
        self._layout = layout
        self._keys = keys
        self._extent: Extent | None = None
        self._seen: tuple[tuple[int, int], int] | None = None
        self._first = 0
        self._oldest = 0
        """Number of the oldest file when it was last looked at."""
        self._readers: dict[int, SpoolReader] = {}
        """By the index of what each returns next."""
        self._told: Extent | None = None
        """What waiting duties were woken for last."""
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()

    def extent(self) -> Extent | None:
        """Return what is known to be there without asking the disk; None before the log has begun."""
        return self._extent

    def look(self) -> None:
        """Read the checkpoint if there is another one. Blocking. Raises `OSError`, `CheckpointError`."""
        path = self._layout.checkpoint(self.stream)
        try:
            status = path.stat()
            directory = self._layout.directory.stat()
        except FileNotFoundError:
            return
        seen = ((status.st_ino, status.st_mtime_ns), directory.st_mtime_ns)
        if seen == self._seen:
            return
        with suppress(FileHeadError, SegmentError):  # verify says what is wrong with it
            self._find_oldest()
        note = path.read_bytes()
        origin = note.split(b"\n", 1)[0].decode("utf-8", "replace")
        checkpoint = verify_checkpoint(note, self._keys.vkey(origin))
        self._extent = Extent(origin=origin, first=self._first, size=checkpoint.size, note=note)
        self._seen = seen

    def _find_oldest(self) -> None:
        known = numbers(self._layout.directory, self.stream)
        if known and known[0] != self._oldest:
            self._first = read_head(self._layout.directory, self.stream, known[0]).first_index
            self._oldest = known[0]

    def wake(self) -> None:
        """Tell whoever waits, if there is more."""
        if self._extent is self._told:
            return
        self._told = self._extent
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def grown(self, size: int, origin: str = "") -> None:
        """Return when there is more than `size`, or, with `origin`, another log."""
        while True:
            changed, extent = self._changed, self._extent
            if extent is not None and (extent.size > size or (origin and extent.origin != origin)):
                return
            await changed.wait()

    async def read(self, first: int, most: int) -> list[bytes]:
        """Return entries from `first` on, whole, at most `most` and none beyond the last checkpoint.

        Raises `PrunedError`, `SpoolError`.
        """
        extent = self._extent
        if extent is None or first >= extent.size:
            return []
        async with self._turn:
            return await in_thread(self._read, first, most, extent.size)

    def _read(self, first: int, most: int, end: int) -> list[bytes]:
        reader = self._readers.pop(first, None)
        if reader is None:
            reader = SpoolReader(self._layout.directory, self._keys, self.stream, first)
        try:
            found = reader.read(most, end)
        except BaseException:
            reader.close()
            raise
        replaced = self._readers.pop(reader.next_index, None)
        if replaced is not None:
            replaced.close()
        self._readers[reader.next_index] = reader
        for place, idle in list(self._readers.items()):
            if (
                idle.is_unlinked()
            ):  # attack: a sink that never comes back would keep the disk from getting its room back
                self._readers.pop(place).close()
        while len(self._readers) > _MOST_READERS:
            self._readers.pop(next(iter(self._readers))).close()
        return found

    async def follow(self, start: int, most: int = _BATCH) -> AsyncIterator[Entries]:
        """Yield entries from `start` on for ever, as they come. Raises `PrunedError`, `SpoolError`."""
        while True:
            await self.grown(start)
            found = await self.read(start, most)
            if found:
                yield Entries(start, found)
                start += len(found)

    def close(self) -> None:
        """Let go of every file."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


class Watch:
    """The duty that looks at the checkpoint of one stream and wakes who waits for it."""

    def __init__(self, tail: Tail) -> None:
        self.name = f"watch-{tail.stream}"
        self._tail = tail

    async def run(self) -> None:
        """Look five times a second. Raises `OSError`, `CheckpointError`."""
        while True:
            await in_thread(self._tail.look)
            self._tail.wake()
            await asyncio.sleep(POLL_S)

    def measure(self) -> None:
        """Nothing of its own."""
