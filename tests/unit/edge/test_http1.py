"""One client connection: framing on the wire, answers that wait for their record, clients that vanish."""

from __future__ import annotations

import asyncio

import pytest

from gateway.exchange.stream import STREAM_NUMBERS, Stream
from tests.fakes.portal import OK, Portal, read_body
from tests.unit.edge.conftest import PATIENCE_S, Edge, until

HOST = b"Host: 127.0.0.1\r\n"


async def test_a_request_reaches_the_portal_and_its_answer_the_client(edge: Edge) -> None:
    reply = await edge.get("/public/a?b=c")
    assert (reply.status, reply.body) == (200, b"ok")
    assert edge.portal.head.startswith(b"GET /public/a?b=c HTTP/1.1\r\nhost: 127.0.0.1\r\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            400,
        ),
        (b"POST /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nContent-Length: 30\r\n\r\nabc", 400),
        (b"POST /public/a HTTP/1.0\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /public/a HTTP/1.1\nHost: 127.0.0.1\n\n", 400),
        (b"GET /public/a HTTP/1.1\r\n\r\n", 400),
        (b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n", 400),
        (b"GET /public/a HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n", 505),
        (b"GET /public/a\r\n\r\n", 400),
        (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 501),
        (b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 501),
        (b"GET /public/a#/b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n", 421),
        (b"GET /public/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: a\r\n" * 60 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000000\r\n\r\n", 413),
    ],
)
async def test_what_is_ambiguous_or_too_much_is_refused_and_the_connection_ends(
    edge: Edge, raw: bytes, status: int
) -> None:
    answer = await edge.raw(raw)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer.count(b"HTTP/1.1 %d " % status) == 1
    assert edge.portal.heads == []
    assert edge.audit.records[-1]["status_code"] == str(status)


