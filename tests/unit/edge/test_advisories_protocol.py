"""Advisories about framing, upgrades and time, and about error paths that open. docs/advisories.md lists them all."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.exchange.errors import StoreUnavailableError
from tests.fakes.portal import OK, Portal
from tests.unit.edge.conftest import Edge, Reply
from tests.unit.edge.raw import exchange, split_answers

HOST = b"Host: 127.0.0.1\r\n"
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SMUGGLED = b"GET /admin HTTP/1.1\r\n" + HOST + b"X-Gateway-User: root\r\n\r\n"
CHUNKED = b"POST /public/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


# upgrades and tunnels


async def test_cve_2026_2833_bytes_behind_a_declined_upgrade_go_nowhere(edge: Edge) -> None:
    seen = await exchange(edge, b"GET /ws HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n" + SMUGGLED)
    assert [answer.status for answer in seen.answers] == [200]
    assert [heard.line for heard in seen.heard] == ["GET /ws"]
    assert b"/admin" not in seen.wire


@pytest.mark.parametrize("status", [b"200 OK", b"201 X", b"302 X", b"401 X", b"426 X"])
async def test_cve_2024_23326_only_a_101_opens_a_tunnel(edge: Edge, status: bytes) -> None:
    edge.portal.answers[b"/ws"] = (
        b"HTTP/1.1 " + status + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno"
    )
    seen = await exchange(edge, b"GET /ws HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n" + SMUGGLED)
    assert len(seen.answers) == len(seen.heard) == 1
    assert b"/admin" not in seen.wire


async def test_cve_2026_2833_bytes_behind_a_handshake_wait_for_the_101(edge: Edge) -> None:
    asked = asyncio.Event()

    async def late(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")

    edge.portal.answers[b"/ws"] = late
    seen = await exchange(edge, b"GET /ws HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n\x81\x05hello" + SMUGGLED)
    assert asked.is_set()
    assert b"hello" not in seen.wire


# framing


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
    ],
)
async def test_cve_2026_2835_cve_2024_1135_a_coding_in_http_1_0_or_beside_a_length_is_400(
    edge: Edge, framing: bytes
) -> None:
    seen = await exchange(edge, b"POST /public/a HTTP/1.0\r\n" + HOST + framing + b"\r\n0\r\n\r\n" + SMUGGLED)
    assert ([answer.status for answer in seen.answers], seen.heard) == ([400], [])


async def test_cve_2025_4366_an_unread_body_is_never_the_next_request(edge: Edge) -> None:
    """Refused, answered early by the portal, or answered by the gateway itself: the rest of the body is dropped with the connection."""

    async def early(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await asyncio.Event().wait()  # and never reads the rest

    edge.portal.answers[b"/public/early"] = early
    length = b"Content-Length: %d\r\n" % (len(SMUGGLED) + 1000)
    for path in (b"/nowhere", b"/public/early", b"/.gateway/jwks.json", b"/.gateway/csp-report"):
        reader, writer = await edge.connect()
        writer.write(b"POST " + path + b" HTTP/1.1\r\n" + HOST + length + b"\r\n" + SMUGGLED)
        async with asyncio.timeout(10):
            answers = split_answers(await reader.read(), [])
        writer.close()
        assert len(answers) == 1, path
        assert b"\r\nconnection: close\r\n" in answers[0].head
    assert not any(head.startswith(b"GET /admin") for head in edge.portal.heads)


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"TRACK"])
async def test_cve_2026_71324_connect_with_keep_alive_is_refused_and_closed(edge: Edge, method: bytes) -> None:
    raw = method + b" 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"Connection: keep-alive\r\n\r\n"
    seen = await exchange(edge, raw + SMUGGLED)
    assert ([answer.status for answer in seen.answers], seen.heard) == ([501], [])


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\n\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r\r0\r\n\r\n",
        b"5\r\nhello  0\r\n\r\n",
    ],
)
async def test_cve_2025_43859_a_chunk_ends_with_crlf_and_nothing_else(edge: Edge, body: bytes) -> None:
    seen = await exchange(edge, CHUNKED + body)
    assert [answer.status for answer in seen.answers] == [400]
    assert not any(heard.complete for heard in seen.heard)


@pytest.mark.parametrize(
    "raw",
    [
        CHUNKED + b"0_5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length : 1\r\n\r\n",
        b"POST /public/a HTTP/1.1\r\n" + HOST + b"Content-Length: 0_5\r\n\r\nhello",
        b"POST /public/a HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello",
        b"POST /public/a HTTP/1.1\r\n" + HOST + b"Content-Length: \xd9\xa5\r\n\r\nhello",
        b"GET /public/a HTTP/1\xc2\xb9.1\r\n" + HOST + b"\r\n",
        b"GET /public/a HTTP/1.1\r\n" + HOST + b"X\x00A: b\r\n\r\n",
        b"G\xc3\x8bT /public/a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /public/a HTTP/1.1\n" + HOST + b"\r\n",
    ],
)
async def test_cve_2023_47627_cve_2024_23829_cve_2025_53643_the_parser_is_no_more_lenient_than_the_grammar(
    edge: Edge, raw: bytes
) -> None:
    seen = await exchange(edge, raw)
    assert [answer.status for answer in seen.answers] == [400]
    assert not any(heard.complete for heard in seen.heard)


async def test_cve_2025_69229_a_body_in_tiny_chunks_costs_what_its_bytes_cost(edge: Edge) -> None:
    seen = await exchange(edge, CHUNKED + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n")
    assert seen.heard[0].body == b"a" * 20_000


async def test_cve_2026_22815_trailers_end_somewhere(edge: Edge) -> None:
    seen = await exchange(edge, CHUNKED + b"5\r\nhello\r\n0\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n")
    assert seen.answers[0].status == 400
    assert not any(heard.complete for heard in seen.heard)


async def test_cve_2024_47874_a_body_is_bounded_whatever_its_framing(edge: Edge) -> None:
    edge.change_wire(max_body=1000)
    whole = b"POST /public/a HTTP/1.1\r\n" + HOST + b"Content-Length: 2000\r\n\r\n" + b"a" * 2000
    assert (await exchange(edge, whole)).answers[0].status == 413
    seen = await exchange(edge, CHUNKED + b"7d0\r\n" + b"a" * 2000 + b"\r\n0\r\n\r\n")
    assert seen.answers[0].status == 413
    assert not any(heard.complete for heard in seen.heard)


async def test_cve_2025_62727_a_range_is_the_portals_business(edge: Edge) -> None:
    ranges = b"bytes=" + b",".join(b"%d-" % number for number in range(1000))
    async with asyncio.timeout(5):
        seen = await exchange(edge, b"GET /public/a HTTP/1.1\r\n" + HOST + b"Range: " + ranges + b"\r\n\r\n")
    assert seen.heard[0].values("range") == [ranges.decode()]


async def test_cve_2026_26999_a_head_that_does_not_come_ends_the_connection(edge: Edge) -> None:
    edge.change_wire(head_timeout_s=0.3)
    assert Reply(await edge.raw(b"GET /public/a HTTP/1.1\r\nHost:")).status == 408


# error paths


async def test_cve_2026_25748_a_fuzzed_cookie_never_opens_anything(edge: Edge) -> None:
    chooser = random.Random(1)
    pieces = [
        b"gw",
        b"__Host-gw",
        b"=",
        b";",
        b" ",
        b",",
        b'"',
        b"tok",
        b"%",
        b"\xff",
        b"\t",
        b"gw=tok",
        b"$Version=1",
        b"\\",
        b"a" * 300,
        b"GW",
        b"admin",
    ]
    for _ in range(150):
        cookie = b"".join(chooser.choices(pieces, k=chooser.randint(1, 8)))
        seen = await exchange(edge, b"GET /admin HTTP/1.1\r\n" + HOST + b"Cookie: " + cookie + b"\r\n\r\n")
        assert seen.answers[0].status in {401, 403}, cookie
        assert [heard.line for heard in seen.heard] == ["GET /public/marker"]


@pytest.mark.parametrize(
    "agent",
    ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "Prometheus/3", "Amazon-Route53-Health-Check-Service"],
)
@pytest.mark.parametrize("path", ["/invoices/1", "/admin", "/invoices/ping", "/admin/healthz", "/admin/ready"])
async def test_cve_2026_34457_nobody_passes_for_a_health_check(edge: Edge, agent: str, path: str) -> None:
    assert (await edge.get(path, fields=f"User-Agent: {agent}\r\n")).status == 401
    assert edge.portal.heads == []


async def test_cve_2024_47070_whatever_fails_while_deciding_refuses(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge.sessions.unavailable = True
    assert (await edge.get("/invoices/1", token="tok")).status == 503

    def broken(token: bytes, now: float) -> None:
        raise StoreUnavailableError("gone") if token == b"gone" else RuntimeError("a fault of ours")

    monkeypatch.setattr(edge.sessions, "lookup", broken)
    assert (await edge.get("/invoices/1", token="gone")).status == 503
    assert (await edge.get("/invoices/1", token="tok")).status == 500
    assert edge.portal.heads == []


@pytest.mark.pure
async def test_cve_2023_40586_a_fault_of_one_request_is_not_the_next_ones(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(edge.worker.snapshot.resolver, "resolve", broken)
        assert (await edge.get("/public/a")).status == 500
    assert (await edge.get("/public/a")).status == 200
    assert len(edge.portal.heads) == 1


@pytest.mark.parametrize("path", ["/", "/invoices/1", "/admin", "/limited", "/ours"])
async def test_cve_2021_21411_every_restriction_refuses_somebody(edge: Edge, path: str) -> None:
    assert (await edge.get(path)).status == 401
    assert (await edge.get(path, token="unknown")).status == 401
    if path == "/admin":
        assert (await edge.get(path, token="tok")).status == 403
    if path == "/limited":
        assert [(await edge.get(path, token="tok")).status for _ in range(3)] == [200, 200, 429]
    if path == "/ours":
        assert (await edge.get(path, token="tok", fields="Authorization: Bearer x\r\n")).status == 400
