"""Letters that wait to be sent, so that a restart loses none; who sends one says so before it does.

A letter that was claimed and never reported on is offered again: nobody knows whether it went. It is never offered
while somebody may still be sending it. What is sent how is `post`'s business.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from gateway.exchange.letter import Letter, Matter
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import OUTBOX

_STRANGERS: Final = frozenset({Matter.RESET_CODE, Matter.SEVERAL_ACCOUNTS})
"""What is sent because somebody typed a name."""
LINGER_S: Final = 86_400.0
"""A letter that nobody gave up, because mail was switched off meanwhile, is forgotten this long after its end."""


class Outbox:
    """The queue of a gateway, shared by all its nodes. Methods raise `StoreUnavailableError`."""

    def __init__(self, rows: Rows, sealer: Sealer, *, capacity: int) -> None:
        """Take at most `capacity` letters at once."""
        self._rows = rows
        self._shelf = Shelf(OUTBOX, Letter, rows, sealer)
        self._box = self._shelf.token("box", "all")
        self._capacity = capacity

    def put(self, letter: Letter, *, now: float) -> bool:
        """Take a letter; False when the queue is full, and nothing was taken."""
        return self._rows.transact(lambda tx: self.put_in(tx, letter, now=now))

    def put_in(self, tx: Transaction, letter: Letter, *, now: float) -> bool:
        """Take a letter in the transaction that makes it true; False when the queue is full.

        Letters that strangers ask for leave the last quarter of it to what people are told of their own account.
        """
        # attack: a queue filled with requests for new passwords, so that nobody hears who took an account over
        if letter.matter in _STRANGERS and tx.count(OUTBOX, "box", self._box) >= self._capacity - self._capacity // 4:
            return False
        if not self.has_room_in(tx):
            return False
        self._store(tx, letter, now)
        return True

    def due(self, *, now: float, limit: int) -> list[Letter]:
        """Return letters whose time has come, those that wait longest first."""
        waiting = [letter for letter in self._shelf.find("box", self._box, now=now) if letter.due <= now]
        return sorted(waiting, key=lambda letter: (letter.due, letter.created))[:limit]

    def count(self, *, now: float) -> int:
        """Count the letters that wait."""
        return len(self._shelf.find("box", self._box, now=now))

    def claim(self, letter: Letter, *, now: float, until: float) -> Letter | None:
        """Announce one try, which is over by `until`; None when somebody else has the letter, or it is gone."""
        return self._rows.transact(partial(self._claim, letter, now, until))

    def defer(self, letter: Letter, *, now: float, due: float) -> bool:
        """Offer a claimed letter again from `due` on; False when somebody else has it by now."""
        return self._rows.transact(partial(self._defer, letter, now, due))

    def remove(self, letter: Letter) -> bool:
        """Forget a letter: it was sent, or given up. False when it was gone."""
        return self._rows.transact(lambda tx: self._shelf.delete_in(tx, bytes.fromhex(letter.id)))

    def find(self, id_: str, *, now: float) -> Letter | None:
        """Return a letter that was not sent yet."""
        return self._shelf.get(bytes.fromhex(id_), now=now)

    def has_room_in(self, tx: Transaction) -> bool:
        """Tell whether the queue takes one more letter."""
        return tx.count(OUTBOX, "box", self._box) < self._capacity

    def withdraw_in(self, tx: Transaction, id_: str) -> bool:
        """Forget a letter that something newer takes the place of; False when it was gone."""
        return self._shelf.delete_in(tx, bytes.fromhex(id_))

    def _claim(self, letter: Letter, now: float, until: float, tx: Transaction) -> Letter | None:
        current = self._shelf.get_in(tx, bytes.fromhex(letter.id), now=now)
        if current is None or current.due > now:
            return None
        claimed = msgspec.structs.replace(current, due=until, tries=current.tries + 1)
        self._store(tx, claimed, now)
        return claimed

    def _defer(self, letter: Letter, now: float, due: float, tx: Transaction) -> bool:
        current = self._shelf.get_in(tx, bytes.fromhex(letter.id), now=now)
        if current is None or current.tries != letter.tries:
            return False
        self._store(tx, msgspec.structs.replace(current, due=due), now)
        return True

    def _store(self, tx: Transaction, letter: Letter, now: float) -> None:
        self._shelf.put_in(
            tx,
            bytes.fromhex(letter.id),
            letter,
            now=now,
            tokens={"box": self._box},
            expires=letter.expires + LINGER_S,
        )
