"""How many tunnels and streams each person and tenant holds open, exact over all workers of a node.

Counts stand in the memory that the workers share for their limits, one column for each worker, so that
no worker ever writes another's. A column belongs to whoever holds its lock, which the kernel drops when
the holder dies: the next worker that takes the column clears it. Until then the dead one's tunnels still
count, which refuses too many rather than too few.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway.edge.limits import key_of

COLUMNS: Final = 512
"""Workers at a time: 256 at most, twice while a new program takes over."""
ROWS: Final = 32_768
WAYS: Final = 8
_PAGE: Final = mmap.ALLOCATIONGRANULARITY
_KEYS: Final = _PAGE
_COUNTS: Final = _KEYS + ROWS * 8
OCCUPANCY_BYTES: Final = _COUNTS + COLUMNS * ROWS * 4
"""Of address space; memory is used for the columns of the workers that there are."""
NO_PLACE: Final = -1


class Occupancy:
    """The table, and the column of this worker. `fd` is a memory file; the table begins at `offset`, a multiple of a page."""

    def __init__(self, fd: int, offset: int, *, secret: bytes) -> None:
        if os.fstat(fd).st_size < offset + OCCUPANCY_BYTES:
            os.ftruncate(fd, offset + OCCUPANCY_BYTES)
        self._fd = fd
        self._offset = offset
        self._secret = secret
        self._map = mmap.mmap(fd, OCCUPANCY_BYTES, offset=offset)
        view = memoryview(self._map)
        self._used = view[:4].cast("I")
        """How many columns were ever taken."""
        self._keys = view[_KEYS:_COUNTS].cast("Q")
        self._counts = view[_COUNTS:].cast("I")
        self._column = self._claim() * ROWS
        self.held = 0
        """Places that this worker holds."""
        self.full = 0
        """Places that were refused because the table had no row for one more person."""

    def take(self, subject: str, most: int) -> int:
        """Take a place for `subject`, of which there are `most`; returns the place, `NO_PLACE` when all are taken."""
        key = key_of("open", subject, self._secret)
        base = key % (ROWS // WAYS) * WAYS
        with self._locked(_PAGE + base):
            row = self._row(key, base)
            if row == NO_PLACE:
                self.full += 1
                return NO_PLACE
            if self._total(row) >= most:
                return NO_PLACE
            self._counts[self._column + row] += 1
        self.held += 1
        return row

    def give_back(self, place: int) -> None:
        """Give one place back, once."""
        with self._locked(_PAGE + place // WAYS * WAYS):
            self._counts[self._column + place] -= 1
        self.held -= 1

    def close(self) -> None:
        """Unmap."""
        self._used.release()
        self._keys.release()
        self._counts.release()

    def _total(self, row: int) -> int:
        return sum(self._counts[row : self._used[0] * ROWS : ROWS])

    def _row(self, key: int, base: int) -> int:
        """The row of a key in its set; a free one when it has none."""
        free = NO_PLACE
        for row in range(base, base + WAYS):
            if not self._total(row):
                free = row if free == NO_PLACE else free
            elif self._keys[row] == key:
                return row
        if free != NO_PLACE:
            self._keys[free] = key
        return free

    def _claim(self) -> int:
        """Take the first column that no living worker holds, and clear it."""
        for column in range(COLUMNS):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._offset + 1 + column)
            except BlockingIOError:
                continue
            own = self._counts[column * ROWS : (column + 1) * ROWS]
            if any(own):
                own.cast("B")[:] = bytes(ROWS * 4)
            own.release()
            with self._locked(0):
                self._used[0] = max(self._used[0], column + 1)
            return column
        raise OSError("more workers than columns")

    @contextmanager
    def _locked(self, at: int) -> Iterator[None]:
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, self._offset + at)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._offset + at)
