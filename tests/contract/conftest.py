"""Where rows may be kept: every test that asks for `rows` or `open_rows` runs on each backend. Add one to BACKENDS."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from gateway.exchange.session import Session
from gateway.store.keyring import Keyring
from gateway.store.redis_client import RedisPlace
from gateway.store.redis_options import Credentials, RedisOptions, TLSFiles
from gateway.store.redis_probe import acl_rules
from gateway.store.redis_rows import RedisRows
from gateway.store.redis_sessions import seen_writer
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.sqlite_sessions import SQLiteSessions
from gateway.store.state import Store
from tests.fakes.redis_servers import PASSWORD, cluster, tls_standalone, watched

NOW = float(int(time.time())) + 3600.0  # ahead of the clock of Redis: nothing ends by itself while a long run gets here
"""Backends that forget by themselves have a clock of their own."""
MEMORY = Path("/dev/shm")
BACKENDS = ["sqlite", "redis", "sentinel", "cluster"]
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


@pytest.fixture(scope="session")
def redis_node() -> Iterator[RedisOptions]:
    """One node that speaks TLS and knows a user who may do no more than docs/state.md says."""
    acl = f"user gateway on >{PASSWORD} {acl_rules('gateway*')}"
    with tls_standalone("redis.test", acl, f"requirepass {PASSWORD}") as node:
        yield RedisOptions(
            nodes=(("127.0.0.1", node.port),),
            database=0,
            credentials=Credentials(username="gateway", password=PASSWORD),
            tls=TLSFiles(
                ca=node.paths["ca"],
                certificate=node.paths["certificate"],
                key=node.paths["key"],
                server_name="redis.test",
            ),
            timeout_s=2.0,
        )


@pytest.fixture(scope="session")
def redis_sentinel() -> Iterator[RedisOptions]:
    with watched("portal") as group:
        nodes = (("127.0.0.1", group.sentinel.port),)
        yield RedisOptions(kind="sentinel", nodes=nodes, service="portal", database=3, timeout_s=2.0, replicas=1)


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisOptions]:
    with cluster() as nodes:
        yield RedisOptions(kind="cluster", nodes=tuple(("127.0.0.1", node.port) for node in nodes[:2]), timeout_s=2.0)


@pytest.fixture(params=BACKENDS)
def open_rows(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[OpenRows]:
    """Open one more connection to the same rows, as another process would."""
    opened: list[Backend] = []
    options = None
    if request.param != "sqlite":
        name = {"redis": "redis_node", "sentinel": "redis_sentinel", "cluster": "redis_cluster"}[request.param]
        options = msgspec.structs.replace(request.getfixturevalue(name), prefix=f"gateway-{os.urandom(8).hex()}")

    def opener() -> Backend:
        opened.append(SQLiteRows(state_dir, create=True) if options is None else RedisRows(RedisPlace(options)))
        return opened[-1]

    yield opener
    for rows in opened:
        rows.close()


def write_seen(store: Store) -> Callable[[Sequence[tuple[float, bytes, Session]]], None]:
    """Return the writer of last-seen times that the edge has on this backend."""
    if isinstance(store.rows, SQLiteRows):
        return SQLiteSessions(store.rows, store).seen_writer()
    assert isinstance(store.rows, RedisRows)
    return seen_writer(store.rows.redis)


@pytest.fixture
def rows(open_rows: OpenRows) -> Backend:
    return open_rows()
