"""HTTP/2 with a client: requests and answers, their flow both ways, and how they end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, WindowUpdateFrame

from gateway.edge.http2 import CONNECTION_WINDOW
from gateway.edge.http2_stream import STREAM_WINDOW
from gateway.edge.worker import Listener
from gateway.wire.forwarded import TrustedProxies
from tests.fakes.http2_client import Answer, Http2Client, raw_frame
from tests.fakes.portal import OK, Portal, read_body
from tests.unit.edge.conftest import HTTP2_ADDRESS, Edge, Http2Edge, Reply, http2_rules

NO_ERROR, INTERNAL_ERROR, CANCEL = 0, 2, 8


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def phases(http2: Http2Edge) -> list[str]:
    return [record["unmapped"]["gw"]["phase"] for record in http2.edge.audit.records]


def sized(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


async def test_a_request_reaches_the_portal_and_its_answer_the_client(http2: Http2Edge) -> None:
    client = await http2.client()
    answer = await client.ask("/public/a?b=c", (b"accept", b"text/plain"))
    assert client.protocol == "h2"
    assert (answer.status, answer.body, answer.ended) == (200, b"ok", True)
    head = http2.edge.portal.head
    assert head.startswith(b"GET /public/a?b=c HTTP/1.1\r\nhost: portal.test\r\naccept: text/plain\r\n")
    assert b"\r\nvia: 2 gateway\r\n" in head
    assert b"\r\nx-forwarded-proto: https\r\n" in head


async def test_the_record_says_which_version_it_was(http2: Http2Edge) -> None:
    client = await http2.client()
    await client.ask()
    (record,) = http2.edge.audit.records
    assert record["http_request"]["version"] == "2"
    assert http2.count("gateway_http2_requests_total") == {(): 1}


async def test_an_answer_is_hardened_and_has_no_field_of_the_connection(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Set-Cookie: sid=1\r\nServer: secret\r\nX-Kept: yes\r\n\r\nok"
    )
    client = await http2.client()
    for _ in range(3):
        answer = await client.ask()
        names = [name for name, _ in answer.headers]
        assert answer.field(b"x-kept") == [b"yes"]
        assert answer.field(b"strict-transport-security") == [b"max-age=63072000"]
        assert answer.field(b"set-cookie") == [b"sid=1; Secure; SameSite=Lax"]
        assert answer.field(b"content-length") == [b"2"]
        assert not {b"connection", b"keep-alive", b"x-hop", b"server", b"transfer-encoding"} & set(names)
        assert names == [name.lower() for name in names]
        assert names[0] == b":status"


async def test_many_requests_run_at_once_on_one_connection(http2: Http2Edge) -> None:
    gate = asyncio.Event()

    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(OK)

    http2.edge.portal.answers[b"/public/slow"] = wait
    client = await http2.client()
    slow = [client.request(client.get("/public/slow")) for _ in range(10)]
    assert (await client.ask("/public/quick")).status == 200
    assert not any(client.is_over(stream_id) for stream_id in slow)
    assert http2.count("gateway_http2_streams") == {(): 10}
    gate.set()
    assert [(await client.answer(stream_id)).status for stream_id in slow] == [200] * 10
    assert http2.count("gateway_http2_streams") == {(): 0}
    assert http2.edge.worker.metrics.connections.values[()] == 1


async def test_a_session_cookie_in_crumbs_is_one_cookie(http2: Http2Edge) -> None:
    client = await http2.client()
    refused = await client.ask("/invoices/1")
    assert refused.status == 401
    answer = await client.ask(
        "/invoices/1", (b"cookie", b"a=1"), (b"cookie", b"__Host-gw=secure"), (b"cookie", b"b=2; c=3")
    )
    assert answer.status == 200
    assert http2.edge.portal.field(b"cookie") == [b"a=1; b=2; c=3"]
    assert http2.edge.portal.field(b"x-gateway-user") == [b"alice"]


async def test_a_person_is_sent_to_sign_in(http2: Http2Edge) -> None:
    client = await http2.client()
    answer = await client.ask("/invoices/1", (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document"))
    assert answer.status == 302
    assert answer.field(b"location")[0].startswith(b"/.gateway/login?")


async def test_a_host_of_somebody_else_is_421(http2: Http2Edge) -> None:
    client = await http2.client()
    client.authority = b"other.example"
    assert (await client.ask()).status == 421
    client.authority = b"portal.test"
    assert (await client.ask()).status == 200


async def test_head_has_a_length_and_no_body(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    client = await http2.client()
    answer = await client.ask(method=b"HEAD")
    assert (answer.status, answer.body, answer.ended) == (200, b"", True)
    assert answer.field(b"content-length") == [b"500"]


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_end_at_their_head(http2: Http2Edge, status: int) -> None:
    http2.edge.portal.answers[b"/public/x"] = b'HTTP/1.1 %d X\r\nETag: "1"\r\n\r\n' % status
    client = await http2.client()
    answer = await client.ask()
    assert (answer.status, answer.ended) == (status, True)
    assert not [frame for frame in client.frames if isinstance(frame, DataFrame)]


async def test_a_body_in_chunks_or_until_the_end_becomes_data(http2: Http2Edge) -> None:
    async def until_close(
        portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await writer.drain()
        writer.write(b"def")
        writer.close()

    http2.edge.portal.answers[b"/public/1"] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX-T: 1\r\n\r\n"
    )
    http2.edge.portal.answers[b"/public/2"] = until_close
    client = await http2.client()
    for path in ("/public/1", "/public/2"):
        answer = await client.ask(path)
        assert (answer.body, answer.ended) == (b"abcdef", True)
        assert not answer.field(b"transfer-encoding")


# bodies of requests


async def test_an_upload_with_a_length_goes_upstream_with_it(http2: Http2Edge) -> None:
    client = await http2.client()
    stream_id = client.request(client.get("/public/x", (b"content-length", b"6"), method=b"POST"), end=False)
    client.data(stream_id, b"abc")
    client.data(stream_id, b"def", end=True)
    assert (await client.answer(stream_id)).status == 200
    assert http2.edge.portal.bodies == [b"abcdef"]
    assert http2.edge.portal.field(b"content-length") == [b"6"]
    assert not http2.edge.portal.field(b"transfer-encoding")


async def test_an_upload_without_a_length_goes_upstream_in_chunks_and_its_trailers_do_not(http2: Http2Edge) -> None:
    client = await http2.client()
    stream_id = client.request(client.get("/public/x", method=b"POST"), end=False)
    client.data(stream_id, b"abc")
    client.data(stream_id, b"def")
    client.send(client.block([(b"x-trailer", b"1"), (b"x-gateway-user", b"root")], stream_id))
    assert (await client.answer(stream_id)).status == 200
    assert http2.edge.portal.bodies == [b"abcdef"]
    assert http2.edge.portal.field(b"transfer-encoding") == [b"chunked"]
    assert b"trailer" not in http2.edge.portal.head


async def test_a_get_that_ends_with_an_empty_frame_is_answered(http2: Http2Edge) -> None:
    client = await http2.client()
    stream_id = client.request(client.get(), end=False)
    client.data(stream_id, b"", end=True)
    answer = await client.answer(stream_id)
    assert (answer.status, answer.reset) == (200, None)


async def test_padding_is_neither_body_nor_lost_room(http2: Http2Edge) -> None:
    http2.edge.change_wire(max_body=100 << 20)
    client = await http2.client()
    stream_id = client.request(client.get("/public/x", method=b"POST"), end=False)
    sent = 0
    while sent < 2 * CONNECTION_WINDOW:
        await client.until(lambda sent=sent: client.room(stream_id) + STREAM_WINDOW - sent >= 1256)  # type: ignore[misc]
        client.send(raw_frame(0, 0x8, stream_id, bytes((255,)) + b"a" * 1000 + bytes(255)))
        sent += 1256
    client.data(stream_id, b"", end=True)
    assert (await client.answer(stream_id)).status == 200
    assert http2.edge.portal.bodies == [b"a" * (sent // 1256 * 1000)]


async def test_expect_is_answered_by_us_once_the_request_is_admitted(http2: Http2Edge) -> None:
    client = await http2.client()
    headers = client.get("/public/x", (b"expect", b"100-continue"), (b"content-length", b"3"), method=b"POST")
    stream_id = client.request(headers, end=False)
    await client.until(lambda: stream_id in client.answers)
    assert dict(client.answers[stream_id].interim[0]) == {b":status": b"100"}
    client.data(stream_id, b"abc", end=True)
    answer = await client.answer(stream_id)
    assert (answer.status, len(answer.interim)) == (200, 1)
    assert not http2.edge.portal.field(b"expect")


async def test_no_body_byte_of_a_refused_request_is_asked_for(http2: Http2Edge) -> None:
    client = await http2.client()
    headers = client.get("/invoices/1", (b"expect", b"100-continue"), (b"content-length", b"3"), method=b"POST")
    stream_id = client.request(headers, end=False)
    answer = await client.answer(stream_id)
    await client.until(lambda: answer.reset is not None)
    assert (answer.status, answer.interim, answer.reset) == (405, [], NO_ERROR)


async def test_an_answer_that_comes_early_ends_the_upload_without_an_error(http2: Http2Edge) -> None:
    """RFC 9113 §8.1: complete answer, then RST_STREAM with NO_ERROR; what is still on its way is dropped."""

    async def early(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    http2.edge.portal.answers[b"/public/x"] = early
    client = await http2.client()
    stream_id = client.request(client.get("/public/x", method=b"POST"), end=False)
    answer = await client.answer(stream_id)
    await client.until(lambda: answer.reset is not None)
    assert (answer.status, answer.body, answer.ended, answer.reset) == (200, b"ok", True, NO_ERROR)
    client.data(stream_id, b"late", end=True)
    assert (await client.ask()).status == 200
    assert not client.closed


async def test_a_body_over_the_limit_is_413(http2: Http2Edge) -> None:
    http2.edge.change_wire(max_body=100_000)
    client = await http2.client()
    stream_id = client.request(client.get("/public/x", method=b"POST"), end=False)
    for _ in range(10):
        client.data(stream_id, b"a" * 16_000)
    answer = await client.answer(stream_id)
    assert (answer.status, answer.ended) == (413, True)


async def test_a_client_gets_room_only_as_the_portal_takes_the_body(http2: Http2Edge) -> None:
    gate = asyncio.Event()

    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        portal.bodies.append(await read_body(head, reader))
        writer.write(OK)

    http2.edge.portal.answers[b"/public/x"] = wait
    http2.edge.change_wire(max_body=100 << 20)
    client = await http2.client()
    total = 30 << 20
    stream_id = client.request(client.get("/public/x", (b"content-length", b"%d" % total), method=b"POST"), end=False)
    sent, room, seen = 0, STREAM_WINDOW, 0
    stalled = 0
    while sent < total:
        news = client.frames[seen:]
        seen += len(news)
        room += sum(f.window_increment for f in news if isinstance(f, WindowUpdateFrame) and f.stream_id == stream_id)
        if room < 16_000:
            stalled += 1
            if stalled > 30 and not gate.is_set():
                assert sent < 24 << 20, "the portal must hold the client back"
                gate.set()
            await client.pinged()
            await asyncio.sleep(0.01)
            continue
        size = min(16_000, total - sent)
        client.data(stream_id, b"a" * size, end=sent + size == total)
        sent, room = sent + size, room - size
        if sent % 160_000 == 0:
            await client.pinged()
    assert (await client.answer(stream_id)).status == 200
    assert gate.is_set()
    assert http2.edge.portal.bodies == [b"a" * total]


async def test_a_client_that_is_slow_with_its_body_is_told_408(http2: Http2Edge) -> None:
    http2.edge.change_wire(body_timeout_s=0.3)
    client = await http2.client()
    stream_id = client.request(client.get("/public/x", method=b"POST"), end=False)
    client.data(stream_id, b"a")
    assert (await client.answer(stream_id)).status == 408
    assert (await client.ask()).status == 200


# the flow of answers


async def test_an_answer_waits_for_the_windows_of_the_client(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = sized(200_000)
    client = await http2.client(windows=False)
    stream_id = client.request(client.get())

    def answer() -> Answer:
        return client.answers[stream_id]

    await client.until(lambda: stream_id in client.answers and len(answer().body) == 65_535)
    await client.pinged()
    assert len(answer().body) == 65_535
    client.give(stream_id, 500_000)
    await client.pinged()
    assert len(answer().body) == 65_535, "the window of the connection is shut"
    client.give(0, 34_465)
    await client.until(lambda: len(answer().body) == 100_000)
    client.give(0, 1_000_000)
    assert len((await client.answer(stream_id)).body) == 200_000


async def test_the_windows_of_two_streams_are_their_own(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = sized(100_000)
    client = await http2.client(windows=False)
    client.give(0, 1_000_000)
    first, second = client.request(client.get()), client.request(client.get())
    client.give(second, 100_000)
    assert len((await client.answer(second)).body) == 100_000
    assert len(client.answers[first].body) == 65_535
    client.give(first, 100_000)
    assert len((await client.answer(first)).body) == 100_000


async def test_a_smaller_initial_window_may_make_a_window_negative(http2: Http2Edge) -> None:
    """RFC 9113 §6.9.2."""
    http2.edge.portal.answers[b"/public/x"] = sized(100_000)
    client = await http2.client(windows=False)
    client.give(0, 1_000_000)
    stream_id = client.request(client.get())
    await client.until(lambda: stream_id in client.answers and len(client.answers[stream_id].body) == 65_535)
    client.send(raw_frame(4, 0, 0, b"\0\4" + (1000).to_bytes(4, "big")))
    client.give(stream_id, 64_535)
    await client.pinged()
    assert len(client.answers[stream_id].body) == 65_535
    client.give(stream_id, 1)
    await client.until(lambda: len(client.answers[stream_id].body) == 65_536)
    client.send(raw_frame(4, 0, 0, b"\0\4" + (100_000).to_bytes(4, "big")))
    assert len((await client.answer(stream_id)).body) == 100_000


async def test_streams_take_turns(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = sized(64_000)
    client = await http2.client(windows=False)
    gate = asyncio.Event()
    streams = [client.request(client.get()) for _ in range(3)]
    await client.until(lambda: all(one in client.answers for one in streams))
    await client.until(lambda: sum(len(client.answers[one].body) for one in streams) == 65_535)
    before = len(client.frames)
    client.give(0, 1_000_000)
    for one in streams:
        await client.answer(one)
    order = [frame.stream_id for frame in client.frames[before:] if isinstance(frame, DataFrame) and frame.data]
    assert len(set(order[:3])) == 3, order
    gate.set()


async def test_a_slow_reader_of_a_large_download_holds_the_portal_back(http2: Http2Edge) -> None:
    sent = 0

    async def flood(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
        for _ in range(1600):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    http2.edge.portal.answers[b"/public/x"] = flood
    client = await http2.client(windows=False)
    stream_id = client.request(client.get())
    await client.until(lambda: stream_id in client.answers and len(client.answers[stream_id].body) == 65_535)
    for _ in range(20):
        await client.pinged()
        await asyncio.sleep(0.01)
    assert sent < 20_000_000
    client.give(stream_id, 1_000_000)
    client.give(0, 1_000_000)
    await client.until(lambda: len(client.answers[stream_id].body) == 1_065_535)
    client.stop_reading()
    before = sent
    client.give(stream_id, 90_000_000)
    client.give(0, 90_000_000)
    await asyncio.sleep(0.3)
    assert sent < before + 30_000_000, "a client that does not read at all holds it back too"


async def test_a_window_that_stays_shut_ends_the_stream(http2: Http2Edge) -> None:
    http2.edge.change_wire(write_timeout_s=0.3)
    http2.edge.portal.answers[b"/public/x"] = sized(2_000_000)
    client = await http2.client(windows=False)
    stream_id = client.request(client.get())
    answer = await client.answer(stream_id)
    assert answer.reset in (CANCEL, INTERNAL_ERROR)
    await soon(lambda: http2.edge.audit.records[-1]["unmapped"]["gw"]["phase"] == "closing")
    assert http2.edge.audit.records[-1]["unmapped"]["gw"]["outcome"] == "aborted_client"
    client.give(0, 1_000_000)
    assert (await client.ask("/public/y")).status == 200


async def test_a_tail_that_nobody_takes_ends_the_stream(http2: Http2Edge) -> None:
    http2.edge.change_wire(write_timeout_s=0.3)
    http2.edge.portal.answers[b"/public/x"] = sized(66_000)
    client = await http2.client(windows=False)
    answer = await client.answer(client.request(client.get()))
    assert (len(answer.body), answer.reset) == (65_535, CANCEL)
    assert http2.count("gateway_http2_resets_total") == {("gateway",): 1}


# records


async def test_no_answer_is_released_before_its_record_is_acknowledged(http2: Http2Edge) -> None:
    http2.edge.audit.acknowledges = False
    client = await http2.client()
    stream_id = client.request(client.get())
    await soon(lambda: phases(http2) == ["single"])
    for _ in range(5):
        await client.pinged()
    assert stream_id not in client.answers
    http2.edge.audit.acknowledge_all()
    assert (await client.answer(stream_id)).status == 200


async def test_an_unsafe_request_goes_upstream_only_after_its_intent_is_safe(http2: Http2Edge) -> None:
    http2.edge.audit.acknowledges = False
    client = await http2.client()
    stream_id = client.request(client.get(method=b"POST"), end=False)
    client.data(stream_id, b"hi", end=True)
    await soon(lambda: phases(http2) == ["intent"])
    await client.pinged()
    assert http2.edge.portal.heads == []
    http2.edge.audit.acknowledge_all()
    assert (await client.answer(stream_id)).status == 200
    assert http2.edge.portal.bodies == [b"hi"]


async def test_strict_holds_the_end_back_until_the_closing_record_is_safe(http2: Http2Edge) -> None:
    gate = asyncio.Event()

    async def slowly(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await gate.wait()
        http2.edge.audit.acknowledges = False
        writer.write(b"def")

    http2.edge.portal.answers[b"/strict"] = slowly
    client = await http2.client()
    stream_id = client.request(client.get("/strict"))
    await client.until(lambda: stream_id in client.answers)
    gate.set()
    await soon(lambda: phases(http2)[-1] == "closing")
    await client.pinged()
    answer = client.answers[stream_id]
    assert (answer.body, answer.ended) == (b"abc", False)
    http2.edge.audit.acknowledge_all()
    await client.answer(stream_id)
    assert (answer.body, answer.ended) == (b"abcdef", True)


async def test_a_refused_record_turns_the_answer_into_503(http2: Http2Edge) -> None:
    http2.edge.audit.refuses = True
    client = await http2.client()
    answer = await client.ask()
    assert answer.status == 503
    assert b"audit_unavailable" in answer.body
    assert int(answer.field(b"retry-after")[0]) >= 1


async def test_a_large_answer_gets_an_opening_and_a_closing_record(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = sized(3_000_000)
    client = await http2.client()
    answer = await client.ask()
    assert len(answer.body) == 3_000_000
    await soon(lambda: phases(http2) == ["opening", "closing"])
    assert http2.edge.audit.records[-1]["http_response"]["length"] == 3_000_000


# ends


async def test_a_client_that_cancels_ends_the_portals_work_and_is_recorded(http2: Http2Edge) -> None:
    ended = asyncio.Event()

    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(1)
        except (asyncio.IncompleteReadError, ConnectionError):
            ended.set()

    http2.edge.portal.answers[b"/public/x"] = wait
    client = await http2.client()
    stream_id = client.request(client.get())
    await soon(lambda: http2.edge.portal.heads)
    client.reset(stream_id)
    async with asyncio.timeout(5):
        await ended.wait()
    await soon(lambda: http2.edge.audit.records)
    assert http2.edge.audit.records[-1]["unmapped"]["gw"]["outcome"] == "aborted_client"
    assert (await client.ask("/public/y")).status == 200
    assert http2.count("gateway_http2_resets_total") == {("client",): 1}


async def test_a_client_that_is_gone_ends_all_its_streams(http2: Http2Edge) -> None:
    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    http2.edge.portal.answers[b"/public/x"] = wait
    client = await http2.client()
    for _ in range(5):
        client.request(client.get())
    await soon(lambda: len(http2.edge.portal.heads) == 5)
    await client.close()
    await soon(lambda: len(http2.edge.audit.records) == 5)
    assert {record["unmapped"]["gw"]["outcome"] for record in http2.edge.audit.records} == {"aborted_client"}
    assert http2.count("gateway_client_connections") == {(): 0}
    assert http2.count("gateway_http2_connections") == {(): 0}
    assert http2.count("gateway_http2_streams") == {(): 0}


async def test_an_answer_that_breaks_off_is_not_taken_for_the_whole(http2: Http2Edge) -> None:
    async def breaks(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"a" * 500_000)
        await writer.drain()
        writer.close()

    http2.edge.portal.answers[b"/public/x"] = breaks
    client = await http2.client()
    answer = await client.ask()
    assert (answer.status, answer.ended, answer.reset) == (200, False, INTERNAL_ERROR)
    assert (await client.ask("/public/y")).status == 200


async def test_a_portal_that_is_away_is_502(http2: Http2Edge) -> None:
    await http2.edge.portal.stop()
    client = await http2.client()
    answer = await client.ask()
    assert answer.status in (502, 503)
    assert answer.ended


async def test_an_open_stream_ends_when_its_session_is_revoked(http2: Http2Edge) -> None:
    async def events(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    http2.edge.portal.answers[b"/"] = events
    client = await http2.client()
    stream_id = client.request(client.get("/", (b"cookie", b"__Host-gw=secure")))
    await client.until(lambda: stream_id in client.answers and client.answers[stream_id].body)
    del http2.edge.sessions.entries[b"secure"]
    answer = await client.answer(stream_id)
    assert answer.reset == INTERNAL_ERROR
    assert (await client.ask()).status == 200
    assert "session_revoked" in [record["status_detail"] for record in http2.edge.audit.records]


async def test_a_reload_disturbs_no_stream(http2: Http2Edge) -> None:
    gate = asyncio.Event()

    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await gate.wait()
        writer.write(b"def")

    http2.edge.portal.answers[b"/public/x"] = wait
    client = await http2.client()
    stream_id = client.request(client.get())
    await client.until(lambda: stream_id in client.answers)
    http2.edge.change(version="v2")
    assert (await client.ask("/public/y")).status == 200
    gate.set()
    assert (await client.answer(stream_id)).body == b"abcdef"
    assert not [frame for frame in client.frames if isinstance(frame, GoAwayFrame)]


def ends_said(client: Http2Client) -> list[int]:
    return [frame.last_stream_id for frame in client.frames if isinstance(frame, GoAwayFrame)]


async def test_draining_says_goodbye_twice_and_finishes_what_was_begun(http2: Http2Edge) -> None:
    """RFC 9113 §6.8: first that no more will be taken, then, when the client must know, from which stream on."""
    gate = asyncio.Event()

    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(OK)

    http2.edge.portal.answers[b"/public/slow"] = wait
    client = await http2.client()
    slow = client.request(client.get("/public/slow"))
    await soon(lambda: http2.edge.portal.heads)
    (connection,) = http2.edge.worker._connections
    connection.drain()
    on_its_way = client.request(client.get())
    assert (await client.answer(on_its_way)).status == 200, "the client could not know yet"
    assert ends_said(client) == [2**31 - 1]
    farewell = next(frame for frame in client.frames if isinstance(frame, PingFrame) and "ACK" not in frame.flags)
    client.send(raw_frame(6, 1, 0, farewell.opaque_data))
    await client.pinged()
    connection.drain()
    await client.until(lambda: len(ends_said(client)) == 2)
    assert ends_said(client)[1] == on_its_way
    late = client.request(client.get())
    await client.pinged()
    assert late not in client.answers
    gate.set()
    assert (await client.answer(slow)).status == 200
    assert await client.goaway() == NO_ERROR
    assert len(http2.edge.portal.heads) == 2


async def test_draining_does_not_wait_for_a_client_that_answers_no_ping(http2: Http2Edge) -> None:
    client = await http2.client()
    await client.ask()
    await http2.edge.worker.drain(5.0)
    assert await client.goaway() == NO_ERROR
    assert ends_said(client) == [2**31 - 1, 1]


async def test_an_idle_connection_is_closed_with_goodbye(http2: Http2Edge) -> None:
    http2.edge.change_wire(idle_timeout_s=0.2)
    client = await http2.client()
    assert (await client.ask()).status == 200
    assert await client.goaway() == NO_ERROR


async def test_a_client_that_says_nothing_is_closed(http2: Http2Edge) -> None:
    http2.edge.change_wire(head_timeout_s=0.3)
    client = await http2.client(greet=False)
    assert await client.goaway() == NO_ERROR


async def test_a_client_that_leaves_gets_what_it_asked_for(http2: Http2Edge) -> None:
    client = await http2.client()
    stream_id = client.request(client.get())
    client.send(raw_frame(7, 0, 0, bytes(8)))
    assert (await client.answer(stream_id)).body == b"ok"
    assert await client.goaway() == NO_ERROR


# which version


async def test_a_client_that_offers_no_protocol_speaks_http_1(http2: Http2Edge) -> None:
    for offered in ([], ["http/1.1"], ["spdy/3"]):
        context = http2.context()
        if offered:
            context.set_alpn_protocols(offered)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", http2.port, ssl=context, server_hostname="portal.test"
        )
        writer.write(b"GET /public/x HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\n\r\n")
        reply = Reply(await reader.read())
        assert (reply.status, reply.body) == (200, b"ok")
        assert http2.edge.audit.records[-1]["http_request"]["version"] == "1.1"
        writer.close()


async def test_a_websocket_is_opened_by_http_1_as_browsers_do(http2: Http2Edge) -> None:
    """No extended CONNECT (RFC 8441) is offered, so a browser asks for http/1.1 in a handshake of its own."""
    client = await http2.client()
    await client.ask()
    assert not any(8 in frame.settings for frame in client.frames if hasattr(frame, "settings"))
    context = http2.context()
    context.set_alpn_protocols(["http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", http2.port, ssl=context, server_hostname="portal.test")
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: portal.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nConnection: close\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await soon(lambda: len(http2.edge.portal.heads) == 2)
    assert b"upgrade: websocket\r\n" in http2.edge.portal.head
    writer.transport.abort()


async def test_http_2_is_not_spoken_without_tls(edge: Edge) -> None:
    answer = await edge.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + raw_frame(4, 0, 0))
    assert answer.startswith(b"HTTP/1.1 505 ")


async def test_http_1_where_http_2_was_agreed_on_ends_the_connection(http2: Http2Edge) -> None:
    client = await http2.client(greet=False)
    client.send(b"GET / HTTP/1.1\r\nHost: portal.test\r\n\r\n")
    assert await client.goaway() == 1
    assert http2.edge.portal.heads == []


async def test_a_listener_may_speak_http_1_alone(http2: Http2Edge) -> None:
    http2.edge.change(tls={HTTP2_ADDRESS: http2_rules(http2._ca, ", http2: false")})
    context = http2.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", http2.port, ssl=context, server_hostname="portal.test")
    session: ssl.SSLObject = writer.get_extra_info("ssl_object")
    assert session.selected_alpn_protocol() == "http/1.1"
    writer.close()


async def test_behind_a_proxy_the_client_is_whom_its_header_names(http2: Http2Edge) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1)
    listening.setblocking(False)
    http2.edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)))
    listener = Listener(listening.fileno(), redirects=False, tls=True, address=HTTP2_ADDRESS, proxied=True)
    await http2.edge.worker.listen(listener, 5.0)
    http2.port = listening.getsockname()[1]
    client = await http2.client(before=b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 443\r\n")
    assert (await client.ask()).status == 200
    assert http2.edge.portal.field(b"x-forwarded-for") == [b"192.0.2.7"]
    assert http2.edge.audit.records[-1]["src_endpoint"]["ip"] == "192.0.2.7"
    listening.close()


async def test_frames_may_come_in_any_pieces(http2: Http2Edge) -> None:
    client = await http2.client(greet=False)
    everything = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + raw_frame(4, 0, 0) + client.block(client.get(), 1)
    for at in range(len(everything)):
        client.send(everything[at : at + 1])
        await asyncio.sleep(0)
    assert (await client.answer(1)).status == 200


async def test_the_same_request_again_means_the_same_until_the_table_changes(http2: Http2Edge) -> None:
    """A block is remembered while the dynamic table stands: what an index means changes with the table."""
    client = await http2.client()
    for _ in range(3):
        await client.ask("/public/x", (b"x-mark", b"one"))
    client.encoder.header_table_size = 0  # forget: literals from now on
    await client.ask("/public/x", (b"x-mark", b"two"))
    assert http2.edge.portal.field(b"x-mark") == [b"two"]
    client.encoder.header_table_size = 4096
    for mark in (b"three", b"four", b"three", b"four"):
        await client.ask("/public/x", (b"x-mark", mark))
        assert http2.edge.portal.field(b"x-mark") == [mark]


async def test_a_client_without_a_header_table_is_understood(http2: Http2Edge) -> None:
    client = await http2.client(settings={1: 0})
    client.decoder.max_allowed_table_size = 0
    for _ in range(4):
        answer = await client.ask()
        assert answer.field(b"x-content-type-options") == [b"nosniff"]
    client.send(raw_frame(4, 0, 0, b"\0\1" + (200).to_bytes(4, "big")))
    client.decoder.max_allowed_table_size = 200
    for _ in range(4):
        answer = await client.ask()
        assert answer.field(b"x-content-type-options") == [b"nosniff"]
    assert client.decoder.header_table_size <= 200


async def test_a_head_larger_than_a_frame_is_continued(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
        + b"".join(b"X-Large-%d: %b\r\n" % (at, b"a" * 1500) for at in range(30))
        + b"\r\nok"
    )
    client = await http2.client()
    answer = await client.ask()
    assert answer.field(b"x-large-29") == [b"a" * 1500]
    assert answer.body == b"ok"
    first = next(frame for frame in client.frames if isinstance(frame, HeadersFrame))
    assert "END_HEADERS" not in first.flags
    assert not [frame for frame in client.frames if isinstance(frame, RstStreamFrame)]


async def test_a_block_that_changes_the_table_changes_it_each_time(http2: Http2Edge) -> None:
    """What is remembered of a block must not spare the decoder its insertions: all that follows would mean something else."""
    client = await http2.client()
    head = b"\x82\x87\x01\x0bportal.test\x04\x09/public/x"
    inserting = head + b"\x40\x03x-a\x01b"
    for at in (1, 3, 5):
        client.send(raw_frame(1, 5, at, inserting))
        assert (await client.answer(at)).status == 200
    client.send(raw_frame(1, 5, 7, head + b"\xbe\xbf\xc0"))
    assert (await client.answer(7)).status == 200
    assert http2.edge.portal.field(b"x-a") == [b"b", b"b", b"b"]
    client.send(raw_frame(1, 5, 9, head + b"\xc1"))
    assert await client.goaway() == 9


async def test_the_end_of_an_answer_may_come_after_its_last_byte(http2: Http2Edge) -> None:
    gate = asyncio.Event()

    async def slowly(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await gate.wait()
        writer.write(b"0\r\n\r\n")

    http2.edge.portal.answers[b"/public/x"] = slowly
    client = await http2.client()
    stream_id = client.request(client.get())
    await client.until(lambda: stream_id in client.answers and client.answers[stream_id].body == b"abc")
    assert not client.answers[stream_id].ended
    gate.set()
    answer = await client.answer(stream_id)
    assert (answer.body, answer.ended, answer.reset) == (b"abc", True, None)


async def test_a_connection_for_which_there_is_no_room_is_closed(http2: Http2Edge) -> None:
    first = await http2.client()
    await first.ask()
    http2.edge.change_wire(max_connections=1, max_connections_per_client=1)
    with pytest.raises(ConnectionError):
        await http2.client()
    assert (await first.ask()).status == 200
    assert http2.count("gateway_http2_connections") == {(): 1}


async def test_a_client_owes_a_request_only_while_nothing_is_open(http2: Http2Edge) -> None:
    gate = asyncio.Event()

    async def wait(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(OK)

    http2.edge.portal.answers[b"/public/x"] = wait
    client = await http2.client()
    await client.pinged()
    (connection,) = http2.edge.worker._connections
    fresh = connection.owes_since
    assert fresh < float("inf")
    stream_id = client.request(client.get())
    await soon(lambda: http2.edge.portal.heads)
    assert connection.owes_since == float("inf")
    gate.set()
    await client.answer(stream_id)
    assert fresh < connection.owes_since < float("inf")


async def test_an_event_stream_leaves_within_the_time_to_drain(http2: Http2Edge) -> None:
    async def events(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    http2.edge.portal.answers[b"/public/x"] = events
    client = await http2.client()
    stream_id = client.request(client.get())
    await client.until(lambda: stream_id in client.answers and client.answers[stream_id].body)
    cut = await http2.edge.worker.drain(1.5)
    assert cut == 0
    assert client.answers[stream_id].reset == INTERNAL_ERROR
    assert await client.goaway() == NO_ERROR
