"""Tells in the log that somebody asked about it without the badge of those who may: a process of ours was probably taken over.

Decides nothing about who may ask. However often somebody tries, there is at most one record a second: whoever tries must
not fill the log.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from gateway.audit import record
from gateway.custody.trail import Trail
from gateway.exchange.errors import AuditUnavailableError

PAUSE_S: Final = 1.0


class Impostors:
    """Those of one socket. `close` ends what is under way."""

    __slots__ = ("_count", "_socket", "_telling", "_trail")

    def __init__(self, trail: Trail, socket: str) -> None:
        """`socket` is its name in the records."""
        self._trail = trail
        self._socket = socket
        self._count = 0
        """Of those who were not told of yet."""
        self._telling: asyncio.Task[None] | None = None

    def note(self) -> None:
        """Somebody tried."""
        self._count += 1
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="evidence.impostors")

    async def _tell(self) -> None:
        while self._count:
            count, self._count = self._count, 0
            claimed = {"claimed": {"count": count, "socket": self._socket}}
            build = partial(
                record.lifecycle, event="audit.impostor", success=False, severity=record.CRITICAL, more=claimed
            )
            try:
                await self._trail.record(build)
            except AuditUnavailableError:
                self._count += count  # told when the daemon is back
            await asyncio.sleep(PAUSE_S)

    async def close(self) -> None:
        """Stop telling."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})
