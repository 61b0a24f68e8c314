"""Bodies that are slow to come: what one client may hold of an upstream with them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.edge.uploads import Uploads
from gateway.wire.forwarded import TrustedProxies
from tests.fakes.portal import OK, Portal, read_body
from tests.unit.edge.conftest import PATIENCE_S, Edge, Http2Edge, Reply, until

MOST = 2
LOOPBACK = TrustedProxies((ip_network("127.0.0.1/32"),))
REFUSED = b"HTTP/1.1 429 "


def head(length: int = 10, *, path: str = "/public/x", fields: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n{fields}\r\n".encode()


class Slow:
    """Clients whose bodies do not end by themselves."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self._writers: list[asyncio.StreamWriter] = []

    async def __call__(self, data: bytes = head(), *, source: str = "127.0.0.1") -> Any:
        """Send a head and half of a body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.edge.port, local_addr=(source, 0))
        self._writers.append(writer)
        writer.write(data + b"half ")
        return reader, writer

    async def fill(self, **options: Any) -> list[Any]:
        """Take all places of one client, and wait until the portal has each of its requests."""
        before = len(self.edge.portal.heads)
        opened = [await self(**options) for _ in range(MOST)]
        await until(lambda: len(self.edge.portal.heads) == before + MOST)
        return opened

    async def is_refused(self, data: bytes = head(), **options: Any) -> bool:
        reader, _ = await self(data, **options)
        async with asyncio.timeout(PATIENCE_S):
            line: bytes = await reader.readuntil(b"\r\n")
        return line.startswith(REFUSED)

    async def stop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def slow(edge: Edge) -> AsyncIterator[Slow]:
    edge.change_upstream(max_connections=MOST + 1, max_uploads_per_client=MOST)
    edge.change_wire(body_timeout_s=PATIENCE_S)
    made = Slow(edge)
    yield made
    await made.stop()
    await until(lambda: not len(edge.worker.uploads))


def hold(edge: Edge) -> asyncio.Event:
    """Let the portal answer under this path only when it is told to."""
    gate = asyncio.Event()

    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(head, reader)
        await gate.wait()
        writer.write(OK)

    edge.portal.answers[b"/public/x"] = wait
    return gate


def refusals(edge: Edge) -> dict[tuple[str, ...], float]:
    (sample,) = [s for s in edge.worker.metrics.dump() if s.name == "gateway_upstream_uploads_refused_total"]
    return dict(sample.values)


async def finished(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"more.")
    async with asyncio.timeout(PATIENCE_S):
        return await reader.readuntil(b"ok")


async def test_bodies_that_trickle_in_leave_connections_for_everybody_else(edge: Edge, slow: Slow) -> None:
    await slow.fill()
    for _ in range(20):
        assert await slow.is_refused()
    assert len(edge.portal.heads) == MOST
    assert (await edge.get("/public/a")).status == 200
    assert (await edge.get("/invoices/1", token="tok")).status == 200
    assert refusals(edge) == {("portal",): 20}


async def test_one_upload_too_many_is_told_so_recorded_and_not_announced(edge: Edge, slow: Slow) -> None:
    await slow.fill()
    before = len(edge.audit.records)
    reply = Reply(await edge.raw(head() + b"half "))
    assert reply.status == 429
    assert reply.field("retry-after") == [b"5"]
    assert b'"reason":"too_many_uploads"' in reply.body
    (record,) = edge.audit.records[before:]
    assert (record["status_code"], record["status_detail"]) == ("429", "too_many_uploads")


async def test_requests_that_came_whole_are_never_uploads(edge: Edge, slow: Slow) -> None:
    await slow.fill()
    replies = await asyncio.gather(
        *(edge.get("/public/a", method="POST", body=b"x" * 10_000) for _ in range(5)),
        *(edge.get("/", method="POST", body=b"a=b", token="tok") for _ in range(5)),
    )
    assert {reply.status for reply in replies} == {200}
    assert refusals(edge) == {}


async def test_a_chunk_that_looks_like_the_end_of_the_body_is_none(edge: Edge, slow: Slow) -> None:
    await slow.fill()
    chunked = b"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n0\r\n\r\n"
    assert await slow.is_refused(chunked)


async def test_uploads_within_the_share_pass_one_after_the_other(edge: Edge, slow: Slow) -> None:
    for _ in range(5):
        for reader, writer in await slow.fill():
            assert (await finished(reader, writer)).startswith(b"HTTP/1.1 200 OK")
    assert refusals(edge) == {}
    assert edge.portal.bodies == [b"half more."] * MOST * 5


async def test_the_place_is_free_once_the_body_is_there_however_long_the_answer_takes(edge: Edge, slow: Slow) -> None:
    gate = hold(edge)
    opened = await slow.fill()
    for _, writer in opened:
        writer.write(b"more.")
    await until(lambda: not len(edge.worker.uploads))
    reader, writer = await slow(head(path="/public/a"))
    assert (await finished(reader, writer)).startswith(b"HTTP/1.1 200 OK")
    gate.set()


async def test_two_addresses_do_not_share(edge: Edge, slow: Slow) -> None:
    edge.change_upstream(max_connections=2 * MOST)
    await slow.fill()
    await slow.fill(source="127.0.0.2")
    assert await slow.is_refused()
    assert await slow.is_refused(source="127.0.0.2")


async def test_behind_a_trusted_proxy_each_client_has_a_share_of_its_own(edge: Edge, slow: Slow) -> None:
    edge.change(trusted_proxies=LOOPBACK)
    edge.change_upstream(max_connections=2 * MOST)
    one, other = (head(fields=f"X-Forwarded-For: {name}\r\n") for name in ("192.0.2.1", "2001:db8::1"))
    neighbour = head(fields="X-Forwarded-For: 2001:db8::2\r\n")
    await slow.fill(data=one)
    await slow.fill(data=other)
    assert await slow.is_refused(one)
    assert await slow.is_refused(neighbour)


async def test_each_upstream_has_places_of_its_own(edge: Edge) -> None:
    uploads = Uploads()
    place = uploads.take("portal", "192.0.2.1", 1)
    assert uploads.take("portal", "192.0.2.1", 1) is None
    assert uploads.take("wiki", "192.0.2.1", 1) is not None
    assert place is not None
    uploads.give_back(place)
    assert len(uploads) == 1
    assert uploads.take("portal", "192.0.2.1", 1) is not None


# however it ends


async def gone(edge: Edge, opened: list[Any]) -> None:
    for _, writer in opened:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


async def half_closed(edge: Edge, opened: list[Any]) -> None:
    for _, writer in opened:
        writer.write_eof()


async def upstream_gone(edge: Edge, opened: list[Any]) -> None:
    await edge.portal.stop()


async def too_slow(edge: Edge, opened: list[Any]) -> None:
    for connection in edge.worker._connections:
        connection.deadline = 0.0  # type: ignore[attr-defined]


async def cut(edge: Edge, opened: list[Any]) -> None:
    for connection in list(edge.worker._connections):
        connection.cut()


async def reloaded(edge: Edge, opened: list[Any]) -> None:
    edge.change_upstream(max_uploads_per_client=1)
    assert len(edge.worker.uploads) == MOST
    for reader, writer in opened:
        assert (await finished(reader, writer)).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("end", [gone, half_closed, upstream_gone, too_slow, cut, reloaded])
async def test_a_place_is_given_back_however_an_upload_ends(edge: Edge, slow: Slow, end: Any) -> None:
    opened = await slow.fill()
    assert len(edge.worker.uploads) == MOST
    await end(edge, opened)
    await until(lambda: not len(edge.worker.uploads))


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"60\r\n" + b"x" * 96 + b"\r\n", 413),
        (b"60\r\n" + b"x" * 96 + b"\r\n0\r\n\r\n", 413),
        (b"this is no chunk\r\n", 400),
    ],
    ids=["longer than it may be", "longer than it may be, and whole", "malformed"],
)
async def test_a_body_that_is_refused_gives_its_place_back(edge: Edge, slow: Slow, rest: bytes, status: int) -> None:
    edge.change_wire(max_body=50)
    chunked = b"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
    reader, writer = await slow(chunked)
    await until(lambda: edge.portal.heads)
    assert len(edge.worker.uploads) == 1
    writer.write(b"\r\n" + rest)
    async with asyncio.timeout(PATIENCE_S):
        assert Reply(await reader.read()).status == status
    await until(lambda: not len(edge.worker.uploads))


async def test_an_early_answer_gives_the_place_back(edge: Edge, slow: Slow) -> None:
    async def early(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    edge.portal.answers[b"/public/x"] = early
    for _ in range(3 * MOST):
        reader, _ = await slow()
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    assert refusals(edge) == {}


async def test_a_record_that_fails_gives_the_place_back(edge: Edge, slow: Slow) -> None:
    edge.audit.acknowledges = False
    edge.change_wire(body_timeout_s=0.5)
    reader, _ = await slow()
    await until(lambda: len(edge.worker.uploads) == 1)
    async with asyncio.timeout(PATIENCE_S):
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    await until(lambda: not len(edge.worker.uploads))
    assert edge.portal.heads == []
    edge.audit.acknowledge_all()


async def test_a_portal_that_cannot_be_reached_keeps_no_place(edge: Edge, slow: Slow) -> None:
    await edge.portal.stop()
    for _ in range(2 * MOST):
        reader, _ = await slow()
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.read()).startswith(b"HTTP/1.1 502 ")
    assert refusals(edge) == {}


# HTTP/2


async def test_streams_of_one_connection_hold_no_more_than_a_share(http2: Http2Edge) -> None:
    edge = http2.edge
    edge.change_upstream(max_connections=MOST + 1, max_uploads_per_client=MOST)
    client = await http2.client()
    post = client.get("/public/x", method=b"POST")
    held = [client.request(post, end=False) for _ in range(MOST)]
    await until(lambda: len(edge.portal.heads) == MOST)
    for _ in range(10):
        refused = await client.answer(client.request(post, end=False))
        assert (refused.status, refused.field(b"retry-after")) == (429, [b"5"])
    assert (await client.ask("/public/a")).status == 200
    assert len(edge.worker.uploads) == MOST

    client.reset(held[0])
    await until(lambda: len(edge.worker.uploads) == MOST - 1)
    client.data(held[1], b"whole", end=True)
    assert (await client.answer(held[1])).status == 200
    assert not len(edge.worker.uploads)

    again = client.request(post, end=False)
    await until(lambda: len(edge.worker.uploads) == 1)
    client.data(again, b"whole", end=True)
    assert (await client.answer(again)).status == 200

    client.request(post, end=False)
    await until(lambda: len(edge.worker.uploads) == 1)
    await client.close()
    await until(lambda: not len(edge.worker.uploads))
