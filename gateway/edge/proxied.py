"""Take the PROXY header off a socket that nobody reads yet, and not a byte more.

What follows the header, a TLS handshake or a request, stays in the socket for whoever reads it next.
The grammar is `wire.proxy_protocol`'s; whose header counts is the acceptor's to know.
"""

from __future__ import annotations

import asyncio
import socket

from gateway.wire.proxy_protocol import MAX_V2_BYTES, ProxyHeaderError, Source, decode


async def take_header(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> Source:
    """Wait for the whole header and consume it. The caller sets the time-out.

    Raises:
        ProxyHeaderError: something else came, or nothing more will.
        OSError: the connection is gone.

    """
    taken = b""
    while True:
        try:
            seen = connection.recv(MAX_V2_BYTES - len(taken), socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(loop, connection)
            continue
        if not seen:
            raise ProxyHeaderError("ended early")
        header = decode(taken + seen)
        # An unfinished header is consumed too: what was only looked at would wake the loop for ever.
        taken += connection.recv(len(seen) if header is None else header.size - len(taken))
        if header is not None:
            return header.source


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    waiter = loop.create_future()
    loop.add_reader(connection.fileno(), _wake, waiter)
    try:
        await waiter
    finally:
        loop.remove_reader(connection.fileno())


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
