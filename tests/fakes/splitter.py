"""A balancer that knows nothing of sessions: each connection goes to the next of several servers, in turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress


class Splitter:
    """Listens in a thread of its own, and passes bytes on to one of `ports`."""

    def __init__(self, ports: Sequence[int], *, port: int = 0) -> None:
        self.ports = list(ports)
        self.visits = [0] * len(self.ports)
        """Connections that each server got."""
        self.port = port
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    async def _start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen = self._turn % len(self.ports)
        self._turn += 1
        self.visits[chosen] += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            ahead, back = await asyncio.open_connection("127.0.0.1", self.ports[chosen])
            try:
                await asyncio.gather(_pass_on(reader, back), _pass_on(ahead, writer))
            except asyncio.CancelledError:
                back.transport.abort()
                raise
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    def close(self) -> None:
        """Break everything off."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for _ in range(8):  # a connection that was being accepted arrives a few turns of the loop later
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()
