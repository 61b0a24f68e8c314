"""Frames in any order: nothing raises, nothing is left behind, no window leaks, and another implementation follows."""

from __future__ import annotations

import asyncio
from time import monotonic, time
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from hpack import Decoder, Encoder
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.edge.http2 import CONNECTION_WINDOW, Http2Connection
from gateway.edge.worker import Listener
from tests.fakes.http2_client import PREFACE, raw_frame
from tests.fakes.portal import OK, Portal
from tests.unit.edge.conftest import Http2Edge

STREAMS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7, 2, 2**31 - 1])
U32 = st.sampled_from([0, 1, 100, 65_535, 2**31 - 1, 2**32 - 1]).map(lambda value: value.to_bytes(4, "big"))
HEADS = st.sampled_from(
    [
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"portal.test"), (b":path", b"/public/x")],
        [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"portal.test"), (b":path", b"/public/x")],
        [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"portal.test"), (b":path", b"/public/slow"), (b"content-length", b"5")],
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"portal.test"), (b":path", b"/public/large")],
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"portal.test"), (b":path", b"/admin/x"), (b"x-a", b"b")],
        [(b":method", b"GET"), (b"connection", b"close")],
        [(b"x-trailer", b"1")],
    ]
)  # fmt: skip
FRAMES = st.one_of(
    st.tuples(st.just("head"), STREAMS, HEADS, st.booleans()),
    st.tuples(st.just("head"), STREAMS, HEADS, st.booleans()),
    st.tuples(st.just("data"), STREAMS, st.sampled_from([0, 1, 5, 1000, 16_384]), st.sampled_from([0, 1, 8, 9])),
    st.tuples(st.just("raw"), STREAMS, st.tuples(st.sampled_from([3, 8]), U32), st.just(0)),
    st.tuples(st.just("raw"), STREAMS, st.tuples(st.integers(0, 12), st.binary(max_size=20)), st.integers(0, 255)),
    st.tuples(st.just("settings"), st.just(0), st.tuples(st.integers(1, 9), U32), st.just(0)),
    st.tuples(st.just("turn"), st.just(0), st.just(0), st.integers(0, 3)),
    st.tuples(st.sampled_from(["stall", "go on", "drain", "reload"]), st.just(0), st.just(0), st.just(0)),
    st.tuples(st.just("sweep"), st.just(0), st.just(0), st.sampled_from([0, 2, 6, 40])),
)


class Pipe:
    """The end of a connection that is held in the hand."""

    def __init__(self) -> None:
        self.said = b""
        self.closed = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 40_000) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.said += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def frame_of(encoder: Encoder, kind: str, stream_id: int, what: Any, flags: Any) -> bytes:
    match kind:
        case "head":
            return raw_frame(1, 4 | flags, stream_id, encoder.encode(what))
        case "data":
            return raw_frame(0, flags, stream_id, (b"\x03" if flags & 8 else b"") + bytes(what))
        case "settings":
            return raw_frame(4, 0, 0, what[0].to_bytes(2, "big") + what[1])
        case _:
            return raw_frame(what[0], flags, stream_id, what[1])


