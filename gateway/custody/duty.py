"""The custodian's duties: each a task of its own, so that none that fails or hangs can stop another.

A duty that fails is tried again after a pause. When it runs and what it does is its own business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from gateway.exchange.errors import GatewayError
from gateway.exchange.metrics import Registry

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_CANCEL_AGAIN_S: Final = 1.0
WELL_AFTER_S: Final = 60.0
"""A duty that failed and has run for so long since is well: nobody has to reload the gateway to be told so."""
_log = structlog.get_logger("gateway.audit")


class Duty(Protocol):
    """Something that the custodian does for as long as it runs."""

    @property
    def name(self) -> str:
        """For logs and metrics: a closed set of names, or those of gateway.yaml."""
        ...

    async def run(self) -> None:
        """Do it until cancelled. Whatever it raises is logged and counted, and it is called again; if it returns, it is done."""
        ...

    def measure(self) -> None:
        """Bring gauges up to date, for a scrape. Must not block."""
        ...


class Roster:
    """The duties that run now."""

    def __init__(self, metrics: Registry) -> None:
        """Declare the metrics."""
        self._failures = metrics.counter(
            "gateway_custody_failures_total", "Times a duty of the custodian failed.", ("duty",)
        )
        self._running = metrics.gauge("gateway_custody_duty_up", "1 while a duty runs, 0 after a failure.", ("duty",))
        self._duties: Sequence[Duty] = ()
        self._tasks: list[asyncio.Task[None]] = []
        self.faults: dict[str, str] = {}
        """Duty -> what was wrong when it failed last, while it is not well."""

    def begin(self, duties: Sequence[Duty]) -> None:
        """Start these."""
        self._duties = duties
        self._tasks = [asyncio.get_running_loop().create_task(self._keep(duty), name=duty.name) for duty in duties]

    async def end(self) -> None:
        """Cancel all of them and wait until they have ended."""
        running = set(self._tasks)
        while running:  # again: a duty that fails while it is cancelled would begin anew, and be waited for in vain
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)
        for duty in self._duties:
            self._running.set(0, (duty.name,))
        self._duties, self._tasks, self.faults = (), [], {}

    def measure(self) -> None:
        """Have every duty bring its gauges up to date."""
        for duty in self._duties:
            duty.measure()

    async def _keep(self, duty: Duty) -> None:
        pause = 0.0
        while True:
            self._running.set(1, (duty.name,))
            loop = asyncio.get_running_loop()
            began = loop.time()
            well = loop.call_later(WELL_AFTER_S, self.faults.pop, duty.name, None)
            try:
                await duty.run()
            except (GatewayError, OSError) as error:  # a full disk is no bug
                reason = _sentence(error)
                self._note(duty, reason)
                _log.warning("custody.failed", duty=duty.name, reason=reason)
            except Exception as error:  # noqa: BLE001 - a task root: no fault of one duty may end the others
                self._note(duty, type(error).__name__)
                _log.exception("custody.failed", duty=duty.name)
            else:
                self.faults.pop(duty.name, None)
                return
            finally:
                well.cancel()
            is_new = asyncio.get_running_loop().time() - began > _LONGEST_PAUSE_S
            pause = _FIRST_PAUSE_S if is_new or not pause else min(2 * pause, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause)

    def _note(self, duty: Duty, reason: str) -> None:
        self._failures.inc((duty.name,))
        self._running.set(0, (duty.name,))
        self.faults[duty.name] = reason


def _sentence(error: GatewayError | OSError) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
