"""The cache in front of the sessions: fast when nothing changed, and never one request behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import integers

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.session import Owed, Session
from gateway.session.life import Lifetimes, start
from gateway.session.token import make_handle, make_token, row_of
from gateway.store.generations import Generations, slot_of
from gateway.store.keyring import Keyring
from gateway.store.records import User
from gateway.store.sealing import SealBrokenError
from gateway.store.sessions import IDLE_GRACE_S, REREAD_S, UNUSED_S, SessionCache
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.sqlite_sessions import SQLiteSessions
from gateway.store.state import Store, open_store

NOW = 1_000_000.0
AddUser = Callable[..., User]
SignIn = Callable[..., bytes]


class Counting:
    """A store that counts how often a row is read, and can have something happen right after."""

    def __init__(self, store: SQLiteSessions) -> None:
        self._store = store
        self.generations = store.generations
        self.reads = 0
        self.opened = 0
        self.after_read: Callable[[], None] = lambda: None

    def read_session(self, row: bytes) -> tuple[bytes, float] | None:
        self.reads += 1
        found = self._store.read_session(row)
        self.after_read()
        return found

    def open_session(self, row: bytes, sealed: bytes) -> Session:
        self.opened += 1
        return self._store.open_session(row, sealed)

    def is_disabled(self, user: str, tenant: str) -> bool:
        return self._store.is_disabled(user, tenant)

    def seen_writer(self) -> Callable[..., None]:
        return self._store.seen_writer()


@pytest.fixture
def rows(source: SQLiteSessions) -> Counting:
    return Counting(source)


def reader(state_dir: Path, keyring: Keyring) -> SQLiteSessions:
    """Read the same state as another process would."""
    rows = SQLiteRows(state_dir)
    return SQLiteSessions(rows, Store(rows, keyring))


@pytest.fixture
def token(add_user: AddUser, sign_in: SignIn) -> bytes:
    return sign_in(add_user())


def test_a_second_look_within_a_second_reads_nothing(rows: Counting, token: bytes) -> None:
    cache = SessionCache(rows)
    entry = cache.lookup(token, NOW)
    assert entry is not None
    assert entry.session.user == "alice"
    assert cache.lookup(token, NOW + 0.99) is entry
    assert rows.reads == 1


def test_after_a_second_the_row_is_read_again_and_the_entry_stays(rows: Counting, token: bytes) -> None:
    cache = SessionCache(rows)
    entry = cache.lookup(token, NOW)
    assert entry is not None
    assert cache.lookup(token, NOW + REREAD_S) is entry
    assert (rows.reads, rows.opened) == (2, 1)


def test_an_entry_ends_with_the_row_that_it_was_made_of(
    rows: Counting, store: Store, token: bytes, keyring: Keyring
) -> None:
    cache = SessionCache(rows)
    entry = cache.lookup(token, NOW)
    assert entry is not None
    entry.seen = NOW + 7
    store.adopt(keyring.rotate(os.urandom, NOW))
    store.maintain(now=NOW + 60)  # the row is sealed anew
    other = cache.lookup(token, NOW + REREAD_S)
    assert other is not None
    assert other is not entry
    assert other.seen == NOW + 7


@pytest.mark.parametrize("value", [b"", b"rubbish", b"gws_" + b"A" * 42 + b"B", b"x" * 5000, b"gws_\xff"])
def test_what_is_no_token_costs_no_read(rows: Counting, value: bytes) -> None:
    assert SessionCache(rows).lookup(value, NOW) is None
    assert rows.reads == 0


def test_an_unknown_token_is_read_each_time_because_it_may_begin_to_exist(rows: Counting) -> None:
    cache = SessionCache(rows)
    unknown = make_token(os.urandom(32))
    assert cache.lookup(unknown, NOW) is None
    assert cache.lookup(unknown, NOW) is None
    assert rows.reads == 2
    assert len(cache) == 0


def test_a_writer_at_work_in_the_slot_is_answered_but_not_cached(rows: Counting, token: bytes) -> None:
    cache = SessionCache(rows)
    with rows.generations.changing() as invalidate:
        invalidate([slot_of(row_of(token))])
        assert cache.lookup(token, NOW) is not None
        assert cache.lookup(token, NOW) is not None
    assert (rows.reads, len(cache)) == (2, 0)


def test_a_revocation_between_the_read_and_the_check_is_not_cached(rows: Counting, store: Store, token: bytes) -> None:
    """The race the generation is loaded first for."""
    cache = SessionCache(rows)

    def revoke() -> None:
        store.end_session(row_of(token))

    rows.after_read = revoke
    assert cache.lookup(token, NOW) is not None  # it was live when its row was read
    rows.after_read = lambda: None
    assert len(cache) == 0
    assert cache.lookup(token, NOW) is None


def test_a_session_ends_at_its_absolute_time_without_a_write(
    rows: Counting, add_user: AddUser, sign_in: SignIn
) -> None:
    token = sign_in(add_user(), lifetimes=Lifetimes(absolute_s=0.5, idle_s=10))
    cache = SessionCache(rows)
    assert cache.lookup(token, NOW + 0.4) is not None
    assert cache.lookup(token, NOW + 0.5) is None
    assert len(cache) == 0


def test_silence_ends_a_session_and_use_keeps_it(rows: Counting, add_user: AddUser, sign_in: SignIn) -> None:
    token = sign_in(add_user(), lifetimes=Lifetimes(idle_s=10, absolute_s=1000))
    cache = SessionCache(rows)
    now = NOW
    for _ in range(5):
        now += 9
        entry = cache.lookup(token, now)
        assert entry is not None
        cache.touch(entry, now)
    assert cache.lookup(token, now + 10 + IDLE_GRACE_S) is None


def test_before_idle_is_declared_another_workers_use_is_seen(
    rows: Counting, state_dir: Path, keyring: Keyring, add_user: AddUser, sign_in: SignIn
) -> None:
    token = sign_in(add_user(), lifetimes=Lifetimes(idle_s=10, absolute_s=1000))
    mine, other = SessionCache(rows), SessionCache(reader(state_dir, keyring))
    assert mine.lookup(token, NOW) is not None
    entry = other.lookup(token, NOW + 8)
    assert entry is not None
    other.touch(entry, NOW + 8)
    assert other.flush() == 1
    assert mine.lookup(token, NOW + 15) is not None
    assert mine.lookup(token, NOW + 19) is None


def test_silence_that_another_worker_may_not_have_written_yet_is_not_silence(
    rows: Counting, add_user: AddUser, sign_in: SignIn
) -> None:
    token = sign_in(add_user(), lifetimes=Lifetimes(idle_s=900, absolute_s=10_000))
    cache = SessionCache(rows)
    assert cache.lookup(token, NOW + 900 + 1.0) is not None
    assert cache.lookup(token, NOW + 900 + 1.5) is None


def test_a_clock_that_jumps_back_makes_entries_old_and_not_immortal(rows: Counting, token: bytes) -> None:
    cache = SessionCache(rows)
    cache.lookup(token, NOW + 100)
    cache.lookup(token, NOW)
    assert rows.reads == 2


def test_last_seen_is_written_in_one_batch_and_only_forward(rows: Counting, store: Store, token: bytes) -> None:
    cache = SessionCache(rows)
    entry = cache.lookup(token, NOW)
    assert entry is not None
    for age in (5, 9, 3):
        cache.touch(entry, NOW + age)
    assert cache.flush() == 1
    assert cache.flush() == 0
    stored = store.session(row_of(token), NOW + 9)
    assert stored is not None
    assert stored.seen == NOW + 9


def test_a_flush_that_fails_is_made_up_for_by_the_next(rows: Counting, sqlite: SQLiteRows, token: bytes) -> None:
    cache = SessionCache(rows)
    entry = cache.lookup(token, NOW)
    assert entry is not None
    cache.touch(entry, NOW + 5)
    with sqlite.database.write(), pytest.raises(StoreUnavailableError):
        cache.flush()
    assert cache.flush() == 1


def test_a_store_that_is_gone_is_an_error_within_a_second_and_nobody_is_forgotten(
    rows: Counting, state_dir: Path, token: bytes
) -> None:
    cache = SessionCache(rows)
    assert cache.lookup(token, NOW) is not None
    state = state_dir / "state.sqlite3"
    state.rename(state_dir / "away")
    with pytest.raises(StoreUnavailableError):
        cache.lookup(token, NOW + REREAD_S)
    (state_dir / "away").rename(state)
    assert cache.lookup(token, NOW + REREAD_S) is not None


def test_generations_that_are_gone_are_an_error_too(rows: Counting, state_dir: Path, token: bytes) -> None:
    cache = SessionCache(rows)
    assert cache.lookup(token, NOW) is not None
    (state_dir / "generations").unlink()
    with pytest.raises(StoreUnavailableError, match="generations"):
        cache.lookup(token, NOW + REREAD_S)
    Generations(state_dir / "generations", create=True).close()
    assert cache.lookup(token, NOW + REREAD_S) is not None


def test_a_row_that_does_not_open_is_an_error_and_not_a_sign_out(
    rows: Counting, sqlite: SQLiteRows, token: bytes
) -> None:
    with sqlite.database.write() as connection:
        connection.execute("UPDATE sessions SET value = zeroblob(80)")
    with pytest.raises(SealBrokenError):
        SessionCache(rows).lookup(token, NOW)


def test_the_cache_keeps_to_its_capacity_and_the_most_recent(
    rows: Counting, add_user: AddUser, sign_in: SignIn
) -> None:
    user = add_user()
    tokens = [sign_in(user) for _ in range(5)]
    cache = SessionCache(rows, capacity=3)
    for token in tokens:
        cache.lookup(token, NOW)
    assert len(cache) == 3
    before = rows.reads
    cache.lookup(tokens[-1], NOW)
    assert rows.reads == before
    cache.lookup(tokens[0], NOW)
    assert rows.reads == before + 1


def test_people_who_left_do_not_stay_in_memory(rows: Counting, add_user: AddUser, sign_in: SignIn) -> None:
    user = add_user()
    cache = SessionCache(rows)
    for _ in range(3):
        cache.lookup(sign_in(user), NOW)
    cache.lookup(sign_in(user, now=NOW + 100), NOW + REREAD_S + UNUSED_S + 1)
    assert len(cache) == 1


@pytest.mark.parametrize("way", ["row", "handle", "user", "tenant", "all", "delete", "rotate", "password"])
def test_however_a_session_ends_no_other_process_serves_it_once_more(  # noqa: PLR0917 - fixtures
    rows: Counting, state_dir: Path, keyring: Keyring, add_user: AddUser, sign_in: SignIn, way: str
) -> None:
    user = add_user()
    token = sign_in(user)
    row = row_of(token)
    cache = SessionCache(rows)
    entry = cache.lookup(token, NOW)
    assert entry is not None
    assert entry is cache.lookup(token, NOW)
    writer = open_store(state_dir, keyring)
    match way:
        case "row":
            writer.end_session(row)
        case "handle":
            writer.end_handle(entry.session.handle)
        case "user":
            writer.end_user(user.id)
        case "tenant":
            writer.end_tenant(user.tenant)
        case "all":
            writer.end_all()
        case "delete":
            writer.delete_user(user.id)
        case "password":
            writer.change_password(user, user, row=row, to=bytes(32), session=entry.session, now=NOW)
        case _:
            writer.rotate_session(row, bytes(32), entry.session, keep=None, now=NOW)
    writer.close()
    assert cache.lookup(token, NOW) is None


REVOKER = """
import sys
from pathlib import Path
from gateway.store.keyring import Keyring
from gateway.store.state import open_store
store = open_store(Path(sys.argv[1]), Keyring.parse(Path(sys.argv[2]).read_bytes()))
print("ready", flush=True)
for line in sys.stdin:
    store.end_session(bytes.fromhex(line))
    print("done", flush=True)
