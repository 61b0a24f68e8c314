"""Rate limits that are exact over all workers of a node.

One table of (key, theoretical arrival time) in memory that the supervisor made and every worker maps.
With more than one worker a set of the table is locked by a byte-range lock, which the kernel drops
when its holder dies. A slot whose time has passed is free, so nothing is ever forgotten early; when
all slots of a set are taken the request is refused rather than let past a limit.
"""

from __future__ import annotations

import fcntl
import mmap
from hashlib import blake2b
from typing import Final

from gateway.exchange.route import LimitSpec
from gateway.ratelimit.gcra import Bucket

WAYS: Final = 8
REMEMBERED: Final = 65_536
_FULL: Final = -1


def key_of(limit: str, subject: str, secret: bytes) -> int:
    """64 bits for one counted subject of one limit; keyed, so that nobody can aim at another's slot."""
    digest = blake2b(f"{limit}\0{subject}".encode(), digest_size=8, key=secret).digest()
    return int.from_bytes(digest, "little") or 1


class LimitTable:
    """The shared table. `fd` is a memory file of a power of two slots of 16 bytes."""

    def __init__(self, fd: int, size_bytes: int, *, shared: bool, secret: bytes) -> None:
        self._map = mmap.mmap(fd, size_bytes)
        slots = size_bytes // 16
        view = memoryview(self._map)
        self._keys = view[: slots * 8].cast("Q")
        self._tats = view[slots * 8 :].cast("d")
        self._sets = slots // WAYS
        self._descriptor = fd
        self._fd = fd if shared else -1
        self._secret = secret
        self.full = 0

    def share(self, *, is_shared: bool) -> None:
        """Lock other processes out of a set while it is changed, or do without when there are none."""
        self._fd = self._descriptor if is_shared else -1

    def take(self, bucket: Bucket, subject: str, now: float) -> float:
        """Take one request; 0.0 when it conforms, else the seconds after which one would."""
        known = bucket.keys
        place = known.get(subject)
        if place is None:
            if len(known) >= REMEMBERED:
                known.clear()
            key = key_of(bucket.spec.name, subject, self._secret)
            place = known[subject] = (key, key % self._sets * WAYS)
        key, base = place
        if self._fd < 0:
            return self._take(bucket, key, base, now)
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, base)
        try:
            return self._take(bucket, key, base, now)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, base)

    def _take(self, bucket: Bucket, key: int, base: int, now: float) -> float:
        keys, tats = self._keys, self._tats
        slot = base if keys[base] == key else self._slot(key, base, now)
        if slot == _FULL:
            self.full += 1
            return bucket.interval_s
        tat = tats[slot]
        admitted = bucket.admit(tat, now)
        if admitted == 0.0:
            return bucket.retry_after(tat, now) or bucket.interval_s
        tats[slot] = admitted
        return 0.0

    def _slot(self, key: int, base: int, now: float) -> int:
        """The slot of a key in its set; a free one when it has none, `_FULL` when there is none."""
        keys, tats = self._keys, self._tats
        free = _FULL
        for at in range(base, base + WAYS):
            if keys[at] == key:
                return at
            if free == _FULL and tats[at] <= now:
                free = at
        if free != _FULL:
            keys[free] = key
            tats[free] = 0.0
        return free

    def close(self) -> None:
        """Unmap."""
        self._keys.release()
        self._tats.release()


def subject_of(spec: LimitSpec, *, ip: str, user: str, tenant: str, route: str, key: str = "") -> str:
    """What a limit counts on for one request; empty = the request is none that it counts."""
    match spec.per:
        case "ip":
            return ip
        case "user":
            return user or ip
        case "tenant":
            return tenant or ip
        case "route":
            return route
        case "key":
            return key
