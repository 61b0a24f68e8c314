"""An upstream on a real socket that records what it receives byte for byte and answers as scripted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import SupportsIndex

Answer = Callable[["Portal", bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Tapped(asyncio.StreamReader):
    """Keeps every byte as it came."""

    def __init__(self, heard: bytearray) -> None:
        super().__init__(limit=1 << 20)
        self._heard = heard

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self._heard.extend(data)
        super().feed_data(data)


class Portal:
    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.wire: list[bytearray] = []
        """What each connection sent, byte for byte; a connection that is kept goes on in its own."""
        self.answers: dict[bytes, bytes | Answer] = {}
        self.port = 0
        self._server: asyncio.Server | None = None
        self._visits: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._protocol, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for _ in range(8):  # a connection that was being accepted arrives a few turns of the loop later
            visits = dict(self._visits)
            for task, writer in visits.items():
                task.cancel()
                writer.transport.abort()
            await asyncio.gather(*visits, return_exceptions=True)
            await asyncio.sleep(0)

    @property
    def head(self) -> bytes:
        return self.heads[-1]

    def field(self, name: bytes) -> list[bytes]:
        return re.findall(rb"(?mi)^" + re.escape(name) + rb": (.*)\r$", self.head)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        heard = bytearray()
        self.wire.append(heard)
        return asyncio.StreamReaderProtocol(_Tapped(heard), self._accept)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Know the connection before its task has begun: a task cancelled before that would never close it."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._visits[task] = writer
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._visits.pop(task).close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                path = head.split(b" ", 2)[1].partition(b"?")[0]
                answer = self.answers.get(path, OK)
                if callable(answer):
                    await answer(self, head, reader, writer)
                else:
                    self.bodies.append(await read_body(head, reader))
                    writer.write(answer)
                    await writer.drain()


async def read_body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    length = re.search(rb"(?mi)^content-length: (\d+)", head)
    if length:
        return await reader.readexactly(int(length[1]))
    if re.search(rb"(?mi)^transfer-encoding: chunked", head):
        body = b""
        while size := int(await reader.readuntil(b"\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return body
    return b""
