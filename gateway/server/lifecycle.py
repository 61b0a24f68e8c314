"""What happens to the gateway itself, said in the audit trail: started, reloaded, reload rejected, stopped.

The supervisor's end of the audit socket. A record that finds the audit process gone waits for its
successor; it never holds up the supervisor for long.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from gateway import __version__
from gateway.audit.canonical import encode
from gateway.audit.protocol import GROUP, SUPERVISOR_SLOT
from gateway.audit.record import INFORMATIONAL, MEDIUM, Stamp, lifecycle, uuid7
from gateway.edge.recorder import Recorder
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAM_NUMBERS, Stream
from gateway.server.run_directory import AUDIT_SOCKET_NAME

_WELCOME_WAIT_S: Final = 20.0
_WAIT_S: Final = 2.0
_log = structlog.get_logger()


class _Waiter:
    """Turns the recorder's word into a future."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def recorded(self, *, safe: bool) -> None:
        """Take the word."""
        if not self.outcome.done():
            self.outcome.set_result(safe)

    def receipted(self, receipt: bytes) -> None:
        """Take none: nothing goes upstream."""

    def failed(self) -> None:
        """Nobody could be told: not safe."""
        if not self.outcome.done():
            self.outcome.set_result(False)


class LifecycleTrail:
    """Writes lifecycle records as the supervisor."""

    def __init__(self, run_dir: Path, *, badge: bytes, node: str, boot_id: str) -> None:
        """`badge` is that of `SUPERVISOR_SLOT`."""
        self._badge = badge
        self._path = run_dir / AUDIT_SOCKET_NAME
        self._node = node
        self._boot_id = boot_id
        self._recorder: Recorder | None = None

    async def start(self) -> None:
        """Connect to the audit process, which runs already. Raises AuditUnavailableError when it does not answer."""
        loop = asyncio.get_running_loop()
        self._recorder = Recorder(
            SUPERVISOR_SLOT,
            self._badge,
            lambda factory: loop.create_unix_connection(factory, str(self._path)),
            time.time,
        )
        try:
            async with asyncio.timeout(_WELCOME_WAIT_S):
                await self._recorder.start()
        except TimeoutError as error:
            raise AuditUnavailableError("the audit process does not answer") from error

    async def record(
        self, event: str, *, success: bool = True, detail: str = "", more: Mapping[str, Any] | None = None
    ) -> None:
        """Write one record and wait, not for ever, until it is on disk."""
        if self._recorder is None:
            return
        now_ns = time.time_ns()
        stamp = Stamp(
            uid=uuid7(now_ns // 1_000_000, os.urandom(10)),
            sequence=self._recorder.sequence,
            time_ms=now_ns // 1_000_000,
            mono_ns=time.monotonic_ns(),
            boot_uid=self._boot_id,
            node=self._node,
            version=__version__,
        )
        waiter = _Waiter()
        severity = INFORMATIONAL if success else MEDIUM
        entry = lifecycle(stamp, event, success=success, detail=detail, severity=severity, more=more)
        self._recorder.add(encode(entry), STREAM_NUMBERS[Stream.SECURITY], GROUP, waiter)
        try:
            async with asyncio.timeout(_WAIT_S):
                is_safe = await waiter.outcome
        except TimeoutError:
            is_safe = False
        if not is_safe:
            _log.error("audit.backlogged", event_name=event)

    async def stop(self) -> None:
        """Hang up, so that the audit process may end."""
        if self._recorder is not None:
            await self._recorder.stop()
