from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256

import aiohttp
import pytest

from gateway.audit.witness import MAX_REQUEST_BYTES
from gateway.server.fields import Address
from gateway.server.listeners import bind
from gateway.witness import listener as listener_module
from gateway.witness.listener import WitnessListener
from gateway.witness.service import Witness
from tests.unit.witness.conftest import GrowingLog


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def address(witness: Witness, clock: Clock) -> AsyncIterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sock = bind("listen", Address("127.0.0.1", port))
    sock.setblocking(False)
    made = WitnessListener(witness, sock, None, rate_per_s=1.0, burst=5, clock=clock)
    await made.start()
    yield f"http://127.0.0.1:{port}"
    await made.stop()


async def test_a_log_is_cosigned_over_http(address: str, log: GrowingLog) -> None:
    async with aiohttp.ClientSession(address) as session:
        async with session.post("/add-checkpoint", data=log.submit(0, 7)) as answer:
            assert answer.status == 200
            assert (await answer.read()).startswith("— witness.example/w1 ".encode())
        async with session.post("/add-checkpoint", data=log.submit(3, 9)) as answer:
            assert (answer.status, answer.headers["Content-Type"], await answer.text()) == (
                409,
                "text/x.tlog.size",
                "7\n",
            )
        async with session.post("/add-checkpoint", data=log.submit(7, 9, forked=True)) as answer:
            assert answer.status == 422
        async with session.get(f"/{sha256(log.vkey.name.encode()).hexdigest()}/checkpoint") as answer:
            assert answer.status == 200
            assert (await answer.read()).startswith(b"gateway/node/security\n7\n")
        async with session.get(f"/{'0' * 64}/checkpoint") as answer:
            assert answer.status == 404
        async with session.get("/livez") as answer:
            assert answer.status == 200


async def test_other_methods_and_paths_are_refused(address: str, log: GrowingLog) -> None:
    async with aiohttp.ClientSession(address) as session:
        for method, path, status in (
            ("GET", "/add-checkpoint", 405),
            ("PUT", "/add-checkpoint", 405),
            ("POST", "/add-checkpoint/", 404),
            ("GET", f"/{'A' * 64}/checkpoint", 404),
            ("GET", "/..%2flock/checkpoint", 404),
        ):
            async with session.request(method, path, data=log.submit(0, 7)) as answer:
                assert answer.status == status, (method, path)


async def test_a_body_past_the_longest_request_is_not_read(address: str, witness: Witness) -> None:
    async with (
        aiohttp.ClientSession(address) as session,
        session.post("/add-checkpoint", data=b"x" * (MAX_REQUEST_BYTES + 1)) as answer,
    ):
        assert answer.status == 413


async def test_an_address_is_answered_no_more_than_its_share(address: str, log: GrowingLog, clock: Clock) -> None:
    async with aiohttp.ClientSession(address) as session:
        for _ in range(5):
            async with session.post("/add-checkpoint", data=log.submit(0, 7)) as answer:
                assert answer.status in {200, 409}
        async with session.post("/add-checkpoint", data=log.submit(0, 7)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
        clock.now += 2
        async with session.post("/add-checkpoint", data=log.submit(7, 8)) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("one", "another", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_a_customer_with_many_addresses_is_one_client(one: str, another: str, is_same: bool) -> None:
    """Attack: another address of the same /64 with each request."""
    assert (listener_module._client(one) == listener_module._client(another)) is is_same


@pytest.mark.parametrize("begin", [b"", b"POST /add-check", b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_that_says_nothing_is_not_kept_open_for_ever(
    address: str, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    """Attack: thousands of them, until nobody else is heard."""
    monkeypatch.setattr(listener_module, "_READ_S", 0.05)
    import asyncio

    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(begin)
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_reading_what_was_cosigned_counts_as_a_request_too(address: str) -> None:
    async with aiohttp.ClientSession(address) as session:
        for status in (404,) * 5 + (429,):
            async with session.get(f"/{'0' * 64}/checkpoint") as answer:
                assert answer.status == status


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_READ_S", 0.05)
    port = int(address.rpartition(":")[2])
    import asyncio

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nold 0\n")
    await writer.drain()
    assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
