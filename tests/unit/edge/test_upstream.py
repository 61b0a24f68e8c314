"""The portal's side: down, slow, lying, hostile."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.portal import Answer, Portal
from tests.unit.edge.conftest import Edge, until

HOST = b"Host: 127.0.0.1\r\n"


def says(raw: bytes, *, then_close: bool = False) -> Answer:
    async def answer(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if then_close:
            writer.close()

    return answer


async def test_a_portal_that_is_down_is_502_and_up_again_it_serves(edge: Edge) -> None:
    server = edge.worker.snapshot.upstreams["portal"].servers[0]
    edge.change_upstream(servers=(replace(server, port=1),))
    reply = await edge.get("/public/a")
    assert reply.status == 502
    assert b"upstream_unreachable" in reply.body
    edge.change_upstream(servers=(server,))
    assert (await edge.get("/public/a")).status == 200


async def test_a_second_server_is_tried_when_the_first_cannot_be_reached(edge: Edge) -> None:
    server = edge.worker.snapshot.upstreams["portal"].servers[0]
    edge.change_upstream(servers=(replace(server, port=1), server))
    assert [(await edge.get("/public/a")).status for _ in range(3)] == [200, 200, 200]


async def test_a_portal_that_does_not_answer_in_time_is_504(edge: Edge) -> None:
    edge.change_upstream(response_timeout_s=0.3)

    async def never(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    edge.portal.answers[b"/public/a"] = never
    reply = await edge.get("/public/a")
    assert reply.status == 504
    assert edge.audit.records[-1]["unmapped"]["gw"]["outcome"] == "upstream_error"


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 40,
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 300 + b"\r\n",
    ],
)
async def test_an_answer_that_cannot_be_trusted_is_502(edge: Edge, raw: bytes) -> None:
    edge.portal.answers[b"/public/a"] = says(raw)
    reply = await edge.get("/public/a")
    assert reply.status == 502, reply.raw[:200]
    assert b"upstream_malformed" in reply.body


async def test_a_portal_that_promises_more_than_it_sends_breaks_the_answer_off(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", then_close=True)
    reader, writer = await edge.connect()
    writer.write(b"GET /public/a HTTP/1.1\r\n" + HOST + b"\r\n")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(10_000)
    writer.close()
    await until(lambda: edge.audit.records and edge.audit.records[-1]["unmapped"]["gw"]["outcome"] == "upstream_error")


async def test_bytes_after_a_complete_answer_poison_nobody(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = says(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    )
    assert (await edge.get("/public/a")).body == b"ok"
    assert (await edge.get("/public/b")).body == b"ok"
    assert edge.portal.connections == 2, "the poisoned connection must not be used again"


async def test_a_broken_chunk_in_a_stream_breaks_the_answer_off(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = says(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nXX\r\n"
    )
    answer = b""
    try:
        answer = await edge.raw(b"GET /public/a HTTP/1.1\r\n" + HOST + b"\r\n")
    except ConnectionError:
        pass
    assert not answer.endswith(b"0\r\n\r\n")


async def test_connections_to_the_portal_are_kept_and_used_again(edge: Edge) -> None:
    for _ in range(5):
        assert (await edge.get("/public/a")).status == 200
    assert edge.portal.connections == 1


async def test_an_idle_connection_the_portal_closed_is_replaced_without_a_word(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await edge.get("/public/a")

    async def hang_up(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if portal.connections == 1:
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain")

    edge.portal.answers[b"/public/b"] = hang_up
    assert (await edge.get("/public/b")).body == b"again"
    assert edge.portal.connections == 2


async def test_a_post_is_never_sent_twice(edge: Edge) -> None:
    await edge.get("/public/a")

    async def hang_up(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    edge.portal.answers[b"/public/b"] = hang_up
    assert (await edge.get("/public/b", method="POST", body=b"pay")).status == 502
    assert sum(head.startswith(b"POST") for head in edge.portal.heads) == 1


async def test_an_early_answer_ends_the_upload_and_the_connection(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
    reader, writer = await edge.connect()
    writer.write(b"POST /public/a HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\nabc")
    async with asyncio.timeout(8):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"no!")
    writer.close()


async def test_more_requests_than_connections_wait_their_turn(edge: Edge) -> None:
    edge.change_upstream(max_connections=2)
    replies = await asyncio.gather(*(edge.get(f"/public/{n}") for n in range(10)))
    assert [reply.status for reply in replies] == [200] * 10
    assert edge.portal.connections <= 2