"""


@pytest.fixture
def secret(keyring: Keyring, tmp_path: Path) -> Path:
    """The keyring as a file, for other processes."""
    keyring.create(tmp_path / "keyring.json")
    return tmp_path / "keyring.json"


@pytest.fixture
def revoker(state_dir: Path, secret: Path, store: Store) -> Iterator[Callable[[bytes], None]]:
    """Another process that revokes, and says when it has."""
    assert store.users() == []
    process = subprocess.Popen(
        [sys.executable, "-c", REVOKER, str(state_dir), str(secret)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    source, answers = process.stdin, process.stdout
    assert answers.readline() == "ready\n"

    def revoke(row: bytes) -> None:
        source.write(row.hex() + "\n")
        source.flush()
        assert answers.readline() == "done\n"

    yield revoke
    source.close()
    process.wait(10)
    answers.close()


def test_a_session_revoked_by_another_process_is_gone_at_the_very_next_look(
    rows: Counting, add_user: AddUser, sign_in: SignIn, revoker: Callable[[bytes], None]
) -> None:
    cache = SessionCache(rows)
    user = add_user()
    for _ in range(60):
        token = sign_in(user)
        assert cache.lookup(token, NOW) is cache.lookup(token, NOW)
        revoker(row_of(token))
        assert cache.lookup(token, NOW) is None


STORM = """
import os, sys
from pathlib import Path
from gateway.store.keyring import Keyring
from gateway.store.sessions import SessionCache
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.sqlite_sessions import SQLiteSessions
from gateway.store.state import Store
rows = SQLiteRows(Path(sys.argv[1]))
store = Store(rows, Keyring.parse(Path(sys.argv[2]).read_bytes()))
cache, token = SessionCache(SQLiteSessions(rows, store)), sys.argv[3].encode()
assert cache.lookup(token, 1_000_000.0) is not None
print("ready", flush=True)
looks = 0
while cache.lookup(token, 1_000_000.0) is not None:  # the time stands still: only the generation can tell
    looks += 1
