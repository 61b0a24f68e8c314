"""What the edge's cache asks of SQLite on every look that misses: one row, as it is now, by a statement of its own.

`seen` is written here in batches and nowhere else while a session lives. Nothing is decided or ended here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gateway.exchange.session import Session
from gateway.store.database import Database
from gateway.store.generations import Generations
from gateway.store.live_sessions import SEEN_TIME, silent_at
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.state import Store

_READ: Final = "SELECT sessions.value, seen.value FROM sessions JOIN seen USING (id) WHERE id = ?"
_SEEN: Final = "UPDATE seen SET value = ?1, expires = ?2 WHERE id = ?3 AND expires < ?2"


class SQLiteSessions:
    """The sessions of one state file, for one worker. Usable from any thread."""

    __slots__ = ("_database", "_store", "generations")

    def __init__(self, rows: SQLiteRows, store: Store) -> None:
        self._database = rows.database
        self._store = store
        self.generations: Generations = rows.generations

    def read_session(self, row: bytes) -> tuple[bytes, float] | None:
        """Return a session's envelope and when it was last seen: not decrypted, not judged."""
        found = self._database.read(_READ, (row,))
        return (found[0][0], SEEN_TIME.unpack(found[0][1])[0]) if found else None

    def open_session(self, row: bytes, sealed: bytes) -> Session:
        """Open an envelope of `read_session`. Raises `SealBrokenError`: refuse with 503, never with a sign-in page."""
        return self._store.open_session(row, sealed)

    def is_disabled(self, user: str, tenant: str) -> bool:
        """Whether an account of that canonical name and tenant is disabled; False when there is none."""
        return self._store.is_disabled(user, tenant)

    def seen_writer(self) -> Callable[[Sequence[tuple[float, bytes, Session]]], None]:
        """Return a function that writes batches in one commit, on a connection of its own for a thread of its own.

        What a power cut loses of it is a second of silence, so these commits are not synced.
        """
        twin: list[Database] = []

        def write(batch: Sequence[tuple[float, bytes, Session]]) -> None:
            if not twin:
                twin.append(self._database.twin(durable=False))
            rows = [(SEEN_TIME.pack(seen), silent_at(session, seen), row) for seen, row, session in batch]
            with twin[0].write() as connection:
                connection.executemany(_SEEN, rows)

        return write
