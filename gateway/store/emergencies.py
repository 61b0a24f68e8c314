"""Which emergency accounts are over and were closed by nobody.

That an account is over is decided by its end and the clock (`User.is_over`), whatever runs. A clock that is put back would let it
in again, so whoever looks after the store disables it for good; this module finds it, at the cost of one row while no
account is open.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from gateway.store.people import People
from gateway.store.records import User
from gateway.store.rows import Row, Rows, Transaction
from gateway.store.tables import MARKS

_MARK: Final = b"emergencies"
_VALUE: Final = Struct("<d8s")
"""The earliest end of an account that is open, and a random number: another one each time somebody opens one."""
_NONCE_BYTES: Final = 8


class Emergencies:
    """Finds accounts that are over. Methods raise `StoreUnavailableError`."""

    __slots__ = ("_people", "_random", "_rows")

    def __init__(self, rows: Rows, people: People, random: Callable[[int], bytes]) -> None:
        self._rows = rows
        self._people = people
        self._random = random

    def over(self, now: float, *, everybody: bool = False) -> list[User]:
        """List the accounts whose emergency is over; with `everybody` also where nothing says that one is open.

        An account that does not open is none of them: nobody signs in with it.
        """
        mark = self._rows.get(MARKS, _MARK)
        if not everybody and (mark is None or now < _end(mark)):
            return []
        opened = self._people.opened()
        earliest = min((user.until for user in opened), default=0.0)
        self._rows.transact(lambda tx: self._mark_in(tx, mark, earliest))
        return [user for user in opened if user.is_over(now)]

    def note_in(self, tx: Transaction, user: User) -> None:
        """Remember, in the transaction that stores an account, that it is open."""
        if user.until:
            mark = tx.get(MARKS, _MARK)
            self._put_in(tx, user.until if mark is None else min(user.until, _end(mark)))

    def _mark_in(self, tx: Transaction, before: Row | None, earliest: float) -> None:
        mark = tx.get(MARKS, _MARK)
        if (None if mark is None else mark.value) != (None if before is None else before.value):
            return  # somebody opened one meanwhile
        if earliest:
            self._put_in(tx, earliest)
        elif mark is not None:
            tx.delete(MARKS, _MARK)

    def _put_in(self, tx: Transaction, until: float) -> None:
        tx.put(MARKS, Row(id=_MARK, value=_VALUE.pack(until, self._random(_NONCE_BYTES))))


def _end(mark: Row) -> float:
    if len(mark.value) != _VALUE.size:
        return 0.0  # what cannot be read is looked into
    until: float = _VALUE.unpack(mark.value)[0]
    return until
