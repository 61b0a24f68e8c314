"""Makes the search index of each file of the log soon after it is closed, so that whoever searches does not wait for it.

The index proves nothing and can be made again; a search that finds none makes it itself. A file that cannot be
read whole is told once and tried again an hour later: `verify` is there to judge it.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from gateway.custody.station import Station
from gateway.ledger.search import Search

PAUSE_S: Final = 30.0
PATIENCE: Final = 120
"""Rounds after which what could not be indexed is tried again."""
_log = structlog.get_logger("gateway.audit")


class IndexingDuty:
    """Keeps the index of all closed files."""

    def __init__(self, station: Station, *, pause_s: float = PAUSE_S) -> None:
        """Declare the metric."""
        self._search = Search(station.layout.state_dir, station.keys, on_damage=self._tell)
        self._pause_s = pause_s
        self._told: set[str] = set()
        self._given_up: set[str] = set()
        self._made = station.metrics.counter(
            "gateway_audit_indexes_made_total", "Files of the audit log whose search index was made."
        )

    @property
    def name(self) -> str:
        """For logs and metrics."""
        return "indexing"

    async def run(self) -> None:
        """Look for files without an index, for as long as the custodian runs. Raises `UnreadableLogError`."""
        while True:
            for _ in range(PATIENCE):
                await asyncio.to_thread(self.look)
                await asyncio.sleep(self._pause_s)
            self._given_up.clear()
            self._told.clear()

    def look(self) -> None:
        """Make what is missing, one file after the other."""
        self._made.inc((), self._search.index(given_up=self._given_up))

    def measure(self) -> None:
        """Nothing: what is made is counted when it is."""

    def _tell(self, damage: str) -> None:
        if damage not in self._told:
            self._told.add(damage)
            _log.warning("audit.not_indexed", reason=damage)
