"""Where rows may be kept: every test that asks for `rows` or `open_rows` runs on each backend. Add one to BACKENDS."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.exchange.session import Session
from gateway.store.keyring import Keyring
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.sqlite_sessions import SQLiteSessions
from gateway.store.state import Store

NOW = float(int(time.time()))
"""Backends that forget by themselves have a clock of their own."""
MEMORY = Path("/dev/shm")
BACKENDS = ["sqlite"]
OpenRows = Callable[[], Backend]


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: every commit is synced, and disks in CI are slow."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY, prefix="gateway-test-") as directory:
        yield Path(directory)


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.generate(os.urandom, NOW)


@pytest.fixture
def sealer(keyring: Keyring) -> Sealer:
    return Sealer(keyring)


@pytest.fixture(params=BACKENDS)
def open_rows(state_dir: Path) -> Iterator[OpenRows]:
    """Open one more connection to the same rows, as another process would."""
    opened: list[Backend] = []

    def opener() -> Backend:
        opened.append(SQLiteRows(state_dir, create=True))
        return opened[-1]

    yield opener
    for rows in opened:
        rows.close()


def write_seen(store: Store) -> Callable[[Sequence[tuple[float, bytes, Session]]], None]:
    """Return the writer of last-seen times that the edge has on this backend."""
    assert isinstance(store.rows, SQLiteRows)
    return SQLiteSessions(store.rows, store).seen_writer()


@pytest.fixture
def rows(open_rows: OpenRows) -> Backend:
    return open_rows()
