"""The state of one node in SQLite: sessions, users, factors, attempts. Every method is one atomic step.

Values are sealed, index columns are HMAC tokens, so the file alone tells neither who is signed in nor
who may be. Whatever ends or changes a session does it inside `Generations.changing`, so no process
serves its cached copy afterwards. It decides nothing about passwords or codes: it compares, sets and counts.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from gateway.authn import throttle
from gateway.authn.throttle import Throttle
from gateway.exchange.errors import KeyringError
from gateway.exchange.session import Owed, Session
from gateway.session.life import surplus
from gateway.store.database import Database
from gateway.store.generations import Generations, slot_of
from gateway.store.keyring import Keyring
from gateway.store.records import Factor, PendingFactor, StoredSession, User
from gateway.store.sealing import SealBrokenError, Sealer

STATE_NAME: Final = "state.sqlite3"
GENERATIONS_NAME: Final = "generations"
SCHEMA_VERSION: Final = 1
SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
    # id is the SHA-256 of the token; handle, user and tenant are look-up tokens.
    """
    CREATE TABLE sessions (
        id BLOB PRIMARY KEY, handle BLOB NOT NULL UNIQUE, user BLOB NOT NULL, tenant BLOB NOT NULL,
        expires REAL NOT NULL, idle_s REAL NOT NULL, seen REAL NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX sessions_user ON sessions (user)",
    "CREATE INDEX sessions_tenant ON sessions (tenant)",
    """
    CREATE TABLE users (
        id TEXT PRIMARY KEY, name BLOB NOT NULL UNIQUE, tenant BLOB NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX users_tenant ON users (tenant)",
    """
    CREATE TABLE factors (
        user TEXT PRIMARY KEY, last_step INTEGER NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE enrolments (
        handle BLOB PRIMARY KEY, user TEXT NOT NULL, expires REAL NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL
    ) STRICT
    """,
    "CREATE TABLE recovery (user TEXT NOT NULL, code BLOB NOT NULL, PRIMARY KEY (user, code)) STRICT, WITHOUT ROWID",
    """
    CREATE TABLE attempts (
        id BLOB PRIMARY KEY, failures INTEGER NOT NULL, last REAL NOT NULL, blocked_until REAL NOT NULL, forget REAL
    ) STRICT, WITHOUT ROWID
    """,
)
ENDED_S: Final = 12 * 3600
"""How long an ended session is still known to have been a certain person's."""
ADDITIONS: Final = {
    # Whose session a dead cookie was, by look-up token: a form that it came with is that person's alone.
    "ended": """
    CREATE TABLE IF NOT EXISTS ended (id BLOB PRIMARY KEY, user BLOB NOT NULL, until REAL NOT NULL) STRICT, WITHOUT ROWID
    """,
    "sessions_ended": f"""
    CREATE TRIGGER IF NOT EXISTS sessions_ended AFTER DELETE ON sessions BEGIN
        INSERT OR REPLACE INTO ended (id, user, until) VALUES (OLD.id, OLD.user, OLD.seen + OLD.idle_s + {ENDED_S});
    END
    """,  # noqa: S608 - a constant of ours
    # user is a look-up token, empty when nobody knows whose browser it is.
    "kept": """
    CREATE TABLE IF NOT EXISTS kept (
        id BLOB PRIMARY KEY, user BLOB NOT NULL, expires REAL NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL
    ) STRICT
    """,
}
"""What came after the first schema."""
MAX_KEPT: Final = 1024
"""Forms kept at once, 64 KiB each at most."""
MAX_KEPT_UNKNOWN: Final = 256
"""Of them for browsers without a session that anybody remembers: the part that strangers can fill."""
MAX_KEPT_EACH: Final = 4
"""Of one person; at one more the oldest goes."""
RESEAL_BATCH: Final = 500
_SEALED_TABLES: Final = {"sessions": "id", "users": "id", "factors": "user", "enrolments": "handle", "kept": "id"}
_ENCODER: Final = msgspec.msgpack.Encoder()
_SESSION: Final = msgspec.msgpack.Decoder(Session)
_USER: Final = msgspec.msgpack.Decoder(User)
_FACTOR: Final = msgspec.msgpack.Decoder(Factor)
_PENDING: Final = msgspec.msgpack.Decoder(PendingFactor)
_Stored = TypeVar("_Stored")


class Upkeep(msgspec.Struct, frozen=True, kw_only=True):
    """What one round of maintenance did."""

    expired: int
    """Sessions that were over anyway."""
    resealed: int
    """Values moved to the newest key."""
    healed: int
    """Generation slots that a killed process had left closed."""


class _Change(NamedTuple):
    """A transaction that may end or change sessions."""

    connection: sqlite3.Connection
    invalidate: Callable[[Iterable[int]], None]


class SQLiteStore:
    """Everything the gateway remembers, in `state_dir`. Usable from any thread, one call at a time.

    All methods raise `StoreUnavailableError` when the file cannot be used; nothing happened then.
    """

    def __init__(
        self,
        state_dir: Path,
        keyring: Keyring,
        *,
        create: bool = False,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open the state; with `create` make what is missing.

        Raises:
            KeyringError: the state was written under another keyring.
            StoreUnavailableError: it is missing, damaged, locked or not ours.

        """
        self._sealer = Sealer(keyring, random)
        self._random = random
        self._database = Database(
            state_dir / STATE_NAME, schema=SCHEMA, version=SCHEMA_VERSION, additions=ADDITIONS, create=create
        )
        # What a power cut may undo without harm is not synced: counts of attempts, secrets nobody has proven.
        self._passing = self._database.twin(durable=False)
        self.generations = Generations(state_dir / GENERATIONS_NAME, create=create, random=random)
        self._require_keyring()

    def adopt(self, keyring: Keyring) -> None:
        """Use another version of the same keyring from now on, after a reload.

        Raises:
            KeyringError: it is not the keyring this state was written under; nothing changed.

        """
        sealer = Sealer(keyring, self._random)
        if sealer.token("keyring", "mark") != self._sealer.token("keyring", "mark"):
            raise KeyringError("keyring: is another one than the gateway runs with; restart it to use another state")
        self._sealer = sealer

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()
        self._passing.close()
        self.generations.close()

    # Sessions

    def read_session(self, row: bytes) -> tuple[bytes, float] | None:
        """Return a session's envelope and when it was last seen. The read behind the cache: not decrypted, not judged."""
        found = self._database.read("SELECT sealed, seen FROM sessions WHERE id = ?", (row,))
        return (found[0][0], found[0][1]) if found else None

    def open_session(self, row: bytes, sealed: bytes) -> Session:
        """Open an envelope of `read_session`. Raises `SealBrokenError`: refuse with 503, never with a sign-in page."""
        return self._open("sessions", row, sealed, _SESSION)

    def session(self, row: bytes, now: float) -> StoredSession | None:
        """Return a live session by its row id."""
        found = self.read_session(row)
        if found is None:
            return None
        session = self.open_session(row, found[0])
        return None if session.is_expired(now, found[1]) else StoredSession(row=row, session=session, seen=found[1])

    def create_session(
        self, row: bytes, session: Session, *, stamp: str, keep: int | None, now: float, replaces: bytes = b""
    ) -> list[str] | None:
        """Store a new session if the account is still as it was when its password was checked.

        The row `replaces` ends in the same transaction, and so do the person's oldest sessions beyond
        `keep`. Sessions that owe a factor and whole ones are counted apart: a stolen password alone
        pushes nobody out.

        Returns: handles of the sessions that ended; None when the account changed and nothing was stored.

        """
        with self._changing() as change:
            user = self._user_in(change.connection, session.user_id)
            if user is None or user.disabled or user.stamp != stamp:
                return None
            self._update_user(change.connection, msgspec.structs.replace(user, last_sign_in=now), now)
            ended = self._end_rows(change, [replaces]) if replaces else []
            self._insert_session(change.connection, row, session, seen=now, now=now)
            return ended + self._trim(change, session, keep, now)

    def rotate_session(
        self, old: bytes, new: bytes, session: Session, *, keep: int | None, now: float
    ) -> list[str] | None:
        """Move a session to a new token: the old row is gone in the same transaction.

        Returns: handles of other sessions that ended for `keep`; None when the old row was gone and nothing was stored.

        """
        with self._changing() as change:
            return self._rotate(change, old, new, session, keep=keep, now=now)

    def end_session(self, row: bytes) -> list[str]:
        """End the session of one row; returns its handle, or nothing."""
        with self._changing() as change:
            return self._end_rows(change, [row])

    def end_handle(self, handle: str, *, user_id: str | None = None) -> list[StoredSession]:
        """End the session of one handle, if it is that person's."""
        with self._changing() as change:
            chosen = [
                stored
                for stored in self._sessions_in(
                    change.connection, "handle = ?", (self._sealer.token("handle", handle),)
                )
                if user_id is None or stored.session.user_id == user_id
            ]
            self._end_rows(change, [stored.row for stored in chosen])
            return chosen

    def end_user(self, user_id: str, *, but: bytes = b"") -> int:
        """End every session of a person, except the row `but`."""
        with self._changing() as change:
            return self._end_where(change, "user = ? AND id != ?", (self._sealer.token("user", user_id), but))

    def end_tenant(self, tenant: str) -> int:
        """End every session of a tenant."""
        with self._changing() as change:
            return self._end_where(change, "tenant = ?", (self._sealer.token("tenant", tenant),))

    def end_all(self) -> int:
        """End every session of the gateway."""
        with self._changing() as change:
            return self._end_where(change, "TRUE", ())

    def sessions(self, *, now: float, user_id: str | None = None, tenant: str | None = None) -> list[StoredSession]:
        """List live sessions, of one person, one tenant or all; newest first."""
        parameters: tuple[bytes, ...] = ()
        where = "TRUE"
        if user_id is not None:
            where, parameters = "user = ?", (self._sealer.token("user", user_id),)
        elif tenant is not None:
            where, parameters = "tenant = ?", (self._sealer.token("tenant", tenant),)
        rows = self._database.read(f"SELECT id, sealed, seen FROM sessions WHERE {where}", parameters)  # noqa: S608 - closed list above
        found = [
            StoredSession(row=row, session=self.open_session(row, sealed), seen=seen) for row, sealed, seen in rows
        ]
        live = [stored for stored in found if not stored.session.is_expired(now, stored.seen)]
        return sorted(live, key=lambda stored: stored.session.created, reverse=True)

    def seen_writer(self) -> Callable[[Sequence[tuple[float, bytes]]], None]:
        """Return a function that writes `(seen, row)` in one commit, on a connection of its own for a thread of its own.

        What a power cut loses of it is a second of silence, so these commits are not synced.
        """
        twin: list[Database] = []

        def write(batch: Sequence[tuple[float, bytes]]) -> None:
            if not twin:
                twin.append(self._database.twin(durable=False))
            with twin[0].write() as connection:
                connection.executemany("UPDATE sessions SET seen = max(seen, ?) WHERE id = ?", batch)

        return write

    # Users

    def add_user(self, user: User, *, now: float, factor: Factor | None = None, recovery: Iterable[bytes] = ()) -> bool:
        """Store a new account with its factor; False when the name is taken."""
        with self._database.write() as connection:
            key, sealed = self._seal("users", user.id.encode(), user, now)
            taken = connection.execute(
                "SELECT 1 FROM users WHERE name = ?", (self._sealer.token("name", user.name),)
            ).fetchall()
            if taken:
                return False
            connection.execute(
                "INSERT INTO users (id, name, tenant, key, sealed) VALUES (?, ?, ?, ?, ?)",
                (
                    user.id,
                    self._sealer.token("name", user.name),
                    self._sealer.token("tenant", user.tenant),
                    key,
                    sealed,
                ),
            )
            if factor is not None:
                self._put_factor(connection, user.id, factor, recovery, now)
            return True

    def user_named(self, name: str) -> User | None:
        """Find an account by its canonical name."""
        return self._one_user("name = ?", (self._sealer.token("name", name),))

    def is_disabled(self, user: str, tenant: str) -> bool:
        """Whether an account of that canonical name and tenant is disabled; False when there is none."""
        found = self.user_named(user)
        return found is not None and found.disabled and found.tenant == tenant

    def user(self, user_id: str) -> User | None:
        """Find an account by its id."""
        return self._one_user("id = ?", (user_id,))

    def users(self, *, tenant: str | None = None) -> list[User]:
        """List accounts by name."""
        where, parameters = ("TRUE", ()) if tenant is None else ("tenant = ?", (self._sealer.token("tenant", tenant),))
        rows = self._database.read(f"SELECT id, sealed FROM users WHERE {where}", parameters)  # noqa: S608 - closed list above
        return sorted(
            (self._open("users", key.encode(), sealed, _USER) for key, sealed in rows), key=lambda user: user.name
        )

    def rehash(self, user_id: str, *, old: str, new: str, now: float) -> bool:
        """Store the same password under newer parameters if `old` is still its hash. The stamp stays."""
        with self._database.write() as connection:
            user = self._user_in(connection, user_id)
            if user is None or user.password != old:
                return False
            self._update_user(connection, msgspec.structs.replace(user, password=new), now)
            return True

    def change_user(self, old: User, new: User, *, now: float, but: bytes = b"") -> tuple[User, int] | None:
        """Store a changed account if it is still `old` and end its sessions, except the row `but`, in one transaction."""
        with self._changing() as change:
            stored = self._replace_user(change.connection, old, new, now)
            if stored is None:
                return None
            token = self._sealer.token("user", old.id)
            return stored, self._end_where(change, "user = ? AND id != ?", (token, but))

    def change_password(
        self, old: User, new: User, *, row: bytes, to: bytes, session: Session, now: float
    ) -> tuple[User, int] | None:
        """Store a new password if account and session are still there, move the session, end the others: one transaction.

        Returns: the account and how many other sessions ended; None when account or session changed meanwhile.

        """
        with self._changing() as change:
            current = self._user_in(change.connection, old.id)
            if current is None or current.stamp != old.stamp:
                return None
            if self._rotate(change, row, to, session, keep=None, now=now) is None:
                return None
            stored = self._restamp(change.connection, current, new, now)
            others = self._end_where(change, "user = ? AND id != ?", (self._sealer.token("user", old.id), to))
            return stored, others

    def reset_user(self, old: User, new: User, *, factor: Factor | None, now: float) -> tuple[User, int] | None:
        """Store a reset account with `factor` or none: recovery codes and sessions are gone with the old password."""
        with self._changing() as change:
            stored = self._replace_user(change.connection, old, new, now)
            if stored is None:
                return None
            self._delete_factor(change.connection, old.id)
            change.connection.execute("DELETE FROM kept WHERE user = ?", (self._sealer.token("user", old.id),))
            if factor is not None:
                self._put_factor(change.connection, old.id, factor, (), now)
            return stored, self._end_where(change, "user = ?", (self._sealer.token("user", old.id),))

    def delete_user(self, user_id: str) -> int | None:
        """Delete an account with its factors and sessions; returns how many sessions ended, None when there was no account."""
        with self._changing() as change:
            if change.connection.execute("DELETE FROM users WHERE id = ?", (user_id,)).rowcount != 1:
                return None
            self._delete_factor(change.connection, user_id)
            change.connection.execute("DELETE FROM kept WHERE user = ?", (self._sealer.token("user", user_id),))
            return self._end_where(change, "user = ?", (self._sealer.token("user", user_id),))

    # Factors

    def factor(self, user_id: str) -> Factor | None:
        """Return a person's TOTP factor."""
        rows = self._database.read("SELECT sealed, last_step FROM factors WHERE user = ?", (user_id,))
        if not rows:
            return None
        return msgspec.structs.replace(
            self._open("factors", user_id.encode(), rows[0][0], _FACTOR), last_step=rows[0][1]
        )

    def put_factor(self, user_id: str, factor: Factor, recovery: Iterable[bytes], *, now: float) -> None:
        """Set or replace a person's factor and recovery codes."""
        with self._database.write() as connection:
            self._put_factor(connection, user_id, factor, recovery, now)

    def advance_step(self, user_id: str, *, after: int, step: int) -> bool:
        """Compare-and-set the last accepted time step: of two requests with one code exactly one gets True."""
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE factors SET last_step = ? WHERE user = ? AND last_step = ? AND last_step < ?",
                (step, user_id, after, step),
            )
            return changed.rowcount == 1

    def use_recovery(self, user_id: str, code: bytes) -> bool:
        """Spend a recovery code; True exactly once."""
        with self._database.write() as connection:
            return connection.execute("DELETE FROM recovery WHERE user = ? AND code = ?", (user_id, code)).rowcount == 1

    def replace_recovery(self, user_id: str, codes: Iterable[bytes]) -> bool:
        """Void a person's recovery codes and store new ones; False when the person has no factor."""
        with self._database.write() as connection:
            if not connection.execute("SELECT 1 FROM factors WHERE user = ?", (user_id,)).fetchall():
                return False
            self._put_recovery(connection, user_id, codes)
            return True

    def count_recovery(self, user_id: str) -> int:
        """Count a person's unused recovery codes."""
        count: int = self._database.read("SELECT count(*) FROM recovery WHERE user = ?", (user_id,))[0][0]
        return count

    # Enrolments: a secret belongs to the session it was shown to, by its handle.

    def enrolment(self, handle: str, *, now: float) -> PendingFactor | None:
        """Return the secret that waits for its first code in this session."""
        row = self._sealer.token("handle", handle)
        rows = self._database.read("SELECT sealed FROM enrolments WHERE handle = ? AND expires > ?", (row, now))
        return self._open("enrolments", row, rows[0][0], _PENDING) if rows else None

    def put_enrolment(self, handle: str, pending: PendingFactor, *, now: float) -> None:
        """Remember a secret for this session, in place of an earlier one."""
        row = self._sealer.token("handle", handle)
        key, sealed = self._seal("enrolments", row, pending, now)
        with self._passing.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO enrolments (handle, user, expires, key, sealed) VALUES (?, ?, ?, ?, ?)",
                (row, pending.user_id, pending.expires, key, sealed),
            )

    def activate(
        self,
        pending: PendingFactor,
        *,
        step: int,
        recovery: Iterable[bytes],
        row: bytes,
        to: bytes,
        session: Session,
        now: float,
    ) -> int | None:
        """Make a proven secret the person's factor, move the session to row `to` and end the person's others: one transaction.

        Without `pending.replacing` a person who meanwhile has a factor keeps it.

        Returns: how many other sessions ended; None when enrolment, session or factor changed meanwhile.

        """
        with self._changing() as change:
            handle = self._sealer.token("handle", session.handle)
            waiting = change.connection.execute(
                "SELECT sealed FROM enrolments WHERE handle = ? AND expires > ?", (handle, now)
            ).fetchall()
            if not waiting or self._open("enrolments", handle, waiting[0][0], _PENDING) != pending:
                return None
            has_factor = bool(
                change.connection.execute("SELECT 1 FROM factors WHERE user = ?", (pending.user_id,)).fetchall()
            )
            if has_factor is not pending.replacing:
                return None
            if self._rotate(change, row, to, session, keep=None, now=now) is None:
                return None
            factor = Factor(secret=pending.secret, created=now, last_step=step)
            self._put_factor(change.connection, pending.user_id, factor, recovery, now)
            change.connection.execute("DELETE FROM enrolments WHERE user = ?", (pending.user_id,))
            token = self._sealer.token("user", pending.user_id)
            return self._end_where(change, "user = ? AND id != ?", (token, to))

    # Kept forms: what a browser sent when it first had to sign in

    def person(self, user_id: str) -> bytes:
        """Return the look-up token that stands for a person in the rows."""
        return self._sealer.token("user", user_id)

    def person_of(self, row: bytes) -> bytes:
        """Return the person whose session this row is, or was within half a day; empty when nobody remembers."""
        rows = self._database.read(
            "SELECT user FROM sessions WHERE id = ?1 UNION ALL SELECT user FROM ended WHERE id = ?1", (row,)
        )
        return rows[0][0] if rows else b""

    def keep_form(self, row: bytes, value: bytes, *, person: bytes, expires: float, now: float) -> bool:
        """Keep a form, in place of what the row held; False when there is no room for more."""
        key, sealed = self._sealer.seal("kept", row, value, now)
        with self._passing.write() as connection:
            connection.execute("DELETE FROM kept WHERE id = ? OR expires <= ?", (row, now))
            if person:
                connection.execute(
                    "DELETE FROM kept WHERE id IN (SELECT id FROM kept WHERE user = ? ORDER BY expires DESC LIMIT -1 OFFSET ?)",
                    (person, MAX_KEPT_EACH - 1),
                )
            counts = connection.execute("SELECT count(*), count(*) FILTER (WHERE user = ?) FROM kept", (b"",))
            total, unknown = counts.fetchone()
            if total >= MAX_KEPT or (not person and unknown >= MAX_KEPT_UNKNOWN):
                return False
            connection.execute(
                "INSERT INTO kept (id, user, expires, key, sealed) VALUES (?, ?, ?, ?, ?)",
                (row, person, expires, key, sealed),
            )
            return True

    def take_form(self, row: bytes, *, now: float) -> tuple[bytes, bytes] | None:
        """Remove a kept form and return whose it is and what was kept: of two requests exactly one gets it."""
        with self._passing.write() as connection:
            rows = connection.execute(
                "DELETE FROM kept WHERE id = ? AND expires > ? RETURNING user, sealed", (row, now)
            ).fetchall()
        return (rows[0][0], self._sealer.open("kept", row, rows[0][1])) if rows else None

    def drop_form(self, row: bytes) -> bool:
        """Remove a kept form; False when there was none."""
        with self._passing.write() as connection:
            return connection.execute("DELETE FROM kept WHERE id = ?", (row,)).rowcount == 1

    # Attempts

    def admit_attempt(self, keys: Sequence[tuple[bytes, Throttle]], *, now: float) -> float:
        """Charge one attempt to every key, or to none if one of them must wait; returns the seconds to wait, 0 = go on.

        One transaction: a hundred attempts at once cannot all see the same count.
        """
        with self._passing.write() as connection:
            counts = [(key, limits, self._count_in(connection, key)) for key, limits in keys]
            wait = max((throttle.blocked_s(limits, count, now) for _, limits, count in counts), default=0.0)
            if not wait:
                for key, limits, count in counts:
                    self._put_count(connection, key, limits, throttle.charge(limits, count, now))
            return wait

    def forgive_attempt(self, keys: Sequence[tuple[bytes, Throttle]]) -> None:
        """Take one charge back from each key: the attempt was right."""
        with self._passing.write() as connection:
            for key, limits in keys:
                self._put_count(connection, key, limits, throttle.forgive(limits, self._count_in(connection, key)))

    def clear_attempts(self, keys: Iterable[bytes]) -> None:
        """Forget all failures under these keys."""
        with self._passing.write() as connection:
            connection.executemany("DELETE FROM attempts WHERE id = ?", [(key,) for key in keys])

    def blocked_s(self, key: bytes, limits: Throttle, *, now: float) -> float:
        """Return how long a key must still wait, charging nothing."""
        rows = self._passing.read("SELECT failures, last, blocked_until FROM attempts WHERE id = ?", (key,))
        return throttle.blocked_s(limits, _count(rows), now)

    # Upkeep

    def maintain(self, *, now: float) -> Upkeep:
        """Remove what is over, move some values to the newest key, heal generation slots. Call about once a minute."""
        with self._database.write() as connection:
            # A minute beyond: another process may hold a later `seen` that it has not written yet.
            expired = connection.execute(
                "DELETE FROM sessions WHERE expires <= ?1 OR seen + idle_s + 60 <= ?1", (now,)
            ).rowcount
            connection.execute("DELETE FROM enrolments WHERE expires <= ?", (now,))
            connection.execute("DELETE FROM attempts WHERE forget <= ?", (now,))
            connection.execute("DELETE FROM ended WHERE until <= ?", (now,))
            connection.execute("DELETE FROM kept WHERE expires <= ?", (now,))
        return Upkeep(expired=expired, resealed=self._reseal(now), healed=self.generations.heal())

    def key_use(self) -> dict[int, int]:
        """Count the values sealed under each key version."""
        use: dict[int, int] = {}
        for table in _SEALED_TABLES:
            for version, count in self._database.read(f"SELECT key, count(*) FROM {table} GROUP BY key"):  # noqa: S608 - our tables
                use[version] = use.get(version, 0) + count
        return use

    def _reseal(self, now: float) -> int:
        """Seal a batch of old envelopes again. No generation moves: the values stay what they were."""
        newest = self._sealer.version(now)
        done = 0
        for table, column in _SEALED_TABLES.items():
            with self._database.write() as connection:
                rows = connection.execute(
                    f"SELECT {column}, sealed FROM {table} WHERE key < ? LIMIT ?",  # noqa: S608 - our tables
                    (newest, RESEAL_BATCH - done),
                ).fetchall()
                for row, sealed in rows:
                    name = row.encode() if isinstance(row, str) else row
                    try:
                        value = self._sealer.open(table, name, sealed)
                    except SealBrokenError:
                        continue  # whoever asks for it gets the error
                    key, fresh = self._sealer.seal(table, name, value, now)
                    connection.execute(f"UPDATE {table} SET key = ?, sealed = ? WHERE {column} = ?", (key, fresh, row))  # noqa: S608
                    done += 1
        return done

    # Inside a transaction

    @contextmanager
    def _changing(self) -> Iterator[_Change]:
        """Hold the generations' lock around a transaction: zero, commit, fresh numbers."""
        with self.generations.changing() as invalidate, self._database.write() as connection:
            yield _Change(connection, invalidate)

    def _insert_session(
        self, connection: sqlite3.Connection, row: bytes, session: Session, *, seen: float, now: float
    ) -> None:
        key, sealed = self._seal("sessions", row, session, now)
        connection.execute(
            "INSERT INTO sessions (id, handle, user, tenant, expires, idle_s, seen, key, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row,
                self._sealer.token("handle", session.handle),
                self._sealer.token("user", session.user_id),
                self._sealer.token("tenant", session.tenant),
                session.expires,
                session.idle_s,
                seen,
                key,
                sealed,
            ),
        )

    def _rotate(
        self,
        change: _Change,
        old: bytes,
        new: bytes,
        session: Session,
        *,
        keep: int | None,
        now: float,
    ) -> list[str] | None:
        current = self._sessions_in(change.connection, "id = ?", (old,))
        user = self._user_in(change.connection, session.user_id)
        if [stored.session.handle for stored in current] != [session.handle] or user is None or user.disabled:
            return None  # before anything is changed: returning commits
        self._end_rows(change, [old])
        self._insert_session(change.connection, new, session, seen=now, now=now)
        return self._trim(change, session, keep, now)

    def _trim(
        self,
        change: _Change,
        session: Session,
        keep: int | None,
        now: float,
    ) -> list[str]:
        if keep is None:
            return []
        whole = session.owes is Owed.NOTHING
        mine = [
            stored
            for stored in self._sessions_in(
                change.connection, "user = ?", (self._sealer.token("user", session.user_id),)
            )
            if (stored.session.owes is Owed.NOTHING) is whole and not stored.session.is_expired(now, stored.seen)
        ]
        others = [
            (stored.session.created, stored.session.handle)
            for stored in mine
            if stored.session.handle != session.handle
        ]
        ended = set(surplus(others, keep - 1))  # the new one is never the one that ends
        return self._end_rows(change, [stored.row for stored in mine if stored.session.handle in ended])

    def _end_rows(self, change: _Change, rows: Iterable[bytes]) -> list[str]:
        handles = []
        for row in rows:
            for stored in self._sessions_in(change.connection, "id = ?", (row,)):
                handles.append(stored.session.handle)
                change.invalidate((slot_of(row),))
                change.connection.execute("DELETE FROM sessions WHERE id = ?", (row,))
        return handles

    def _end_where(
        self,
        change: _Change,
        where: str,
        parameters: tuple[bytes, ...],
    ) -> int:
        """End sessions without opening them: a damaged row must be revocable too."""
        rows = change.connection.execute(f"SELECT id FROM sessions WHERE {where}", parameters).fetchall()  # noqa: S608 - our conditions
        change.invalidate(slot_of(row) for (row,) in rows)
        return change.connection.execute(f"DELETE FROM sessions WHERE {where}", parameters).rowcount  # noqa: S608 - our conditions

    def _sessions_in(
        self, connection: sqlite3.Connection, where: str, parameters: tuple[bytes, ...]
    ) -> list[StoredSession]:
        rows = connection.execute(f"SELECT id, sealed, seen FROM sessions WHERE {where}", parameters).fetchall()  # noqa: S608 - our conditions
        return [StoredSession(row=row, session=self.open_session(row, sealed), seen=seen) for row, sealed, seen in rows]

    def _user_in(self, connection: sqlite3.Connection, user_id: str) -> User | None:
        rows = connection.execute("SELECT sealed FROM users WHERE id = ?", (user_id,)).fetchall()
        return self._open("users", user_id.encode(), rows[0][0], _USER) if rows else None

    def _one_user(self, where: str, parameters: tuple[Any, ...]) -> User | None:
        rows = self._database.read(f"SELECT id, sealed FROM users WHERE {where}", parameters)  # noqa: S608 - our conditions
        return self._open("users", rows[0][0].encode(), rows[0][1], _USER) if rows else None

    def _replace_user(self, connection: sqlite3.Connection, old: User, new: User, now: float) -> User | None:
        current = self._user_in(connection, old.id)
        if current is None or current.stamp != old.stamp:
            return None
        return self._restamp(connection, current, new, now)

    def _restamp(self, connection: sqlite3.Connection, current: User, new: User, now: float) -> User:
        stored = msgspec.structs.replace(new, id=current.id, name=current.name, stamp=self._random(16).hex())
        self._update_user(connection, stored, now)
        return stored

    def _update_user(self, connection: sqlite3.Connection, user: User, now: float) -> None:
        key, sealed = self._seal("users", user.id.encode(), user, now)
        connection.execute(
            "UPDATE users SET tenant = ?, key = ?, sealed = ? WHERE id = ?",
            (self._sealer.token("tenant", user.tenant), key, sealed, user.id),
        )

    def _put_factor(
        self, connection: sqlite3.Connection, user_id: str, factor: Factor, recovery: Iterable[bytes], now: float
    ) -> None:
        key, sealed = self._seal("factors", user_id.encode(), factor, now)
        connection.execute(
            "INSERT OR REPLACE INTO factors (user, last_step, key, sealed) VALUES (?, ?, ?, ?)",
            (user_id, factor.last_step, key, sealed),
        )
        self._put_recovery(connection, user_id, recovery)

    def _put_recovery(self, connection: sqlite3.Connection, user_id: str, codes: Iterable[bytes]) -> None:
        connection.execute("DELETE FROM recovery WHERE user = ?", (user_id,))
        connection.executemany("INSERT INTO recovery (user, code) VALUES (?, ?)", [(user_id, code) for code in codes])

    def _delete_factor(self, connection: sqlite3.Connection, user_id: str) -> None:
        for table in ("factors", "recovery", "enrolments"):
            connection.execute(f"DELETE FROM {table} WHERE user = ?", (user_id,))  # noqa: S608 - our tables

    def _count_in(self, connection: sqlite3.Connection, key: bytes) -> throttle.Count:
        return _count(
            connection.execute("SELECT failures, last, blocked_until FROM attempts WHERE id = ?", (key,)).fetchall()
        )

    def _put_count(self, connection: sqlite3.Connection, key: bytes, limits: Throttle, count: throttle.Count) -> None:
        if not count.failures:
            connection.execute("DELETE FROM attempts WHERE id = ?", (key,))
            return
        connection.execute(
            "INSERT OR REPLACE INTO attempts (id, failures, last, blocked_until, forget) VALUES (?, ?, ?, ?, ?)",
            (key, count.failures, count.last, count.blocked_until, throttle.forgotten_at(limits, count)),
        )

    # Values

    def _seal(self, table: str, row: bytes, value: msgspec.Struct, now: float) -> tuple[int, bytes]:
        return self._sealer.seal(table, row, _ENCODER.encode(value), now)

    def _open(self, table: str, row: bytes, sealed: bytes, decoder: msgspec.msgpack.Decoder[_Stored]) -> _Stored:
        value = self._sealer.open(table, row, sealed)
        try:
            return decoder.decode(value)
        except msgspec.DecodeError:
            raise SealBrokenError(f"a row of {table} was written by another version of the gateway") from None

    def _require_keyring(self) -> None:
        """Refuse a keyring that did not write this state, before anything is sealed under it."""
        mark = self._sealer.token("keyring", "mark")
        question = "SELECT value FROM meta WHERE name = 'keyring'"
        stored = self._database.read(question)
        if not stored:
            with self._database.write() as connection:
                connection.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('keyring', ?)", (mark,))
            stored = self._database.read(question)
        if stored != [(mark,)]:
            raise KeyringError(
                f"{self._database.path}: was written under another keyring; put that keyring back, or move the state directory away"
            )


def _count(rows: list[tuple[Any, ...]]) -> throttle.Count:
    if not rows:
        return throttle.Count()
    failures, last, blocked_until = rows[0]
    return throttle.Count(failures=failures, last=last, blocked_until=blocked_until)
