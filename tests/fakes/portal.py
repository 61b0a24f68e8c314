"""An upstream on a real socket that records what it receives byte for byte and answers as scripted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

Answer = Callable[["Portal", bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Portal:
    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.answers: dict[bytes, bytes | Answer] = {}
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def head(self) -> bytes:
        return self.heads[-1]

    def field(self, name: bytes) -> list[bytes]:
        return re.findall(rb"(?mi)^" + re.escape(name) + rb": (.*)\r$", self.head)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
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
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def read_body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    length = re.search(rb"(?mi)^content-length: (\d+)", head)
    if length:
        return await reader.readexactly(int(length[1]))
    if re.search(rb"(?mi)^transfer-encoding: chunked", head):
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return body
    return b""
