"""The custodian: takes the place that only one can have, and does its duties until it is told to stop.

Two gateways, one that leaves and one that comes, may each run one; whoever has the lock acts, and the
other waits. Which duties there are is said by whoever starts it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from gateway.custody.duty import Duty, Roster
from gateway.custody.station import Station
from gateway.exchange.errors import AuditUnavailableError
from gateway.ledger.layout import Layout

BEGINNING: Final = "beginning"
"""What has failed where no duty could be begun."""
_LOCK_POLL_S: Final = 0.1
_AGAIN_S: Final = 1.0
_log = structlog.get_logger("gateway.audit")


class CustodyBusyError(AuditUnavailableError):
    """Another process has the custody of this log."""


class CustodyLock:
    """The right to change what was written: one process has it."""

    def __init__(self, layout: Layout) -> None:
        """Take it. Raises `CustodyBusyError`, `OSError`."""
        self._fd = os.open(layout.custody_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            layout.give(self._fd)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(self._fd)
            raise CustodyBusyError(f"{layout.directory}: another process has the custody of this audit log") from exc
        except OSError:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Let another have it."""
        os.close(self._fd)


class Custodian:
    """Does duties while it has the lock."""

    def __init__(self, station: Station) -> None:
        """Declare the metrics."""
        self._station = station
        self.roster = Roster(station.metrics)
        self._active = station.metrics.gauge(
            "gateway_custody_active", "1 while this process has the custody of the audit log."
        )
        self._duties: Callable[[], Sequence[Duty]] | None = None
        self._lock: CustodyLock | None = None
        self._waiting: asyncio.Task[None] | None = None

    def begin(self, duties: Callable[[], Sequence[Duty]]) -> None:
        """Do these as soon as nobody else does."""
        self._duties = duties
        self._waiting = asyncio.get_running_loop().create_task(self._take(), name="take custody")

    def change(self, duties: Callable[[], Sequence[Duty]]) -> None:
        """Do these instead, as soon as what runs has ended."""
        self._duties = duties
        if self._waiting is not None and self._waiting.done():
            self._waiting = asyncio.get_running_loop().create_task(self._swap(), name="change duties")

    async def end(self) -> None:
        """Stop everything and let the lock go."""
        if self._waiting is not None:
            self._waiting.cancel()
            with suppress(asyncio.CancelledError):
                await self._waiting
        await self.roster.end()
        if self._lock is not None:
            self._active.set(0)
            self._lock.release()
            self._lock = None
        self._station.close()

    async def _take(self) -> None:
        is_told = False
        while True:
            try:
                self._lock = CustodyLock(self._station.layout)
                break
            except CustodyBusyError:
                pass
            except OSError as error:
                if not is_told:
                    _log.warning("custody.failed", duty="lock", reason=error.strerror)
                    is_told = True
            await asyncio.sleep(_LOCK_POLL_S)
        self._active.set(1)
        await self._swap()

    async def _swap(self) -> None:
        """Begin what is to be done now; again when that changed meanwhile."""
        begun = None
        while self._duties is not begun and self._duties is not None:
            begun = self._duties
            await self.roster.end()
            try:
                duties = begun()
            except Exception as error:  # noqa: BLE001 - a task root: nobody would learn that nothing is done
                _log.exception("custody.failed", duty=BEGINNING)
                self.roster.faults[BEGINNING] = type(error).__name__
                begun = None
                await asyncio.sleep(_AGAIN_S)
            else:
                self.roster.begin(duties)
