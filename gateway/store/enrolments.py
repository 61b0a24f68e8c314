"""TOTP secrets that wait for their first code. A secret belongs to the session it was shown to, by its handle."""

from __future__ import annotations

from gateway.store.records import PendingFactor
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import ENROLMENTS


class Enrolments:
    """The enrolments under way in one gateway."""

    __slots__ = ("_rows", "_shelf")

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._shelf = Shelf(ENROLMENTS, PendingFactor, rows, sealer)

    def get(self, handle: str, *, now: float) -> PendingFactor | None:
        """Return the secret that waits for its first code in this session."""
        return self._shelf.get(self._row(handle), now=now)

    def put(self, handle: str, pending: PendingFactor, *, now: float) -> None:
        """Remember a secret for this session, in place of an earlier one."""
        row, tokens = self._row(handle), {"user": self._shelf.token("user", pending.user_id)}
        self._rows.transact(
            lambda tx: self._shelf.put_in(tx, row, pending, now=now, tokens=tokens, expires=pending.expires),
            durable=False,
        )

    def get_in(self, tx: Transaction, handle: str, *, now: float) -> PendingFactor | None:
        """Return the secret as this transaction sees it."""
        return self._shelf.get_in(tx, self._row(handle), now=now)

    def delete_in(self, tx: Transaction, user_id: str) -> None:
        """Forget every secret that waits for this person."""
        for row in tx.find(ENROLMENTS, "user", self._shelf.token("user", user_id)):
            tx.delete(ENROLMENTS, row.id)

    def _row(self, handle: str) -> bytes:
        return self._shelf.token("handle", handle)
