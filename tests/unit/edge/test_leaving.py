"""How a worker ends: nobody who asked, or is about to, goes without an answer while there is time."""

from __future__ import annotations

import asyncio
import socket

from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Edge, Reply

REQUEST = b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def answer(reader: asyncio.StreamReader) -> Reply:
    """Read one answer with a length."""
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        reply = Reply(head)
        (length,) = reply.field("content-length")
        return Reply(head + await reader.readexactly(int(length)))


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Reply:
    writer.write(REQUEST)
    return await answer(reader)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        return await reader.read() == b""


async def held(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def reaches(portal: Portal) -> None:
    async with asyncio.timeout(10):
        while not portal.heads:
            await asyncio.sleep(0.01)


def connect_without_a_turn_of_the_loop(edge: Edge) -> socket.socket:
    """Connect and ask in the kernel alone: nobody accepts before the loop goes on."""
    sock = socket.create_connection(("127.0.0.1", edge.port))
    sock.sendall(REQUEST)
    sock.setblocking(False)
    return sock


async def test_connections_in_the_queue_of_the_kernel_are_served(edge: Edge) -> None:
    """To close a listening socket resets what waits in it."""
    waiting = [connect_without_a_turn_of_the_loop(edge) for _ in range(20)]
    drain = asyncio.create_task(edge.worker.drain(10.0))
    for sock in waiting:
        reader, writer = await asyncio.open_connection(sock=sock)
        reply = await answer(reader)
        assert (reply.status, reply.field("connection")) == (200, [b"close"])
        assert await is_closed(reader)
        writer.close()
    assert await drain == 0


async def test_nobody_is_accepted_any_more(edge: Edge) -> None:
    assert await edge.worker.drain(10.0) == 0
    assert not edge.worker._queues


async def test_a_connection_that_is_young_is_waited_for_and_an_idle_one_is_not(edge: Edge) -> None:
    idle, young = await edge.connect(), await edge.connect()
    assert (await ask(*idle)).field("connection") == []
    drain = asyncio.create_task(edge.worker.drain(10.0))
    assert await is_closed(idle[0])
    reply = await ask(*young)
    assert (reply.status, reply.field("connection")) == (200, [b"close"])
    assert await drain == 0
    for _, writer in (idle, young):
        writer.close()


async def test_an_idle_connection_gets_one_more_request_where_a_successor_serves(edge: Edge) -> None:
    reader, writer = await edge.connect()
    await ask(reader, writer)
    drain = asyncio.create_task(edge.worker.drain(10.0, keeps_idle=True))
    await asyncio.sleep(0)
    reply = await ask(reader, writer)
    assert (reply.status, reply.field("connection")) == (200, [b"close"])
    assert await is_closed(reader)
    assert await drain == 0
    writer.close()


async def test_an_idle_connection_is_closed_when_there_is_no_more_time(edge: Edge) -> None:
    reader, writer = await edge.connect()
    await ask(reader, writer)
    assert await edge.worker.drain(0.1, keeps_idle=True) == 0, "nobody was cut"
    assert await is_closed(reader)
    writer.close()


async def test_what_is_cut_is_counted(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = held
    reader, writer = await edge.connect()
    writer.write(REQUEST)
    await reaches(edge.portal)
    assert await edge.worker.drain(0.1) == 1
    assert await reader.read() == b""
    writer.close()


async def test_a_drain_can_be_hurried(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = held
    _, writer = await edge.connect()
    writer.write(REQUEST)
    await reaches(edge.portal)
    drain = asyncio.create_task(edge.worker.drain(3600.0, keeps_idle=True))
    await asyncio.sleep(0)
    edge.worker.hurry(0.05)
    async with asyncio.timeout(10):
        assert await drain == 1
    writer.close()


async def test_last_requests_are_answered_as_such_and_new_connections_are_taken(edge: Edge) -> None:
    """`shutdown.delay`: the gateway serves on, and every connection ends where its client knows it."""
    before = await edge.connect()
    await ask(*before)
    edge.worker.last_requests()
    after = await edge.connect()
    for reader, writer in (before, after):
        assert (await ask(reader, writer)).field("connection") == [b"close"]
        assert await is_closed(reader)
        writer.close()
