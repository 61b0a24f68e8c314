"""Attacks over HTTP/2, each by its name: what a client may cost, and what of its bytes may reach a portal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import product

import pytest
from hyperframe.frame import GoAwayFrame, PingFrame

from gateway.edge.http2 import MAX_REMEMBERED, Http2Connection
from gateway.edge.http2_allowance import FRAMES
from gateway.exchange.route import LimitSpec
from gateway.ratelimit.gcra import Bucket
from tests.fakes.http2_client import Http2Client, raw_frame
from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Http2Edge

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
ENHANCE_YOUR_CALM, REFUSED_STREAM, STREAM_CLOSED = 11, 7, 5
FLOOD = int(FRAMES) + 500


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


async def never(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def calmed(http2: Http2Edge, client: Http2Client) -> None:
    """The connection ended for what it cost, that is told and counted, and nobody else notices."""
    assert await client.goaway() == ENHANCE_YOUR_CALM
    assert http2.count("gateway_http2_goaways_total") == {("enhance_your_calm",): 1}
    (warning,) = http2.warnings()
    assert warning.startswith("ENHANCE_YOUR_CALM: ")
    assert "127.0.0.1" not in warning
    other = await http2.client()
    assert (await other.ask("/public/other")).status == 200


async def connection_of(http2: Http2Edge, client: Http2Client) -> Http2Connection:
    await client.pinged()
    (connection,) = http2.edge.worker._connections
    assert isinstance(connection, Http2Connection)
    return connection


# streams that end in vain


async def test_rapid_reset_cve_2023_44487(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = never
    client = await http2.client()
    for at in range(1, 4001, 2):
        client.send(client.block(client.get(), at) + raw_frame(RST_STREAM, 0, at, u32(8)))
    await calmed(http2, client)
    assert http2.count("gateway_http2_resets_total")[("client",)] <= 202
    assert len(http2.edge.audit.records) <= 210


async def test_a_browser_that_leaves_a_page_is_not_an_attacker(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = never
    client = await http2.client()
    for _ in range(2):
        streams = [client.request(client.get()) for _ in range(80)]
        for stream_id in streams:
            client.reset(stream_id)
        assert (await client.ask("/public/next")).status == 200
    assert not client.closed


async def test_work_that_goes_on_behind_a_reset_counts_as_open_cve_2023_44487(http2: Http2Edge) -> None:
    """Our own pages finish what they began; a client cannot pile that up by cancelling."""
    http2.edge.portal.answers[b"/.gateway/login"] = never
    http2.edge.change_wire(max_streams=5)
    client = await http2.client()
    streams = [client.request(client.get("/.gateway/login")) for _ in range(5)]
    async with asyncio.timeout(10):
        while len(http2.edge.portal.heads) < 5:
            await asyncio.sleep(0.01)
    for stream_id in streams:
        client.reset(stream_id)
    refused = client.request(client.get())
    assert await client.reset_code(refused) == REFUSED_STREAM
    assert http2.count("gateway_http2_streams") == {(): 5}


@pytest.mark.parametrize(
    "provocation",
    [
        lambda at: raw_frame(WINDOW_UPDATE, 0, at, u32(0)),
        lambda at: raw_frame(WINDOW_UPDATE, 0, at, u32(2**31 - 1)),
        lambda at: raw_frame(DATA, 1, at, b"x"),
        lambda at: raw_frame(HEADERS, 5, at, b"\x82"),
    ],
    ids=["zero window", "window overflow", "DATA after the end", "HEADERS after the end"],
)
async def test_made_you_reset_cve_2025_8671(http2: Http2Edge, provocation: Callable[[int], bytes]) -> None:
    http2.edge.portal.answers[b"/public/x"] = never
    client = await http2.client()
    for at in range(1, 2001, 2):
        client.send(client.block(client.get(), at) + provocation(at))
    await calmed(http2, client)
    assert len(http2.edge.audit.records) <= 210


async def test_malformed_requests_without_end_are_ended(http2: Http2Edge) -> None:
    client = await http2.client()
    for at in range(1, 2001, 2):
        client.send(client.block(client.get("/public/x", (b"connection", b"close")), at))
    assert await client.goaway() == ENHANCE_YOUR_CALM
    assert http2.edge.portal.heads == []
    await calmed(http2, client)


async def test_frames_on_streams_that_were_cancelled_cve_2019_9514(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = never
    client = await http2.client()
    client.send(
        client.block(client.get(), 1) + raw_frame(RST_STREAM, 0, 1, u32(8)) + raw_frame(DATA, 0, 1, b"x" * 300) * 1000
    )
    await calmed(http2, client)


async def test_large_blocks_on_a_stream_that_was_reset_cost_what_they_take_to_decode(http2: Http2Edge) -> None:
    client = await http2.client()
    stream_id = client.request(client.get("/public/x", (b"content-length", b"1"), method=b"POST"), end=False)
    client.data(stream_id, b"more", end=True)
    await client.reset_code(stream_id)
    block = client.encoder.encode([(b"x", b"e" * 25_000, True)])
    client.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, stream_id, block) * 300)
    await calmed(http2, client)


async def test_more_streams_than_allowed_without_end(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = never
    client = await http2.client()
    client.send(b"".join(client.block(client.get(), at) for at in range(1, 2001, 2)))
    await calmed(http2, client)
    assert len(http2.edge.portal.heads) <= 100


# header blocks


async def test_continuation_flood_cve_2024_27316(http2: Http2Edge) -> None:
    client = await http2.client()
    block = client.encoder.encode(client.get())
    client.send(
        raw_frame(HEADERS, 1, 1, block) + raw_frame(CONTINUATION, 0, 1, b"\x00\x01a\x7f\x00" + b"b" * 127) * 500
    )
    await calmed(http2, client)


async def test_a_header_block_of_empty_frames_cve_2019_9518(http2: Http2Edge) -> None:
    client = await http2.client()
    client.send(raw_frame(HEADERS, 1, 1) + raw_frame(CONTINUATION, 0, 1) * 100)
    await calmed(http2, client)


async def test_hpack_bomb_cve_2016_6581(http2: Http2Edge) -> None:
    client = await http2.client()
    bomb = b"\x40\x01a\x7f\x81\x1e" + b"b" * 3968
    client.send(raw_frame(HEADERS, 5, 1, bomb + b"\xbe" * 12_000))
    await calmed(http2, client)


async def test_a_list_beyond_the_limit_is_431_and_the_connection_goes_on(http2: Http2Edge) -> None:
    client = await http2.client()
    answer = await client.ask("/public/x", *((b"x-%d" % at, b"a" * 4000) for at in range(5)))
    assert answer.status == 431
    answer = await client.ask("/public/x", *((b"x-%d" % at, b"a") for at in range(60)))
    assert answer.status == 431
    assert (await client.ask("/public/x", (b"x-0", b"a" * 4000))).status == 200, "the table has followed"


async def test_the_table_of_the_decoder_stays_small(http2: Http2Edge) -> None:
    client = await http2.client()
    client.encoder.header_table_size = 1 << 20
    client.send(client.block(client.get(), 1))
    assert await client.goaway() == 9


async def test_names_of_no_length_cve_2019_9516(http2: Http2Edge) -> None:
    client = await http2.client()
    for at in range(1, 2001, 2):
        client.send(raw_frame(HEADERS, 5, at, client.encoder.encode(client.get()) + b"\x40\x80\x80" * 100))
    assert await client.goaway() == ENHANCE_YOUR_CALM
    assert http2.edge.portal.heads == []
    await calmed(http2, client)


# frames that bring nothing forward


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("ping flood cve_2019_9512", raw_frame(PING, 0, 0, bytes(8))),
        ("settings flood cve_2019_9515", raw_frame(SETTINGS, 0, 0)),
        ("priority loop cve_2019_9513", raw_frame(PRIORITY, 0, 3, u32(5) + b"\x10")),
        ("unknown frames", raw_frame(0x77, 0, 0)),
        ("window updates", raw_frame(WINDOW_UPDATE, 0, 0, u32(1))),
        ("acknowledgements", raw_frame(SETTINGS, 1, 0)),
        ("pongs", raw_frame(PING, 1, 0, bytes(8))),
        ("goodbyes", raw_frame(PING, 0, 0, bytes(8)) * 1200),
    ],
)
async def test_floods_of_frames(http2: Http2Edge, name: str, frame: bytes) -> None:
    client = await http2.client()
    client.send(frame * FLOOD)
    await calmed(http2, client)


async def test_empty_data_cve_2019_9518(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = never
    client = await http2.client()
    stream_id = client.request(client.get(method=b"POST"), end=False)
    client.send(raw_frame(DATA, 0, stream_id) * FLOOD)
    await calmed(http2, client)


async def test_settings_without_end_in_one_frame_cve_2020_11080(http2: Http2Edge) -> None:
    client = await http2.client()
    client.send(raw_frame(SETTINGS, 0, 0, (b"\0\4" + u32(65_535)) * 2000))
    await calmed(http2, client)


async def test_answers_to_a_client_that_does_not_read_cve_2019_9512(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000
    client = await http2.client(windows=False, settings={4: 2**31 - 1})
    client.give(0, 1 << 30)
    connection = await connection_of(http2, client)
    client.request(client.get())
    client.stop_reading()
    async with asyncio.timeout(10):
        while not connection.is_stalled:
            await asyncio.sleep(0.01)
    for _ in range(40):
        client.send(raw_frame(PING, 0, 0, bytes(8)) * 200)
        await asyncio.sleep(0.02)
        assert sum(map(len, connection._unsent)) <= 70_000
    assert http2.count("gateway_http2_goaways_total") == {("enhance_your_calm",): 1}
    http2.warnings()


@pytest.mark.pure
async def test_answers_to_frames_that_are_not_read_are_bounded_cve_2019_9515(
    http2: Http2Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slowly enough for the allowance."""
    monkeypatch.setattr("gateway.edge.http2.MAX_UNSENT_BYTES", 1000)
    http2.edge.portal.answers[b"/public/x"] = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000
    client = await http2.client(windows=False, settings={4: 2**31 - 1})
    client.give(0, 1 << 30)
    connection = await connection_of(http2, client)
    client.request(client.get())
    client.stop_reading()
    async with asyncio.timeout(10):
        while not connection.is_stalled:
            await asyncio.sleep(0.01)
    client.send(raw_frame(PING, 0, 0, bytes(8)) * 100)
    async with asyncio.timeout(10):
        while http2.edge.worker._connections:
            await asyncio.sleep(0.01)
    assert http2.warnings() == ["ENHANCE_YOUR_CALM: it asks and does not listen"]


