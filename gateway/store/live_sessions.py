"""Sessions as they stand in the state: begun, moved to a new token, listed, ended.

When a session was last seen stands in a row of its own, which the edge writes once a second; a session
without one fell silent. Whether an account may have a session is not asked here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gateway.exchange.session import Owed, Session
from gateway.session.life import surplus
from gateway.session.selection import Selection
from gateway.store.records import StoredSession
from gateway.store.rows import Backend, Row, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.subjects import SubjectKeys
from gateway.store.tables import OWNERS, SEEN, SESSIONS, VAULTS

ENDED_S: Final = 12 * 3600
"""How long beyond its end a session is known to have been a certain person's."""
SEEN_TIME: Final = struct.Struct(">d")
SILENCE_GRACE_S: Final = 60.0
"""A process may hold a later `seen` that it has not written yet."""
END_BATCH: Final = 50
MOST_ROUNDS: Final = 100
"""Of looking for sessions that are to end; a new one may come in each."""


class LiveSessions:
    """The sessions of one gateway."""

    __slots__ = ("_rows", "_shelf", "_subjects")

    def __init__(self, rows: Backend, sealer: Sealer, random: Callable[[int], bytes] = os.urandom) -> None:
        self._rows = rows
        self._shelf = Shelf(SESSIONS, Session, rows, sealer)
        self._subjects = SubjectKeys(rows, sealer, random)

    def open(self, row: bytes, sealed: bytes) -> Session:
        """Open an envelope. Raises `SealBrokenError`: refuse with 503, never with a sign-in page."""
        return self._shelf.unseal(row, sealed)

    def get(self, row: bytes, now: float) -> StoredSession | None:
        """Return a live session by its row id."""
        found = self._rows.get(SESSIONS, row)
        seen = self._rows.get(SEEN, row) if found is not None else None
        if found is None or seen is None:
            return None
        stored = StoredSession(row=row, session=self._shelf.open(found), seen=_time(seen))
        return None if stored.session.is_expired(now, stored.seen) else stored

    def all(self, *, now: float, user_id: str | None = None, tenant: str | None = None) -> list[StoredSession]:
        """List live sessions, of one person, one tenant or all; newest first."""
        if user_id is not None:
            rows = self._rows.find(SESSIONS, "user", self.owner(user_id))
        elif tenant is not None:
            rows = self._rows.find(SESSIONS, "tenant", self._shelf.token("tenant", tenant))
        else:
            rows = self._rows.all(SESSIONS)
        live = self._live(rows, self._rows.get_many(SEEN, [row.id for row in rows]), now)
        return sorted(live, key=lambda stored: stored.session.created, reverse=True)

    def owner(self, user_id: str) -> bytes:
        """Return the look-up token that stands for a person in the rows."""
        return self._shelf.token("user", user_id)

    def owner_of(self, row: bytes) -> bytes:
        """Return the person whose session this row is, or was within half a day; empty when nobody remembers."""
        found = self._rows.get(OWNERS, row)
        return b"" if found is None else found.value

    def end_chosen(self, selection: Selection, *, now: float) -> int:
        """End every session that is meant; returns how many. Looks again until there is none: one may move meanwhile."""
        ended = 0
        for _ in range(MOST_ROUNDS):
            chosen = [
                stored.row
                for stored in self.all(now=now, user_id=selection.user_id, tenant=selection.tenant)
                if selection.chooses(stored.session)
            ]
            if not chosen:
                break
            for start in range(0, len(chosen), END_BATCH):
                ended += self._end_rows(chosen[start : start + END_BATCH])
        return ended

    def _end_rows(self, rows: list[bytes]) -> int:
        return self._rows.transact(lambda tx: sum(self._delete_in(tx, row) for row in rows), confirmed=True)

    def end_tenant(self, tenant: str) -> int:
        """End every session of a tenant, unopened."""
        token = self._shelf.token("tenant", tenant)
        ended = self._rows.clear(SESSIONS, "tenant", token)
        self._rows.clear(VAULTS, "tenant", token)
        return ended

    def end_all(self) -> int:
        """End every session of the gateway, unopened."""
        ended = self._rows.clear(SESSIONS)
        self._rows.clear(VAULTS)
        return ended

    def sweep(self, now: float) -> int:
        """Remove sessions that are over, and those that fell silent; returns how many."""
        over = len(self._rows.sweep(SESSIONS, now))
        silent = self._rows.sweep(SEEN, now)

        def end(batch: list[bytes]) -> int:
            return self._rows.transact(lambda tx: sum(self._delete_in(tx, row) for row in batch))

        return over + sum(end(silent[start : start + END_BATCH]) for start in range(0, len(silent), END_BATCH))

    # Inside a transaction

    def put_in(self, tx: Transaction, row: bytes, session: Session, *, now: float) -> None:
        """Store a session, seen now, with the key under which the audit trail seals the person."""
        if session.subject is None:
            subject = self._subjects.of_in(tx, session.user_id, session.tenant, now=now)
            session = msgspec.structs.replace(session, subject=subject)
        owner = self.owner(session.user_id)
        token = self._shelf.token
        tokens = {"handle": token("handle", session.handle), "user": owner, "tenant": token("tenant", session.tenant)}
        if session.provider_session:
            tokens["provider_session"] = self._provider_token(session.provider, session.provider_session)
        self._shelf.put_in(tx, row, session, now=now, tokens=tokens, expires=session.expires)
        tx.put(SEEN, Row(id=row, value=SEEN_TIME.pack(now), expires=silent_at(session, now)))
        tx.put(OWNERS, Row(id=row, value=owner, expires=session.expires + ENDED_S))

    def rotate_in(
        self, tx: Transaction, old: bytes, new: bytes, session: Session, *, keep: int | None, now: float
    ) -> list[str] | None:
        """Move a session to a new row, if the old one is still that session."""
        current = tx.get(SESSIONS, old)
        if current is None or self._shelf.open(current).handle != session.handle:
            return None  # before anything is changed: returning commits
        for vault in tx.find(VAULTS, "session", old):  # goes along; whoever knows both tokens seals it anew
            tx.put(VAULTS, msgspec.structs.replace(vault, tokens={**vault.tokens, "session": new}))
        self.end_in(tx, [old])
        self.put_in(tx, new, session, now=now)
        return self.trim_in(tx, session, keep=keep, now=now)

    def trim_in(self, tx: Transaction, session: Session, *, keep: int | None, now: float) -> list[str]:
        """End the oldest sessions of the person beyond `keep`; returns their handles.

        Sessions that owe a factor and whole ones are counted apart: a stolen password alone pushes nobody out.
        """
        if keep is None:
            return []
        rows = tx.find(SESSIONS, "user", self.owner(session.user_id))
        whole = session.owes is Owed.NOTHING
        mine = [
            stored
            for stored in self._live(rows, tx.get_many(SEEN, [row.id for row in rows]), now)
            if (stored.session.owes is Owed.NOTHING) is whole and stored.session.handle != session.handle
        ]
        others = [(stored.session.created, stored.session.handle) for stored in mine]
        ended = set(surplus(others, keep - 1))  # the new one is never the one that ends
        return self.end_in(tx, [stored.row for stored in mine if stored.session.handle in ended])

    def count_whole_in(self, tx: Transaction, session: Session, *, now: float) -> int:
        """Count the other sessions of the person that owe nothing."""
        rows = tx.find(SESSIONS, "user", self.owner(session.user_id))
        live = self._live(rows, tx.get_many(SEEN, [row.id for row in rows]), now)
        return sum(stored.session.owes is Owed.NOTHING and stored.session.handle != session.handle for stored in live)

    def end_in(self, tx: Transaction, rows: Iterable[bytes]) -> list[str]:
        """End the sessions of these rows; returns the handles of those that there were."""
        handles = []
        for row in rows:
            found = tx.get(SESSIONS, row)
            if found is not None:
                handles.append(self._shelf.open(found).handle)
                self._delete_in(tx, row)
        return handles

    def end_owner_in(self, tx: Transaction, user_id: str, *, but: bytes = b"") -> int:
        """End the sessions of a person without opening them: a damaged row must be revocable too."""
        rows = [row.id for row in tx.find(SESSIONS, "user", self.owner(user_id)) if row.id != but]
        for row in rows:
            self._delete_in(tx, row)
        return len(rows)

    def end_owing_in(self, tx: Transaction, user_id: str, owes: Owed, *, but: bytes) -> list[str]:
        """End the sessions of a person that owe this, now or next, except the row `but`; returns their handles."""
        rows = [row for row in tx.find(SESSIONS, "user", self.owner(user_id)) if row.id != but]
        opened = [(row.id, self._shelf.open(row)) for row in rows]
        return self.end_in(tx, [row for row, session in opened if owes in {session.owes, session.owes_next}])

    def end_handle_in(self, tx: Transaction, handle: str, *, user_id: str | None) -> list[StoredSession]:
        """End the session of one handle, if it is that person's."""
        return self._end_found_in(tx, tx.find(SESSIONS, "handle", self._shelf.token("handle", handle)), user_id)

    def end_provider_session_in(self, tx: Transaction, provider: str, session: str) -> list[StoredSession]:
        """End the sessions that began in one session of an identity provider."""
        return self._end_found_in(
            tx, tx.find(SESSIONS, "provider_session", self._provider_token(provider, session)), None
        )

    def _end_found_in(self, tx: Transaction, rows: list[Row], user_id: str | None) -> list[StoredSession]:
        ended = []
        for row in rows:
            session = self._shelf.open(row)
            if user_id is None or session.user_id == user_id:
                seen = tx.get(SEEN, row.id)
                ended.append(StoredSession(row=row.id, session=session, seen=0.0 if seen is None else _time(seen)))
                self._delete_in(tx, row.id)
        return ended

    def _delete_in(self, tx: Transaction, row: bytes) -> bool:
        for vault in tx.find(VAULTS, "session", row):
            tx.delete(VAULTS, vault.id)
        tx.delete(SEEN, row)
        return tx.delete(SESSIONS, row)

    def _live(self, rows: list[Row], seen: dict[bytes, Row], now: float) -> list[StoredSession]:
        found = [
            StoredSession(row=row.id, session=self._shelf.open(row), seen=_time(seen[row.id]))
            for row in rows
            if row.id in seen
        ]
        return [stored for stored in found if not stored.session.is_expired(now, stored.seen)]

    def _provider_token(self, provider: str, session: str) -> bytes:
        return self._shelf.token("provider session", f"{provider}\0{session}")


def silent_at(session: Session, seen: float) -> float:
    """Return when the row of a session that was last seen then may go."""
    return seen + session.idle_s + SILENCE_GRACE_S


def _time(row: Row) -> float:
    seen: float = SEEN_TIME.unpack(row.value)[0]
    return seen
