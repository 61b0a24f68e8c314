"""How many different records each person took lately, over all workers of a node.

The table stands behind those of the limits in the memory that the workers share. A set of it is locked by a byte-range lock,
which the kernel drops when its holder dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from gateway.edge.limits import key_of
from gateway.inspection.leak.distinct import SLOT_BYTES, WAYS, DistinctTable
from gateway.inspection.leak.download import Allowance

PEOPLE: Final = 4_096
TAKINGS_BYTES: Final = -(-PEOPLE * SLOT_BYTES // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
"""Of address space; memory is used for the people who take records."""
_LOCKS: Final = 1 << 40
"""Where in the file the locks of the table stand: far behind its end, and behind those of the other tables."""


class Takings:
    """The table. `fd` is a memory file; the table begins at `offset`, a multiple of a page."""

    def __init__(self, fd: int, offset: int, *, secret: bytes) -> None:
        if os.fstat(fd).st_size < offset + TAKINGS_BYTES:
            os.ftruncate(fd, offset + TAKINGS_BYTES)
        self._fd = fd
        self._secret = secret
        self._map = mmap.mmap(fd, TAKINGS_BYTES, offset=offset)
        self._view = memoryview(self._map)
        self._table = DistinctTable(self._view[: PEOPLE // WAYS * WAYS * SLOT_BYTES])

    def take(
        self, person: str, records: Iterable[tuple[str, str]], allowance: Allowance, now: float, *, is_bound: bool
    ) -> tuple[int, int]:
        """Count records (type and id) that `person` takes; where the allowance binds, none that would be too many.

        Returns how many were taken within the period, and how many are, or would be.
        """
        key = key_of(f"records:{allowance.period_s:g}", person, self._secret)
        things = [self._digest(*record) for record in records]
        most = allowance.records if is_bound else 1 << 62
        place = _LOCKS + self._table.set_of(key)
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, place)
        try:
            return self._table.count(key, things, period_s=allowance.period_s, now=now, most=most)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, place)

    def _digest(self, kind: str, uid: str) -> int:
        text = f"{kind}\0{uid}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=8, key=self._secret).digest(), "little")

    def close(self) -> None:
        """Unmap."""
        self._table.release()
        self._view.release()
