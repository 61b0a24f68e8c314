"""Who cookies, keys and names belong to, for an edge worker whose state is in Redis: read anew for every request.

Everything that the requests of one tick need is one question: one MGET, and the proof that a master answered. Nothing is
served from memory; that a value which did not change need not be opened again is all that is remembered. What a session may
do is not decided here.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from gateway.authn.api_key import is_key
from gateway.authn.api_key import row_of as key_row_of
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.session import Session
from gateway.session.binding import Bond
from gateway.session.token import is_token, row_of
from gateway.store.api_key_cache import USE_GRAIN_S, KeyEntry
from gateway.store.api_keys import ApiKey, ApiKeys
from gateway.store.live_sessions import SEEN_TIME
from gateway.store.records import User
from gateway.store.redis_keys import read_row
from gateway.store.redis_link import RedisLink, meaning
from gateway.store.redis_rows import RedisRows
from gateway.store.redis_sessions import seen_writer
from gateway.store.sealing import Sealer
from gateway.store.sessions import IDLE_GRACE_S, Entry
from gateway.store.shelf import Shelf
from gateway.store.tables import API_KEY_USE, API_KEYS, SEEN, SESSIONS, USERS
from gateway.wire.resp import ErrorReply, Reply, command, commands

CHUNK: Final = 512
"""Keys of one MGET: Redis does nothing else meanwhile."""
REMEMBERED: Final = 32_768
"""Values that need not be opened again while they do not change."""
FLUSHED: Final = 500
"""Sessions of one call when it is written when they were last seen."""
PROBE_S: Final = 1.0
"""How often it is tried whether Redis takes questions again."""
# A replica refuses WAIT; a master answers at once that nobody needs to confirm anything.
IS_MASTER: Final = command(b"WAIT", b"0", b"0")


class Want(Protocol):
    """One thing that a decision needs to know; `edge.remote.Want` is one."""

    @property
    def kind(self) -> str:
        """One of `session`, `api_key`, `person`."""

    @property
    def value(self) -> bytes:
        """The token, the key, or `tenant NUL name`."""


class Missing(NamedTuple):
    """What was looked up and had not been asked for."""

    kind: str
    value: bytes


_Stored = list[Reply]
Known = tuple[str, bytes]


class Answers:
    """What one question brought. Look-ups raise `StoreUnavailableError` for what it did not."""

    __slots__ = ("_found", "_missing", "_store", "why")

    def __init__(self, store: RemoteSessions, found: dict[Known, _Stored], why: str = "") -> None:
        self._store = store
        self._found = found
        self._missing: list[Missing] = []
        self.why = why
        """Why there is nothing; empty when the question was answered."""

    def missing(self) -> list[Missing]:
        """Hand over what was looked up without having been asked for; nothing where asking is no use."""
        missing, self._missing = self._missing, []
        return [] if self.why else missing

    def lookup(self, token: bytes, now: float) -> Entry | None:
        """Find the live session of a cookie's value."""
        if not is_token(token):
            return None
        return self._store.session(token, self._of("session", token), now)

    def api_key(self, key: bytes, now: float) -> KeyEntry | None:
        """Find whom an API key stands for."""
        return self._store.key(key, self._of("api_key", key), now) if is_key(key) else None

    def is_disabled(self, user: str, tenant: str) -> bool:
        """Whether an account of that name and tenant is disabled."""
        return self._store.disabled(user, tenant, self._of("person", f"{tenant}\0{user}".encode()))

    def touch(self, entry: Entry, now: float) -> None:
        """Note that the session was used; `flush` writes it."""
        self._store.touch(entry, now)

    def touch_key(self, entry: KeyEntry, now: float) -> None:
        """Note that the key was used; `flush` writes it."""
        self._store.touch_key(entry, now)

    def astray(self, entry: Entry, bond: Bond, address: str, now: float) -> None:
        """Note that a session came from elsewhere than where it is bound to."""
        self._store.astray(entry, bond, address, now)

    def _of(self, kind: str, value: bytes) -> _Stored:
        found = self._found.get((kind, value))
        if found is None:
            self._missing.append(Missing(kind, value))
            raise StoreUnavailableError(self.why or "it was not asked for")
        return found


Answered = Callable[[Answers], None]


