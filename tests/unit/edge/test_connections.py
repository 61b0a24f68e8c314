"""From accept to the first byte: who is let in, who gives way, and whom a PROXY header names."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.edge.admission import GRACE_S, LEAST_HANDSHAKES
from gateway.edge.snapshot import ForwardAuthRules
from gateway.edge.worker import Listener
from gateway.wire.forwarded import TrustedProxies
from gateway.wire.proxy_protocol import SIGNATURE
from tests.fakes.portal import OK, Portal
from tests.unit.edge.conftest import Edge, Http2Edge, Reply, until
from tests.unit.edge.test_tls import ADDRESS, TLSEdge
from tests.unit.edge.test_tls import tls as tls_edge

tls = tls_edge

LOOPBACK = TrustedProxies((ip_network("127.0.0.1/32"),))
GET = b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
V1 = b"PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\r\n"
V2 = SIGNATURE + b"\x21\x21\x00\x24" + bytes.fromhex("20010db8" + "0" * 23 + "7") + bytes(15) + b"\x01\xdc\x04\x01\xbb"
V2_LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNKNOWN = b"PROXY UNKNOWN\r\n"


class Opened:
    """Connections of a test, closed at its end."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def __call__(self, source: str = "127.0.0.1", **options: Any) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0), **options)
        self._writers.append(writer)
        return reader, writer

    async def asked(self, source: str = "127.0.0.1") -> Any:
        """Open a connection that was answered once and now waits."""
        reader, writer = await self(source)
        writer.write(GET)
        await answer(reader)
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> int:
    """Read the head of an answer; its body stays where it is."""
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length[0]) if length else 0)
    return int(head.split(b" ", 2)[1])


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the gateway has ended a connection that was not to be answered."""
    try:
        async with asyncio.timeout(10):
            return await reader.read(1) == b""
    except OSError:
        return True


async def is_turned_away(opened: Opened, source: str, said: bytes = b"") -> bool:
    """Whether a new connection is ended, at once or after it has said something."""
    try:
        reader, writer = await opened(source)
        writer.write(said)
    except OSError:
        return True
    return await is_closed(reader)


def count(edge: Edge, metric: str) -> dict[tuple[str, ...], float]:
    (sample,) = [sample for sample in edge.worker.metrics.dump() if sample.name == metric]
    return dict(sample.values)


def age(edge: Edge, seconds: float) -> None:
    """Let all connections have waited that long."""
    for connection in edge.worker._connections:
        connection.deadline -= seconds  # type: ignore[attr-defined]  # of HTTP/1.1
    edge.worker.admission._idle._again = edge.worker.admission._idle_of_client._again = 0.0


@pytest.fixture
async def opened(edge: Edge) -> AsyncIterator[Opened]:
    made = Opened(edge.port)
    yield made
    await made.close()


@pytest.fixture
async def proxied(edge: Edge) -> AsyncIterator[Opened]:
    """A listener that asks for a PROXY header; 127.0.0.1 may send one."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    edge.change(trusted_proxies=LOOPBACK)
    await edge.worker.listen(Listener(listening.fileno(), redirects=False, tls=False, proxied=True), 1.0)
    made = Opened(listening.getsockname()[1])
    yield made
    await made.close()
    listening.close()


# room


async def test_a_full_worker_turns_nobody_away_while_somebody_waits(edge: Edge, opened: Opened) -> None:
    edge.change_wire(max_connections=3)
    first, _ = await opened.asked("127.0.0.2")
    second, writer = await opened.asked("127.0.0.3")
    await opened.asked("127.0.0.4")
    age(edge, GRACE_S)
    await opened.asked("127.0.0.5")
    assert await is_closed(first)
    writer.write(GET)
    assert await answer(second) == 200
    assert count(edge, "gateway_connections_cut_total") == {("full",): 1}


async def test_a_worker_full_of_requests_under_way_refuses_and_says_so(edge: Edge, opened: Opened) -> None:
    edge.change_wire(max_connections=2)
    for source in ("127.0.0.2", "127.0.0.3"):
        _, writer = await opened(source)
        writer.write(b"POST /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n")
    await until(lambda: sum(c.exchange is not None for c in edge.worker._connections) == 2)  # type: ignore[attr-defined]
    age(edge, GRACE_S)
    assert await is_turned_away(opened, "127.0.0.4")
    assert count(edge, "gateway_connections_refused_total") == {("full",): 1}
    await until(lambda: bool(edge.reports))
    assert edge.reports == [("connections.refused", "full: 1")]
    edge.reports.clear()


