"""One check of one server: what is asked and what counts as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.edge.probe import check_server
from gateway.edge.snapshot import HealthCheck, Server
from tests.fakes.portal import Portal

CHECK = HealthCheck(
    path=b"/healthz?full", host=b"", interval_s=1.0, timeout_s=5.0, healthy=1, unhealthy=1, statuses=frozenset((200, 204))
)  # fmt: skip


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    made = Portal()
    await made.start()
    yield made
    await made.stop()


def server(portal: Portal) -> Server:
    return Server(
        host="127.0.0.1", port=portal.port, path="", tls=None, server_name="", authority=b"portal.internal:3000"
    )


async def test_a_server_that_answers_as_expected_is_well(portal: Portal) -> None:
    assert await check_server(server(portal), CHECK) == ""
    assert portal.head == (
        b"GET /healthz?full HTTP/1.1\r\nhost: portal.internal:3000\r\nuser-agent: gateway-health-check\r\naccept: */*\r\n"
        b"connection: close\r\n\r\n"
    )


async def test_an_informational_answer_comes_before_the_one_that_counts(portal: Portal) -> None:
    portal.answers[b"/healthz"] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    assert await check_server(server(portal), CHECK) == ""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", "answered 301"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "answered 101"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "its answer is not HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "its answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "its answer is not HTTP"),
    ],
)
async def test_whatever_else_it_says_is_said(portal: Portal, answer: bytes, problem: str) -> None:
    portal.answers[b"/healthz"] = answer
    assert await check_server(server(portal), CHECK) == problem


async def test_a_server_that_hangs_up_cannot_be_reached(portal: Portal) -> None:
    async def hang_up(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    portal.answers[b"/healthz"] = hang_up
    assert await check_server(server(portal), CHECK) == "cannot be reached"


@pytest.mark.pure
async def test_a_check_ends_in_its_time(portal: Portal) -> None:
    async def drip(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    portal.answers[b"/healthz"] = drip
    slow = HealthCheck(**{name: getattr(CHECK, name) for name in CHECK.__slots__} | {"timeout_s": 0.2})
    assert await check_server(server(portal), slow) == "no answer in time"


async def test_a_server_that_is_gone_cannot_be_reached(portal: Portal) -> None:
    gone = server(portal)
    await portal.stop()
    assert await check_server(gone, CHECK) == "cannot be reached"
