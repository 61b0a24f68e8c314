"""Tells the audit daemon how much of each stream a required sink has: answers under `strict+remote` wait for it.

Without a sink that works they wait in vain and are refused; no other request waits for anything here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.audit.protocol import REPLY_BYTES, SHIPPING_SLOT, pack_elsewhere, pack_hello
from gateway.custody.sinks.shipping import Shipper, Source
from gateway.exchange.stream import STREAM_NUMBERS, Stream

LOOK_S: Final = 0.02
RECONNECT_S: Final = 0.2


class ElsewhereDuty:
    """A duty of the custodian. Cancel `run` to stop."""

    name = "elsewhere"

    def __init__(
        self, socket: Path, shippers: Sequence[Shipper], tails: Mapping[Stream, Source], *, badge: bytes
    ) -> None:
        """`badge` is that of `SHIPPING_SLOT`."""
        self._tails = tails
        self._socket = socket
        self._hello = pack_hello(SHIPPING_SLOT, badge)
        self._shippers = [shipper for shipper in shippers if shipper.is_required]

    async def run(self) -> None:
        """Tell for ever; a daemon that is away is looked for again."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._tell()
            await asyncio.sleep(RECONNECT_S)

    def measure(self) -> None:
        """Nothing: each shipper tells its own."""

    async def _tell(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        told: dict[Stream, tuple[str, int]] = {}
        parting: asyncio.Task[bytes] | None = None
        try:
            writer.write(self._hello)
            await reader.readexactly(REPLY_BYTES)
            parting = asyncio.create_task(
                reader.read(1), name="audit daemon leaves"
            )  # after its welcome it says only that
            while not parting.done():
                sizes = self._sizes()
                news = [(stream, found) for stream, found in sizes.items() if told.get(stream) != found]
                if news:
                    writer.writelines(
                        pack_elsewhere(STREAM_NUMBERS[stream], size, origin.encode()) for stream, (origin, size) in news
                    )
                    await writer.drain()
                    told |= news
                await asyncio.sleep(LOOK_S)
        finally:
            if parting is not None:
                parting.cancel()
                with suppress(OSError, asyncio.CancelledError):
                    await parting
            writer.close()

    def _sizes(self) -> dict[Stream, tuple[str, int]]:
        """Return of which log at least one required sink has how much."""
        found: dict[Stream, tuple[str, int]] = {}
        for shipper in self._shippers:
            stream = Stream(shipper.stream)
            before, size = self._tails[stream].extent(), shipper.acknowledged()
            if before is not None and before is self._tails[stream].extent():  # else it began anew just now
                found[stream] = before.origin, max(found.get(stream, ("", 0))[1], size)
        return found
