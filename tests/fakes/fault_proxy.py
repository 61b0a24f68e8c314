"""A TCP proxy that does what networks and receivers do on bad days, when it is told to.

It stands before a real server; what it breaks is the way there, never the server.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import StrEnum
from typing import Self


class Weather(StrEnum):
    """What happens to connections, old and new."""

    FAIR = "fair"
    CUT = "cut"
    """Every connection is reset, and new ones as soon as they are made."""
    BLACK_HOLE = "black hole"
    """Connections are taken, and nothing moves any more, without a word."""
    SLOW = "slow"
    """One byte a second comes back."""
    LOSES_ANSWERS = "loses answers"
    """The server gets everything; when it answers, the client gets a reset instead."""


class FaultProxy:
    """Listens on a port of 127.0.0.1 and passes everything to another."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self.port = port
        self._weather = Weather.FAIR
        self.lost_answers = 0
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clear = asyncio.Event()
        self._clear.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._reset_all()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def change(self, weather: Weather) -> None:
        """From now on; a black hole gives up the connections that fell into it."""
        was, self._weather = self._weather, weather
        if weather is Weather.BLACK_HOLE:
            self._clear.clear()
        else:
            self._clear.set()
        if weather is Weather.CUT or (was in {Weather.BLACK_HOLE, Weather.SLOW} and was is not weather):
            self._reset_all()

    def _reset_all(self) -> None:
        for line in list(self._lines):
            _reset(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._lines.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            if self._weather is Weather.CUT:
                return
            await self._clear.wait()
            back, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._lines.add(there)
            await asyncio.gather(self._pass(reader, there), self._return(back, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for line in (writer, there):
                if line is not None:
                    self._lines.discard(line)
                    _reset(line)
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._clear.wait()
            there.write(data)
            await there.drain()
        there.write_eof()

    async def _return(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await back.read(65536):
            await self._clear.wait()
            if self._weather is Weather.LOSES_ANSWERS and len(data) > 0:
                self.lost_answers += 1
                raise ConnectionResetError
            if self._weather is Weather.SLOW:
                for at in range(len(data)):
                    writer.write(data[at : at + 1])
                    await writer.drain()
                    await asyncio.sleep(1)
            else:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError  # the server is done with this client


def _reset(line: asyncio.StreamWriter) -> None:
    connection = line.get_extra_info("socket")
    if connection is not None and not line.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.transport.abort()
