"""WebSockets and streams through a real worker: tied to their session, told when they end, counted in and out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.occupancy import Occupancy
from gateway.edge.resolve import Resolver
from gateway.edge.tunnel import LEAVING_SHARE, Tunnel, leaving_share
from gateway.inspection.abuse.rule import Answer, Scope
from gateway.inspection.abuse.standing import Standing, Standings
from gateway.policy import compile_policy
from tests.fakes.portal import Portal
from tests.unit.edge.conftest import PATIENCE_S, POLICY, Edge, Entry, session, until

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
MASK = b"\x11\x22\x33\x44"

OPEN_LIVE = "{name: live, match: {path: /live, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}"
LIVE = (
    POLICY
    + """
  - {name: live, match: {path: /live, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - name: fresh
    match: {path: /fresh, methods: [GET]}
    upstream: portal
    allow: [{roles: [client], when: 'session.mfa_age < duration("60s")'}]
"""
)


def text(payload: bytes, *, masked: bool = False) -> bytes:
    """Build a short text frame."""
    if not masked:
        return bytes((0x81, len(payload))) + payload
    return bytes((0x81, 0x80 | len(payload))) + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


@dataclass
class Socket:
    """A WebSocket, seen from one of its ends."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def frame(self) -> tuple[int, bytes]:
        """Read one frame: its opcode and what it says."""
        async with asyncio.timeout(PATIENCE_S):
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            mask = await self.reader.readexactly(4) if second & 0x80 else bytes(4)
            payload = await self.reader.readexactly(size)
        return first & 0xF, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    async def code(self) -> int:
        """Read the Close frame that must come now: its code."""
        opcode, payload = await self.frame()
        assert opcode == 8, (opcode, payload)
        return int.from_bytes(payload, "big")

    async def end(self) -> bytes:
        """Read to the end of the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b"reset"


class Chat:
    """The portal's end of the WebSockets at `/live` and elsewhere."""

    def __init__(self, edge: Edge) -> None:
        self.opened: asyncio.Queue[Socket] = asyncio.Queue()
        self._over = asyncio.Event()
        for path in (b"/live", b"/fresh", b"/ws"):
            edge.portal.answers[path] = self._answer

    async def _answer(
        self, portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(SWITCHED)
        self.opened.put_nowait(Socket(reader, writer, head))
        await self._over.wait()

    async def end_of(self) -> Socket:
        async with asyncio.timeout(PATIENCE_S):
            return await self.opened.get()


@pytest.fixture
async def chat(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chat]:
    """A portal that takes WebSockets; the browsers' ends are closed at the end."""
    writers: list[asyncio.StreamWriter] = []
    connect = edge.connect

    async def kept() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await connect()
        writers.append(writer)
        return reader, writer

    monkeypatch.setattr(edge, "connect", kept)
    table, _ = compile_policy(
        {"policies/test.yaml": LIVE},
        upstreams=["portal"],
        tenants=["acme", "globex"],
        hosts=["127.0.0.1", "globex.example"],
        mfa_required=True,
    )
    edge.change(policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))
    yield Chat(edge)
    for writer in writers:
        writer.transport.abort()


async def shake(edge: Edge, path: str = "/live", *, token: str = "tok", fields: str = "") -> Socket:
    """Send a handshake and read the head of the answer."""
    reader, writer = await edge.connect()
    cookie = f"Cookie: gw={token}\r\n" if token else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{HANDSHAKE}{cookie}{fields}\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        return Socket(reader, writer, await reader.readuntil(b"\r\n\r\n"))


async def opened(edge: Edge, chat: Chat, path: str = "/live", *, token: str = "tok") -> tuple[Socket, Socket]:
    """Open a WebSocket; returns the browser's end and the portal's."""
    browser = await shake(edge, path, token=token)
    assert browser.head.startswith(b"HTTP/1.1 101 "), browser.head
    return browser, await chat.end_of()


def last(edge: Edge) -> Any:
    return edge.audit.records[-1]


async def closing(edge: Edge) -> Any:
    """Wait for the closing record."""
    await until(lambda: bool(edge.audit.records) and last(edge)["unmapped"]["gw"]["phase"] == "closing")
    return last(edge)


def closed(edge: Edge, kind: str, reason: str) -> float:
    return edge.worker.metrics.streams_closed.values.get((kind, reason), 0)


# what ends an open tunnel


async def test_a_revoked_session_closes_its_websocket_with_1008_and_tells_the_portal(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    browser.say(text(b"hello", masked=True))
    assert await portal.frame() == (1, b"hello")
    del edge.sessions.entries[b"tok"]
    assert await browser.code() == 1008
    assert await portal.code() == 1001
    browser.say(b"\x88\x80" + MASK)
    assert await browser.end() == b""
    assert await portal.end() == b""
    record = await closing(edge)
    assert record["status_detail"] == "session_revoked"
    assert record["unmapped"]["gw"]["outcome"] == "blocked"
    assert closed(edge, "websocket", "session_revoked") == 1
    assert edge.worker.metrics.tunnels.values[()] == 0


async def test_an_expired_session_closes_its_websocket(edge: Edge, chat: Chat) -> None:
    entry = edge.sessions.entries[b"short"] = Entry(session(handle="short"))
    browser, _ = await opened(edge, chat, token="short")
    entry.session, entry.seen = session(handle="short", expires=time.time()), time.time()
    del edge.sessions.entries[b"short"]
    assert await browser.code() == 1008
    assert (await closing(edge))["status_detail"] == "session_expired"


async def test_a_person_who_lost_a_role_is_sent_away_even_where_the_rest_would_do(edge: Edge, chat: Chat) -> None:
    edge.sessions.entries[b"tok"] = Entry(session(roles=("client", "admin")))
    browser, _ = await opened(edge, chat)
    edge.sessions.entries[b"tok"] = Entry(session(roles=("client",)))
    assert await browser.code() == 1008
    assert (await closing(edge))["status_detail"] == "identity_changed"


async def test_a_person_whose_last_role_is_gone_is_sent_away(edge: Edge, chat: Chat) -> None:
    browser, _ = await opened(edge, chat)
    edge.sessions.entries[b"tok"] = Entry(session(roles=("guest",)))
    assert await browser.code() == 1008
    assert (await closing(edge))["status_detail"] == "role_missing"


async def test_a_session_that_was_written_again_unchanged_keeps_its_tunnel(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    edge.sessions.entries[b"tok"] = Entry(session())
    looked = edge.sessions.lookups
    await until(lambda: edge.sessions.lookups > looked + 2)
    portal.say(text(b"still here"))
    assert await browser.frame() == (1, b"still here")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("{name: live, match: {path: /live, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}",
          "{name: live, match: {path: /live, methods: [GET]}, upstream: portal, allow: [{roles: [admin]}]}"), "role_missing"),
        (("path: /live,", "path: /other,"), "no_route"),
        (("path: /live, methods: [GET]", "path: /live, methods: [POST]"), "method_not_allowed"),
        ((OPEN_LIVE, f"{OPEN_LIVE[:-1]}, deny: [{{when: session.tenant == 'acme'}}]}}"), "denied"),
        ((OPEN_LIVE, f"{OPEN_LIVE[:-1]}, require: {{network: [10.0.0.0/8]}}}}"), "network_refused"),
        ((OPEN_LIVE, f"{OPEN_LIVE[:-1]}, require: {{device: known}}}}"), "device_unknown"),
        ((OPEN_LIVE, f"{OPEN_LIVE[:-1]}, require: {{factor: webauthn}}}}"), "step_up_required"),
    ],
)  # fmt: skip
async def test_a_policy_that_would_refuse_now_closes_what_is_open(
    edge: Edge, chat: Chat, change: tuple[str, str], reason: str
) -> None:
    browser, _ = await opened(edge, chat)
    assert change[0] in LIVE
    table, _ = compile_policy(
        {"policies/test.yaml": LIVE.replace(*change)}, upstreams=["portal"], tenants=["acme", "globex"],
        hosts=["127.0.0.1", "globex.example"], mfa_required=True,
    )  # fmt: skip
    edge.change(version="v2", policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))
    assert await browser.code() == 1008
    assert (await closing(edge))["status_detail"] == reason


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=6),
    st.lists(st.integers(1, 50), max_size=40),
    st.integers(0, 40),
)
def test_a_client_gets_whole_frames_and_then_the_close_frame_whenever_it_ends(
    payloads: list[bytes], cuts: list[int], end: int
) -> None:
    """However the portal's bytes are cut, and between whichever of them it is decided that the tunnel ends."""
    data = b"".join(
        (bytes((0x82, len(each))) if len(each) < 126 else b"\x82\x7e" + len(each).to_bytes(2, "big")) + each
        for each in payloads
    )
    tunnel, passed, at = Tunnel(), b"", 0
    for number, cut in enumerate([*cuts, len(data)]):
        tunnel.is_ending = tunnel.is_ending or number == min(end, len(cuts))
        if tunnel.is_ending and tunnel.is_between_frames:
            break
        passed += tunnel.take_from_server(data[at : at + cut])
        at = min(at + cut, len(data))
    assert tunnel.is_between_frames
    passed += tunnel.word_to_client(1008)
    seen = []
    while passed:
        size = passed[1]
        start = 2
        if size == 126:
            size, start = int.from_bytes(passed[2:4], "big"), 4
        assert len(passed) >= start + size, "a frame is cut"
        seen.append((passed[0], passed[start : start + size]))
        passed = passed[start + size :]
    assert seen[-1] == (0x88, b"\x03\xf0")
    assert [payload for _, payload in seen[:-1]] == payloads[: len(seen) - 1]