async def test_an_unfinished_head_gives_way_too(edge: Edge, opened: Opened) -> None:
    """Attack: slow heads of many addresses."""
    edge.change_wire(max_connections=1)
    slow, writer = await opened("127.0.0.2")
    writer.write(b"GET / HTTP/1.1\r\n")
    await until(lambda: any(c._buffer for c in edge.worker._connections))  # type: ignore[attr-defined]
    age(edge, GRACE_S)
    await opened.asked("127.0.0.3")
    assert await is_closed(slow)


async def test_one_address_leaves_room_for_others(edge: Edge, opened: Opened) -> None:
    edge.change_wire(max_connections=4, max_connections_per_client=2)
    mine = [await opened.asked("127.0.0.2") for _ in range(2)]
    assert await is_turned_away(opened, "127.0.0.2")
    await opened.asked("127.0.0.3")
    age(edge, GRACE_S)
    other, writer = await opened.asked("127.0.0.4")
    await opened.asked("127.0.0.2")
    assert await is_closed(mine[0][0])
    writer.write(GET)
    assert await answer(other) == 200
    assert count(edge, "gateway_connections_refused_total") == {("client",): 1}
    assert count(edge, "gateway_connections_cut_total") == {("client",): 1}
    await until(lambda: bool(edge.reports))
    edge.reports.clear()


async def test_a_trusted_proxy_is_many_clients(edge: Edge, opened: Opened) -> None:
    edge.change(trusted_proxies=LOOPBACK)
    edge.change_wire(max_connections_per_client=1)
    for _ in range(3):
        await opened.asked()
    assert count(edge, "gateway_connections_refused_total") == {}


async def test_who_left_is_counted_out(edge: Edge) -> None:
    edge.change_wire(max_connections_per_client=1)
    for _ in range(3):
        assert (await edge.get("/public/a")).status == 200
        await until(lambda: not edge.worker._connections)
    assert edge.worker.admission._open == {}


# handshakes


@pytest.fixture
async def silent(tls: TLSEdge) -> AsyncIterator[Opened]:
    """Connections to the listener with TLS that say nothing of themselves."""
    made = Opened(tls.port)
    yield made
    await made.close()


async def test_stalled_handshakes_give_way_to_new_ones(tls: TLSEdge, silent: Opened) -> None:
    tls.edge.change_wire(max_connections=LEAST_HANDSHAKES * 2)
    stalled = [await silent(f"127.0.0.{number % 8 + 2}") for number in range(LEAST_HANDSHAKES)]
    await until(lambda: len(tls.edge.worker.admission._handshakes) == LEAST_HANDSHAKES)
    entries = tls.edge.worker.admission._handshakes
    for token, (key, since, abort) in list(entries.items()):
        entries[token] = key, since - GRACE_S, abort
    assert (await tls.ask(tls.client()))[0] == 200
    assert await is_closed(stalled[0][0])
    assert count(tls.edge, "gateway_connections_cut_total") == {("handshakes",): 1}


async def test_one_address_cannot_take_all_handshakes(tls: TLSEdge, silent: Opened) -> None:
    tls.edge.change_wire(max_connections_per_client=3)
    for _ in range(3):
        await silent("127.0.0.2")
    await until(lambda: len(tls.edge.worker.admission._handshakes) == 3)
    assert await is_turned_away(silent, "127.0.0.2")
    assert (await tls.ask(tls.client()))[0] == 200
    await silent.close()
    await until(lambda: not tls.edge.worker.admission._handshakes and not tls.edge.worker.admission._shaking)
    await until(lambda: bool(tls.edge.reports))
    tls.edge.reports.clear()


