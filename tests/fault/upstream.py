"""A portal with faults on demand: the first part of the path says how it answers.

It notes the request id and method of every request that reached it whole or in part, which is what the
gateway must have announced in its log, and counts the bytes of every body.
"""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from hashlib import sha1
from typing import NamedTuple

ZEROS = bytes(256 * 1024)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Effect(NamedTuple):
    """A request that reached the portal."""

    request_id: str
    method: str
    path: str
    user: str


class Upstream:
    """Serves in a thread of its own; `port` stays the same over `stop` and `start`."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.taken = 0
        """Body bytes received."""
        self.broken_off = 0
        """Requests whose body never became whole."""
        self.open_streams = 0
        self.release = threading.Event()
        """Lets requests of `/held` finish, and `/sink` read on."""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._visits: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._ways: Mapping[str, Callable[[Visit], Awaitable[None]]] = {
            "held": _held, "zeros": _zeros, "sink": _sink, "short": _short, "long": _long, "midchunk": _midchunk, "closes": _closes,
            "silent": _silent, "garbage": _garbage, "events": _events, "socket": _socket, "slow": _slow,
        }  # fmt: skip
        self.start()

    def start(self) -> None:
        """Listen, again on the port of the first time."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def stop(self) -> None:
        """Stop listening and break off every connection."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    def close(self) -> None:
        """End the thread."""
        self.release.set()
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for _ in range(8):  # a connection that was being accepted arrives a few turns of the loop later
            visits = dict(self._visits)
            for task, writer in visits.items():
                task.cancel()
                writer.transport.abort()
            await asyncio.gather(*visits, return_exceptions=True)
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Know the connection before its task has begun: a task cancelled before that would never close it."""
        task = self._loop.create_task(self._serve(reader, writer))
        self._visits[task] = writer
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._visits.pop(task).transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        line, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines if text)}
        method, path, _ = line.split(" ")
        self.effects.append(Effect(fields.get("x-request-id", ""), method, path, fields.get("x-gateway-user", "")))
        way = self._ways.get(path.split("/")[1])
        visit = Visit(self, reader, writer, method, path, fields)
        if way is not None:
            await way(visit)
            return way in KEEP_THE_CONNECTION
        taken = await visit.read_body()
        await visit.say(f"{method} {path} {taken}\n".encode())
        return True


class Visit:
    """One request and its connection."""

    def __init__(  # noqa: PLR0917 - built in one place
        self,
        portal: Upstream,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        fields: Mapping[str, str],
    ) -> None:
        self.portal = portal
        self.reader = reader
        self.writer = writer
        self.method = method
        self.path = path
        self.fields = fields

    @property
    def number(self) -> int:
        """The second part of the path."""
        return int(self.path.split("/")[2])

    async def read_body(self) -> int:
        """Read the whole body; returns its length."""
        taken = 0
        try:
            if self.fields.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    await self.reader.readexactly(size + 2)
                    self.took(size)
                    taken += size
                await self.reader.readline()
            left = int(self.fields.get("content-length", "0"))
            while left:
                data = await self.reader.read(min(left, len(ZEROS)))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)  # noqa: TRY301 - counted below
                self.took(len(data))
                taken += len(data)
                left -= len(data)
        except (ValueError, asyncio.IncompleteReadError):
            self.portal.broken_off += 1
            raise asyncio.IncompleteReadError(b"", None) from None
        return taken

    def took(self, size: int) -> None:
        """Count body bytes."""
        self.portal.taken += size

    async def say(self, body: bytes, head: str = "") -> None:
        """Answer 200 with a body and its true length."""
        await self.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body)

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def released(self) -> None:
        """Wait until the test lets go."""
        while not self.portal.release.is_set():
            await asyncio.sleep(0.02)


async def _held(visit: Visit) -> None:
    await visit.read_body()
    await visit.released()
    await visit.say(b"released\n")


async def _slow(visit: Visit) -> None:
    await visit.read_body()
    await asyncio.sleep(visit.number / 1000)
    await visit.say(b"slow\n")


async def _zeros(visit: Visit) -> None:
    left = visit.number
    await visit.write(f"HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n".encode())
    while left:
        await visit.write(ZEROS[:left])
        left -= min(left, len(ZEROS))


async def _sink(visit: Visit) -> None:
    """Read a little, then nothing until released, then everything."""
    visit.took(len(await visit.reader.readexactly(1024)))
    await visit.released()
    fields = dict(visit.fields)
    fields["content-length"] = str(int(fields["content-length"]) - 1024)
    taken = 1024 + await Visit(visit.portal, visit.reader, visit.writer, visit.method, visit.path, fields).read_body()
    await visit.say(f"{taken}\n".encode())


async def _short(visit: Visit) -> None:
    await visit.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")


async def _long(visit: Visit) -> None:
    await visit.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfourHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    )


async def _midchunk(visit: Visit) -> None:
    await visit.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nhalf a chunk")


async def _closes(visit: Visit) -> None:
    """Close without a word."""


async def _garbage(visit: Visit) -> None:
    await visit.write(b"220 mail.example ESMTP ready\r\n\r\n")


async def _silent(visit: Visit) -> None:
    await visit.reader.read()


async def _events(visit: Visit) -> None:
    await visit.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    visit.portal.open_streams += 1
    try:
        while True:
            await visit.write(b"data: tick\n\n")
            await asyncio.sleep(0.1)
    finally:
        visit.portal.open_streams -= 1


async def _socket(visit: Visit) -> None:
    key = visit.fields["sec-websocket-key"].encode()
    accept = b64encode(sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    await visit.write(
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    visit.portal.open_streams += 1
    try:
        with suppress(OSError):
            while data := await visit.reader.read(4096):
                await visit.write(data)
    finally:
        visit.portal.open_streams -= 1


KEEP_THE_CONNECTION = frozenset((_held, _zeros, _sink, _slow))
"""The others break it off."""
