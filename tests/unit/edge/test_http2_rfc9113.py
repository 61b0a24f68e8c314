"""RFC 9113, section by section: what a client may do, and how the connection or the stream ends when it may not.

Each case is a row of the table in docs/http2.md, which this module holds to what happens.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hyperframe.frame import SettingsFrame

from tests.fakes.http2_client import PREFACE, Http2Client, raw_frame
from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Http2Edge

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 1, 1, 4, 8, 32
CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
    "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip
DOCUMENT = Path(__file__).parents[3] / "docs" / "http2.md"
SLOW = "/public/slow"

Step = Callable[[Http2Client], object]


class Case(NamedTuple):
    section: str
    says: str
    """What the client does."""
    then: str
    """What comes of it: `200`, `GOAWAY …`, `RST_STREAM …`."""
    does: Step
    greets: bool = True


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def setting(name: int, value: int) -> bytes:
    return raw_frame(SETTINGS, 0, 0, name.to_bytes(2, "big") + u32(value))


def send(*frames: bytes) -> Step:
    return lambda c: c.send(b"".join(frames))


def ask(c: Http2Client, *frames: bytes) -> None:
    """Frames that change nothing, then a request on stream 1."""
    c.send(b"".join(frames) + c.block(c.get(), 1))


def after_request(*frames: bytes) -> Step:
    """Stream 1 is half-closed (remote), and its answer is under way."""
    return lambda c: c.send(c.block(c.get(SLOW), 1) + b"".join(frames))


def in_upload(*frames: bytes) -> Step:
    """Stream 1 is open."""
    return lambda c: c.send(c.block(c.get(method=b"POST"), 1, end=False) + b"".join(frames))


def request(*headers: tuple[bytes, bytes], without: bytes = b"", end: bool = True) -> Step:
    def does(c: Http2Client) -> None:
        fields = [pair for pair in c.get() if pair[0] != without and pair[0] not in dict(headers)]
        pseudo = [pair for pair in headers if pair[0].startswith(b":")]
        c.send(c.block([*pseudo, *fields, *(pair for pair in headers if pair not in pseudo)], 1, end=end))

    return does


def listed(*headers: tuple[bytes, bytes]) -> Step:
    return lambda c: c.send(c.block(headers, 1))


def block(c: Http2Client, path: str = "/public/x") -> bytes:
    return c.encoder.encode(c.get(path))


GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"portal.test"), (b":path", b"/public/x")]
MALFORMED = "400, RST_STREAM PROTOCOL_ERROR"
BROKEN = "RST_STREAM PROTOCOL_ERROR"
"""While the intent of the request is being recorded there is no record that could release an answer."""
PROTOCOL = "GOAWAY PROTOCOL_ERROR"
SIZE = "GOAWAY FRAME_SIZE_ERROR"
FLOW = "GOAWAY FLOW_CONTROL_ERROR"

CASES = [
    Case("3.4", "a preface that is none", PROTOCOL, send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"), greets=False),
    Case("3.4", "a first frame that is not SETTINGS", PROTOCOL, lambda c: c.send(PREFACE + raw_frame(PING, 0, 0, bytes(8))), greets=False),
    Case("3.4", "an acknowledgement for a first frame", PROTOCOL, lambda c: c.send(PREFACE + raw_frame(SETTINGS, ACK, 0)), greets=False),
    Case("4.1", "a frame of unknown type", "200", lambda c: ask(c, raw_frame(0x16, 0, 0, b"?" * 8))),
    Case("4.1", "flags that mean nothing", "200", lambda c: ask(c, raw_frame(PING, 0x16, 0, bytes(8)))),
    Case("4.1", "a reserved bit that is set", "200", lambda c: ask(c, raw_frame(PING, 0, 1 << 31, bytes(8)))),
    Case("4.2", "DATA of the largest size", "200", in_upload(raw_frame(DATA, END_STREAM, 1, bytes(16_384)))),
    Case("4.2", "DATA larger than the largest size", SIZE, in_upload(raw_frame(DATA, END_STREAM, 1, bytes(16_385)))),
    Case("4.2", "HEADERS larger than the largest size", SIZE, send(raw_frame(HEADERS, END_STREAM | END_HEADERS, 1, bytes(16_385)))),
    Case("4.3", "a header block that is no HPACK", "GOAWAY COMPRESSION_ERROR", send(raw_frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x80"))),
    Case("4.3", "PRIORITY within a header block", PROTOCOL, lambda c: c.send(raw_frame(HEADERS, END_STREAM, 1, block(c)) + raw_frame(PRIORITY, 0, 1, bytes(4) + b"\xff"))),
    Case("4.3", "HEADERS of another stream within a header block", PROTOCOL, lambda c: c.send(raw_frame(HEADERS, END_STREAM, 1, block(c)) + raw_frame(HEADERS, 5, 3, block(c)))),
    Case("5.1", "idle: DATA", PROTOCOL, send(raw_frame(DATA, END_STREAM, 1, b"x"))),
    Case("5.1", "idle: RST_STREAM", PROTOCOL, send(raw_frame(RST_STREAM, 0, 1, u32(8)))),
    Case("5.1", "idle: WINDOW_UPDATE", PROTOCOL, send(raw_frame(WINDOW_UPDATE, 0, 1, u32(100)))),
    Case("5.1", "idle: CONTINUATION", PROTOCOL, send(raw_frame(CONTINUATION, END_HEADERS, 1, b"\x82"))),
    Case("5.1", "idle: PRIORITY", "200", lambda c: ask(c, raw_frame(PRIORITY, 0, 3, bytes(4) + b"\x10"))),
    Case("5.1", "half-closed (remote): DATA", "RST_STREAM STREAM_CLOSED", after_request(raw_frame(DATA, END_STREAM, 1, b"x"))),
    Case("5.1", "half-closed (remote): HEADERS", "RST_STREAM STREAM_CLOSED", lambda c: c.send(c.block(c.get(SLOW), 1) + c.block(c.get(SLOW), 1))),
    Case("5.1", "half-closed (remote): CONTINUATION", PROTOCOL, after_request(raw_frame(CONTINUATION, END_HEADERS, 1, b"\x82"))),
    Case("5.1", "half-closed (remote): WINDOW_UPDATE and PRIORITY", "200", lambda c: c.send(c.block(c.get(), 1) + raw_frame(WINDOW_UPDATE, 0, 1, u32(1)) + raw_frame(PRIORITY, 0, 1, bytes(4) + b"\x10"))),
    Case("5.1", "closed by RST_STREAM: DATA", "RST_STREAM STREAM_CLOSED", in_upload(raw_frame(RST_STREAM, 0, 1, u32(8)), raw_frame(DATA, END_STREAM, 1, b"x"))),
    Case("5.1", "closed by RST_STREAM: HEADERS", "RST_STREAM STREAM_CLOSED", lambda c: c.send(c.block(c.get(SLOW), 1) + raw_frame(RST_STREAM, 0, 1, u32(8)) + c.block(c.get(SLOW), 1))),
    Case("5.1", "closed by RST_STREAM: CONTINUATION", PROTOCOL, after_request(raw_frame(RST_STREAM, 0, 1, u32(8)), raw_frame(CONTINUATION, END_HEADERS, 1, b"\x82"))),
    Case("5.1.1", "a stream with an even number", PROTOCOL, lambda c: c.send(c.block(c.get(), 2))),
    Case("5.1.1", "a stream older than the newest", PROTOCOL, lambda c: c.send(c.block(c.get(SLOW), 5) + c.block(c.get(SLOW), 3))),
    Case("5.1.2", "one stream more than allowed", "RST_STREAM REFUSED_STREAM", lambda c: c.send(b"".join(c.block(c.get(SLOW), 2 * at + 1) for at in range(101)))),
    Case("5.3.2", "a stream that depends on itself, in HEADERS", PROTOCOL, lambda c: c.send(raw_frame(HEADERS, END_STREAM | END_HEADERS | PRIORITISED, 1, u32(1) + b"\x10" + block(c)))),
    Case("5.3.2", "a stream that depends on itself, in PRIORITY", PROTOCOL, send(raw_frame(PRIORITY, 0, 3, u32(3) + b"\x10"))),
    Case("5.3.2", "a priority in HEADERS", "200", lambda c: c.send(raw_frame(HEADERS, END_STREAM | END_HEADERS | PRIORITISED, 1, u32(0) + b"\xff" + block(c)))),
    Case("5.5", "a frame of unknown type on a stream", "200", lambda c: ask(c, raw_frame(0xFA, 0xFF, 9, b"?"))),
    Case("5.5", "a frame of unknown type within a header block", PROTOCOL, lambda c: c.send(raw_frame(HEADERS, END_STREAM, 1, block(c)) + raw_frame(0xFA, 0, 1))),
    Case("6.1", "DATA on no stream", PROTOCOL, send(raw_frame(DATA, END_STREAM, 0, b"x"))),
    Case("6.1", "DATA with padding", "200", in_upload(raw_frame(DATA, END_STREAM | PADDED, 1, b"\x03abc\0\0\0"))),
    Case("6.1", "DATA with more padding than frame", PROTOCOL, in_upload(raw_frame(DATA, END_STREAM | PADDED, 1, b"\x06abc\0\0"))),
    Case("6.2", "HEADERS on no stream", PROTOCOL, lambda c: c.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, 0, block(c)))),
    Case("6.2", "HEADERS with padding and priority", "200", lambda c: c.send(raw_frame(HEADERS, END_STREAM | END_HEADERS | PADDED | PRIORITISED, 1, b"\x02" + u32(0) + b"\xff" + block(c) + b"\0\0"))),
    Case("6.2", "HEADERS with more padding than frame", PROTOCOL, send(raw_frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\x05\x82"))),
    Case("6.2", "HEADERS too short for their priority", SIZE, send(raw_frame(HEADERS, END_STREAM | END_HEADERS | PRIORITISED, 1, b"\0\0\0"))),
    Case("6.3", "PRIORITY on no stream", PROTOCOL, send(raw_frame(PRIORITY, 0, 0, bytes(5)))),
    Case("6.3", "PRIORITY of another length than 5", SIZE, send(raw_frame(PRIORITY, 0, 1, bytes(4)))),
    Case("6.4", "RST_STREAM on no stream", PROTOCOL, send(raw_frame(RST_STREAM, 0, 0, u32(8)))),
    Case("6.4", "RST_STREAM of another length than 4", SIZE, after_request(raw_frame(RST_STREAM, 0, 1, b"\0\0\0"))),
    Case("6.5", "an acknowledgement with settings", SIZE, send(raw_frame(SETTINGS, ACK, 0, bytes(6)))),
    Case("6.5", "SETTINGS on a stream", PROTOCOL, send(raw_frame(SETTINGS, 0, 1, bytes(6)))),
    Case("6.5", "SETTINGS of odd length", SIZE, send(raw_frame(SETTINGS, 0, 0, bytes(3)))),
    Case("6.5.2", "ENABLE_PUSH that is neither on nor off", PROTOCOL, send(setting(2, 2))),
    Case("6.5.2", "INITIAL_WINDOW_SIZE beyond 2³¹-1", FLOW, send(setting(4, 2**31))),
    Case("6.5.2", "MAX_FRAME_SIZE below 2¹⁴", PROTOCOL, send(setting(5, 16_383))),
    Case("6.5.2", "MAX_FRAME_SIZE above 2²⁴-1", PROTOCOL, send(setting(5, 2**24))),
    Case("6.5.2", "a setting that nobody knows", "200", lambda c: ask(c, setting(0xFF, 1))),
    Case("6.5.3", "the same setting twice: the last holds", "200", lambda c: ask(c, raw_frame(SETTINGS, 0, 0, b"\0\4" + u32(1) + b"\0\4" + u32(100)))),
    Case("6.6", "PUSH_PROMISE", PROTOCOL, lambda c: c.send(raw_frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + block(c)))),
    Case("6.7", "PING on a stream", PROTOCOL, send(raw_frame(PING, 0, 1, bytes(8)))),
    Case("6.7", "PING of another length than 8", SIZE, send(raw_frame(PING, 0, 0, bytes(6)))),
    Case("6.7", "an acknowledgement that nobody waits for", "200", lambda c: ask(c, raw_frame(PING, ACK, 0, bytes(8)))),
    Case("6.8", "GOAWAY on a stream", PROTOCOL, send(raw_frame(GOAWAY, 0, 1, bytes(8)))),
    Case("6.8", "GOAWAY that is too short", SIZE, send(raw_frame(GOAWAY, 0, 0, bytes(7)))),
    Case("6.8", "GOAWAY, when nothing is open", "GOAWAY NO_ERROR", send(raw_frame(GOAWAY, 0, 0, bytes(8)))),
    Case("6.9", "WINDOW_UPDATE of 0 on the connection", PROTOCOL, send(raw_frame(WINDOW_UPDATE, 0, 0, u32(0)))),
    Case("6.9", "WINDOW_UPDATE of 0 on a stream", "RST_STREAM PROTOCOL_ERROR", after_request(raw_frame(WINDOW_UPDATE, 0, 1, u32(0)))),
    Case("6.9", "WINDOW_UPDATE of another length than 4", SIZE, send(raw_frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"))),
    Case("6.9.1", "a window of the connection beyond 2³¹-1", FLOW, send(raw_frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)) * 2)),
    Case("6.9.1", "a window of a stream beyond 2³¹-1", "RST_STREAM FLOW_CONTROL_ERROR", after_request(raw_frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1)) * 2)),
    Case("6.9.1", "more DATA than the window of the stream", "RST_STREAM FLOW_CONTROL_ERROR", lambda c: c.send(c.block(c.get(SLOW, method=b"POST"), 1, end=False) + raw_frame(DATA, 0, 1, bytes(16_384)) * 17)),
    Case("6.9.1", "more DATA than the window of the connection", FLOW, lambda c: c.send(b"".join(c.block(c.get(SLOW, method=b"POST"), at, end=False) + raw_frame(DATA, 0, at, bytes(16_384)) * 16 for at in (1, 3, 5, 7)) + c.block(c.get(SLOW, method=b"POST"), 9, end=False) + raw_frame(DATA, 0, 9, b"x"))),
    Case("6.9.2", "an initial window that pushes a stream beyond 2³¹-1", FLOW, after_request(raw_frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1 - 65_535)), setting(4, 65_536))),
    Case("6.10", "CONTINUATION after CONTINUATION", "200", lambda c: c.send(raw_frame(HEADERS, END_STREAM, 1, (whole := block(c))[:2]) + raw_frame(CONTINUATION, 0, 1, whole[2:5]) + raw_frame(CONTINUATION, END_HEADERS, 1, whole[5:]))),
    Case("6.10", "CONTINUATION on no stream", PROTOCOL, lambda c: c.send(raw_frame(HEADERS, END_STREAM, 1, block(c)) + raw_frame(CONTINUATION, END_HEADERS, 0))),
    Case("6.10", "CONTINUATION of another stream", PROTOCOL, lambda c: c.send(raw_frame(HEADERS, END_STREAM, 1, block(c)) + raw_frame(CONTINUATION, END_HEADERS, 3))),
    Case("6.10", "CONTINUATION after END_HEADERS", PROTOCOL, lambda c: c.send(c.block(c.get(SLOW), 1) + raw_frame(CONTINUATION, END_HEADERS, 1))),
    Case("6.10", "DATA within a header block", PROTOCOL, lambda c: c.send(raw_frame(HEADERS, 0, 1, block(c)) + raw_frame(DATA, END_STREAM, 1, b"x"))),
    Case("7", "an error code that nobody knows, in RST_STREAM", "200", lambda c: c.send(c.block(c.get(SLOW), 3) + raw_frame(RST_STREAM, 0, 3, u32(0xFF)) + c.block(c.get(), 5))),
    Case("7", "an error code that nobody knows, in GOAWAY", "GOAWAY NO_ERROR", send(raw_frame(GOAWAY, 0, 0, u32(0) + u32(0xFF)))),
    Case("8.1", "trailers", "200", lambda c: c.send(c.block(c.get(method=b"POST"), 1, end=False) + c.block([(b"x", b"1")], 1))),
    Case("8.1", "trailers that do not end the stream", BROKEN, lambda c: c.send(c.block(c.get(method=b"POST"), 1, end=False) + c.block([(b"x", b"1")], 1, end=False))),
    Case("8.1", "trailers with a pseudo-header field", BROKEN, lambda c: c.send(c.block(c.get(method=b"POST"), 1, end=False) + c.block([(b":method", b"PUT")], 1))),
    Case("8.1.1", "a length that is not the sum of the frames", BROKEN, lambda c: c.send(c.block(c.get("/public/x", (b"content-length", b"1"), method=b"POST"), 1, end=False) + raw_frame(DATA, END_STREAM, 1, b"test"))),
    Case("8.1.1", "a length that is not the sum of several frames", BROKEN, lambda c: c.send(c.block(c.get("/public/x", (b"content-length", b"9"), method=b"POST"), 1, end=False) + raw_frame(DATA, 0, 1, b"test") + raw_frame(DATA, END_STREAM, 1, b"test"))),
    Case("8.1.1", "a length without a body", MALFORMED, request((b"content-length", b"1"))),
    Case("8.2", "a name in upper case", MALFORMED, request((b"X-UPPER", b"1"))),
    Case("8.2.1", "a name with a colon", MALFORMED, request((b"x:y", b"1"))),
    Case("8.2.1", "an empty name", MALFORMED, request((b"", b"1"))),
    Case("8.2.1", "a value with a line end", MALFORMED, request((b"x", b"1\r\ny: 2"))),
    Case("8.2.1", "a value with NUL", MALFORMED, request((b"x", b"\0"))),
    Case("8.2.1", "a value that begins with white space", MALFORMED, request((b"x", b" 1"))),
    Case("8.2.2", "Connection", MALFORMED, request((b"connection", b"keep-alive"))),
    Case("8.2.2", "Transfer-Encoding", MALFORMED, request((b"transfer-encoding", b"chunked"))),
    Case("8.2.2", "Upgrade", MALFORMED, request((b"upgrade", b"websocket"))),
    Case("8.2.2", "TE: trailers", "200", request((b"te", b"trailers"))),
    Case("8.2.2", "TE with anything else", MALFORMED, request((b"te", b"trailers, deflate"))),
    Case("8.2.3", "a cookie in crumbs", "200", request((b"cookie", b"a=1"), (b"cookie", b"b=2"))),
    Case("8.3", "a pseudo-header field that nobody knows", MALFORMED, request((b":test", b"ok"))),
    Case("8.3", "a pseudo-header field of answers", MALFORMED, request((b":status", b"200"))),
    Case("8.3", "a pseudo-header field after an ordinary one", MALFORMED, listed(*GET[:3], (b"x", b"1"), GET[3])),
    Case("8.3.1", "no :method", MALFORMED, request(without=b":method")),
    Case("8.3.1", "no :scheme", MALFORMED, request(without=b":scheme")),
    Case("8.3.1", "no :path", MALFORMED, request(without=b":path")),
    Case("8.3.1", "an empty :path", MALFORMED, request((b":path", b""))),
    Case("8.3.1", ":method twice", MALFORMED, listed(GET[0], *GET)),
    Case("8.3.1", ":scheme twice", MALFORMED, listed(GET[1], *GET)),
    Case("8.3.1", ":path twice", MALFORMED, listed(GET[3], *GET)),
    Case("8.3.1", ":authority twice", MALFORMED, listed(GET[2], *GET)),
    Case("8.3.1", ":path * with another method than OPTIONS", "400", request((b":path", b"*"))),
    Case("8.3.1", "Host that names another than :authority", "400", request((b"host", b"other.test"))),
    Case("8.3.1", "Host without :authority", "200", request((b"host", b"portal.test"), without=b":authority")),
    Case("8.3.1", "neither Host nor :authority", "400", request(without=b":authority")),
    Case("8.3.1", ":authority with a user", "400", request((b":authority", b"u@portal.test"))),
    Case("8.5", "CONNECT", "501", listed((b":method", b"CONNECT"), (b":authority", b"portal.test:22"))),
    Case("8.6", "Upgrade to HTTP/2 within HTTP/2", MALFORMED, request((b"upgrade", b"h2c"))),
]  # fmt: skip


def of(case: Case) -> str:
    return f"{case.section} {case.says}"


@pytest.mark.parametrize("case", CASES, ids=of)
async def test_rfc_9113(http2: Http2Edge, case: Case) -> None:
    async def never(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    http2.edge.portal.answers[b"/public/slow"] = never
    client = await http2.client(greet=case.greets)
    case.does(client)
    await client.until(lambda: client.closed or any(client.is_over(one) for one in client.answers))
    if not client.closed:
        await client.pinged()
    said = []
    for stream_id in client.answers:
        answer = client.answers[stream_id]
        said += [str(answer.status)] if answer.status else []
        said += [f"RST_STREAM {CODES[answer.reset]}"] if answer.reset is not None else []
    if client.closed:
        said.append(f"GOAWAY {CODES[await client.goaway()]}")
    assert ", ".join(said) == case.then


def test_the_table_in_the_documentation_is_what_happens() -> None:
    rows = re.findall(r"(?m)^\| ([0-9.]+) \| (.+?) \| (.+?) \|$", DOCUMENT.read_text("utf-8"))
    assert rows == [(case.section, case.says, case.then) for case in CASES]


@pytest.mark.parametrize("late", [raw_frame(DATA, END_STREAM, 1, b"x"), raw_frame(HEADERS, 5, 1, b"\x82")])
async def test_5_1_frames_after_the_end_of_a_stream_end_the_connection(http2: Http2Edge, late: bytes) -> None:
    client = await http2.client()
    assert (await client.ask()).ended
    client.send(late)
    assert CODES[await client.goaway()] == "STREAM_CLOSED"


async def test_5_1_frames_that_were_on_their_way_do_no_harm(http2: Http2Edge) -> None:
    client = await http2.client()
    assert (await client.ask()).ended
    client.send(
        raw_frame(RST_STREAM, 0, 1, u32(8))
        + raw_frame(WINDOW_UPDATE, 0, 1, u32(1))
        + raw_frame(PRIORITY, 0, 1, bytes(5))
    )
    assert (await client.ask()).status == 200


async def test_8_1_trailers_that_are_malformed_after_an_early_answer_reset_the_stream(http2: Http2Edge) -> None:
    http2.edge.audit.acknowledges = False
    client = await http2.client()
    stream_id = client.request(client.get("/nowhere", method=b"POST"), end=False)
    await client.pinged()
    client.send(client.block([(b":path", b"/")], stream_id))
    await client.pinged()
    http2.edge.audit.acknowledge_all()
    assert CODES[await client.reset_code(stream_id)] == "PROTOCOL_ERROR"


async def test_3_4_our_preface_is_settings(http2: Http2Edge) -> None:
    client = await http2.client(greet=False)
    await client.until(lambda: client.frames)
    first = client.frames[0]
    assert isinstance(first, SettingsFrame)
    assert first.settings == {3: 100, 4: 262_144, 6: 16_384, 9: 1}


async def test_6_5_3_settings_are_acknowledged_in_order(http2: Http2Edge) -> None:
    client = await http2.client()
    for _ in range(3):
        client.send(setting(4, 100_000))
    await client.until(lambda: sum(isinstance(f, SettingsFrame) and "ACK" in f.flags for f in client.frames) == 4)


async def test_6_7_ping_is_acknowledged_with_what_it_said(http2: Http2Edge) -> None:
    client = await http2.client()
    client.ping(b"abcdefgh")
    await client.until(
        lambda: any(getattr(f, "opaque_data", b"") == b"abcdefgh" and "ACK" in f.flags for f in client.frames)
    )


async def test_6_9_1_a_window_of_one_byte_is_used(http2: Http2Edge) -> None:
    client = await http2.client(windows=False, settings={4: 1})
    stream_id = client.request(client.get())
    await client.until(lambda: stream_id in client.answers and client.answers[stream_id].body == b"o")
    client.give(stream_id, 1)
    assert (await client.answer(stream_id)).body == b"ok"