async def test_pipelined_requests_are_answered_in_order(edge: Edge) -> None:
    edge.portal.answers[b"/public/1"] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
    edge.portal.answers[b"/public/2"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
    answer = await edge.raw(
        b"GET /public/1 HTTP/1.1\r\n"
        + HOST
        + b"\r\nGET /public/2 HTTP/1.1\r\n"
        + HOST
        + b"\r\nGET /nope HTTP/1.1\r\n"
        + HOST
        + b"Connection: close\r\n\r\n"
    )
    assert answer.find(b"one") < answer.find(b"3\r\ntwo\r\n0\r\n\r\n") < answer.find(b"404 Not Found")


async def test_a_head_that_arrives_byte_by_byte_is_one_request(edge: Edge) -> None:
    reader, writer = await edge.connect()
    for byte in b"\r\nGET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_a_chunked_upload_is_reframed_without_its_extensions_and_trailers(edge: Edge) -> None:
    await edge.raw(
        b"POST /public/a HTTP/1.1\r\n"
        + HOST
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5;evil=1\r\nhello\r\n0\r\nX-Trailer: evil\r\n\r\n"
    )
    assert edge.portal.bodies == [b"hello"]
    assert b"evil" not in edge.portal.head


async def test_a_malformed_chunk_ends_both_connections(edge: Edge) -> None:
    answer = await edge.raw(
        b"POST /public/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert edge.portal.bodies == []


async def test_a_chunked_body_over_the_limit_is_cut_off(edge: Edge) -> None:
    edge.change_wire(max_body=100)
    answer = await edge.raw(
        b"POST /public/a HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + (b"32\r\n" + b"a" * 50 + b"\r\n") * 5
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert edge.portal.bodies == []


async def test_expect_is_answered_by_us_once_the_request_is_admitted(edge: Edge) -> None:
    reader, writer = await edge.connect()
    writer.write(
        b"POST /public/a HTTP/1.1\r\n"
        + HOST
        + b"Expect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hello")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    assert b"expect" not in edge.portal.head.lower()
    writer.close()


async def test_no_body_byte_of_a_refused_request_is_asked_for(edge: Edge) -> None:
    answer = await edge.raw(b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in answer


async def test_head_has_a_length_and_no_body(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"
    reply = await edge.get("/public/a", method="HEAD")
    assert reply.field("content-length") == [b"1234"]
    assert reply.body == b""


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_end_at_their_head(edge: Edge, status: int) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 %d X\r\nEtag: x\r\n\r\n" % status
    answer = await edge.raw(
        (b"GET /public/a HTTP/1.1\r\n" + HOST + b"\r\n") * 2
        + b"GET /nope HTTP/1.1\r\n"
        + HOST
        + b"Connection: close\r\n\r\n"
    )
    assert answer.count(b"HTTP/1.1 %d " % status) == 2
    assert b"404 Not Found" in answer


async def test_an_http_1_0_client_gets_a_body_without_chunks_and_a_close(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    answer = await edge.raw(b"GET /public/a HTTP/1.0\r\n" + HOST + b"\r\n")
    assert answer.endswith(b"\r\n\r\nabc")
    assert b"transfer-encoding" not in answer.lower()


async def test_a_body_that_ends_with_the_portals_connection_is_chunked_for_the_client(edge: Edge) -> None:
    async def until_close(
        portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await writer.drain()
        writer.close()

    edge.portal.answers[b"/public/a"] = until_close
    answer = await edge.raw(b"GET /public/a HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert answer.endswith(b"3\r\nabc\r\n0\r\n\r\n")


async def test_no_answer_is_released_before_its_record_is_acknowledged(edge: Edge) -> None:
    edge.audit.acknowledges = False
    reader, writer = await edge.connect()
    writer.write(b"GET /public/a HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read(1)
    assert edge.audit.records[-1]["unmapped"]["gw"]["phase"] == "single"
    edge.audit.acknowledge_all()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_an_unsafe_request_goes_upstream_only_after_its_intent_is_safe(edge: Edge) -> None:
    edge.audit.acknowledges = False
    reader, writer = await edge.connect()
    writer.write(b"POST /public/a HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read(1)
    assert edge.portal.heads == []
    assert [record["unmapped"]["gw"]["phase"] for record in edge.audit.records] == ["intent"]
    edge.audit.acknowledge_all()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    intent, single = edge.audit.records
    assert intent["metadata"]["correlation_uid"] == single["metadata"]["correlation_uid"]
    assert intent["metadata"]["uid"] != single["metadata"]["uid"]
    writer.close()


async def test_a_refused_record_turns_the_answer_into_503(edge: Edge) -> None:
    edge.audit.refuses = True
    reply = await edge.get("/public/a")
    assert reply.status == 503
    assert b"audit_unavailable" in reply.body
    assert reply.field("retry-after")


@pytest.mark.pure
async def test_a_flood_without_the_audit_daemon_is_refused_at_once_and_kept_only_while_there_is_room(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.edge.recorder.MAX_UNACKED_RECORDS", 5)
    await edge.audit.stop()
    await until(lambda: not edge.worker.recorder.available)
    for _ in range(12):
        reply = await edge.get("/public/a")
        assert reply.status == 503
        assert int(reply.field("retry-after")[0]) >= 1
    assert edge.worker.recorder.unacked == 5
    assert edge.portal.heads == []


@pytest.mark.pure
async def test_crowded_records_of_public_traffic_are_counted_and_their_requests_go_on(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`when_full: gap`: the daemon is there and slow. Whoever sees data, and whoever is refused, is never left out."""
    monkeypatch.setattr("gateway.edge.recorder.MAX_UNACKED_RECORDS", 1)
    recorder = edge.worker.recorder
    recorder.may_gap = frozenset({STREAM_NUMBERS[Stream.TRAFFIC]})
    edge.audit.acknowledges = False
    first = asyncio.create_task(edge.get("/public/a"))
    await until(lambda: edge.audit.payloads)
    for _ in range(3):
        assert (await edge.get("/public/b")).status == 200
    assert (await edge.get("/", token="tok")).status == 503
    assert (await edge.get("/")).status == 503
    assert recorder.left_out == 3
    assert len(edge.audit.payloads) == 1
    edge.audit.acknowledge_all()
    assert (await first).status == 200
    before = edge.audit.last[0]
    assert (await edge.get("/public/a")).status == 200
    assert edge.audit.last[0] == before + 4, (
        "the daemon sees by the numbers that three are missing, and says so in the log"
    )
    await edge.audit.stop()
    await until(lambda: not recorder.available)
    assert (await edge.get("/public/a")).status == 503, "no daemon, no answer: that is no want of room"


async def test_without_the_audit_daemon_nothing_reaches_the_portal(edge: Edge) -> None:
    await edge.audit.stop()
    await until(lambda: not edge.worker.recorder.available)
    reader, writer = await edge.connect()
    writer.write(b"GET /public/a HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    assert edge.portal.heads == []
    writer.close()


async def test_records_written_while_the_daemon_was_away_arrive_once(edge: Edge) -> None:
    edge.audit.acknowledges = False
    reader, writer = await edge.connect()
    writer.write(b"GET /public/a HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    await until(lambda: edge.audit.records)
    edge.audit.acknowledges = True
    edge.audit.hang_up()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    assert len(edge.audit.records) == 1
    writer.close()


async def test_a_large_answer_gets_an_opening_and_a_closing_record(edge: Edge) -> None:
    body = b"x" * 3_000_000
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    reply = await edge.get("/public/a")
    assert reply.body == body
    await until(lambda: len(edge.audit.records) == 2)
    opening, closing = edge.audit.records
    assert (opening["unmapped"]["gw"]["phase"], closing["unmapped"]["gw"]["phase"]) == ("opening", "closing")
    assert closing["http_response"]["length"] == len(body)


async def test_strict_holds_the_end_back_until_the_closing_record_is_safe(edge: Edge) -> None:
    async def slowly(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.1)
        edge.audit.acknowledges = False
        writer.write(b"def")

    edge.portal.answers[b"/strict"] = slowly
    reader, writer = await edge.connect()
    writer.write(b"GET /strict HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await reader.readuntil(b"def")
    assert edge.audit.records[-1]["unmapped"]["gw"]["phase"] == "closing"
    edge.audit.acknowledge_all()
    assert (await reader.read()).endswith(b"def")
    writer.close()


async def test_a_client_that_vanishes_in_an_upload_takes_the_portals_connection_with_it(edge: Edge) -> None:
    ended = asyncio.Event()

    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await read_body(head, reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            ended.set()

    edge.portal.answers[b"/public/a"] = wait
    _, writer = await edge.connect()
    writer.write(b"POST /public/a HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\nabc")
    await writer.drain()
    await until(lambda: edge.portal.heads)
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        await ended.wait()
    await until(lambda: edge.audit.records)
    last = edge.audit.records[-1]["unmapped"]["gw"]
    assert (last["outcome"], last["phase"]) == ("aborted_client", "single")


async def test_a_silent_client_is_told_408_and_a_silent_connection_is_closed(edge: Edge) -> None:
    edge.change_wire(head_timeout_s=0.3)
    assert (await edge.raw(b"GET /pub")).startswith(b"HTTP/1.1 408 ")
    assert await edge.raw(b"") == b""


async def test_a_portal_that_pauses_in_an_upload_is_not_the_clients_silence(edge: Edge) -> None:
    edge.change_wire(body_timeout_s=0.3, max_body=1 << 26)
    go_on = asyncio.Event()

    async def pausing(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await reader.readexactly(1 << 25)
        writer.write(OK)

    edge.portal.answers[b"/public/a"] = pausing
    asyncio.get_running_loop().call_later(1.2, go_on.set)
    reply = await edge.get("/public/a", method="POST", body=bytes(1 << 25))
    assert reply.status == 200, reply.raw


async def test_a_portal_that_never_takes_an_upload_is_what_timed_out(edge: Edge) -> None:
    edge.change_wire(body_timeout_s=0.3, max_body=1 << 26)
    edge.change_upstream(response_timeout_s=0.6)
    release = asyncio.Event()

    async def deaf(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()

    edge.portal.answers[b"/public/a"] = deaf
    reader, writer = await edge.connect()
    writer.write(b"POST /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 33554432\r\n\r\n" + bytes(1 << 24))
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 504 ")
    release.set()
    writer.close()


async def test_a_slow_body_is_cut_off(edge: Edge) -> None:
    edge.change_wire(body_timeout_s=0.4)
    answer = await edge.raw(b"POST /public/a HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_tunnel_is_opened_only_by_the_portals_101(edge: Edge) -> None:
    handshake = (
        b"GET /ws HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )

    async def echo(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"connection: Upgrade\r\nupgrade: websocket\r\n" in head
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x05hello"
        )
        while data := await reader.read(100):
            writer.write(data)

    edge.portal.answers[b"/ws"] = echo
    reader, writer = await edge.connect()
    writer.write(handshake)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert await reader.readexactly(7) == b"\x81\x05hello"
    writer.write(b"\x81\x84\0\0\0\0ping")
    assert await reader.readexactly(10) == b"\x81\x84\0\0\0\0ping", "frames pass as they are"
    writer.close()
    await until(lambda: edge.audit.records[-1]["unmapped"]["gw"]["phase"] == "closing")


async def test_bytes_after_a_declined_upgrade_are_not_a_request_cve_2026_2833(edge: Edge) -> None:
    handshake = (
        b"GET /ws HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = await edge.raw(handshake + b"GET /public/smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert len(edge.portal.heads) == 1


@pytest.mark.parametrize("accept", [b"", b"Sec-WebSocket-Accept: wrong\r\n"])
async def test_a_101_that_nobody_asked_for_or_that_proves_nothing_is_502(edge: Edge, accept: bytes) -> None:
    edge.portal.answers[b"/public/a"] = edge.portal.answers[b"/ws"] = (
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + accept + b"\r\n"
    )
    assert (await edge.get("/public/a")).status == 502
    handshake = (
        b"GET /ws HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert (await edge.raw(handshake)).startswith(b"HTTP/1.1 502 ")


async def test_a_slow_reader_of_a_large_download_does_not_grow_memory(edge: Edge) -> None:
    sent = 0

    async def flood(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
        for _ in range(1600):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    edge.portal.answers[b"/public/a"] = flood
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=4096)
    writer.write(b"GET /public/a HTTP/1.1\r\n" + HOST + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.5)
    assert sent < 40_000_000, "the portal must be held back by the client's pace"
    writer.transport.abort()


async def test_an_open_stream_ends_when_its_session_is_revoked(edge: Edge) -> None:
    async def events(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    edge.portal.answers[b"/"] = events
    reader, writer = await edge.connect()
    writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"Cookie: gw=tok\r\n\r\n")
    await reader.readuntil(b"data: 1\n\n")
    del edge.sessions.entries[b"tok"]
    async with asyncio.timeout(5):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1000)
    await until(lambda: edge.audit.records[-1]["status_detail"] == "session_revoked")
    writer.close()


async def test_listening_is_no_activity_but_sending_is(edge: Edge) -> None:
    async def events(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    edge.portal.answers[b"/"] = events
    reader, writer = await edge.connect()
    writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"Cookie: gw=tok\r\n\r\n")
    await reader.readuntil(b"data: 1\n\n")
    entry = edge.sessions.entries[b"tok"]
    entry.seen = 0.0
    checks = edge.sessions.lookups
    async with asyncio.timeout(10):
        while edge.sessions.lookups < checks + 2:
            await asyncio.sleep(0.1)
    assert entry.seen == 0.0, "an open stream alone does not keep its session from idling out"
    writer.close()
