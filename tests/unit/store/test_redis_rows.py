"""What is Redis's own: what stands there says nothing, all of it is in one slot, and nothing piles up. The rest is tests/contract."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis.crc

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.session import Owed, Session
from gateway.session.life import Lifetimes, start
from gateway.session.token import make_handle
from gateway.store.keyring import Keyring
from gateway.store.records import Factor, User
from gateway.store.redis_client import RedisPlace
from gateway.store.redis_keys import FORGET_S
from gateway.store.redis_options import RedisOptions
from gateway.store.redis_rows import RedisRows
from gateway.store.redis_sessions import read_command, seen_writer, sessions_of
from gateway.store.rows import Row, Transaction
from gateway.store.state import Store
from gateway.store.tables import SEEN, SESSIONS, USERS
from tests.fakes.redis_servers import Server, standalone, watched

NOW = float(int(time.time())) + 3600.0  # ahead of the clock of Redis: nothing ends by itself while a long run gets here


@pytest.fixture(scope="module")
def node() -> Iterator[Server]:
    with standalone() as server:
        yield server


@pytest.fixture
def server(node: Server) -> Server:
    node.ask("FLUSHALL")
    return node


@pytest.fixture
def rows(server: Server) -> Iterator[RedisRows]:
    place = RedisPlace(RedisOptions(nodes=(("127.0.0.1", server.port),), timeout_s=2.0))
    yield RedisRows(place)
    place.close()


@pytest.fixture
def store(rows: RedisRows) -> Store:
    return Store(rows, Keyring.generate(os.urandom, NOW))


def add(store: Store, name: str = "alice.liddell") -> User:
    user = User(
        id="u_0123", stamp="1", name=name, tenant="wonderland", roles=("client",), email="a@example.com",
        password="not a hash", password_changed=NOW, created=NOW,
    )  # fmt: skip
    assert store.add_user(user, now=NOW)
    return user


def sign_in(store: Store, user: User, *, now: float = NOW) -> tuple[bytes, Session]:
    row = os.urandom(32)
    session = start(
        handle=make_handle(os.urandom(16)), user_id=user.id, user=user.name, tenant=user.tenant, roles=user.roles,
        email=user.email, owes=Owed.NOTHING, lifetimes=Lifetimes(), host="portal.example.com", secure=True,
        client_ip="192.0.2.1", user_agent="Firefox", now=now,
    )  # fmt: skip
    assert store.create_session(row, session, stamp=user.stamp, keep=None, now=now) is not None
    return row, session


def dump(server: Server) -> bytes:
    """Everything that somebody with the database sees."""
    seen = []
    for key in server.ask("KEYS", "*"):
        kind = server.ask("TYPE", key)
        kind = kind.decode() if isinstance(kind, bytes) else kind
        read = {"string": ("GET", key), "zset": ("ZRANGE", key, 0, -1), "set": ("SMEMBERS", key)}[kind]
        value = server.ask(*read)
        seen += [key, *([value] if isinstance(value, bytes) else value)]
    return b"\n".join(seen)


def test_redis_tells_neither_who_is_a_user_nor_who_is_signed_in(store: Store, server: Server) -> None:
    user = add(store)
    _, session = sign_in(store, user)
    handle = session.handle.encode()
    store.put_factor(user.id, Factor(secret="JBSWY3DPEHPK3PXP", created=NOW), [b"code"], now=NOW)
    data = dump(server)
    assert data.count(b"\n") > 20
    for secret in (b"liddell", b"wonderland", b"not a hash", b"192.0.2.1", b"JBSWY3DP", b"Firefox", b"client", handle):
        assert secret not in data


def test_every_key_of_a_gateway_is_in_one_slot_under_its_prefix(store: Store, server: Server) -> None:
    sign_in(store, add(store))
    keys = server.ask("KEYS", "*")
    assert len(keys) > 10
    assert all(key.startswith(b"{gateway}:") for key in keys)
    assert len({redis.crc.key_slot(key) for key in keys}) == 1


def test_two_gateways_in_one_redis_know_nothing_of_each_other(store: Store, rows: RedisRows) -> None:
    add(store)
    place = RedisPlace(RedisOptions(nodes=rows.redis.options.nodes, prefix="other", timeout_s=2.0))
    other = Store(RedisRows(place), Keyring.generate(os.urandom, NOW))
    assert other.users() == []
    other.end_all()
    assert len(store.users()) == 1
    place.close()


def test_what_nobody_sweeps_is_forgotten_by_redis_with_all_that_lists_it(rows: RedisRows, server: Server) -> None:
    gone = time.time() - FORGET_S + 0.2
    row = Row(id=b"a", value=b"1", tokens={"tenant": b"acme"}, expires=gone)
    rows.transact(lambda tx: tx.put(USERS, row))
    assert server.ask("PTTL", rows.keys_of.row(USERS, b"a")) > 0
    deadline = time.monotonic() + 10
    while server.ask("KEYS", "*") != [rows.keys_of.versions(USERS)] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.ask("KEYS", "*") == [rows.keys_of.versions(USERS)]
    assert (rows.find(USERS, "tenant", b"acme"), rows.all(USERS), rows.keys(USERS)) == ([], [], {})


def test_what_redis_forgot_is_neither_found_nor_counted_for_ever(rows: RedisRows, server: Server) -> None:
    ended = time.time() - FORGET_S - 5
    rows.transact(lambda tx: tx.put(USERS, Row(id=b"old", value=b"1", tokens={"tenant": b"acme"}, expires=NOW + 50)))
    index = rows.keys_of.index(USERS, "tenant", b"acme")
    server.ask("DEL", rows.keys_of.row(USERS, b"old"))
    for key in (index, rows.keys_of.ids(USERS, 0)):
        server.ask("ZADD", key, ended, b"old")
    assert rows.find(USERS, "tenant", b"acme") == []
    rows.transact(lambda tx: tx.put(USERS, Row(id=b"new", value=b"1", tokens={"tenant": b"acme"}, expires=NOW + 60)))
    assert rows.transact(lambda tx: tx.count(USERS, "tenant", b"acme")) == 1
    assert rows.keys(USERS) == {0: 1}


def test_a_row_that_is_used_again_while_it_is_swept_stays(rows: RedisRows, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.transact(lambda tx: tx.put(USERS, Row(id=b"a", value=b"1", expires=NOW + 10)))
    read, later = RedisRows._stored, [NOW + 90]

    def used_meanwhile(self: RedisRows, *more: Any) -> Any:
        if later:
            end = later.pop()
            rows.transact(lambda tx: tx.put(USERS, Row(id=b"a", value=b"2", expires=end)))
        return read(self, *more)

    monkeypatch.setattr(RedisRows, "_stored", used_meanwhile)
    assert rows.sweep(USERS, NOW + 20) == []
    assert rows.get(USERS, b"a") == Row(id=b"a", value=b"2", expires=NOW + 90)
    assert rows.sweep(USERS, NOW + 90) == [b"a"]


def test_clearing_ends_although_ids_have_no_rows_any_more(rows: RedisRows, server: Server) -> None:

    def fill(tx: Transaction) -> None:
        for number in range(4):
            tx.put(USERS, Row(id=b"%d" % number, value=b"", tokens={"tenant": b"a"}))

    rows.transact(fill)
    server.ask("DEL", rows.keys_of.row(USERS, b"1"), rows.keys_of.row(USERS, b"2"))
    assert rows.clear(USERS, "tenant", b"a") == 2
    assert (rows.clear(USERS), rows.keys(USERS)) == (0, {})


def test_a_foreign_value_is_an_error_and_not_a_sign_out(store: Store, rows: RedisRows, server: Server) -> None:
    row, _ = sign_in(store, add(store))
    server.ask("SET", rows.keys_of.row(SESSIONS, row), b"rubbish")
    with pytest.raises(StoreUnavailableError, match="was not written by this version"):
        store.session(row, NOW)


def test_a_row_that_was_moved_to_another_key_does_not_open(store: Store, rows: RedisRows, server: Server) -> None:
    """Attack: write access to Redis, and a session of somebody else."""
    row, _ = sign_in(store, add(store))
    mine = os.urandom(32)
    for table in (SESSIONS, SEEN):
        server.ask("COPY", rows.keys_of.row(table, row), rows.keys_of.row(table, mine))
    with pytest.raises(StoreUnavailableError, match="does not open"):
        store.session(mine, NOW)


def test_endless_conflicts_are_given_up_and_change_nothing(rows: RedisRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.redis_rows.PATIENCE_S", 0.05)
    rows.transact(lambda tx: tx.put(USERS, Row(id=b"a", value=b"0")))

    def late(tx: Transaction) -> None:
        tx.get(USERS, b"a")
        rows.transact(lambda faster: faster.put(USERS, Row(id=b"a", value=os.urandom(8))))
        tx.put(USERS, Row(id=b"a", value=b"late"))

    with pytest.raises(StoreUnavailableError, match="too many changed the same rows at once"):
        rows.transact(late)
    found = rows.get(USERS, b"a")
    assert found is not None
    assert found.value != b"late"


def test_what_was_only_read_is_true_together_or_read_again(rows: RedisRows) -> None:
    """Two rows that are always equal are never seen different."""

    def put(tx: Transaction, value: bytes) -> None:
        for row_id in (b"a", b"b"):
            tx.put(USERS, Row(id=row_id, value=value))

    rows.transact(lambda tx: put(tx, b"0"))
    runs: list[int] = []

    def look(tx: Transaction) -> tuple[bytes, bytes]:
        first = tx.get(USERS, b"a")
        if not runs:
            runs.append(1)
            rows.transact(lambda other: put(other, b"1"))
        second = tx.get(USERS, b"b")
        assert first is not None
        assert second is not None
        return first.value, second.value

    assert rows.transact(look) == (b"1", b"1")


def test_sessions_are_read_in_batches_as_the_edge_does(store: Store, rows: RedisRows) -> None:
    user = add(store)
    (first, session), (second, _) = sign_in(store, user), sign_in(store, user)
    seen_writer(rows.redis)([(NOW + 30, first, session), (NOW + 20, first, session)])
    wanted = [first, os.urandom(32), second]
    (answer,) = rows.redis.run(read_command(rows.keys_of, wanted), again=True)
    found = sessions_of(wanted, answer)
    assert found[1] is None
    assert found[0] is not None
    assert found[0][1] == NOW + 30
    assert msgspec.structs.replace(store.open_session(first, found[0][0]), subject=None) == session
    store.end_session(first)
    (answer,) = rows.redis.run(read_command(rows.keys_of, wanted), again=True)
    assert sessions_of(wanted, answer)[0] is None


def test_last_seen_of_a_session_that_ended_does_not_come_back(store: Store, rows: RedisRows, server: Server) -> None:
    row, session = sign_in(store, add(store))
    store.end_session(row)
    seen_writer(rows.redis)([(NOW + 30, row, session)])
    assert server.ask("EXISTS", rows.keys_of.row(SEEN, row)) == 0
    assert rows.keys(SEEN) == {}


def test_what_ends_a_session_waits_for_a_replica_and_says_when_none_confirms() -> None:
    with watched() as group:
        nodes = (("127.0.0.1", group.sentinel.port),)
        options = RedisOptions(kind="sentinel", nodes=nodes, service="portal", timeout_s=2.0, replicas=1)
        place = RedisPlace(options)
        store = Store(RedisRows(place), Keyring.generate(os.urandom, NOW))
        user = add(store)
        row, _ = sign_in(store, user)
        assert store.end_user(user.id) == 1
        replica = next(node for node in group.nodes if node is not group.master())
        row, _ = sign_in(store, user)
        replica.stop()
        with pytest.raises(StoreUnavailableError, match="0 of 1 replicas confirmed a change; it may have happened"):
            store.end_user(user.id)
        assert store.session(row, NOW) is None
        place.close()