def follow(said: bytes) -> None:
    """Read everything as a client would have to."""
    decoder, block = Decoder(), b""
    while said:
        frame, length = Frame.parse_frame_header(memoryview(said[:9]), strict=True)
        frame.parse_body(memoryview(said[9 : 9 + length]))
        said = said[9 + length :]
        if isinstance(frame, (HeadersFrame, ContinuationFrame)):
            block += frame.data
            if "END_HEADERS" in frame.flags:
                assert dict(decoder.decode(block, raw=True))[b":status"]
                block = b""


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(FRAMES, max_size=14))
@pytest.mark.timeout(180)
async def test_frames_in_any_order_leave_nothing_behind(
    http2: Http2Edge, frames: list[tuple[str, int, Any, Any]]
) -> None:
    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    answers = http2.edge.portal.answers
    answers[b"/public/slow"] = slow
    answers[b"/public/large"] = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)
    worker, pipe, encoder = http2.edge.worker, Pipe(), Encoder()
    connection = Http2Connection(worker, Listener(0, redirects=False, tls=True))
    connection.connection_made(pipe)  # type: ignore[arg-type]
    connection.data_received(PREFACE + raw_frame(4, 0, 0))
    happens = {
        "stall": connection.pause_writing,
        "go on": connection.resume_writing,
        "drain": connection.drain,
        "reload": connection.forget,
    }
    for kind, stream_id, what, flags in frames:
        if kind == "turn":
            for _ in range(flags * flags * 10):
                await asyncio.sleep(0)
        elif kind == "sweep":
            connection.sweep(monotonic() + flags, time())
        elif kind in happens:
            happens[kind]()
        elif not pipe.is_closing():
            connection.data_received(frame_of(encoder, kind, stream_id, what, flags))
    if not pipe.is_closing():
        for stream_id in list(connection._streams):
            connection.data_received(raw_frame(3, 0, stream_id, bytes(4)) if not connection._heads.stream_id else b"")
            if pipe.is_closing():
                break
    if not connection._heads.stream_id and not pipe.is_closing() and not connection._streams:
        assert connection._receivable + connection._consumed == CONNECTION_WINDOW
    connection.connection_lost(None)
    async with asyncio.timeout(10):
        while connection in worker._connections:
            await asyncio.sleep(0.001)
    assert (connection._streams, connection._ready, connection._starved) == ({}, {}, {})
    assert http2.count("gateway_http2_streams") == {(): 0}
    assert http2.count("gateway_http2_connections") == {(): 0}
    follow(pipe.said)
    http2.warnings()
    assert http2.edge.reports == []
    http2.edge.audit.payloads.clear()


async def test_h2_of_hyper_finds_nothing_to_complain_of(http2: Http2Edge) -> None:
    """Its states and its checks of headers are stricter than what most clients do."""

    async def echo(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readexactly(500_000)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    http2.edge.portal.answers |= {b"/public/echo": echo, b"/public/empty": b"HTTP/1.1 204 No\r\n\r\n", b"/public/x": OK}
    context = http2.context()
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", http2.port, ssl=context, server_hostname="portal.test")
    client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()

    def ask(path: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET", end: bool = True) -> int:
        stream_id = client.get_next_available_stream_id()
        pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", b"portal.test"), (b":path", path)]
        client.send_headers(stream_id, [*pseudo, *fields], end_stream=end)
        return stream_id

    plain = [ask(b"/public/x", (b"cookie", b"a=%d" % at)) for at in range(20)]
    empty, head, refused = ask(b"/public/empty"), ask(b"/public/x", method=b"HEAD"), ask(b"/admin/x")
    upload = ask(b"/public/echo", (b"content-length", b"500000"), method=b"POST", end=False)
    left, statuses, bodies = 500_000, {}, dict.fromkeys([*plain, empty, head, refused, upload], 0)
    ended: set[int] = set()
    async with asyncio.timeout(20):
        while len(ended) < len(bodies):
            while left and (
                size := min(left, client.local_flow_control_window(upload), client.max_outbound_frame_size)
            ):
                left -= size
                client.send_data(upload, bytes(size), end_stream=not left)
            writer.write(client.data_to_send())
            data = await reader.read(65_536)
            assert data
            for event in client.receive_data(data):
                assert not isinstance(event, StreamReset)
                if isinstance(event, ResponseReceived):
                    assert event.stream_id is not None
                    statuses[event.stream_id] = dict(event.headers or [])[b":status"]
                elif isinstance(event, DataReceived):
                    assert event.stream_id is not None
                    bodies[event.stream_id] += len(event.data or b"")
                    client.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                elif isinstance(event, StreamEnded):
                    assert event.stream_id is not None
                    ended.add(event.stream_id)
    assert {statuses[one] for one in plain} == {b"200"}
    assert (statuses[empty], statuses[head], statuses[refused], statuses[upload]) == (b"204", b"200", b"401", b"200")
    assert (bodies[plain[0]], bodies[empty], bodies[head], bodies[upload]) == (2, 0, 0, 500_000)
    writer.transport.abort()
