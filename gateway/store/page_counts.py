"""What was counted about the pages of each route: reports about their policy, and scripts that are not approved.

Every worker adds what it counted; operators read the sum and write the next policy from it. What nobody tells of any more is
forgotten.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from gateway.inspection.csp.tally import OfRoute, Tally
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import PAGE_COUNTS

KEPT_S: Final = 30 * 86_400.0
"""Since it was told last."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One route. A format on disk."""

    route: str
    told: OfRoute


class PageCounts:
    """The counts of all workers. Every method raises `StoreUnavailableError`."""

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._shelf = Shelf(PAGE_COUNTS, _Kept, rows, sealer)

    def add(self, tally: Tally, now: float) -> None:
        """Add what one worker counted since it last did."""

        def work(tx: Transaction) -> None:
            for route in tally.routes():
                row, sum_ = _row(route), Tally()
                before = self._shelf.get_in(tx, row, now=now)
                if before is not None:
                    sum_.take_over(route, _lately(before.told, now))
                sum_.take_over(route, tally.of_route(route))
                kept = _Kept(route=route, told=sum_.of_route(route))
                self._shelf.put_in(tx, row, kept, now=now, expires=now + KEPT_S)

        self._rows.transact(work, durable=False)

    def read(self, now: float) -> Tally:
        """Return the counts of all routes."""
        tally = Tally()
        for kept in self._shelf.all(now=now):
            tally.take_over(kept.route, _lately(kept.told, now))
        return tally

    def forget(self, route: str) -> bool:
        """Begin to count a route anew; False when nothing was counted."""
        return self._rows.transact(lambda tx: self._shelf.delete_in(tx, _row(route)), durable=False)


def _lately(told: OfRoute, now: float) -> OfRoute:
    """Leave out what nobody told of for as long as that."""
    return OfRoute(counts=[count for count in told.counts if now - count.last < KEPT_S], left_out=told.left_out)


def _row(route: str) -> bytes:
    return sha256(b"page counts\0" + route.encode("utf-8")).digest()
