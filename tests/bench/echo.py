"""A WebSocket echo server, the upstream of the tunnels: `python -m tests.bench.echo PORT`.

RFC 6455, no more than the bench needs: the handshake, and every frame sent back unmasked (at most 125 bytes).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
HEAD_BYTES = 2
MASK_BYTES = 4
SHORT_PAYLOAD = 0x7F
OPCODE = 0x0F
CLOSE = 0x08


def accept(key: bytes) -> bytes:
    """Return Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


class Echo(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Shake hands, then send every frame back."""
        assert self._transport is not None
        self._buffer += data
        if not self._open:
            head, mark, rest = self._buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            self._buffer, self._open = rest, True
            fields = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
            }
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept(fields.get(b"sec-websocket-key", b"")) + b"\r\n\r\n"
            )
        while len(self._buffer) >= HEAD_BYTES + MASK_BYTES:
            opcode, size = self._buffer[0], self._buffer[1] & SHORT_PAYLOAD
            end = HEAD_BYTES + MASK_BYTES + size
            if len(self._buffer) < end:
                return
            mask, payload = (
                self._buffer[HEAD_BYTES : HEAD_BYTES + MASK_BYTES],
                self._buffer[HEAD_BYTES + MASK_BYTES : end],
            )
            self._buffer = self._buffer[end:]
            plain = bytes(byte ^ mask[index % MASK_BYTES] for index, byte in enumerate(payload))
            self._transport.write(bytes((opcode, size)) + plain)
            if opcode & OPCODE == CLOSE:
                self._transport.close()
                return


async def serve(port: int) -> None:
    """Serve on loopback until killed."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
