"""How often somebody failed, by key: charged before the attempt is checked, forgiven when it was right.

The arithmetic is `authn.throttle`'s, the keys are `attempts`'. Counts are numbers and name nobody, so they are not sealed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.authn import throttle
from gateway.authn.throttle import Count, Throttle
from gateway.store.rows import Row, Rows, Transaction
from gateway.store.tables import ATTEMPTS

_COUNT: Final = struct.Struct(">Idd")
Charged = Sequence[tuple[bytes, Throttle]]


class AttemptCounts:
    """The counts of one gateway."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def admit(self, keys: Charged, *, now: float, evenly: bool = False) -> float:
        """Charge one attempt to every key, or to none if one of them must wait; returns the seconds to wait, 0 = go on.

        One transaction: a hundred attempts at once cannot all see the same count. With `evenly` it is the same work
        whether one must wait or not, where that is not to be told.
        """

        def work(tx: Transaction) -> float:
            counts = _counts_in(tx, keys)
            wait = max((throttle.blocked_s(limits, count, now) for _, limits, count in counts), default=0.0)
            if evenly or not wait:
                for key, limits, count in counts:
                    _put_in(tx, key, limits, count if wait else throttle.charge(limits, count, now))
            return wait

        return self._rows.transact(work, durable=False)

    def forgive(self, keys: Charged) -> None:
        """Take one charge back from each key: the attempt was right."""

        def work(tx: Transaction) -> None:
            for key, limits, count in _counts_in(tx, keys):
                _put_in(tx, key, limits, throttle.forgive(limits, count))

        self._rows.transact(work, durable=False)

    def clear(self, keys: Iterable[bytes]) -> None:
        """Forget all failures under these keys."""
        cleared = tuple(keys)

        def work(tx: Transaction) -> None:
            for key in cleared:
                tx.delete(ATTEMPTS, key)

        self._rows.transact(work, durable=False)

    def failures(self, key: bytes) -> int:
        """Return how many failures are remembered under a key, charging nothing."""
        return _count(self._rows.get(ATTEMPTS, key)).failures

    def blocked_s(self, key: bytes, limits: Throttle, *, now: float) -> float:
        """Return how long a key must still wait, charging nothing."""
        return throttle.blocked_s(limits, _count(self._rows.get(ATTEMPTS, key)), now)


def _counts_in(tx: Transaction, keys: Charged) -> list[tuple[bytes, Throttle, Count]]:
    found = tx.get_many(ATTEMPTS, [key for key, _ in keys])
    return [(key, limits, _count(found.get(key))) for key, limits in keys]


def _put_in(tx: Transaction, key: bytes, limits: Throttle, count: Count) -> None:
    if not count.failures:
        tx.delete(ATTEMPTS, key)
        return
    value = _COUNT.pack(count.failures, count.last, count.blocked_until)
    tx.put(ATTEMPTS, Row(id=key, value=value, expires=throttle.forgotten_at(limits, count)))


def _count(row: Row | None) -> Count:
    if row is None:
        return Count()
    failures, last, blocked_until = _COUNT.unpack(row.value)
    return Count(failures=failures, last=last, blocked_until=blocked_until)
