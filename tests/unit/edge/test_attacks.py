"""Attacks that once worked, each as a sentence."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace

import pytest

from gateway.edge.http1 import Http1Connection
from gateway.exchange.envelope import Event, pack_events
from gateway.exchange.session import Owed
from tests.fakes.portal import OK, Portal, read_body
from tests.unit.edge.conftest import Edge, Entry, Reply, session, until

WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SMUGGLED = b"GET /admin/secret HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Gateway-User: root\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_websocket_handshake_with_a_body_smuggles_no_request(edge: Edge, framing: bytes, method: bytes) -> None:
    answer = await edge.raw(method + b" /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + WEBSOCKET + framing)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert edge.portal.heads == []


async def test_only_get_opens_a_websocket(edge: Edge) -> None:
    answer = await edge.raw(b"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + WEBSOCKET + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_connection_that_served_a_handshake_is_never_used_again(edge: Edge) -> None:
    await edge.raw(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n" + WEBSOCKET + b"\r\n")
    await edge.get("/public/a")
    assert edge.portal.connections == 2


async def test_a_request_that_was_refused_while_it_waited_is_not_sent_after_all(edge: Edge) -> None:
    edge.change_upstream(max_connections=1, connect_timeout_s=0.1, response_timeout_s=20.0)
    gate = asyncio.Event()

    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(OK)

    edge.portal.answers[b"/public/slow"] = slow
    first = asyncio.create_task(edge.get("/public/slow"))
    await until(lambda: edge.portal.heads)
    second = asyncio.create_task(edge.get("/public/second"))
    await asyncio.sleep(0.2)
    edge.audit.acknowledges = False
    await until(lambda: any(record["status_code"] == "503" for record in edge.audit.records))
    gate.set()
    await asyncio.sleep(0.2)
    edge.audit.acknowledge_all()
    assert (await second).status == 503
    assert (await first).status == 200
    assert [head.split(b" ")[1] for head in edge.portal.heads] == [b"/public/slow"]


async def test_answers_do_not_pile_up_behind_a_client_that_does_not_read(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", edge.port))
    await loop.sock_sendall(client, b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000)
    await until(lambda: len(edge.worker._connections) == 1)
    (connection,) = edge.worker._connections
    assert isinstance(connection, Http1Connection)
    await until(lambda: connection._write_paused)
    await asyncio.sleep(0.5)
    assert connection.transport is not None
    assert connection.transport.get_write_buffer_size() < 1_000_000
    client.close()


async def test_a_client_that_reads_again_gets_all_its_pipelined_answers(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    reader, writer = await edge.connect()
    writer.write(b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 100)
    await asyncio.sleep(1.0)
    async with asyncio.timeout(20):
        for _ in range(100):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
            await reader.readexactly(60_000)
    writer.close()


async def test_a_request_that_began_before_a_reload_leaves_no_old_upstream_behind(edge: Edge) -> None:
    moved = Portal()
    await moved.start()
    edge.audit.acknowledges = False
    begun = asyncio.create_task(edge.get("/public/x", method="POST", body=b"a=b"))
    await until(lambda: edge.audit.records)
    server = edge.worker.snapshot.upstreams["portal"].servers[0]
    edge.change_upstream(servers=(replace(server, port=moved.port),))
    edge.audit.acknowledge_all()
    await begun
    for _ in range(3):
        assert (await edge.get("/invoices/1", token="tok")).status == 200
    assert (len(edge.portal.heads), len(moved.heads)) == (1, 3)
    await moved.stop()


async def test_a_record_tells_the_factors_of_now_not_those_before_the_second_one(edge: Edge) -> None:
    edge.sessions.entries[b"half"] = Entry(session(owes=Owed.MFA, mfa_time=0.0, amr=("pwd",)))
    await edge.get("/invoices/1", token="half")
    await edge.get("/invoices/1", token="tok")
    record = edge.audit.records[-1]
    assert record["actor"]["session"]["is_mfa"] is True
    assert record["unmapped"]["gw"]["decision_inputs"]["amr"] == ["pwd", "otp"]


async def test_what_our_pages_did_is_recorded_when_the_client_does_not_wait_for_it(edge: Edge) -> None:
    events = pack_events([Event(name="login.failed", outcome="failure", reason="credentials_refused")])

    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(head, reader)
        await asyncio.sleep(0.4)
        writer.write(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\nX-Gateway-Events: " + events + b"\r\n\r\n")

    edge.portal.answers[b"/.gateway/login"] = slow
    client = socket.create_connection(("127.0.0.1", edge.port))
    client.sendall(b"POST /.gateway/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx")
    await until(lambda: edge.portal.heads)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # with a reset
    await until(lambda: any("events" in record["unmapped"]["gw"] for record in edge.audit.records))
    last = edge.audit.records[-1]
    assert (last["status_detail"], last["unmapped"]["gw"]["outcome"]) == ("credentials_refused", "aborted_client")
    await until(lambda: not edge.worker._connections)


async def test_slow_forms_do_not_hold_the_sign_in_page(edge: Edge) -> None:
    edge.change(pages=replace(edge.worker.snapshot.pages, max_connections=2))
    writers = []
    for _ in range(4):
        _, writer = await edge.connect()
        writer.write(b"POST /.gateway/logout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\nx=")
        writers.append(writer)
    await asyncio.sleep(0.2)
    assert (await edge.get("/.gateway/login")).status == 200
    assert len(edge.portal.heads) == 1, "a form is collected whole before the pages are asked"
    for writer in writers:
        writer.close()


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_form_reaches_our_pages_whole(edge: Edge, framing: str) -> None:
    body = (
        b"Content-Length: 11\r\n\r\nhello world"
        if framing == "length"
        else b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    )
    answer = await edge.raw(
        b"POST /.gateway/logout HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nExpect: 100-continue\r\n" + body
    )
    assert b"200 OK" in answer
    assert edge.portal.bodies == [b"hello world"]


async def test_a_form_that_is_too_large_never_reaches_our_pages(edge: Edge) -> None:
    raw = (
        b"POST /.gateway/login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"4000\r\n" + b"a" * 0x4000 + b"\r\n") * 5
    )
    assert Reply(await edge.raw(raw)).status == 413
    assert edge.portal.heads == []


async def test_a_port_we_do_not_serve_in_host_is_another_host(edge: Edge) -> None:
    """A portal that builds links from Host would send people there."""
    answer = await edge.raw(b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1:6666\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert edge.portal.heads == []
    answer = await edge.raw(b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1:8443\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_put_is_not_repeated_once_the_portal_said_anything(edge: Edge) -> None:
    await edge.get("/public/a")

    async def half(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        writer.close()

    edge.portal.answers[b"/public/b"] = half
    assert (await edge.get("/public/b", method="PUT")).status == 502
    assert sum(head.startswith(b"PUT") for head in edge.portal.heads) == 1


async def test_every_form_of_our_pages_is_limited_and_a_code_costs_no_password(edge: Edge) -> None:
    for _ in range(3):
        assert (await edge.get("/.gateway/login", method="POST", body=b"x")).status == 200
        assert (await edge.get("/.gateway/mfa", method="POST", body=b"x")).status == 200
    assert (await edge.get("/.gateway/login", method="POST", body=b"x")).status == 429
    statuses = [(await edge.get("/.gateway/logout", method="POST", body=b"x")).status for _ in range(14)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


async def test_long_user_agents_are_not_remembered(edge: Edge) -> None:
    assert (await edge.get("/public/a", fields=f"User-Agent: {'x' * 4000}\r\n")).status == 200
    assert edge.worker.evidence.seals.agents == {}
    assert len(edge.audit.records[-1]["http_request"]["user_agent"]) <= 256


async def test_long_targets_are_not_remembered(edge: Edge) -> None:
    await edge.get("/public/h?" + "a" * 4000)
    assert not any(len(raw) > 1000 for _, raw, _ in edge.worker.snapshot.resolver._memo)


async def test_one_waiter_that_fails_does_not_keep_the_others_of_its_frame(edge: Edge) -> None:
    def broken(claims: dict[str, object]) -> bytes:
        raise ValueError("no key")

    edge.change(sign=broken)
    edge.audit.acknowledges = False
    bad = asyncio.create_task(edge.get("/", method="POST", token="tok", body=b"x"))
    good = [asyncio.create_task(edge.get(f"/public/{n}", method="POST", body=b"x")) for n in range(3)]
    await until(lambda: edge.audit.records)
    await asyncio.sleep(0.2)
    edge.audit.acknowledge_all()
    assert [(await task).status for task in good] == [200, 200, 200]
    assert (await bad).status == 500
    assert edge.reports


@pytest.mark.parametrize("target", ["/admin/", "/admin.", "/admin%2e", "/admin::$DATA", "/admin/."])
async def test_a_slash_or_a_dot_more_is_the_same_place(edge: Edge, target: str) -> None:
    edge.sessions.entries[b"tok"] = Entry(session())
    reply = await edge.get(target, token="tok")
    assert reply.status in {400, 403}
    assert edge.portal.heads == []


async def test_a_form_that_never_comes_is_the_clients_time_out(edge: Edge) -> None:
    edge.change_wire(body_timeout_s=0.3)
    raw = b"POST /.gateway/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx="
    assert Reply(await edge.raw(raw)).status == 408
    assert edge.portal.heads == []
