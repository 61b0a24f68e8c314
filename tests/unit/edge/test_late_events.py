"""What arrives at the wrong moment: while a record is under way, after a reload, between two requests of one read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy
from dataclasses import replace

import pytest
from hyperframe.frame import HeadersFrame

from gateway.edge.http1 import Http1Connection
from gateway.exchange.route import Durability
from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Edge, Http2Edge

PROTOCOL_ERROR = 1


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def phases(edge: Edge) -> list[str]:
    return [record["unmapped"]["gw"]["phase"] for record in edge.audit.records]


async def test_the_word_for_an_intent_releases_no_answer_that_has_no_record_yet(http2: Http2Edge) -> None:
    edge = http2.edge
    client = await http2.client()
    edge.audit.acknowledges = False
    stream = client.request(client.get("/public/x", (b"content-length", b"3"), method=b"POST"), end=False)
    await soon(lambda: phases(edge) == ["intent"])
    client.data(stream, b"more than three")
    await client.pinged()
    edge.audit.acknowledge_all()
    edge.audit.acknowledges = False
    await client.reset_code(stream)
    answer = client.answers.get(stream)

    assert answer is None or not answer.status, "an answer before its record"


async def test_a_body_that_turns_out_wrong_makes_no_second_answer(http2: Http2Edge) -> None:
    edge = http2.edge
    edge.change(durability=Durability.STRICT)

    async def early(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await gate.wait()
        writer.write(b"2\r\nok\r\n0\r\n\r\n")
        await reader.read()

    gate = asyncio.Event()
    edge.portal.answers[b"/public/x"] = early
    client = await http2.client()
    stream = client.request(client.get("/public/x", (b"content-length", b"3")), end=False)
    await soon(lambda: stream in client.answers)
    edge.audit.acknowledges = False
    gate.set()
    await soon(lambda: "closing" in phases(edge))
    client.data(stream, b"more than three")
    await client.pinged()
    edge.audit.acknowledge_all()
    await soon(lambda: client.is_over(stream))
    answer = client.answers[stream]
    assert (answer.status, answer.body, answer.reset) == (200, b"okok", PROTOCOL_ERROR)
    assert sum(isinstance(frame, HeadersFrame) for frame in client.frames) == 1
    assert phases(edge) == ["opening", "closing"]


async def test_a_request_from_before_a_reload_leaves_nothing_to_those_after_it(edge: Edge) -> None:
    edge.audit.acknowledges = False
    before = asyncio.create_task(edge.get("/", method="POST", token="tok"))
    await soon(lambda: phases(edge) == ["intent"])
    snapshot = edge.worker.snapshot
    policy, portal = copy(snapshot.policy), snapshot.upstreams["portal"]
    policy.version = "the next"
    names = {**portal.field_names, "user": b"remote-user"}
    edge.change(policy=policy, version="v2", upstreams={"portal": replace(portal, field_names=names)})
    edge.audit.acknowledge_all()
    assert (await before).status == 200
    assert (edge.portal.field(b"x-gateway-user"), edge.portal.field(b"remote-user")) == ([b"alice"], [])
    assert (await edge.get("/", method="POST", token="tok")).status == 200
    assert (edge.portal.field(b"x-gateway-user"), edge.portal.field(b"remote-user")) == ([], [b"alice"])
    versions = [record["policy"]["version"] for record in edge.audit.records]
    assert versions == [snapshot.policy.version] * 2 + ["the next"] * 2


@pytest.mark.pure
async def test_a_pipelined_request_is_read_alone_though_more_arrives_before_its_turn(edge: Edge) -> None:
    def get(path: bytes, fields: bytes = b"") -> bytes:
        return b"GET /public/%b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n" % (path, fields)

    edge.audit.acknowledges = False
    reader, writer = await edge.connect()
    writer.write(get(b"a"))
    await soon(lambda: edge.audit.payloads)
    writer.write(get(b"b"))
    (connection,) = edge.worker._connections
    assert isinstance(connection, Http1Connection)
    await soon(lambda: connection._buffer)
    later = edge.worker.soon

    def more_first(call: Callable[[], None]) -> None:  # as when both sockets are readable in one turn of the loop
        edge.worker.soon = later  # type: ignore[method-assign]
        later(call)
        connection.data_received(get(b"c", b"Connection: close\r\n"))

    edge.worker.soon = more_first  # type: ignore[method-assign]
    edge.audit.acknowledge_all()
    async with asyncio.timeout(10):
        answers = await reader.read()
    writer.close()
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert [head.split()[1] for head in edge.portal.heads] == [b"/public/a", b"/public/b", b"/public/c"]


async def test_empty_lines_are_not_waited_for_without_end(edge: Edge) -> None:
    _, writer = await edge.connect()
    await soon(lambda: edge.worker._connections)
    (connection,) = edge.worker._connections
    assert isinstance(connection, Http1Connection)
    first = connection.deadline
    for piece in (b"\r", b"\n", b"\r", b"\n\r\n", b"\r"):
        connection.data_received(piece)
        assert connection.deadline == first
    connection.data_received(b"\nG")
    assert connection.deadline > first
    writer.close()
