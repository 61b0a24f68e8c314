"""What waits for a store in the network: together, in order, for no longer than it must, and never past a refusal."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.edge import remote as remote_module
from gateway.edge.exchange import Phase
from gateway.edge.remote import RemoteState
from gateway.edge.remote_limits import RemoteLimits
from gateway.edge.snapshot import ForwardAuthRules
from gateway.exchange.route import LimitSpec
from gateway.ratelimit.gcra import Bucket
from gateway.session.token import make_token
from gateway.wire.forwarded import TrustedProxies
from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Edge, Entry, Http2Edge, session, until
from tests.unit.edge.remote_store import MemoryStore

ALICE = make_token(b"a" * 32)
BOB = make_token(b"b" * 32)
NOBODY = make_token(b"n" * 32)
TEXT = ALICE.decode()


@pytest.fixture
def store(edge: Edge) -> MemoryStore:
    """The edge of the fixture, with its state in the network."""
    made = MemoryStore()
    made.entries = {
        ALICE: Entry(session()),
        BOB: Entry(session(handle="handle2", user="bob", user_id="u2")),
    }
    worker = edge.worker
    limits = RemoteLimits(worker.limits, made, soon=worker.soon, metrics=worker.metrics)
    worker.remote = RemoteState(made, limits, soon=worker.soon, metrics=worker.metrics)
    return made


def waiting(edge: Edge) -> int:
    assert edge.worker.remote is not None
    return edge.worker.remote.waiting


def count(edge: Edge, metric: str) -> dict[tuple[str, ...], float]:
    (sample,) = [sample for sample in edge.worker.metrics.dump() if sample.name == metric]
    return dict(sample.values)


async def test_a_live_session_passes_and_none_is_asked_to_sign_in(edge: Edge, store: MemoryStore) -> None:
    assert (await edge.get(token=TEXT)).status == 200
    assert (await edge.get(token=NOBODY.decode())).status == 401
    assert edge.portal.field(b"x-gateway-user") == [b"alice"]
    assert len(edge.portal.heads) == 1


async def test_what_is_no_token_is_not_asked_for(edge: Edge, store: MemoryStore) -> None:
    assert (await edge.get(token="x" * 47)).status == 401
    assert (await edge.get("/public/a", token="garbage")).status == 200
    assert store.questions == []


async def test_all_requests_of_one_tick_are_one_question(edge: Edge, store: MemoryStore) -> None:
    writers = [(await edge.connect()) for _ in range(8)]
    store.holds = True  # the first question is under way while the others arrive
    loop = asyncio.get_running_loop()
    assert edge.worker.remote is not None

    def together() -> None:
        for connection in list(edge.worker._connections):
            head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=%b\r\n\r\n" % ALICE
            connection.data_received(head)  # type: ignore[attr-defined]  # as the transport does

    await until(lambda: len(edge.worker._connections) == 8)
    loop.call_soon(together)
    await until(lambda: waiting(edge) == 8)
    await until(lambda: store.questions)
    store.release()
    for reader, _ in writers:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert [len(question) for question in store.questions] == [8]
    assert count(edge, "gateway_store_batches_total")[("sessions",)] == 1
    assert count(edge, "gateway_store_batched_requests_total")[("sessions",)] == 8
    for _, writer in writers:
        writer.close()


async def test_pipelined_requests_are_answered_in_order_while_the_store_takes_its_time(
    edge: Edge, store: MemoryStore
) -> None:
    store.holds = True
    reader, writer = await edge.connect()
    first = b"GET /invoices/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=%b\r\n\r\n" % ALICE
    writer.write(first + b"GET /public/last HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    await until(lambda: store.questions)
    assert edge.portal.heads == []
    store.release()
    answers = await asyncio.wait_for(reader.read(), 20)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert [head.split(b" ")[1] for head in edge.portal.heads] == [b"/invoices/1", b"/public/last"]
    writer.close()


async def test_a_body_that_comes_while_the_store_is_asked_is_neither_lost_nor_sent_early(
    edge: Edge, store: MemoryStore
) -> None:
    store.holds = True
    body = b"b" * 200_000  # more than the edge keeps of it at once
    sent = asyncio.create_task(edge.get(method="POST", token=TEXT, body=body))
    await until(lambda: store.questions)
    await asyncio.sleep(0)
    assert edge.portal.heads == []
    store.release()
    assert (await sent).status == 200
    assert edge.portal.bodies[-1] == body


async def test_a_refused_request_with_a_body_does_not_reach_the_portal(edge: Edge, store: MemoryStore) -> None:
    assert (await edge.get(method="POST", token=NOBODY.decode(), body=b"x" * 100_000)).status == 401
    assert edge.portal.heads == []


async def test_a_store_that_does_not_answer_is_503_and_signs_nobody_out(edge: Edge, store: MemoryStore) -> None:
    store.is_away = True
    answer = await edge.get(token=TEXT)
    assert answer.status == 503
    assert answer.field("retry-after") == [b"2"]
    assert answer.field("set-cookie") == []
    assert b"store_unavailable" in answer.body
    assert (await edge.get("/public/a")).status == 200
    assert (await edge.get("/public/a", token=TEXT)).status == 503  # the portal would take alice for nobody
    store.is_away = False
    assert (await edge.get(token=TEXT)).status == 200
    assert count(edge, "gateway_store_unanswered_total")[("sessions",)] == 2


async def test_who_is_shed_by_address_does_not_touch_the_store(edge: Edge, store: MemoryStore) -> None:
    edge.change(limits=(Bucket(LimitSpec(name="client", rate_per_s=0.001, burst=1, per="ip")),))
    assert (await edge.get(token=TEXT)).status == 200
    assert (await edge.get(token=TEXT)).status == 429
    assert len(store.questions) == 1


async def test_a_client_that_does_not_wait_leaves_nothing_but_its_record(edge: Edge, store: MemoryStore) -> None:
    store.holds = True
    _, writer = await edge.connect()
    writer.write(b"GET /invoices/7 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=%b\r\n\r\n" % ALICE)
    await until(lambda: store.questions)
    writer.transport.abort()
    await until(lambda: not edge.worker._connections)
    store.release()
    await until(lambda: not waiting(edge))
    assert edge.portal.heads == []
    await until(lambda: [record for record in edge.audit.records if "/invoices/7" in repr(record)])


async def test_a_store_that_never_answers_ends_with_the_deadline(edge: Edge, store: MemoryStore) -> None:
    edge.change_wire(body_timeout_s=0.2)
    store.holds = True
    answer = await edge.get(token=TEXT)
    assert answer.status == 503
    assert b"store_unavailable" in answer.body
    store.release()  # too late for it
    await until(lambda: not waiting(edge))
    assert edge.portal.heads == []


@pytest.mark.pure
async def test_too_many_that_wait_are_refused_at_once(
    edge: Edge, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "MAX_PARKED", 1)
    store.holds = True
    first = asyncio.create_task(edge.get(token=TEXT))
    await until(lambda: waiting(edge) == 1)
    assert (await edge.get(token=TEXT)).status == 503
    store.release()
    assert (await first).status == 200


async def test_drain_waits_for_what_waits(edge: Edge, store: MemoryStore) -> None:
    store.holds = True
    asked = asyncio.create_task(edge.get(token=TEXT))
    await until(lambda: waiting(edge))
    drained = asyncio.create_task(edge.worker.drain(20.0))
    await asyncio.sleep(0)
    store.release()
    assert (await asked).status == 200
    assert await drained == 0


async def test_a_reload_while_it_waits_changes_nothing_for_it(edge: Edge, store: MemoryStore) -> None:
    store.holds = True
    asked = asyncio.create_task(edge.get(token=TEXT))
    await until(lambda: waiting(edge))
    edge.change(version="v2")
    store.release()
    assert (await asked).status == 200


# limits


async def test_a_limit_of_a_person_is_counted_by_the_store_before_the_request_goes_on(
    edge: Edge, store: MemoryStore
) -> None:
    assert (await edge.get("/limited", token=TEXT)).status == 200
    ((charge,),) = store.charges
    assert (charge.subject, charge.burst, charge.wanted, charge.reserve, charge.used) == ("u1", 2, 1, 0, -1)
    store.grants[charge.limit] = (0, 0, 30.0)
    answer = await edge.get("/limited", token=TEXT)
    assert answer.status == 429
    assert answer.field("retry-after") == [b"30"]
    assert b"rate_limited" in answer.body
    assert len(edge.portal.heads) == 1


async def test_no_body_moves_before_the_request_is_counted(edge: Edge, store: MemoryStore) -> None:
    limit = Bucket(LimitSpec(name="home", rate_per_s=1, burst=2, per="user"))
    edge.change(limits_of={**edge.worker.snapshot.limits_of, "home": (limit,)})
    reader, writer = await edge.connect()
    head = (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=%b\r\nContent-Length: 8\r\nConnection: close\r\n\r\n" % ALICE
    )
    assert edge.worker.remote is not None
    limits = edge.worker.remote.limits
    held: list[Any] = []
    limits._counter = type("Held", (), {"charge": lambda self, charges, answered: held.append((charges, answered))})()
    writer.write(head)
    await until(lambda: held)
    writer.write(b"whatever")  # the body comes while it is being counted
    await asyncio.sleep(0.05)
    assert edge.portal.heads == []
    ((charges, answered),) = held
    answered([(0, 0, 1.0) for _ in charges])
    assert b" 429 " in (await asyncio.wait_for(reader.read(), 20)).split(b"\r\n")[0]
    assert edge.portal.heads == []
    writer.close()


async def test_a_sign_in_is_counted_over_all_nodes(edge: Edge, store: MemoryStore) -> None:
    edge.change(login_limit=Bucket(LimitSpec(name="login", rate_per_s=1, burst=3, per="ip"), is_sign_in=True))
    store.grants["login"] = (0, 0, 5.0)
    answer = await edge.get("/.gateway/login", method="POST", body=b"username=a", fields="Origin: http://127.0.0.1\r\n")
    assert answer.status == 429
    assert b"too_many_attempts" in answer.body
    assert store.charges[0][0].subject == "127.0.0.1"
    assert edge.portal.heads == []


async def test_what_cannot_be_counted_is_refused(edge: Edge, store: MemoryStore) -> None:
    store.grants = {}
    assert edge.worker.remote is not None
    limits = edge.worker.remote.limits
    limits._counter = type("Away", (), {"charge": lambda self, charges, answered: answered(None)})()
    answer = await edge.get("/limited", token=TEXT)
    assert answer.status == 503
    assert b"store_unavailable" in answer.body
    assert edge.portal.heads == []


async def test_of_a_large_limit_a_lease_is_used_without_asking(edge: Edge, store: MemoryStore) -> None:
    limit = Bucket(LimitSpec(name="wide", rate_per_s=100, burst=800, per="user"))
    edge.change(limits_of={**edge.worker.snapshot.limits_of, "home": (limit,)})
    store.grants["wide"] = (1, 2, 0.0)
    for _ in range(4):
        assert (await edge.get(token=TEXT)).status == 200
    assert [charge.used for (charge,) in store.charges] == [-1, 2]
    assert [charge.reserve for (charge,) in store.charges] == [1, 4]


# forward-auth, streams


async def test_another_proxy_asks_about_a_request_of_a_session_in_the_network(edge: Edge, store: MemoryStore) -> None:
    proxies = TrustedProxies((ip_network("127.0.0.1"),))
    edge.change(forward_auth=ForwardAuthRules(style="nginx", askers=proxies, proxies=proxies))
    fields = "X-Original-Method: GET\r\nX-Original-URI: /invoices/4\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
    answer = await edge.get("/.gateway/check", fields=fields, token=TEXT)
    assert answer.status == 200, answer.raw
    assert answer.field("x-gateway-user") == [b"alice"]
    assert (await edge.get("/.gateway/check", fields=fields, token=NOBODY.decode())).status == 401
    store.is_away = True
    answer = await edge.get("/.gateway/check", fields=fields, token=TEXT)
    assert answer.field("x-gateway-reason") == [b"store_unavailable"]


async def test_a_stream_ends_within_a_second_of_its_session_and_outlives_the_store(
    edge: Edge, store: MemoryStore
) -> None:
    async def stream(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    edge.portal.answers[b"/invoices/1"] = stream
    reader, writer = await edge.connect()
    writer.write(b"GET /invoices/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=%b\r\n\r\n" % ALICE)
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = edge.worker._connections
    x = connection.exchange  # type: ignore[attr-defined]  # of HTTP/1
    await until(lambda: x.phase is Phase.RELEASED)
    store.is_away = True
    before = len(store.questions)
    await until(lambda: len(store.questions) > before)
    assert not writer.is_closing()
    store.is_away = False
    del store.entries[ALICE]
    await asyncio.wait_for(reader.read(), 5)
    assert x.reason.value == "session_revoked"
    writer.close()


# HTTP/2, certificates, what only shows while it is decided


async def test_streams_of_one_connection_wait_together_and_a_reset_one_leaves_nothing(
    http2: Http2Edge, store: MemoryStore
) -> None:
    store.entries[ALICE] = Entry(session(host="portal.test", secure=True))
    client = await http2.client()
    store.holds = True
    cookie = ((b"cookie", b"__Host-gw=" + ALICE),)
    first, second, third = [client.request(client.get(f"/invoices/{each}", *cookie)) for each in range(3)]
    await until(lambda: waiting(http2.edge) == 3)
    client.reset(second)
    await until(lambda: http2.count("gateway_http2_resets_total"))
    store.release()
    assert [(await client.answer(stream)).status for stream in (first, third)] == [200, 200]
    assert len(http2.edge.portal.heads) == 2
    assert waiting(http2.edge) == 0


@pytest.mark.pure
async def test_what_only_shows_while_it_is_decided_is_asked_for_once(edge: Edge, store: MemoryStore) -> None:
    found = remote_module.wanted
    remote_module.wanted = lambda x, s: []
    try:
        assert (await edge.get(token=TEXT)).status == 200
    finally:
        remote_module.wanted = found
    ((want,),) = store.questions
    assert want == (remote_module.SESSION, ALICE)
