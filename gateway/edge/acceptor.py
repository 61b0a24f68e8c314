"""From a listening socket to connections with TLS: accepts, shakes hands by the newest rules, counts both.

Each handshake takes the rules of its moment, so that a reload holds from the next connection on and
disturbs none that is open. What is said over a connection is its protocol's business.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from gateway.edge.metrics import EdgeMetrics
from gateway.edge.tls import ListenerTLS

BATCH: Final = 32
"""Connections taken from the queue before the loop turns to others."""
PAUSE_S: Final = 0.5
"""Without a file or memory for one more connection, the queue waits that long."""
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_REASONS: Final = {
    "HTTP_REQUEST": "not_tls",
    "HTTPS_PROXY_REQUEST": "not_tls",
    "WRONG_VERSION_NUMBER": "not_tls",
    "UNKNOWN_PROTOCOL": "not_tls",
    "UNSUPPORTED_PROTOCOL": "version",
    "VERSION_TOO_LOW": "version",
    "NO_PROTOCOLS_AVAILABLE": "version",
    "INAPPROPRIATE_FALLBACK": "version",
    "NO_SHARED_CIPHER": "no_shared_cipher",
    "NO_SUITABLE_KEY_SHARE": "no_shared_cipher",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "no_shared_cipher",
    "NO_SHARED_GROUPS": "no_shared_cipher",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "certificate_missing",
    "CERTIFICATE_VERIFY_FAILED": "certificate_refused",
    "CALLBACK_FAILED": "unknown_name",
    "NO_APPLICATION_PROTOCOL": "no_shared_protocol",
    "UNEXPECTED_EOF_WHILE_READING": "closed",
}


class TLSAcceptor:
    """Accepts on one socket for one worker."""

    def __init__(
        self,
        sock: socket.socket,
        rules: Callable[[], ListenerTLS],
        protocol: Callable[[], asyncio.Protocol],
        *,
        handshake_timeout_s: float,
        metrics: EdgeMetrics,
    ) -> None:
        """Own `sock`, which listens and does not block; `rules` are asked for at each connection."""
        self._sock = sock
        self._rules = rules
        self._protocol = protocol
        self._handshake_timeout_s = handshake_timeout_s
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to accept."""
        self._resume = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; handshakes under way may finish."""
        if self._sock.fileno() < 0:
            return
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def abort(self) -> None:
        """End the handshakes under way."""
        for task in self._handshakes:
            task.cancel()

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                connection, _ = self._sock.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._loop.remove_reader(self._sock.fileno())
                    self._resume = self._loop.call_later(PAUSE_S, self.start)
                return  # nothing more to take, or it went away again (accept(2))
            connection.setblocking(False)  # noqa: FBT003 - a positional-only parameter
            task = self._loop.create_task(self._shake_hands(connection), name="handshake")
            self._handshakes.add(task)
            self._metrics.tls_handshakes_open.inc()
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._handshakes.discard(task)
        self._metrics.tls_handshakes_open.inc(by=-1)

    async def _shake_hands(self, connection: socket.socket) -> None:
        """Run one handshake; the protocol hears of the connection only when it succeeded."""
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._rules().context,
                ssl_handshake_timeout=self._handshake_timeout_s,
            )
        except (OSError, asyncio.CancelledError) as error:
            connection.close()
            self._metrics.tls_failures.inc((why(error),))
            return
        session = transport.get_extra_info("ssl_object")
        if isinstance(session, ssl.SSLObject):
            self._metrics.tls_handshakes.inc((session.version() or "", "yes" if session.session_reused else "no"))


def why(error: BaseException) -> str:
    """Name the reason of a failed handshake, out of a closed list."""
    match error:
        case ssl.SSLError():
            reason = error.reason or ""
            if "_ALERT_" in reason:
                return "client_alert"
            return _REASONS.get(reason, "other")
        case ConnectionAbortedError():
            return "timeout"
        case ConnectionError():
            return "closed"
        case _:
            return "other"