async def test_what_waits_for_a_client_that_does_not_read_is_bounded_cve_2019_9517(http2: Http2Edge) -> None:
    """Windows wide open, and nothing read from the socket."""

    async def flood(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
        for _ in range(1600):
            writer.write(b"x" * 65536)
            await writer.drain()

    http2.edge.portal.answers[b"/public/x"] = flood
    http2.edge.change_wire(write_timeout_s=1.0)
    client = await http2.client(windows=False, settings={4: 2**31 - 1})
    client.give(0, 1 << 30)
    connection = await connection_of(http2, client)
    client.stop_reading()
    for _ in range(20):
        client.request(client.get())
    most = 0
    async with asyncio.timeout(20):
        while http2.edge.worker._connections:
            most = max(most, sum(stream.queued for stream in connection._streams.values()))
            await asyncio.sleep(0.01)
    assert 0 < most <= 20 * 600 * 1024


async def test_a_window_that_opens_by_a_byte_at_a_time_cve_2019_9511(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    client = await http2.client(windows=False, settings={4: 0})
    stream_id = client.request(client.get())
    await client.until(lambda: stream_id in client.answers)
    client.send(raw_frame(WINDOW_UPDATE, 0, stream_id, u32(1)) * FLOOD)
    await calmed(http2, client)


# slowly


async def test_a_head_that_never_ends_slowloris(http2: Http2Edge) -> None:
    http2.edge.change_wire(head_timeout_s=0.4)
    client = await http2.client()
    await client.ask()
    client.send(raw_frame(HEADERS, 1, 3, client.encoder.encode(client.get())))
    for _ in range(8):
        await asyncio.sleep(0.1)
        client.send(raw_frame(CONTINUATION, 0, 3))
    await calmed(http2, client)


async def test_a_frame_that_never_ends(http2: Http2Edge) -> None:
    http2.edge.change_wire(head_timeout_s=0.4)
    client = await http2.client()
    client.send(raw_frame(PING, 0, 0, bytes(7), length=8))
    await calmed(http2, client)


async def test_requests_over_one_connection_count_by_address_as_others_do(http2: Http2Edge) -> None:
    http2.edge.change(limits=(Bucket(LimitSpec(name="client", rate_per_s=0.1, burst=5, per="ip")),))
    client = await http2.client()
    answers = [(await client.ask()).status for _ in range(8)]
    assert answers == [200] * 5 + [429] * 3


async def test_what_is_remembered_of_a_long_connection_is_bounded(http2: Http2Edge) -> None:
    client = await http2.client()
    for _ in range(MAX_REMEMBERED + 50):
        await client.ask()
    connection = await connection_of(http2, client)
    assert len(connection._closed) == MAX_REMEMBERED
    assert not connection._streams
    assert not connection._ready
    assert len(client.answers) == MAX_REMEMBERED + 50


async def test_a_goaway_tells_nothing(http2: Http2Edge) -> None:
    client = await http2.client()
    client.send(raw_frame(PUSH_PROMISE, 4, 1, u32(2)))
    await client.goaway()
    (farewell,) = [frame for frame in client.frames if isinstance(frame, GoAwayFrame)]
    assert farewell.additional_data == b""
    assert http2.warnings()


async def test_pings_are_answered_while_an_answer_is_on_its_way(http2: Http2Edge) -> None:
    http2.edge.portal.answers[b"/public/x"] = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000
    client = await http2.client(settings={4: 1 << 30})
    client.give(0, 1 << 30)
    stream_id = client.request(client.get())
    client.ping(b"whenever")
    await client.until(lambda: any(isinstance(f, PingFrame) and f.opaque_data == b"whenever" for f in client.frames))
    assert len((await client.answer(stream_id)).body) == 5_000_000


# downgrades: nothing of a client's bytes becomes framing at the portal

INJECTIONS = [
    b"\r\nx-smuggled: 1",
    b"\nx-smuggled: 1",
    b"\rx-smuggled: 1",
    b"\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: portal.test\r\n\r\n",
    b"\0x-smuggled: 1",
    b" HTTP/1.1\r\nx-smuggled: 1\r\nx: y",
    b" /smuggled HTTP/1.1",
    b": smuggled\r\nx",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b" ",
    b"\t",
    b"\xa0",
    b"\x85",
    b"\xe5\x98\x8a\xe5\x98\x8d",
]
PLACES = {
    "method": lambda bad: {b":method": b"GET" + bad},
    "path": lambda bad: {b":path": b"/public/x" + bad},
    "authority": lambda bad: {b":authority": b"portal.test" + bad},
    "scheme": lambda bad: {b":scheme": b"https" + bad},
    "name": lambda bad: {b"x-a" + bad: b"1"},
    "value": lambda bad: {b"x-a": b"1" + bad},
    "value start": lambda bad: {b"x-a": bad + b"1"},
    "cookie": lambda bad: {b"cookie": b"a=1" + bad},
    "host": lambda bad: {b"host": b"portal.test" + bad},
    "content-length": lambda bad: {b"content-length": b"0" + bad},
    "te": lambda bad: {b"te": b"trailers" + bad},
}
LISTS: list[dict[bytes, bytes]] = [place(bad) for place, bad in product(PLACES.values(), INJECTIONS)]
LISTS += [
    {name: value}
    for name, value in [
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"),
        (b"transfer-encoding", b""),
        (b"transfer-encoding", b"\x0bchunked"),
        (b"transfer_encoding", b"chunked"),
        (b"transfer-encoding\t", b"chunked"),
        (b"x-transfer-encoding", b"chunked"),
        (b"Transfer-Encoding", b"chunked"),
        (b"connection", b"keep-alive, x-smuggled"),
        (b"connection", b"upgrade"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAMAAABkAAQCAAAAAAIAAAAA"),
        (b"proxy-connection", b"keep-alive"),
        (b"keep-alive", b"timeout=5"),
        (b"te", b"chunked"),
        (b"trailer", b"x-smuggled"),
        (b"content-length", b"6"),
        (b"content-length", b"-1"),
        (b"content-length", b"+0"),
        (b"content-length", b"0, 0"),
        (b"content-length", b"0x6"),
        (b"content-length", b"\xc2\xb2"),
        (b"content-length", b"9" * 30),
        (b"content_length", b"6"),
        (b"Content-Length", b"6"),
        (b":path", b"https://evil.test/smuggled"),
        (b":path", b"//evil.test/smuggled"),
        (b":path", b"evil.test:443"),
        (b":path", b"?smuggled"),
        (b":path", b"#smuggled"),
        (b":method", b"PRI"),
        (b":method", b"get"),
        (b":method", b"CONNECT"),
        (b":authority", b"portal.test:443:80"),
        (b":authority", b"portal.test@evil.test"),
        (b":authority", b"evil.test#portal.test"),
        (b":authority", b"[::1"),
        (b":authority", b""),
        (b":protocol", b"websocket"),
        (b":status", b"200"),
        (b"host", b"evil.test"),
        (b"expect", b"100-continue\r\ncontent-length: 5"),
    ]
]
LISTS += [
    {b":authority": b"evil.test", b"host": b"portal.test"},
    {b":authority": b"portal.test", b"host": b"portal.test, evil.test"},
    {b"content-length": b"0", b"transfer-encoding": b"chunked"},
]
_HEAD = re.compile(
    rb"(?:GET|HEAD|get|OPTIONS) /[!-~]* HTTP/1\.1\r\nhost: portal\.test(?::443)?\r\n(?:[a-z0-9-]+: [\t -~\x80-\xff]*\r\n)*\r\n"
).fullmatch


@pytest.mark.parametrize("with_body", [False, True], ids=["alone", "with a body"])
async def test_no_header_list_becomes_more_than_one_request_h2_cl_h2_te(http2: Http2Edge, with_body: bool) -> None:
    http2.edge.change_wire(max_head=60_000)
    passed = refused = 0
    for at in range(0, len(LISTS), 50):
        client = await http2.client()
        for changes in LISTS[at : at + 50]:
            base = {b":method": b"GET", b":scheme": b"https", b":authority": b"portal.test", b":path": b"/public/x"}
            fields = sorted((base | changes).items(), key=lambda pair: not pair[0].startswith(b":"))
            stream_id = client.request(fields, end=not with_body)
            if with_body:
                client.data(stream_id, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: portal.test\r\n\r\n", end=True)
            answer = await client.answer(stream_id)
            assert answer.status, (changes, answer)
            passed += answer.status == 200
            refused += answer.status >= 400
        assert not client.closed
        await client.close()
    assert passed + refused == len(LISTS)
    for head in http2.edge.portal.heads:
        assert _HEAD(head), head
        assert not re.search(rb"(?m)^(?:x-smuggled|[A-Z]+ /smuggled)", head), head
        assert b"\r\ncontent-length:" not in head or b"\r\ntransfer-encoding:" not in head
        assert (b"\r\ntransfer-encoding: chunked\r\n" in head) is (with_body and b"content-length" not in head)
    assert refused > 150


async def test_fields_that_an_identity_hangs_on_pass_in_no_spelling(http2: Http2Edge) -> None:
    client = await http2.client()
    names = [
        b"x-gateway-user",
        b"x_gateway_user",
        b"x-forwarded-for",
        b"remote-user",
        b"x-real-ip",
        b"x--gateway--user",
        b"http-x-gateway-user",
    ]
    answer = await client.ask("/public/x", *((name, b"root") for name in names))
    assert answer.status == 200
    assert b"root" not in http2.edge.portal.head
