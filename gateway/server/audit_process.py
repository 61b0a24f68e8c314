"""The audit daemon as a child process: its keys from the boot message, its orders from the supervisor.

The daemon's loop is its own; this module answers the supervisor from inside it. It never reads the
keyring, and nothing but the supervisor ends it.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from gateway.exchange.errors import GatewayError
from gateway.exchange.stream import STREAMS
from gateway.ledger.daemon_process import serve
from gateway.ledger.keys import AuditKeys
from gateway.server.confine import confine, separation
from gateway.server.control import (
    Boot,
    ControlError,
    Done,
    Drain,
    Dump,
    Dumped,
    HandOver,
    Inbox,
    Reply,
    Request,
    Serve,
    pack,
    receive,
)
from gateway.server.settings import Settings, load_settings

_READ_BYTES = 256 * 1024
_PREDECESSOR_WAIT_S = 9.0
"""For the daemon of the predecessor to let the log go: the supervisor says when it was told to."""
_log = structlog.get_logger()


class AuditProcess:
    """The daemon's `Control`: one end of the supervisor's socket pair, read without blocking."""

    def __init__(self, boot: Boot, connection: socket.socket) -> None:
        self._boot = boot
        self._connection = connection
        self._inbox = Inbox()
        self._is_ready = False
        self._separated = False
        self.hands_over_s = 0.0

    def run(self) -> int:
        """Serve until the supervisor says drain or is gone; the exit status is 0 after a drain."""
        # The daemon would end 2 s after SIGTERM, which systemd sends to all at once: before the edges are drained.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        boot = self._boot
        try:
            settings = load_settings(boot.bundle.settings, boot.bundle.path)
            rules = settings.audit
            self._separated = self._confine(settings)
            if boot.is_reserve and not self._await_turn():
                return 1
            serve(
                state_dir=Path(boot.state_dir),
                keys=AuditKeys.parse(boot.bundle.audit_keys or b""),
                node=boot.node,
                version=boot.version,
                boot_id=boot.boot_id,
                control=self,
                segment_age_s=rules.segment_age,
                marks=rules.disk.marks,
                may_gap=[stream for stream in STREAMS if rules.streams.of(stream).when_full == "gap"],
                ballast_bytes=rules.disk.ballast,
                on_ready=self._say_ready,
                wait_s=_PREDECESSOR_WAIT_S if boot.is_reserve else 0.0,
            )
        except (GatewayError, OSError) as error:
            reason = str(error)
            _log.error("audit.failed", reason=reason)
            if not self._is_ready:
                self._reply(Done(diagnostics=(f"audit: {reason}",)))
            return 1
        if self.hands_over_s:
            self._reply(Done())
        return 0

    def fileno(self) -> int:
        """Return the descriptor on which the supervisor speaks."""
        return self._connection.fileno()

    def handle(self, stats: Callable[[], Mapping[str, Any]]) -> bool:
        """Answer what the supervisor asked; False when the daemon should stop."""
        try:
            data = self._connection.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        try:
            requests = self._inbox.feed(data)
        except ControlError:
            return False
        for request in requests:
            if isinstance(request, HandOver):
                self.hands_over_s = request.seconds  # answered when the log is somebody else's
                return False
            self._reply(self._answer(request, stats))
            if isinstance(request, Drain):
                return False
        return True

    def _await_turn(self) -> bool:
        """Say that everything is loaded, and wait for the word to open the log."""
        self._reply(Done())
        try:
            return isinstance(receive(self._connection), Serve)
        except ControlError:
            return False  # the upgrade was given up

    def _say_ready(self) -> None:
        self._is_ready = True
        self._reply(Done())

    def _reply(self, reply: Reply) -> None:
        try:
            self._connection.sendall(pack(reply))
        except OSError:  # the supervisor is gone; the next read says so
            _log.warning("audit.supervisor_gone")

    def _confine(self, settings: Settings) -> bool:
        """Leave the daemon its state alone: it needs no key but its own."""
        try:
            separated = confine(writable=[Path(self._boot.state_dir)], unreadable=[settings.keyring])
        except OSError as error:
            _log.warning("process.not_separated", reason=error.strerror)
            return False
        if not separated:
            _log.warning("process.not_separated", reason="the kernel has no Landlock")
        return separated

    def _answer(self, request: Request, stats: Callable[[], Mapping[str, Any]]) -> Reply:
        """Answer one request; a reload changes nothing here, because the keys of a running log never change."""
        if isinstance(request, Dump):
            found = stats()
            samples = [*found["samples"], separation("audit", separated=self._separated)]
            return Dumped(samples=samples, health={"audit": str(found["health"]["detail"])})
        return Done()
