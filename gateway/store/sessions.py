"""Who a cookie belongs to, for the edge: a cache that can be asked on every request and is never stale.

An entry is served while its generation is unchanged and for a second at most; then, and before a
session is called idle, the row is read again. What a session may do is not decided here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gateway.exchange.session import Session
from gateway.session.binding import Bond
from gateway.session.token import is_token, row_of
from gateway.store.generations import Generations, slot_of

REREAD_S: Final = 1.0
"""Longest life of an entry without a look at its row."""
UNUSED_S: Final = 60.0
"""An entry that nobody asked for is dropped, so that people who left do not stay in memory."""
IDLE_GRACE_S: Final = 1.5
"""Another worker writes `seen` once a second: that much silence is not yet silence (never more than 5 % of the idle time)."""


class SessionRows(Protocol):
    """What the cache needs of a store. `SQLiteSessions` is one."""

    @property
    def generations(self) -> Generations:
        """The table that says when a cached row is void."""
        ...

    def read_session(self, row: bytes) -> tuple[bytes, float] | None:
        """Return envelope and last seen of a row, as of now."""
        ...

    def open_session(self, row: bytes, sealed: bytes) -> Session:
        """Open an envelope, or raise."""
        ...

    def is_disabled(self, user: str, tenant: str) -> bool:
        """Whether an account of that name and tenant is disabled, as of now."""
        ...

    def seen_writer(self) -> Callable[[Sequence[tuple[float, bytes, Session]]], None]:
        """Return the writer of `(seen, row, session)` batches, for a thread of its own."""
        ...


class Entry:
    """A session as a worker knows it."""

    __slots__ = ("checked", "fresh_until", "generation", "row", "sealed", "seen", "session", "slot")

    def __init__(self, session: Session, seen: float, row: bytes, sealed: bytes) -> None:
        self.session = session
        self.seen = seen
        self.row = row
        self.sealed = sealed
        self.slot = slot_of(row)
        self.checked = 0.0
        self.fresh_until = 0.0
        self.generation = 0


class SessionCache:
    """The sessions of one worker. `lookup` and `touch` belong to one thread, `flush` may run in another."""

    __slots__ = ("_capacity", "_entries", "_generations", "_slots", "_store", "_touched", "_write_seen", "astray")

    def __init__(
        self,
        store: SessionRows,
        *,
        strayed: Callable[[Entry, Bond, str, float], None] | None = None,
        capacity: int = 32_768,
    ) -> None:
        """Cache what `store` has; `strayed` is told of sessions that come from elsewhere than where they are bound to."""
        self._store = store
        self.astray = strayed or _tell_nobody
        self._capacity = capacity
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._generations = store.generations
        self._slots = self._generations.slots
        self._touched: dict[bytes, Entry] = {}
        self._write_seen = store.seen_writer()

    def __len__(self) -> int:
        return len(self._entries)

    def lookup(self, token: bytes, now: float) -> Entry | None:
        """Find the live session of a cookie's value; None when there is none, it ended, or the value is no token.

        Raises:
            StoreUnavailableError: the store cannot say; nobody is signed out by that.

        """
        entry = self._entries.get(token)
        if (
            entry is not None
            and entry.checked <= now < entry.fresh_until
            and self._slots[entry.slot] == entry.generation
        ):
            return entry
        return self._read(token, entry, now)

    def is_disabled(self, user: str, tenant: str) -> bool:
        """Whether an account of that name and tenant is disabled; asked for people who have no session here.

        Raises:
            StoreUnavailableError: the store cannot say.

        """
        return self._store.is_disabled(user, tenant)

    def touch(self, entry: Entry, now: float) -> None:
        """Note that the session was used; `flush` writes it."""
        if now > entry.seen:
            entry.seen = now
            self._touched[entry.row] = entry

    def flush(self) -> int:
        """Write what was touched since the last flush in one commit; return how many sessions. Call once a second.

        Raises:
            StoreUnavailableError: nothing is lost; the next flush tries again.

        """
        batch, self._touched = self._touched, {}
        rows = [(entry.seen, row, entry.session) for row, entry in list(batch.items())]
        if not rows:
            return 0
        try:
            self._write_seen(rows)
        except BaseException:
            for row, entry in batch.items():
                self._touched.setdefault(row, entry)  # a later touch knows better
            raise
        return len(rows)

    def _read(self, token: bytes, known: Entry | None, now: float) -> Entry | None:
        if not is_token(token):
            return None
        row = row_of(token)
        self._generations.refresh()
        slots = self._slots = self._generations.slots
        slot = slot_of(row)
        generation = slots[slot]  # before the row: a writer that commits after this changes it
        found = self._store.read_session(row)
        if found is None:
            self._entries.pop(token, None)
            return None
        sealed, seen = found
        entry = known
        if entry is None or entry.sealed != sealed:
            entry = Entry(self._store.open_session(row, sealed), seen, row, sealed)
            if known is not None:
                entry.seen = max(seen, known.seen)
        elif seen > entry.seen:
            entry.seen = seen
        session = entry.session
        silent_until = entry.seen + session.idle_s + min(IDLE_GRACE_S, session.idle_s / 20)
        if now >= session.expires or now >= silent_until:
            self._entries.pop(token, None)
            return None
        if generation == 0 or slots[slot] != generation:
            # A writer is at work: the answer is right for this request, not for the next.
            self._entries.pop(token, None)
            return entry
        entry.generation = generation
        entry.checked = now
        entry.fresh_until = min(now + REREAD_S, session.expires, silent_until)
        self._keep(token, entry, now)
        return entry

    def _keep(self, token: bytes, entry: Entry, now: float) -> None:
        """Put the entry last; drop from the front what is unused or too much."""
        entries = self._entries
        entries[token] = entry
        entries.move_to_end(token)
        while len(entries) > self._capacity or next(iter(entries.values())).fresh_until < now - UNUSED_S:
            entries.popitem(last=False)


def _tell_nobody(entry: Entry, bond: Bond, address: str, now: float) -> None:
    """Refuse without a word."""
