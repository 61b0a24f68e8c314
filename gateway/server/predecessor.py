"""The running gateway seen from the new program that takes over from it.

What was given is claimed piece by piece, and whatever nobody claims is closed. When to take what is
`supervisor`'s to say.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Sample
from gateway.server.confine import die_with_parent, outlive_parent
from gateway.server.takeover import (
    LENGTH,
    Counted,
    Failed,
    Finish,
    Line,
    LogIsFree,
    M,
    Message,
    Prepared,
    Ready,
    Take,
    Taken,
    TakeOverError,
    receive_estate,
)

_ADOPTION_WAIT_S: Final = 5.0
_ADOPTION_POLL_S: Final = 0.02


class Predecessor:
    """The gateway that hands over, from its first word to its end."""

    def __init__(self, descriptor: int) -> None:
        """Receive everything, blocking. Raises TakeOverError when there is nobody, or nothing that makes sense."""
        try:
            self._connection = socket.socket(fileno=descriptor)
        except OSError as error:
            raise TakeOverError("there is no gateway to take over from; --take-over is for gateway upgrade") from error
        self.estate, self._descriptors = receive_estate(self._connection)
        die_with_parent()
        if os.getppid() != self.estate.supervisor:
            raise TakeOverError("the gateway did not start this program itself: a script around it must exec it")
        self.samples: list[Sample] = []
        """What it counted, as it last said."""
        self.is_gone = False
        self._line: Line | None = None
        self._words = os.dup(descriptor)
        """The line once more, for a last word when the loop is gone."""

    # what it gives

    @property
    def lock(self) -> int:
        """Lock on the run directory."""
        return self._descriptors.lock

    @property
    def keeper(self) -> int:
        """Pipe to the keeper."""
        return self._descriptors.keeper

    def limits(self, layout: int) -> int:
        """Claim the memory of the limits; -1 when it is laid out otherwise and was let go."""
        if self.estate.limits_layout == layout:
            return self._descriptors.limits
        os.close(self._descriptors.limits)
        return -1

    def admin(self, address: str) -> socket.socket | None:
        """Claim the socket of the admin listener; None when it is another address and was let go."""
        sock = socket.socket(fileno=self._descriptors.admin)
        if self.estate.admin == address:
            return sock
        sock.close()
        return None

    def listeners(self) -> dict[str, list[socket.socket]]:
        """Claim all public sockets, by address."""
        descriptors = iter(self._descriptors.listeners)
        return {
            address: [socket.socket(fileno=next(descriptors)) for _ in range(count)]
            for address, count in self.estate.listeners
        }

    # what is said

    async def open(self) -> None:
        """Begin to talk."""
        self._line = await Line.open(self._connection)

    async def await_log(self) -> None:
        """Say that we stand ready, and wait until the audit log is free. Raises TakeOverError."""
        await self._say(Prepared())
        await self._expect(LogIsFree)

    async def await_turn(self, ready: Ready) -> None:
        """Say that everything works, and wait for the word to serve. Raises TakeOverError."""
        await self._say(ready)
        self.samples = (await self._expect(Take)).samples

    async def take(self) -> None:
        """Say that the gateway is ours. Raises TakeOverError when nobody is there."""
        os.write(self.keeper, b"%d\n" % os.getpid())
        if self.estate.supervisor != self.estate.keeper:
            outlive_parent()  # it ends when it is done; then the keeper is our parent
        await self._say(Taken())

    def fail(self, diagnostics: Sequence[str]) -> None:
        """Say why we cannot take over, blocking: nothing else is under way any more."""
        body = msgspec.msgpack.encode(Failed(diagnostics=tuple(diagnostics)))
        with suppress(OSError):
            os.set_blocking(self._words, True)
            os.write(self._words, LENGTH.pack(len(body)) + body)

    async def finish(self) -> None:
        """Have it cut what it still has."""
        with suppress(TakeOverError):
            await self._say(Finish())

    async def follow(self) -> bool:
        """Take in what it counts until it is gone; False when the keeper is gone too, and nobody knows us."""
        with suppress(TakeOverError):
            while True:
                counted = await self._expect(Counted)
                self.samples = counted.samples
        os.close(self._words)
        if self._line is not None:
            self._line.close()
        is_known = self.estate.supervisor == self.estate.keeper or await self._be_adopted()
        self.is_gone = True
        return is_known

    async def _be_adopted(self) -> bool:
        until = time.monotonic() + _ADOPTION_WAIT_S
        while os.getppid() == self.estate.supervisor and time.monotonic() < until:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(_ADOPTION_POLL_S)
        die_with_parent()
        return os.getppid() == self.estate.keeper

    async def _say(self, message: Message) -> None:
        if self._line is None:
            raise TakeOverError("nothing was said yet")
        await self._line.send(message)

    async def _expect(self, kind: type[M]) -> M:
        if self._line is None:
            raise TakeOverError("nothing was said yet")
        try:
            return await self._line.expect(kind)
        except ConfigurationError as error:
            raise TakeOverError("the old supervisor failed") from error
