"""The PROXY header is taken off a socket to the byte, however it arrives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.edge.proxied import take_header
from gateway.wire.proxy_protocol import SIGNATURE, ProxyHeaderError, Source

V1 = b"PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes((198, 51, 100, 7, 203, 0, 113, 1)) + b"\xdc\x04\x01\xbb"
FROM = Source("198.51.100.7", 56324)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """The proxy's end, and ours."""
    near, far = socket.socketpair()
    far.setblocking(False)
    yield near, far
    near.close()
    far.close()


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(500), V1])
async def test_what_follows_the_header_stays_in_the_socket(
    pair: tuple[socket.socket, socket.socket], header: bytes, rest: bytes
) -> None:
    near, far = pair
    near.sendall(header + rest + b"!")
    assert await take_header(asyncio.get_running_loop(), far) == FROM
    assert far.recv(1000) == rest + b"!"


@pytest.mark.parametrize("header", [V1, V2])
async def test_a_header_byte_by_byte_is_taken_whole(pair: tuple[socket.socket, socket.socket], header: bytes) -> None:
    near, far = pair
    task = asyncio.create_task(take_header(asyncio.get_running_loop(), far))
    for at in range(len(header)):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        near.sendall(header[at : at + 1])
    assert await task == FROM
    near.sendall(b"rest")
    assert far.recv(100) == b"rest"


async def test_a_cut_header_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(V2[:-1])
    near.shutdown(socket.SHUT_WR)
    with pytest.raises(ProxyHeaderError):
        await take_header(asyncio.get_running_loop(), far)


async def test_a_request_without_a_header_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ProxyHeaderError):
        await take_header(asyncio.get_running_loop(), far)


async def test_a_silent_proxy_can_be_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    _, far = pair
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await take_header(asyncio.get_running_loop(), far)
    assert not asyncio.get_running_loop().remove_reader(far.fileno())
