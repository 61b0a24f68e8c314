"""Room for forms that wait for a sign-in: so many in all, fewer of strangers, a few of each person.

What a form holds is sealed here and encrypted before, by `kept`; whose it is stands beside it as a look-up token.
"""

from __future__ import annotations

from typing import Final

from gateway.store.rows import Backend, Row, Transaction
from gateway.store.sealing import Sealer
from gateway.store.tables import FORMS

MAX_KEPT: Final = 1024
"""Forms kept at once, 64 KiB each at most."""
MAX_KEPT_UNKNOWN: Final = 256
"""Of them for browsers without a session that anybody remembers: the part that strangers can fill."""
MAX_KEPT_EACH: Final = 4
"""Of one person; at one more the oldest goes."""
_ROOM: Final = b"room"
_UNKNOWN: Final = b"unknown"


class Forms:
    """The kept forms of one gateway."""

    __slots__ = ("_rows", "_sealer")

    def __init__(self, rows: Backend, sealer: Sealer) -> None:
        self._rows = rows
        self._sealer = sealer

    def keep(self, row: bytes, value: bytes, *, person: bytes, expires: float, now: float) -> bool:
        """Keep a form, in place of what the row held; False when there is no room for more."""
        self._rows.sweep(FORMS, now)
        key, sealed = self._sealer.seal(FORMS.name, row, value, now)
        tokens = {"person": person or _UNKNOWN, "room": _ROOM}
        form = Row(id=row, value=sealed, key=key, tokens=tokens, expires=expires)

        def work(tx: Transaction) -> bool:
            tx.delete(FORMS, row)
            if person:
                theirs = sorted(tx.find(FORMS, "person", person), key=lambda kept: kept.expires or 0.0, reverse=True)
                for kept in theirs[MAX_KEPT_EACH - 1 :]:
                    tx.delete(FORMS, kept.id)
            if tx.count(FORMS, "room", _ROOM) >= MAX_KEPT:
                return False
            if not person and tx.count(FORMS, "person", _UNKNOWN) >= MAX_KEPT_UNKNOWN:
                return False
            tx.put(FORMS, form)
            return True

        return self._rows.transact(work, durable=False)

    def take(self, row: bytes, *, now: float) -> tuple[bytes, bytes] | None:
        """Remove a kept form and return whose it is and what was kept: of two requests exactly one gets it."""

        def work(tx: Transaction) -> Row | None:
            found = tx.get(FORMS, row)
            if found is None or found.expires is None or now >= found.expires:
                return None
            tx.delete(FORMS, row)
            return found

        found = self._rows.transact(work, durable=False)
        if found is None:
            return None
        person = found.tokens["person"]
        return b"" if person == _UNKNOWN else person, self._sealer.open(FORMS.name, row, found.value)

    def drop(self, row: bytes) -> bool:
        """Remove a kept form; False when there was none."""
        return self._rows.transact(lambda tx: tx.delete(FORMS, row), durable=False)

    def drop_person_in(self, tx: Transaction, person: bytes) -> None:
        """Remove every form of a person."""
        for kept in tx.find(FORMS, "person", person):
            tx.delete(FORMS, kept.id)
