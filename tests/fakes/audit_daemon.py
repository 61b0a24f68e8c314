"""An audit daemon that keeps records in memory and does as a test tells it: acknowledge, wait, refuse, hang up.

Speaks the real protocol; tests/contract/test_audit_socket.py holds it to the same contract as the real daemon.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from gateway.audit.protocol import (
    RECEIPTED,
    Hello,
    Records,
    RequestDecoder,
    pack_ack,
    pack_farewell,
    pack_receipt,
    pack_refused,
    pack_welcome,
)
from gateway.audit.receipt import announced, sign_receipt

ORIGIN = "gateway/fake/01234567/access"


class FakeAuditDaemon:
    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.last: dict[int, int] = {}
        self.acknowledges = True
        self.refuses = False
        self.receipt_key = b""
        """For all upstreams; without one no receipt is given."""
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def records(self) -> list[dict[str, Any]]:
        return [orjson.loads(payload) for payload in self.payloads]

    async def start(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Connection(self), str(path))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.hang_up()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        for connection in list(self._connections):
            connection.transport.abort()

    def say_farewell(self, wait_ms: int) -> None:
        """Announce a successor, and end."""
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.transport.write(pack_farewell(wait_ms))
            connection.transport.close()

    def reply(self, data: bytes) -> None:
        """Say this to everybody."""
        for connection in self._connections:
            connection.transport.write(data)

    def receipts(self, request: Records) -> bytes:
        """Reply to those that ask for one."""
        replies = b""
        for at, payload in enumerate(request.payloads):
            about = announced(payload) if request.streams[at] & RECEIPTED and self.receipt_key else None
            if about is not None:
                index = self.payloads.index(payload)
                text = sign_receipt(
                    self.receipt_key, origin=ORIGIN, index=index, request_uid=about.request_uid, line=about.line
                )
                replies += pack_receipt(request.first_seq + at, text)
        return replies

    def acknowledge_all(self) -> None:
        self.acknowledges = True
        for connection in self._connections:
            connection.transport.write(pack_ack(self.last.get(connection.slot, 0)))


class _Connection(asyncio.Protocol):
    transport: Any

    def __init__(self, daemon: FakeAuditDaemon) -> None:
        self.daemon = daemon
        self.decoder = RequestDecoder()
        self.slot = -1

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.daemon._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.daemon._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        daemon = self.daemon
        for request in self.decoder.feed(data):
            if isinstance(request, Hello):
                self.slot = request.slot
                self.transport.write(pack_welcome(daemon.last.get(self.slot, 0)))
            elif isinstance(request, Records):
                final = request.first_seq + len(request.payloads) - 1
                if daemon.refuses:
                    self.transport.write(pack_refused(final, 1))
                    continue
                known = daemon.last.get(self.slot, 0)
                daemon.payloads += [
                    payload for at, payload in enumerate(request.payloads) if request.first_seq + at > known
                ]
                daemon.last[self.slot] = max(known, final)
                self.transport.write(daemon.receipts(request))
                if daemon.acknowledges:
                    self.transport.write(pack_ack(final))
