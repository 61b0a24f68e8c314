"""A real store in a directory of its own, and the words tests describe it with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.exchange.session import Owed, Session
from gateway.session.life import Lifetimes, start
from gateway.session.token import make_handle, make_token, row_of
from gateway.store.keyring import Keyring
from gateway.store.records import User
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.sqlite_sessions import SQLiteSessions
from gateway.store.state import Store

NOW = 1_000_000.0
MEMORY = Path("/dev/shm")


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.generate(os.urandom, NOW)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: every commit is synced, and disks in CI are slow."""
    if not MEMORY.is_dir():
        yield tmp_path / "state"
        return
    with TemporaryDirectory(dir=MEMORY, prefix="gateway-test-") as directory:
        yield Path(directory) / "state"


@pytest.fixture
def sqlite(state_dir: Path) -> Iterator[SQLiteRows]:
    rows = SQLiteRows(state_dir, create=True)
    yield rows
    rows.close()


@pytest.fixture
def store(sqlite: SQLiteRows, keyring: Keyring) -> Store:
    return Store(sqlite, keyring)


@pytest.fixture
def source(sqlite: SQLiteRows, store: Store) -> SQLiteSessions:
    """What a cache reads from."""
    return SQLiteSessions(sqlite, store)


@pytest.fixture
def add_user(store: Store) -> Callable[..., User]:
    def add(name: str = "alice", *, tenant: str = "acme", user_id: str | None = None) -> User:
        user = User(
            id=user_id or f"u_{name}",
            stamp="first",
            name=name,
            tenant=tenant,
            roles=("client",),
            email=f"{name}@example.com",
            password="not a hash",
            password_changed=NOW,
            created=NOW,
        )
        assert store.add_user(user, now=NOW)
        return user

    return add


@pytest.fixture
def sign_in(store: Store) -> Callable[..., bytes]:
    """Make a session of a user and return its token."""

    def make(
        user: User,
        *,
        now: float = NOW,
        owes: Owed = Owed.NOTHING,
        keep: int | None = None,
        lifetimes: Lifetimes | None = None,
    ) -> bytes:
        token = make_token(os.urandom(32))
        created = store.create_session(
            row_of(token),
            session_of(user, now=now, owes=owes, lifetimes=lifetimes),
            stamp=user.stamp,
            keep=keep,
            now=now,
        )
        assert created is not None
        return token

    return make


def session_of(
    user: User, *, now: float = NOW, owes: Owed = Owed.NOTHING, lifetimes: Lifetimes | None = None
) -> Session:
    return start(
        handle=make_handle(os.urandom(16)),
        user_id=user.id,
        user=user.name,
        tenant=user.tenant,
        roles=user.roles,
        email=user.email,
        owes=owes,
        lifetimes=lifetimes or Lifetimes(),
        host="portal.example.com",
        secure=True,
        client_ip="192.0.2.1",
        user_agent="Firefox",
        now=now,
    )
