"""Keeps the reserve of the state file while a gateway runs, and says how much of it there is.

For a state in a file alone: where Redis has it, there is none, and nothing is said.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.metrics import Sample
from gateway.store.reserve import RESERVE_BYTES, Reserve
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.state import Store

_EVERY_S: Final = 5.0
LOW_LOOKS: Final = 2
"""Who reads a long answer keeps what was added from the file for a moment: one look says nothing."""
_log = structlog.get_logger()


class StateReserve:
    """The reserve of this gateway's state."""

    def __init__(self, store: Store) -> None:
        """Make it, blocking."""
        self._reserve = Reserve(store.rows.database) if isinstance(store.rows, SQLiteRows) else None
        self._bytes = 0
        self._low_looks = 0
        self._look()

    async def keep(self) -> None:
        """Look after it for ever."""
        while self._reserve is not None:
            await asyncio.sleep(_EVERY_S)
            await asyncio.to_thread(self._look)

    def degraded(self) -> dict[str, str]:
        """Say that there is too little, by subject."""
        if self._low_looks < LOW_LOOKS:
            return {}
        return {
            "state": f"of the {RESERVE_BYTES} bytes that are kept for signing in and administration on a full disk, "
            f"{self._bytes} are left; free space on the volume of state_dir"
        }

    def samples(self) -> list[Sample]:
        """Return the gauge."""
        if self._reserve is None:
            return []
        return [
            Sample(
                name="gateway_state_reserve_bytes",
                kind="gauge",
                help="Bytes that the state file can take in on a full disk.",
                labels=(),
                values=[((), float(self._bytes))],
            )
        ]

    def _look(self) -> None:
        if self._reserve is None:
            return
        try:
            self._bytes = self._reserve.keep()
        except (StoreUnavailableError, OSError):
            return  # whoever needs the state says so; what was kept is kept
        self._low_looks = self._low_looks + 1 if self._bytes < RESERVE_BYTES // 2 else 0
        if self._low_looks == LOW_LOOKS:
            _log.warning("state.reserve_low", bytes=self._bytes, wanted=RESERVE_BYTES)