async def test_a_reload_that_changes_nothing_for_a_tunnel_leaves_it_open(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    edge.change(version="v2")
    looked = edge.sessions.lookups
    await until(lambda: edge.sessions.lookups > looked + 2)
    portal.say(text(b"still here"))
    assert await browser.frame() == (1, b"still here")


async def test_a_public_tunnel_ends_when_its_route_is_public_no_more(edge: Edge, chat: Chat) -> None:
    browser, _ = await opened(edge, chat, "/ws", token="")
    table, _ = compile_policy(
        {"policies/test.yaml": LIVE.replace("methods: [GET]}, upstream: portal, public: true}", "methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}")},
        upstreams=["portal"], tenants=["acme", "globex"], hosts=["127.0.0.1", "globex.example"], mfa_required=True,
    )  # fmt: skip
    edge.change(version="v2", policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))
    assert await browser.code() == 1008
    assert (await closing(edge))["status_detail"] == "sign_in_required"


async def test_a_condition_on_time_is_asked_again_while_a_tunnel_is_open(edge: Edge, chat: Chat) -> None:
    entry = Entry(session(mfa_time=time.time() - 59.0))
    edge.sessions.entries[b"tok"] = entry
    browser, _ = await opened(edge, chat, "/fresh")
    assert await browser.code() == 1008
    assert (await closing(edge))["status_detail"] == "condition_false"


