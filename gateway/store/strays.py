"""Sessions that came from elsewhere than where they are bound to: counted, and kept until their owners are told.

An edge worker notes them while it decides, and writes them together once a second; our pages take what nobody
was told of yet. One session is told of once an hour, however often its cookie is tried.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Final, Protocol

import msgspec

from gateway.exchange.session import Session
from gateway.session.binding import Bond
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import STRAYS

REPEAT_S: Final = 3600.0
MAX_NOTED: Final = 1024
"""Sessions that a worker keeps in mind; beyond, the first ones are forgotten, and may be told of again."""
_UNTOLD: Final = "untold"


class Stray(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One session that somebody tried elsewhere. A format on disk."""

    handle: str
    user_id: str
    bond: Bond
    address: str
    """Where it was tried from."""
    noticed: float


class _Entry(Protocol):
    @property
    def session(self) -> Session:
        """Whose cookie came."""
        ...


class Strays:
    """`note` belongs to the thread that decides, `flush` may run in another; all but `note` raise `StoreUnavailableError`."""

    __slots__ = ("_noted", "_pending", "_rows", "_shelf", "counts")

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._shelf = Shelf(STRAYS, Stray, rows, sealer)
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._pending: dict[str, Stray] = {}
        self.counts: dict[str, int] = {}
        """By what was not kept."""

    def note(self, entry: _Entry, bond: Bond, address: str, now: float) -> None:
        """Count a request, and keep its session in mind for `flush`."""
        self.counts[bond.value] = self.counts.get(bond.value, 0) + 1
        session = entry.session
        noted = self._noted.get(session.handle)
        if noted is not None and noted <= now < noted + REPEAT_S:
            return
        self._noted[session.handle] = now
        while len(self._noted) > MAX_NOTED:  # attack: many stolen cookies
            self._noted.popitem(last=False)
        self._pending[session.handle] = Stray(
            handle=session.handle, user_id=session.user_id, bond=bond, address=address, noticed=now
        )

    def flush(self, now: float) -> None:
        """Write what was noted since the last time; nothing is lost when that fails."""
        pending, self._pending = self._pending, {}
        if not pending:
            return

        def work(tx: Transaction) -> None:
            for stray in pending.values():
                row = _row(stray)
                if self._shelf.get_in(tx, row, now=now) is None:  # another process may have been faster
                    tokens = {"state": self._shelf.token("stray", _UNTOLD)}
                    self._shelf.put_in(tx, row, stray, now=now, tokens=tokens, expires=stray.noticed + REPEAT_S)

        try:
            self._rows.transact(work, durable=False)
        except BaseException:
            self._pending = {**pending, **self._pending}
            raise

    def take(self, now: float) -> list[Stray]:
        """Return what nobody was told of yet, once."""
        token = self._shelf.token("stray", _UNTOLD)
        if not self._rows.find(STRAYS, "state", token):
            return []

        def work(tx: Transaction) -> list[Stray]:
            found = self._shelf.find_in(tx, "state", token, now=now)
            for stray in found:
                self._shelf.put_in(tx, _row(stray), stray, now=now, expires=stray.noticed + REPEAT_S)
            return found

        return self._rows.transact(work, durable=False)


def _row(stray: Stray) -> bytes:
    return sha256(b"stray\0" + stray.handle.encode()).digest()
