"""Slow and wasteful clients of one worker: what they send in crumbs, and what they do not take."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.unit.edge.conftest import Edge, Reply, until

GET = b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


async def in_pieces(edge: Edge, pieces: list[bytes]) -> Reply:
    """Send pieces that arrive apart; what follows a refusal may find nobody."""
    reader, writer = await edge.connect()
    writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        writer.write(piece)
        before = time.monotonic()
        while time.monotonic() - before < 0.005:  # let the worker, in the same loop, read what is there
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return Reply(answer)


@pytest.mark.parametrize("at", range(1, len(GET)))
async def test_a_head_in_two_pieces_is_one_request_wherever_it_is_cut(edge: Edge, at: int) -> None:
    assert (await in_pieces(edge, [GET[:at], GET[at:]])).status == 200


@pytest.mark.parametrize("at", range(14, 48, 3))
async def test_a_bare_line_feed_is_seen_wherever_the_head_is_cut(edge: Edge, at: int) -> None:
    head = b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\nX: y\r\n"
    assert (await in_pieces(edge, [head[:at], head[at:]])).status == 400
    assert edge.portal.heads == []


async def test_a_head_in_crumbs_costs_what_its_bytes_cost(edge: Edge) -> None:
    """Attack: each byte made the worker look through all of the head again, a second of work for a thousand bytes."""
    edge.change_wire(max_head=1 << 20)
    reader, writer = await edge.connect()
    writer.write(b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 1_000_000)
    await until(lambda: any(len(c._buffer) > 1_000_000 for c in edge.worker._connections))  # type: ignore[attr-defined]
    (connection,) = edge.worker._connections
    for _ in range(5000):  # with a look at everything this would outlast the test's time limit
        connection.data_received(b"y")  # type: ignore[attr-defined]
    writer.write(b"\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        assert Reply(await reader.read()).status == 200
    writer.close()


async def test_a_client_that_takes_a_byte_now_and_then_is_cut_off(edge: Edge) -> None:
    """Attack: slow reading. Progress is a buffer that empties, not a window that opens."""
    edge.change_wire(write_timeout_s=0.5)
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 16000000\r\n\r\n" + bytes(16_000_000)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", edge.port))
    await loop.sock_sendall(client, GET)
    await until(lambda: any(c._write_paused for c in edge.worker._connections))  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while edge.worker._connections:
            try:
                client.recv(1)
            except OSError:
                pass
            await asyncio.sleep(0.02)
    client.close()
    await until(lambda: edge.audit.records[-1]["unmapped"]["gw"]["phase"] == "closing")


async def test_ten_thousand_tiny_chunks_are_one_body(edge: Edge) -> None:
    head = b"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert Reply(await edge.raw(head + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n")).status == 200
    assert edge.portal.bodies[-1] == b"x" * 10_000


async def test_extensions_of_chunks_without_end_end_the_request(edge: Edge) -> None:
    head = b"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await edge.raw(head + b"1;a=" + b"b" * 500 + b"\r\nx\r\n" + (b"1;a=" + b"b" * 500 + b"\r\nx\r\n") * 40)
    assert Reply(answer).status == 400


@pytest.mark.parametrize(
    "fields", [b"X: y\r\n" * 200, b"X: " + b"y" * 20_000 + b"\r\n", b"X: y\r\n" * 5000], ids=["many", "long", "both"]
)
async def test_a_head_that_is_too_large_is_refused_before_it_is_read_whole(edge: Edge, fields: bytes) -> None:
    answer = await edge.raw(b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields + b"\r\n")
    assert Reply(answer).status == 431
    assert edge.portal.heads == []


async def test_a_hundred_requests_at_once_are_answered_one_after_the_other(edge: Edge) -> None:
    keep = GET.replace(b"Connection: close\r\n", b"")
    answer = await edge.raw(keep * 99 + GET)
    assert answer.count(b"HTTP/1.1 200 OK") == 100
    assert edge.portal.connections == 1