async def test_a_store_that_cannot_say_ends_no_tunnel(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    edge.sessions.unavailable = True
    looked = edge.sessions.lookups
    await until(lambda: edge.sessions.lookups > looked + 2)
    portal.say(text(b"still here"))
    assert await browser.frame() == (1, b"still here")


async def test_the_close_frame_waits_for_the_end_of_the_frame_under_way(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    portal.say(b"\x81\x0ahello")
    async with asyncio.timeout(PATIENCE_S):
        assert await browser.reader.readexactly(7) == b"\x81\x0ahello"
    del edge.sessions.entries[b"tok"]
    assert await portal.code() == 1001
    portal.say(b"world" + text(b"a secret of after the revocation"))
    async with asyncio.timeout(PATIENCE_S):
        assert await browser.reader.readexactly(5) == b"world"
    assert await browser.code() == 1008


async def test_a_frame_that_does_not_end_is_cut_soon(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    portal.say(b"\x81\x0ahello")
    del edge.sessions.entries[b"tok"]
    assert await browser.end() in {b"\x81\x0ahello", b"reset"}
    assert (await closing(edge))["status_detail"] == "session_revoked"


async def test_nothing_of_the_client_reaches_the_portal_after_its_session_ended(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    portal.say(b"\x81\x0ahello")
    del edge.sessions.entries[b"tok"]
    assert await portal.code() == 1001
    browser.say(text(b"order!", masked=True))
    assert await portal.end() == b""


async def test_an_upstream_in_the_middle_of_a_clients_frame_gets_no_close_frame_in_it(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    browser.say(text(b"hello", masked=True)[:8])
    async with asyncio.timeout(PATIENCE_S):
        await portal.reader.readexactly(8)
    del edge.sessions.entries[b"tok"]
    assert await browser.code() == 1008
    assert await portal.end() == b""


async def test_a_client_that_takes_nothing_is_cut_when_its_session_ends(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    browser.reader._transport.pause_reading()  # type: ignore[attr-defined]  # a client that does not read
    flood = b"\x82\x7f" + (1 << 26).to_bytes(8, "big") + bytes(1 << 26)
    portal.say(flood)
    await until(lambda: portal.writer.transport.get_write_buffer_size() > 0)
    del edge.sessions.entries[b"tok"]
    record = await closing(edge)
    assert record["status_detail"] == "session_revoked"
    assert edge.worker.metrics.tunnels.values[()] == 0
    rest = await portal.end()
    assert rest == b"reset" or rest.startswith(b"\x88\x82"), "the portal is told where it can be"


async def test_a_silent_tunnel_is_closed_as_going_away(edge: Edge, chat: Chat) -> None:
    edge.change_upstream(idle_timeout_s=0.3)
    browser, portal = await opened(edge, chat)
    assert await browser.code() == 1001
    assert await portal.code() == 1001
    record = await closing(edge)
    assert record["status_detail"] == "tunnel_idle"
    assert record["unmapped"]["gw"]["outcome"] == "completed"


async def test_an_unmasked_frame_of_a_client_closes_with_1002_and_goes_no_further_rfc_6455_5_1(
    edge: Edge, chat: Chat
) -> None:
    browser, portal = await opened(edge, chat)
    browser.say(text(b"GET /poison HTTP/1.1"))
    assert await browser.code() == 1002
    assert await portal.end() == b""
    assert (await closing(edge))["status_detail"] == "malformed_frame"


# what the two ends do


async def test_a_portal_that_hangs_up_without_a_word_is_reported_to_the_client_as_1011(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    portal.say(text(b"last"))
    await portal.writer.drain()
    portal.writer.close()
    assert await browser.frame() == (1, b"last")
    assert await browser.code() == 1011
    record = await closing(edge)
    assert record["status_detail"] == "upstream_closed"
    assert record["unmapped"]["gw"]["outcome"] == "upstream_error"
    assert closed(edge, "websocket", "upstream_closed") == 1


async def test_a_portal_that_is_reset_between_frames_is_reported_to_the_client_too(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    portal.writer.transport.abort()
    assert await browser.code() == 1011


async def test_a_portal_that_dies_within_a_frame_cuts_the_tunnel(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    portal.say(b"\x81\x0ahello")
    await portal.writer.drain()
    async with asyncio.timeout(PATIENCE_S):
        await browser.reader.readexactly(7)
    portal.writer.close()
    assert await browser.end() in {b"", b"reset"}


async def test_a_close_frame_of_the_portal_is_followed_by_no_other(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    portal.say(b"\x88\x02\x03\xe8")
    assert await browser.code() == 1000
    browser.say(b"\x88\x82" + MASK + bytes((0x03 ^ MASK[0], 0xE8 ^ MASK[1])))
    assert await portal.code() == 1000
    portal.writer.close()
    assert await browser.end() == b""
    record = await closing(edge)
    assert record["unmapped"]["gw"]["outcome"] == "completed"
    assert closed(edge, "websocket", "completed") == 1


async def test_a_portal_that_hangs_up_instead_of_answering_a_close_is_answered_for(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    browser.say(b"\x88\x80" + MASK)
    assert (await portal.frame())[0] == 8
    portal.writer.close()
    assert await browser.code() == 1000
    assert (await closing(edge))["unmapped"]["gw"]["outcome"] == "completed"


async def test_a_client_that_vanishes_is_reported_to_the_portal_as_going_away(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    browser.say(text(b"hello", masked=True))
    assert await portal.frame() == (1, b"hello")
    browser.writer.transport.abort()
    assert await portal.code() == 1001
    assert await portal.end() == b""
    record = await closing(edge)
    assert record["unmapped"]["gw"]["outcome"] == "aborted_client"
    assert record["http_request"]["body_length"] == 11
    assert closed(edge, "websocket", "aborted_client") == 1


async def test_a_portal_that_closes_before_its_101_is_recorded_still_says_so_in_order(edge: Edge, chat: Chat) -> None:
    async def hasty(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SWITCHED + text(b"and goodbye"))
        writer.close()

    edge.portal.answers[b"/live"] = hasty
    browser = await shake(edge)
    assert browser.head.startswith(b"HTTP/1.1 101 ")
    assert await browser.frame() == (1, b"and goodbye")
    assert await browser.code() == 1011
    assert edge.worker.metrics.tunnels.values[()] == 0


async def test_only_messages_keep_a_session_from_idling_out_not_answers_to_pings(edge: Edge, chat: Chat) -> None:
    entry = edge.sessions.entries[b"tok"]
    browser, portal = await opened(edge, chat)
    entry.seen = 0.0
    portal.say(b"\x89\x00")
    assert await browser.frame() == (9, b"")
    browser.say(b"\x8a\x80" + MASK)
    assert await portal.frame() == (10, b"")
    looked = edge.sessions.lookups
    await until(lambda: edge.sessions.lookups > looked + 2)
    assert entry.seen == 0.0
    browser.say(text(b"a person", masked=True))
    await until(lambda: entry.seen > 0.0)


async def test_sub_protocols_and_extensions_pass_both_ways(edge: Edge, chat: Chat) -> None:
    offered = "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    browser = await shake(edge, fields=offered)
    portal = await chat.end_of()
    assert b"sec-websocket-protocol: chat, superchat\r\n" in portal.head
    assert b"sec-websocket-extensions: permessage-deflate\r\n" in portal.head
    assert b"sec-websocket-protocol: chat\r\n" in browser.head


# refused handshakes


@pytest.mark.parametrize("fields", ["", "Accept: text/html\r\n", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"])
async def test_a_handshake_without_a_session_is_401_and_never_a_redirect(edge: Edge, chat: Chat, fields: str) -> None:
    browser = await shake(edge, token="", fields=fields)
    assert browser.head.startswith(b"HTTP/1.1 401 "), browser.head
    assert b"\r\nlocation:" not in browser.head
    assert b"\r\nconnection: close\r\n" in browser.head
    browser.say(b"GET /public/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await browser.end()
    assert edge.portal.heads == []


@pytest.mark.parametrize("path", ["/live", "/ws"])
async def test_a_handshake_of_another_origin_is_refused_on_every_route(edge: Edge, chat: Chat, path: str) -> None:
    browser = await shake(edge, path, fields="Origin: http://evil.example\r\n")
    assert browser.head.startswith(b"HTTP/1.1 403 ")
    await browser.end()
    assert edge.portal.heads == []


# streams and downloads


async def events(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"9\r\ndata: 1\n\n\r\n"
    )
    await reader.read()


async def download(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await reader.read()


@pytest.mark.parametrize(("answer", "kind"), [(events, "event_stream"), (download, "answer")])
async def test_a_revoked_session_cuts_a_stream_so_that_nobody_takes_it_for_whole(
    edge: Edge, chat: Chat, answer: Callable[..., Awaitable[None]], kind: str
) -> None:
    edge.portal.answers[b"/live"] = answer
    reader, writer = await edge.connect()
    writer.write(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\n\r\n")
    stream = Socket(reader, writer, await reader.readuntil(b"\r\n\r\n"))
    await until(lambda: edge.worker.metrics.streams.values.get((kind,)) == 1)
    del edge.sessions.entries[b"tok"]
    rest = await stream.end()
    assert rest == b"reset" or not rest.endswith(b"0\r\n\r\n")
    assert (await closing(edge))["status_detail"] == "session_revoked"
    assert closed(edge, kind, "session_revoked") == 1
    assert edge.worker.metrics.streams.values[kind,] == 0


async def test_a_policy_change_cuts_an_event_stream(edge: Edge, chat: Chat) -> None:
    edge.portal.answers[b"/live"] = events
    reader, writer = await edge.connect()
    writer.write(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\n\r\n")
    stream = Socket(reader, writer, await reader.readuntil(b"\r\n\r\n"))
    table, _ = compile_policy(
        {"policies/test.yaml": LIVE.replace("path: /live", "path: /gone")}, upstreams=["portal"], tenants=["acme", "globex"],
        hosts=["127.0.0.1", "globex.example"], mfa_required=True,
    )  # fmt: skip
    edge.change(version="v2", policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))
    await stream.end()
    assert (await closing(edge))["status_detail"] == "no_route"


# a gateway that stops


async def test_a_gateway_that_drains_sends_tunnels_away_with_1001_before_the_time_is_over(
    edge: Edge, chat: Chat
) -> None:
    pairs = [await opened(edge, chat) for _ in range(4)]
    draining = asyncio.create_task(edge.worker.drain(2.0))
    for browser, portal in pairs:
        assert await browser.code() == 1001
        assert await portal.code() == 1001
        browser.say(b"\x88\x80" + MASK)
        assert await browser.end() == b""
    assert await draining == 0, "nothing was cut"
    assert closed(edge, "websocket", "draining") == 4


async def test_a_gateway_that_drains_cuts_event_streams_for_their_clients_to_come_back(edge: Edge, chat: Chat) -> None:
    edge.portal.answers[b"/live"] = events
    reader, writer = await edge.connect()
    writer.write(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\n\r\n")
    stream = Socket(reader, writer, await reader.readuntil(b"\r\n\r\n"))
    draining = asyncio.create_task(edge.worker.drain(2.0))
    await stream.end()
    assert await draining == 0
    assert closed(edge, "event_stream", "draining") == 1


async def test_tunnels_are_sent_away_spread_over_the_time_to_drain() -> None:
    shares = sorted(leaving_share(b"00000000-0000-7000-8000-%012x" % number) for number in range(100))
    assert shares[0] >= 0.0
    assert shares[-1] <= LEAVING_SHARE
    gaps = [after - before for before, after in pairwise(shares)]
    assert max(gaps) < 0.03


# how many may be open


@pytest.fixture
def occupancy(edge: Edge) -> Iterator[Occupancy]:
    """A table of open tunnels; its limits come with `edge.change_wire`."""
    fd = os.memfd_create("occupancy")
    table = edge.worker.occupancy = Occupancy(fd, 0, secret=b"k" * 32)
    yield table
    edge.worker.occupancy = None
    table.close()
    os.close(fd)


async def test_one_tunnel_more_than_a_person_may_have_is_429_and_does_not_reach_the_portal(
    edge: Edge, chat: Chat, occupancy: Occupancy
) -> None:
    edge.change_wire(open_per_user=2)
    edge.sessions.entries[b"other"] = Entry(session(handle="other", user="bob", user_id="u9"))
    pairs = [await opened(edge, chat) for _ in range(2)]
    refused = await shake(edge)
    assert refused.head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: 5\r\n" in refused.head
    assert b"too_many_open" in await refused.end()
    assert last(edge)["status_detail"] == "too_many_open"
    assert len(edge.portal.heads) == 2
    await opened(edge, chat, token="other")
    pairs[0][0].writer.transport.abort()
    assert await pairs[0][1].code() == 1001
    await opened(edge, chat)


async def test_a_tenant_may_have_so_many_over_all_its_people(edge: Edge, chat: Chat, occupancy: Occupancy) -> None:
    edge.change_wire(open_per_tenant=1)
    edge.sessions.entries[b"colleague"] = Entry(session(handle="c", user="bob", user_id="u9"))
    edge.sessions.entries[b"stranger"] = Entry(session(handle="s", user="eve", user_id="u8", tenant="globex"))
    await opened(edge, chat)
    assert (await shake(edge, token="colleague")).head.startswith(b"HTTP/1.1 429 ")
    await opened(edge, chat, token="stranger")


async def test_who_is_not_signed_in_counts_by_address(edge: Edge, chat: Chat, occupancy: Occupancy) -> None:
    edge.change_wire(open_per_user=1)
    await opened(edge, chat, "/ws", token="")
    assert (await shake(edge, "/ws", token="")).head.startswith(b"HTTP/1.1 429 ")


async def test_event_streams_count_with_tunnels_and_downloads_do_not(
    edge: Edge, chat: Chat, occupancy: Occupancy
) -> None:
    edge.change_wire(open_per_user=1)
    edge.portal.answers[b"/invoices/1"] = events
    edge.portal.answers[b"/invoices/2"] = download
    await opened(edge, chat)
    refused = await edge.get("/invoices/1", token="tok")
    assert refused.status == 429
    assert b"data: 1" not in refused.raw
    reader, writer = await edge.connect()
    writer.write(b"GET /invoices/2 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()


async def test_a_place_is_given_back_in_every_way_a_tunnel_can_end(
    edge: Edge, chat: Chat, occupancy: Occupancy
) -> None:
    edge.change_wire(open_per_user=1)

    async def place_is_free() -> None:
        await until(lambda: not occupancy.held)

    browser, portal = await opened(edge, chat)
    browser.writer.transport.abort()  # the client is gone
    await place_is_free()
    browser, portal = await opened(edge, chat)
    portal.writer.transport.abort()  # the upstream is gone
    await place_is_free()
    browser, portal = await opened(edge, chat)
    browser.say(text(b"unmasked"))  # refused on the way
    await place_is_free()
    browser, portal = await opened(edge, chat)
    del edge.sessions.entries[b"tok"]  # revoked
    await place_is_free()
    edge.sessions.entries[b"tok"] = Entry(session())
    edge.portal.answers[b"/live"] = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"  # declined
    assert (await shake(edge)).head.startswith(b"HTTP/1.1 403 ")
    await place_is_free()
    server = replace(edge.worker.snapshot.upstreams["portal"].servers[0], port=1)
    edge.change_upstream(servers=(server,))  # not reachable
    assert (await shake(edge)).head.startswith(b"HTTP/1.1 502 ")
    await place_is_free()
    edge.portal.answers[b"/live"] = events
    edge.audit.refuses = True  # not recorded
    assert (await shake(edge)).head.startswith(b"HTTP/1.1 503 ")
    await place_is_free()


# what detectors of abuse answered meanwhile


@pytest.mark.parametrize(
    ("scope", "subject"), [(Scope.NETWORK, "127.0.0.1"), (Scope.PERSON, "u1"), (Scope.SESSION, "handle1")]
)
async def test_an_answer_of_a_detector_ends_what_is_open_already(
    edge: Edge, chat: Chat, scope: Scope, subject: str
) -> None:
    browser, _ = await opened(edge, chat)
    now = time.time()
    blocked = Standing(
        reference="a_1", detector="D-12", rule="r", scope=scope, subject=subject, answer=Answer.BLOCK,
        since=now - 1, until=now + 900,
    )  # fmt: skip
    edge.worker.gate.adopt(Standings([blocked]))
    assert await browser.code() == 1008
    record = await closing(edge)
    assert (record["status_detail"], record["policy"]["uid"]) == ("abuse_blocked", "a_1")


async def test_an_answer_to_somebody_else_ends_nothing(edge: Edge, chat: Chat) -> None:
    browser, portal = await opened(edge, chat)
    now = time.time()
    blocked = Standing(
        reference="a_1", detector="D-12", rule="r", scope=Scope.PERSON, subject="u2", answer=Answer.BLOCK,
        since=now - 1, until=now + 900,
    )  # fmt: skip
    edge.worker.gate.adopt(Standings([blocked]))
    looked = edge.sessions.lookups
    await until(lambda: edge.sessions.lookups > looked + 2)
    browser.say(text(b"hello", masked=True))
    assert await portal.frame() == (1, b"hello")
