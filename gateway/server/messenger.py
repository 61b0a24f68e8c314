"""Goes between an edge and the detectors of abuse: carries there what was seen, and brings back which answers stand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Final

import msgspec
import structlog

from gateway.edge.gate import Gate
from gateway.edge.lookout import Lookout
from gateway.exchange.envelope import ENVELOPE_FIELD, SIGHTINGS, Envelope, pack_envelope
from gateway.exchange.errors import StoreUnavailableError
from gateway.inspection.abuse.standing import Standings
from gateway.server.relayed_tokens import PagesConnection
from gateway.store.rows import Rows
from gateway.store.sealing import Sealer
from gateway.store.standings import StandingStore

TELL_S: Final = 0.5
"""How often an edge tells what it saw."""
READ_S: Final = 1.0
"""How often an edge looks whether other answers stand."""
_PATIENCE_S: Final = 2.0
_DONE: Final = 204
_REFUSED: Final = frozenset((400, 413))
"""Said of what is no better the next time."""
_log = structlog.get_logger("gateway.abuse")


class Messenger:
    """Tells what an edge saw, and reads what stands. Methods run in a thread of their own beside the loop."""

    def __init__(self, lookout: Lookout, gate: Gate, rows: Rows, sealer: Sealer, pages: Callable[[], str]) -> None:
        """`pages` names the socket of the pages at the moment."""
        self._lookout = lookout
        self._gate = gate
        self._standings = StandingStore(rows, sealer)
        self._pages = pages
        self._version: bytes | None = None

    async def run(self) -> None:
        """Go to and fro, for ever."""
        read_at = 0.0
        while True:
            try:
                await self.tell()
                now = time.time()
                if not read_at <= now < read_at + READ_S:
                    await self.read(now)
                    read_at = now
            except Exception:  # noqa: BLE001 - a task root: this worker would be blind, and go by what stood for ever
                _log.exception("abuse.failed")
            await asyncio.sleep(TELL_S)

    async def tell(self) -> None:
        """Tell what was seen since the last time; what cannot be told now is told later, what is refused never."""
        batch = self._lookout.take()
        if not batch:
            return
        status = await asyncio.to_thread(self._post, msgspec.msgpack.encode(batch))
        if status == _DONE:
            self._lookout.told += len(batch)
        elif status in _REFUSED:
            self._lookout.dropped += sum(seen.count for seen in batch)
            _log.warning("abuse.refused", status=status)
        else:
            self._lookout.put_back(batch)

    async def read(self, now: float) -> None:
        """Read what stands, if it changed; while the store is away, what stood goes on to its end."""
        try:
            version = await asyncio.to_thread(self._standings.version)
            if version == self._version:
                return
            self._gate.adopt(Standings(await asyncio.to_thread(self._standings.all, now)))
        except StoreUnavailableError:
            return
        self._version = version

    def _post(self, body: bytes) -> int:
        """Return the status of the answer; 0 = there is none."""
        envelope = Envelope(
            request_id="sightings",
            client_ip="",
            scheme="https",
            host="gateway",
            authority="gateway",
            tenant="",
            session="",
            cookie_name="__Host-gw",
            tells=True,
        )
        connection = PagesConnection(self._pages(), _PATIENCE_S)
        try:
            fields = {ENVELOPE_FIELD: pack_envelope(envelope).decode("ascii")}
            connection.request("POST", SIGHTINGS, body=body, headers=fields)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()