async def test_a_client_that_never_acknowledges_the_end_of_tls_gives_way(tls: TLSEdge) -> None:
    def ask_and_stay() -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", tls.port), timeout=10)
        client = tls.client().wrap_socket(plain, server_hostname="portal.test", suppress_ragged_eofs=False)
        client.sendall(b"GET /public/a HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        return client

    staying = await asyncio.to_thread(ask_and_stay)
    await until(lambda: all(c.exchange is None for c in tls.edge.worker._connections))
    assert len(tls.edge.worker._connections) == 1
    tls.edge.change_wire(max_connections=1)
    age(tls.edge, GRACE_S)
    assert (await tls.ask(tls.client()))[0] == 200
    assert count(tls.edge, "gateway_connections_cut_total") == {("full",): 1}
    staying.close()


# the PROXY protocol


@pytest.mark.parametrize(
    ("header", "client"), [(V1, "198.51.100.7"), (V2, "2001:db8::7"), (V2_LOCAL, "127.0.0.1"), (UNKNOWN, "127.0.0.1")]
)
async def test_a_header_names_the_client_of_limits_records_and_the_portal(
    edge: Edge, proxied: Opened, header: bytes, client: str
) -> None:
    reader, writer = await proxied()
    writer.write(header + GET)
    assert await answer(reader) == 200
    assert edge.audit.records[-1]["src_endpoint"]["ip"] == client
    assert edge.portal.field(b"x-forwarded-for") == [client.encode()]
    writer.write(GET)
    assert await answer(reader) == 200


@pytest.mark.parametrize("header", [V1, V2])
async def test_a_header_in_pieces_is_read_like_a_whole_one(edge: Edge, proxied: Opened, header: bytes) -> None:
    reader, writer = await proxied()
    for at in range(len(header)):
        writer.write(header[at : at + 1])
        await asyncio.sleep(0)
    writer.write(GET + GET)
    assert await answer(reader) == 200
    assert await answer(reader) == 200


@pytest.mark.parametrize(
    "said",
    [
        GET,
        b"PROXY TCP4 198.51.100.7 203.0.113.1 1 2\n" + GET,
        b"\x16\x03\x01\x02\x00",
        V1[:-2] + b" \r\n",
        V2_LOCAL[:12] + b"\x11\x00\x00\x00",
    ],
)
async def test_a_connection_that_does_not_begin_with_a_header_is_closed(
    edge: Edge, proxied: Opened, said: bytes
) -> None:
    reader, writer = await proxied()
    writer.write(said)
    assert await is_closed(reader)
    assert edge.portal.heads == []
    assert count(edge, "gateway_connections_refused_total") == {("proxy_header",): 1}
    await until(lambda: bool(edge.reports))
    edge.reports.clear()


async def test_a_header_from_anybody_else_is_not_even_read(edge: Edge, proxied: Opened) -> None:
    """Attack: a client that reaches the listener of the proxies names another client."""
    assert await is_turned_away(proxied, "127.0.0.9", V1 + GET)
    assert edge.portal.heads == []
    assert edge.audit.records == []
    assert count(edge, "gateway_connections_refused_total") == {("not_a_proxy",): 1}
    await until(lambda: bool(edge.reports))
    edge.reports.clear()


async def test_a_proxy_that_says_nothing_is_given_up(edge: Edge, proxied: Opened) -> None:
    edge.change_wire(head_timeout_s=0.05)
    reader, writer = await proxied()
    writer.write(V1[:20])
    assert await is_closed(reader)
    assert count(edge, "gateway_connections_refused_total") == {("proxy_header",): 1}
    await until(lambda: bool(edge.reports))
    edge.reports.clear()


@pytest.mark.parametrize(("header", "is_believed"), [(V1, False), (UNKNOWN, False), (V2_LOCAL, True)])
async def test_forwarding_fields_behind_a_header_are_the_clients_own(
    edge: Edge, proxied: Opened, header: bytes, is_believed: bool
) -> None:
    """Attack: a proxy that passes bytes on does not write X-Forwarded-For; its address must not vouch for one."""
    reader, writer = await proxied()
    writer.write(header + GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"))
    assert await answer(reader) == 200
    assert (edge.audit.records[-1]["src_endpoint"]["ip"] == "6.6.6.6") is is_believed


async def test_a_proxy_that_is_trusted_no_more_is_not_believed_on_open_connections(edge: Edge, opened: Opened) -> None:
    """Attack: a proxy that was taken over, and taken out of the configuration, goes on naming clients."""
    fields = b"\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\r\n"
    said = GET.replace(b"\r\n\r\n", fields)
    edge.change(trusted_proxies=LOOPBACK)
    reader, writer = await opened()
    for proxies, believed in ((LOOPBACK, True), (TrustedProxies(), False), (LOOPBACK, True)):
        edge.change(trusted_proxies=proxies)
        writer.write(said)
        assert await answer(reader) == 200
        assert (edge.audit.records[-1]["src_endpoint"]["ip"] == "6.6.6.6") is believed
        assert (edge.portal.field(b"x-forwarded-proto") == [b"https"]) is believed
        assert edge.worker.admission._open == ({} if believed else {"127.0.0.1": 1}), "counted where it stands"


@pytest.mark.parametrize(("header", "may_ask"), [(V1, False), (UNKNOWN, False), (V2_LOCAL, True)])
async def test_a_client_that_its_proxy_does_not_name_asks_nothing_in_the_proxys_name(
    edge: Edge, proxied: Opened, header: bytes, may_ask: bool
) -> None:
    """Attack: the proxy may ask at /.gateway/check; a client whose bytes it passes on asks about addresses of its choice."""
    edge.change(forward_auth=ForwardAuthRules(style="nginx", askers=LOOPBACK, proxies=LOOPBACK))
    reader, writer = await proxied()
    said = b"X-Original-Method: GET\r\nX-Original-URI: /\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\n"
    writer.write(header + b"GET /.gateway/check HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\n" + said + b"\r\n")
    assert await answer(reader) == 200
    assert (edge.portal.heads == []) is may_ask, "what nobody may ask is a page of ours like any other"
    assert (edge.audit.records[-1]["src_endpoint"]["ip"] == "6.6.6.6") is may_ask


async def test_a_trusted_proxy_behind_a_header_is_believed(edge: Edge, proxied: Opened) -> None:
    edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.1/32"), ip_network("198.51.100.0/24"))))
    reader, writer = await proxied()
    writer.write(V1 + GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 203.0.113.77\r\n\r\n"))
    assert await answer(reader) == 200
    assert edge.audit.records[-1]["src_endpoint"]["ip"] == "203.0.113.77"
    assert edge.portal.field(b"x-forwarded-for") == [b"203.0.113.77, 198.51.100.7"]


async def test_a_client_behind_a_header_is_bounded_and_its_proxy_is_not(edge: Edge, proxied: Opened) -> None:
    edge.change_wire(max_connections_per_client=1)
    reader, writer = await proxied()
    writer.write(V1 + GET)
    assert await answer(reader) == 200
    again, writer = await proxied()
    writer.write(V1 + GET)
    assert await is_closed(again)
    other, writer = await proxied()
    writer.write(V2 + GET)
    assert await answer(other) == 200
    await until(lambda: bool(edge.reports))
    edge.reports.clear()


@pytest.mark.parametrize("pieces", ["at once", "apart"])
async def test_tls_follows_the_header_to_the_byte(tls: TLSEdge, pieces: str) -> None:
    """The ClientHello may be in the same segment as the header."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    tls.edge.change(trusted_proxies=LOOPBACK)
    await tls.edge.worker.listen(
        Listener(listening.fileno(), redirects=False, tls=True, address=ADDRESS, proxied=True), 2.0
    )
    status, secure = await asyncio.to_thread(
        _ask_over_tls, listening.getsockname()[1], tls.client(), pieces == "at once"
    )
    assert status == 200
    assert tls.edge.audit.records[-1]["src_endpoint"]["ip"] == "198.51.100.7"
    assert tls.edge.portal.field(b"x-forwarded-proto") == [b"https"]
    assert secure == "TLSv1.3"
    listening.close()


def _ask_over_tls(port: int, context: ssl.SSLContext, at_once: bool) -> tuple[int, str | None]:
    """Shake hands by hand, with the header in front of the first flight."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="portal.test")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        if not at_once:
            connection.sendall(V1)
        first = V1 if at_once else b""
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(first + outgoing.read())
                first = b""
                incoming.write(connection.recv(65536))
        session.write(GET.replace(b"127.0.0.1", b"portal.test").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        connection.sendall(outgoing.read())
        received = b""
        while data := connection.recv(65536):
            incoming.write(data)
            with suppress(ssl.SSLWantReadError):
                while piece := session.read(65536):
                    received += piece
                break
        return Reply(received).status, session.version()


async def test_a_listener_without_the_protocol_takes_no_header(edge: Edge) -> None:
    edge.change(trusted_proxies=LOOPBACK)
    for header in (V1, V2):
        assert Reply(await edge.raw(header + GET)).status == 400
    assert edge.portal.heads == []


async def test_the_source_of_a_header_ends_with_its_connection(edge: Edge, proxied: Opened) -> None:
    listener = Listener(0, redirects=False, tls=False, proxied=True)
    assert replace(listener).source is None
    for header, client in ((V1, "198.51.100.7"), (V2, "2001:db8::7"), (V2_LOCAL, "127.0.0.1")):
        reader, writer = await proxied()
        writer.write(header + GET)
        assert await answer(reader) == 200
        assert edge.audit.records[-1]["src_endpoint"]["ip"] == client


# HTTP/2


async def test_an_idle_connection_of_http2_gives_way_and_one_with_a_stream_does_not(http2: Http2Edge) -> None:
    gate = asyncio.Event()

    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(OK)

    http2.edge.portal.answers[b"/public/slow"] = slow
    busy, idle = await http2.client(), await http2.client()
    await idle.ask()
    stream = busy.request(busy.get("/public/slow"))
    await until(lambda: len(http2.edge.portal.heads) == 2)
    http2.edge.change_wire(max_connections=2)
    for connection in http2.edge.worker._connections:
        connection._idle_since -= GRACE_S  # type: ignore[attr-defined]  # of HTTP/2
    newcomer = await http2.client()
    assert (await newcomer.ask()).status == 200
    gate.set()
    assert (await busy.answer(stream)).status == 200
    assert count(http2.edge, "gateway_connections_cut_total") == {("full",): 1}