class RemoteSessions:
    """The store of one worker. Everything but `flush` belongs to the loop's thread; `flush` may run in another."""

    def __init__(
        self,
        link: RedisLink,
        rows: RedisRows,
        sealer: Sealer,
        *,
        report: Callable[[str, str], None],
        strayed: Callable[[Entry, Bond, str, float], None],
    ) -> None:
        """Ask over `link`, write over `rows`.

        Args:
            link: for what requests need.
            rows: for what is written in batches.
            sealer: opens what is read.
            report: hears when Redis refuses questions although it can be reached, and when that is over.
            strayed: told of sessions that come from elsewhere than where they are bound to.

        """
        self._link = link
        self._sealer = sealer
        self._sessions = Shelf(SESSIONS, Session, rows, sealer)
        self._api_keys = Shelf(API_KEYS, ApiKey, rows, sealer)
        self._people = Shelf(USERS, User, rows, sealer)
        self._note_used = ApiKeys(rows, sealer, os.urandom).note_used
        self._write_seen = seen_writer(rows.redis)
        self._report = report
        self._keys = rows.keys_of
        self._known: OrderedDict[bytes, Entry] = OrderedDict()
        self._known_keys: OrderedDict[bytes, KeyEntry] = OrderedDict()
        self._touched: dict[bytes, Entry] = {}
        self._touched_keys: dict[bytes, KeyEntry] = {}
        self.astray = strayed
        self._problem = ""
        self._again: asyncio.TimerHandle | None = None

    @property
    def problem(self) -> str:
        """Why nothing can be read; empty while all is well."""
        return self._link.problem or self._problem

    # what requests need

    def unread(self) -> Answers:
        """Return what is known without a question: nothing."""
        return Answers(self, {})

    def read(self, wants: Sequence[Want], answered: Answered) -> None:
        """Look all of them up with one question, and call `answered` once, within the time-out."""
        sought: dict[Known, None] = dict.fromkeys((want.kind, want.value) for want in wants)
        keys: list[bytes] = []
        names: list[tuple[bytes, ...]] = []
        for kind, value in sought:
            match kind:
                case "session":
                    row = row_of(value)
                    keys += (self._keys.row(SESSIONS, row), self._keys.row(SEEN, row))
                case "api_key":
                    row = key_row_of(value)
                    keys += (self._keys.row(API_KEYS, row), self._keys.row(API_KEY_USE, row))
                case _:
                    name = value.partition(b"\0")[2].decode()
                    token = self._sealer.token("name", name)
                    names.append((b"ZRANGE", self._keys.index(USERS, "name", token), b"0", b"-1"))
        gets = _gets(keys)
        payload = commands([*gets, *names]) + IS_MASTER
        self._link.ask(
            payload,
            len(gets) + len(names) + 1,
            partial(self._heard, list(sought), len(gets), answered),
        )

    def _heard(self, sought: list[Known], gets: int, answered: Answered, replies: list[Reply] | None) -> None:
        why = self._fault(replies)
        if why or replies is None:
            answered(Answers(self, {}, why))
            return
        values = _values(replies[:gets])
        people = iter(replies[gets:-1])
        found: dict[Known, _Stored] = {}
        ids: list[tuple[Known, bytes]] = []
        at = 0
        for known in sought:
            if known[0] == "person":
                found[known] = []
                listed = next(people)
                if isinstance(listed, list):
                    ids += ((known, row_id) for row_id in listed if isinstance(row_id, bytes))
            else:
                found[known] = values[at : at + 2]
                at += 2
        if not ids:
            answered(Answers(self, found))
            return
        more = _gets([self._keys.row(USERS, row_id) for _, row_id in ids])
        self._link.ask(commands(more) + IS_MASTER, len(more) + 1, partial(self._heard_people, ids, found, answered))

    def _heard_people(
        self,
        ids: list[tuple[Known, bytes]],
        found: dict[Known, _Stored],
        answered: Answered,
        replies: list[Reply] | None,
    ) -> None:
        why = self._fault(replies)
        if why or replies is None:
            answered(Answers(self, {}, why))
            return
        for (known, row_id), stored in zip(ids, _values(replies[:-1]), strict=True):
            found[known] += (row_id, stored)
        answered(Answers(self, found))

    def _fault(self, replies: list[Reply] | None) -> str:
        """Say why these replies cannot be used; empty when they can."""
        if replies is None:
            return self._link.problem or f"{self._link.place} does not answer"
        for reply in replies:
            if isinstance(reply, ErrorReply):
                if reply is replies[-1] and reply.code == "ERR":
                    reply = ErrorReply("READONLY it became a replica")  # noqa: PLW2901 - what WAIT means by it
                self._link.distrust(reply)
                why = f"{self._link.place} {meaning(reply)}"
                if not self._problem:
                    self._report("store.degraded", why)
                    self._again = asyncio.get_running_loop().call_later(PROBE_S, self._probe)
                self._problem = why
                return why
        if self._problem:
            self._problem = ""
            self._report("store.recovered", self._link.place)
        return ""

    def _probe(self) -> None:
        """Ask for what is not there: where nobody asks because this node is not ready, it would never be again."""
        if self._problem:
            self._again = asyncio.get_running_loop().call_later(PROBE_S, self._probe)
            self.read((Missing("session", b"probe"),), _ignore)

    def close(self) -> None:
        """Ask no more."""
        if self._again is not None:
            self._again.cancel()

    # what is made of it

    def session(self, token: bytes, stored: _Stored, now: float) -> Entry | None:
        """Return the live session that stands in the rows of a token; None when there is none, or it is over."""
        session_row, seen_row = stored
        if not isinstance(session_row, bytes) or not isinstance(seen_row, bytes):
            self._known.pop(token, None)
            return None
        entry, known = None, self._known.get(token)
        seen = SEEN_TIME.unpack(read_row(b"", seen_row).value)[0]
        if known is not None and known.sealed == session_row:
            entry = known
            entry.seen = max(seen, entry.seen)
        else:
            row = row_of(token)
            entry = Entry(self._sessions.open(read_row(row, session_row)), seen, row, session_row)
            if known is not None:
                entry.seen = max(seen, known.seen)
        session = entry.session
        if now >= session.expires or now >= entry.seen + session.idle_s + min(IDLE_GRACE_S, session.idle_s / 20):
            self._known.pop(token, None)
            return None
        self._known[token] = entry
        self._known.move_to_end(token)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return entry

    def key(self, key: bytes, stored: _Stored, now: float) -> KeyEntry | None:
        """Return whom a key stands for; None when it is none, or it is over."""
        key_row, use_row = stored
        if not isinstance(key_row, bytes):
            self._known_keys.pop(key, None)
            return None
        entry = self._known_keys.get(key)
        if entry is None or entry.sealed != key_row:
            row = key_row_of(key)
            used = SEEN_TIME.unpack(read_row(row, use_row).value)[0] if isinstance(use_row, bytes) else 0.0
            used = max(used, entry.seen) if entry is not None else used
            entry = KeyEntry(self._api_keys.open(read_row(row, key_row)), row, key_row, used)
        if now >= entry.expires:
            self._known_keys.pop(key, None)
            return None
        self._known_keys[key] = entry
        self._known_keys.move_to_end(key)
        if len(self._known_keys) > REMEMBERED:
            self._known_keys.popitem(last=False)
        return entry

    def disabled(self, user: str, tenant: str, stored: _Stored) -> bool:
        """Whether the account of that name and tenant is disabled; False when there is none."""
        rows = [
            read_row(row_id, value)
            for row_id, value in zip(stored[::2], stored[1::2], strict=True)
            if isinstance(row_id, bytes) and isinstance(value, bytes)
        ]
        return any(
            found.lends_nothing and found.tenant == tenant and found.name == user
            for found in map(self._people.open, rows)
        )

    # what was used

    def touch(self, entry: Entry, now: float) -> None:
        """Note that a session was used; `flush` writes it."""
        if now > entry.seen:
            entry.seen = now
            self._touched[entry.row] = entry

    def touch_key(self, entry: KeyEntry, now: float) -> None:
        """Note that a key was used; `flush` writes it."""
        if now >= entry.seen + USE_GRAIN_S:
            entry.seen = now
            self._touched_keys[entry.row] = entry

    def flush(self) -> int:
        """Write what was used since the last flush; returns how many sessions and keys. Call once a second.

        Raises:
            StoreUnavailableError: nothing is lost; the next flush tries again.

        """
        touched, self._touched = self._touched, {}
        touched_keys, self._touched_keys = self._touched_keys, {}
        entries, keys = list(touched.values()), list(touched_keys.values())
        try:
            for start in range(0, len(entries), FLUSHED):
                self._write_seen([(entry.seen, entry.row, entry.session) for entry in entries[start : start + FLUSHED]])
            if keys:
                self._note_used([(key.seen, key.row, key.expires) for key in keys])
        except BaseException:
            for entry in entries:
                self._touched.setdefault(entry.row, entry)  # a later touch knows better
            for key in keys:
                self._touched_keys.setdefault(key.row, key)
            raise
        return len(entries) + len(keys)


def _ignore(answers: Answers) -> None:
    """Nobody waits for it."""


def _gets(keys: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    return [(b"MGET", *keys[start : start + CHUNK]) for start in range(0, len(keys), CHUNK)]


def _values(replies: Sequence[Reply]) -> list[Reply]:
    """Return the values of several MGET, one after the other."""
    return [value for reply in replies if isinstance(reply, list) for value in reply]