assert store.session(__import__("hashlib").sha256(token).digest(), 1_000_000.0) is None
print(looks, flush=True)
"""


def test_readers_in_a_storm_of_other_writes_all_notice_one_revocation(
    store: Store, state_dir: Path, secret: Path, add_user: AddUser, sign_in: SignIn
) -> None:
    user = add_user()
    token = sign_in(user)
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", STORM, str(state_dir), str(secret), token.decode()],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    for _ in range(40):
        store.end_session(row_of(sign_in(user)))
    assert all(reader.poll() is None for reader in readers)
    assert store.end_user(user.id) == 1
    for reader in readers:
        out, _ = reader.communicate(timeout=20)
        assert reader.returncode == 0
        assert int(out) > 0


class CacheAgainstStore(RuleBasedStateMachine):
    """Whatever happens in whatever order: the cache says what the store says."""

    @initialize()
    def begin(self) -> None:
        from tempfile import TemporaryDirectory

        base = Path("/dev/shm")
        self.directory = TemporaryDirectory(dir=base if base.is_dir() else None, prefix="gateway-test-")
        keyring = Keyring.generate(os.urandom, NOW)
        path = Path(self.directory.name)
        self.rows = SQLiteRows(path, create=True)
        self.store = Store(self.rows, keyring)
        self.readers = [SessionCache(reader(path, keyring)) for _ in range(2)]
        self.now = NOW
        self.tokens: list[tuple[bytes, Session]] = []
        self.user = User(
            id="u_1", stamp="s", name="alice", tenant="t", roles=("r",), password="h", password_changed=NOW, created=NOW
        )
        self.store.add_user(self.user, now=NOW)

    @rule()
    def sign_in(self) -> None:
        session = start(
            handle=make_handle(os.urandom(16)), user_id="u_1", user="alice", tenant="t", roles=("r",), email="",
            owes=Owed.NOTHING, lifetimes=Lifetimes(idle_s=20, absolute_s=60), host="h", secure=True,
            client_ip="", user_agent="", now=self.now,
        )  # fmt: skip
        token = make_token(os.urandom(32))
        assert self.store.create_session(row_of(token), session, stamp="s", keep=3, now=self.now) is not None
        self.tokens.append((token, session))

    @rule(number=integers(0, 30))
    def revoke(self, number: int) -> None:
        if self.tokens:
            self.store.end_session(row_of(self.tokens[number % len(self.tokens)][0]))

    @rule(number=integers(0, 30))
    def rotate(self, number: int) -> None:
        if self.tokens:
            old, session = self.tokens[number % len(self.tokens)]
            token = make_token(os.urandom(32))
            if self.store.rotate_session(row_of(old), row_of(token), session, keep=None, now=self.now) is not None:
                self.tokens.append((token, session))

    @rule()
    def revoke_all(self) -> None:
        self.store.end_all()

    @rule(seconds=integers(0, 12))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(number=integers(0, 30), reader=integers(0, 1))
    def use(self, number: int, reader: int) -> None:
        if self.tokens:
            cache = self.readers[reader]
            entry = cache.lookup(self.tokens[number % len(self.tokens)][0], self.now)
            if entry is not None:
                cache.touch(entry, self.now)
                cache.flush()

    @invariant()
    def the_cache_says_what_the_store_says(self) -> None:
        for token, _ in getattr(self, "tokens", []):
            stored = SQLiteSessions(self.rows, self.store).read_session(row_of(token))
            for cache in self.readers:
                entry = cache.lookup(token, self.now)
                if stored is None:
                    assert entry is None, "served after it ended"
                else:
                    session = self.store.open_session(row_of(token), stored[0])
                    live = self.now < session.expires and self.now < stored[1] + 20 + 1
                    assert (entry is not None) is live

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.directory.cleanup()


TestCacheAgainstStore = CacheAgainstStore.TestCase
TestCacheAgainstStore.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
