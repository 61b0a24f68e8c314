"""What an edge worker reads of a state in Redis: as it is now, from a master, or not at all."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from gateway.authn.api_key import make_handle as make_handle_of_key
from gateway.authn.api_key import make_key
from gateway.authn.api_key import row_of as key_row_of
from gateway.edge.remote import API_KEY, PERSON, SESSION, Want
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.session import Session
from gateway.session.token import make_handle, make_token, row_of
from gateway.store.api_keys import ApiKey
from gateway.store.keyring import Keyring
from gateway.store.live_sessions import SEEN_TIME
from gateway.store.records import User
from gateway.store.redis_client import RedisPlace
from gateway.store.redis_link import RedisLink
from gateway.store.redis_options import Credentials, RedisOptions
from gateway.store.redis_rows import RedisRows
from gateway.store.redis_whereabouts import whereabouts
from gateway.store.remote_sessions import Answers, RemoteSessions
from gateway.store.state import Store
from gateway.store.tables import SEEN, SESSIONS
from tests.fakes.redis_servers import PASSWORD, Server, standalone

PATIENCE_S = 20.0


def session(now: float, **changes: Any) -> Session:
    values: dict[str, Any] = {
        "handle": make_handle(os.urandom(16)), "user_id": "u1", "user": "alice", "tenant": "acme", "roles": ("client",), "amr": ("pwd", "otp"),
        "auth_time": now, "mfa_time": now, "created": now, "expires": now + 3600, "idle_s": 900.0, "host": "portal.example", "secure": True,
    }  # fmt: skip
    return Session(**(values | changes))


class Node:
    """What one worker has of a state in Redis, and beside it what pages and commands have."""

    def __init__(self, options: RedisOptions) -> None:
        self.options = options
        self.told: list[str] = []
        self.rows = RedisRows(RedisPlace(options))
        self.keyring = Keyring.generate(os.urandom, time.time())
        self.store = Store(self.rows, self.keyring)
        self.link = RedisLink(whereabouts(options), options, report=self._report)
        self.sessions = RemoteSessions(
            self.link, self.rows, self.store.sealer, report=self._report, strayed=lambda *_: None
        )

    def _report(self, event: str, detail: str) -> None:
        self.told.append(f"{event} {detail}")

    def begin(self, **changes: Any) -> bytes:
        """Begin a session, and return its token."""
        now = time.time()
        token = make_token(os.urandom(32))
        self.rows.transact(lambda tx: self.store.live.put_in(tx, row_of(token), session(now, **changes), now=now))
        return token

    async def read(self, *wants: Want) -> Answers:
        heard: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        self.sessions.read(wants, heard.set_result)
        return await asyncio.wait_for(heard, PATIENCE_S)

    async def of(self, token: bytes) -> Any:
        return (await self.read(Want(SESSION, token))).lookup(token, time.time())

    async def close(self) -> None:
        self.sessions.close()
        await self.link.close()
        self.rows.close()


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)


@pytest.fixture(params=["redis_node", "redis_sentinel", "redis_cluster"])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    options = request.getfixturevalue(request.param)
    made = Node(msgspec.structs.replace(options, prefix=f"gateway-{os.urandom(8).hex()}"))
    yield made
    await made.close()


async def test_sessions_are_as_they_stand_at_this_moment(node: Node) -> None:
    token, other, nobody = node.begin(), node.begin(user="bob", user_id="u2"), make_token(b"n" * 32)
    answers = await node.read(Want(SESSION, token), Want(SESSION, other), Want(SESSION, nobody), Want(SESSION, token))
    now = time.time()
    found = [answers.lookup(each, now) for each in (token, other, nobody)]
    assert [entry.session.user if entry else None for entry in found] == ["alice", "bob", None]
    assert answers.lookup(b"garbage", now) is None
    node.store.end_session(row_of(token))
    assert await node.of(token) is None
    assert (await node.of(other)).session.user == "bob"


async def test_a_session_that_did_not_change_is_not_opened_again(node: Node) -> None:
    token = node.begin()
    first = await node.of(token)
    assert (await node.of(token)).session is first.session


async def test_a_session_that_changed_is_what_it_is_now(node: Node) -> None:
    token = node.begin()
    assert (await node.of(token)).session.roles == ("client",)
    now = time.time()
    changed = session(now, roles=("client", "billing"))
    node.rows.transact(lambda tx: node.store.live.put_in(tx, row_of(token), changed, now=now))
    assert (await node.of(token)).session.roles == ("client", "billing")


async def test_what_was_not_asked_for_is_unknown_and_named(node: Node) -> None:
    token = node.begin()
    answers = await node.read(Want(SESSION, make_token(b"x" * 32)))
    with pytest.raises(StoreUnavailableError):
        answers.lookup(token, time.time())
    assert answers.missing() == [(SESSION, token)]
    assert answers.missing() == []


async def test_a_disabled_person_is_known_as_disabled(node: Node) -> None:
    now = time.time()
    alice = User(
        id="u1",
        name="alice",
        tenant="acme",
        roles=("client",),
        created=now,
        stamp="s",
        password="",
        password_changed=now,
    )
    node.store.add_user(alice, now=now)
    node.store.add_user(msgspec.structs.replace(alice, id="u2", name="bob", disabled=True), now=now)
    people = [("alice", "acme"), ("bob", "acme"), ("bob", "globex"), ("carol", "acme")]
    answers = await node.read(*(Want(PERSON, f"{tenant}\0{user}".encode()) for user, tenant in people))
    assert [answers.is_disabled(*person) for person in people] == [False, True, False, False]


async def test_an_api_key_stands_for_somebody_until_it_is_revoked(node: Node) -> None:
    now = time.time()
    made = ApiKey(
        handle=make_handle_of_key(os.urandom(8)), label="import", user_id="service:acme:robot", user="service:robot", tenant="acme", roles=("client",), created=now, expires=now + 60,
    )  # fmt: skip
    key, kept = node.store.api_keys.create(made, now=now)
    entry = (await node.read(Want(API_KEY, key))).api_key(key, time.time())
    assert entry is not None
    assert entry.session.user == "service:robot"
    node.sessions.touch_key(entry, now + 120)
    assert await asyncio.to_thread(node.sessions.flush) == 1
    assert node.store.api_keys.used(key_row_of(key)) == now + 120
    node.store.api_keys.revoke(kept.handle)
    assert (await node.read(Want(API_KEY, key))).api_key(key, time.time()) is None
    assert (await node.read(Want(API_KEY, make_key(b"x" * 32)))).api_key(make_key(b"x" * 32), now) is None


async def test_use_is_written_in_batches_and_brings_no_ended_session_back(node: Node) -> None:
    token, ended = node.begin(), node.begin()
    now = time.time()
    for each in (token, ended):
        node.sessions.touch(await node.of(each), now + 100)
    node.store.end_session(row_of(ended))
    await asyncio.to_thread(node.sessions.flush)
    row = node.rows.get(SEEN, row_of(token))
    assert row is not None
    assert SEEN_TIME.unpack(row.value) == (now + 100,)
    assert node.rows.get(SEEN, row_of(ended)) is None
    assert await node.of(ended) is None


async def test_silence_ends_a_session_but_not_before_another_worker_could_write_its_use(node: Node) -> None:
    token = node.begin(idle_s=100.0)
    now = time.time()
    answers = await node.read(Want(SESSION, token))
    assert answers.lookup(token, now + 100) is not None  # a second of grace
    assert answers.lookup(token, now + 103) is None
    assert answers.lookup(token, now) is not None


async def test_many_more_than_fit_into_one_mget_are_read(node: Node) -> None:
    tokens = [make_token(os.urandom(32)) for _ in range(700)]
    known = node.begin()
    answers = await node.read(*(Want(SESSION, token) for token in (*tokens, known)))
    assert answers.lookup(known, time.time()) is not None
    assert all(answers.lookup(token, time.time()) is None for token in tokens)


# faults


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    with standalone() as made:
        yield made


@pytest.fixture
async def single(server: Server) -> AsyncIterator[Node]:
    made = Node(RedisOptions(nodes=(("127.0.0.1", server.port),), timeout_s=0.25))
    yield made
    await made.close()


async def test_a_master_that_became_a_replica_is_not_believed(single: Node, server: Server) -> None:
    token = single.begin()
    assert await single.of(token) is not None
    with standalone() as other:
        server.ask("REPLICAOF", "127.0.0.1", other.port)  # no connection is closed by that
        answers = await single.read(Want(SESSION, token))
        assert "is a replica" in answers.why
        with pytest.raises(StoreUnavailableError):
            answers.lookup(token, time.time())
        await until(lambda: "is a replica" in single.sessions.problem)
        server.ask("REPLICAOF", "NO", "ONE")
        await until(lambda: not single.sessions.problem)
        await until(lambda: single.link.is_up)


async def test_a_server_that_hangs_costs_the_time_out_once_and_then_nothing(single: Node, server: Server) -> None:
    token = single.begin()
    assert await single.of(token) is not None
    server.pause()
    try:
        answers = await single.read(Want(SESSION, token))
        assert "does not answer" in answers.why
        await until(lambda: single.link.problem)
        began = time.monotonic()
        for _ in range(50):
            assert (await single.read(Want(SESSION, token))).why
        assert time.monotonic() - began < 0.25  # at once: nobody waits for what is known to be away
    finally:
        server.resume()
    await until(lambda: single.link.is_up)
    assert await single.of(token) is not None
    assert [told.split()[0] for told in single.told] == ["store.degraded", "store.recovered"]


async def test_a_server_that_was_killed_is_found_again(single: Node, server: Server) -> None:
    token = single.begin()
    assert await single.of(token) is not None
    server.stop()
    assert (await single.read(Want(SESSION, token))).why
    server.start()
    await until(lambda: single.link.is_up)
    assert await single.of(token) is not None


async def test_a_connection_that_the_server_closes_is_made_again_before_anybody_is_refused(
    single: Node, server: Server
) -> None:
    token = single.begin()
    assert await single.of(token) is not None
    conversation = single.link._conversation
    assert conversation is not None
    server.ask("CLIENT", "KILL", "TYPE", "normal")
    await until(conversation.lost.is_set)
    assert await single.of(token) is not None
    assert single.told == []


async def test_a_password_that_is_wrong_is_said_without_it() -> None:
    with standalone(f"requirepass {PASSWORD}") as server:
        options = RedisOptions(nodes=(("127.0.0.1", server.port),), credentials=Credentials(password="wrong-horse"))
        told: list[str] = []
        link = RedisLink(whereabouts(options), options, report=lambda event, detail: told.append(f"{event} {detail}"))
        await until(lambda: link.problem)
        await link.close()
        assert told == [f"store.degraded Redis at 127.0.0.1:{server.port} refuses the user or its password"]


async def test_a_right_that_was_taken_away_refuses_and_comes_back(single: Node, server: Server) -> None:
    token = single.begin()
    assert await single.of(token) is not None
    server.ask("ACL", "SETUSER", "default", "-mget")
    answers = await single.read(Want(SESSION, token))
    assert "docs/state.md" in answers.why
    assert single.sessions.problem
    server.ask("ACL", "SETUSER", "default", "+mget")
    assert await single.of(token) is not None
    assert not single.sessions.problem


async def test_a_full_server_is_read_still(single: Node, server: Server) -> None:
    token = single.begin()
    server.ask("CONFIG", "SET", "maxmemory", "1")
    entry = await single.of(token)
    assert entry is not None
    single.sessions.touch(entry, time.time() + 5)
    with pytest.raises(StoreUnavailableError, match="full"):
        await asyncio.to_thread(single.sessions.flush)
    server.ask("CONFIG", "SET", "maxmemory", "0")
    assert await asyncio.to_thread(single.sessions.flush) == 1  # nothing was lost


async def test_a_row_that_does_not_open_is_no_session_and_nobody_is_signed_out(single: Node, server: Server) -> None:
    token, other = single.begin(), single.begin()
    keys = single.rows.keys_of
    stolen = server.ask("GET", keys.row(SESSIONS, row_of(other)))
    server.ask("SET", keys.row(SESSIONS, row_of(token)), stolen)
    with pytest.raises(StoreUnavailableError):
        await single.of(token)
    server.ask("SET", keys.row(SESSIONS, row_of(token)), b"rubbish")
    with pytest.raises(StoreUnavailableError):
        await single.of(token)
