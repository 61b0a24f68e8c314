"""From a listening socket to connections: accepts, reads the PROXY header, shakes hands by the newest rules.

Whom there is no room for is turned away before any of it. Each handshake takes the rules of its moment,
so that a reload holds from the next connection on and disturbs none that is open. What is said over a
connection is its protocol's business.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import struct
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from gateway.edge.admission import EXEMPT, Admission
from gateway.edge.metrics import EdgeMetrics
from gateway.edge.proxied import take_header
from gateway.edge.snapshot import Snapshot
from gateway.edge.tls import GREETED, ListenerTLS
from gateway.wire.address import canonical_address, limiter_key
from gateway.wire.proxy_protocol import ProxyHeaderError, Source

BATCH: Final = 32
"""Connections taken from the queue before the loop turns to others."""
PAUSE_S: Final = 0.5
"""Without a file or memory for one more connection, the queue waits that long."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: a connection that is turned away leaves nothing to wait for in our kernel."""
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


class Acceptor:
    """Accepts on one socket for one worker, where more is to be done than to serve."""

    def __init__(
        self,
        sock: socket.socket,
        rules: Callable[[], ListenerTLS] | None,
        protocol: Callable[[Source | None], asyncio.Protocol],
        *,
        proxied: bool,
        snapshot: Callable[[], Snapshot],
        admission: Admission,
        handshake_timeout_s: float,
        metrics: EdgeMetrics,
    ) -> None:
        """Own `sock`, which listens and does not block; `rules` and `snapshot` are asked for at each connection.

        Without `rules` there is no TLS; `proxied` asks for a PROXY header, and hands its source to `protocol`.
        """
        self._sock = sock
        self._rules = rules
        self._protocol = protocol
        self._proxied = proxied
        self._snapshot = snapshot
        self._admission = admission
        self._handshake_timeout_s = handshake_timeout_s
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._handshakes: dict[socket.socket, asyncio.Task[None]] = {}
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

    async def stop(self) -> None:
        """End the handshakes that are still under way."""
        tasks = list(self._handshakes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                connection, _ = self._sock.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._loop.remove_reader(self._sock.fileno())
                    self._resume = self._loop.call_later(PAUSE_S, self.start)
                return  # nothing more to take, or it went away again (accept(2))
            self.take(connection)

    @property
    def is_busy(self) -> bool:
        """Handshakes are under way."""
        return bool(self._handshakes)

    def take(self, connection: socket.socket) -> None:
        """Begin the handshake of an accepted connection, or turn it away."""
        connection.setblocking(False)  # noqa: FBT003 - a positional-only parameter
        try:
            address = canonical_address(connection.getpeername()[0])
        except OSError:
            connection.close()  # it went away again
            return
        key = self._key(address)
        if self._proxied and key is not EXEMPT:  # attack: a client that names another one
            self._admission.refuse("not_a_proxy")
            _reset(connection)
        elif self._begin(connection, key):
            task = self._loop.create_task(self._greet(connection), name="handshake")
            self._handshakes[connection] = task
            task.add_done_callback(partial(self._done, connection))

    def _key(self, address: str) -> str:
        return EXEMPT if self._snapshot().trusted_proxies.include(address) else limiter_key(address)

    def _begin(self, connection: socket.socket, key: str) -> bool:
        if self._admission.begin(
            connection, key, self._snapshot().wire, monotonic(), partial(self._give_up, connection)
        ):
            return True
        _reset(connection)
        return False

    def _give_up(self, connection: socket.socket) -> None:
        task = self._handshakes.get(connection)
        if task is not None:
            task.cancel()

    def _done(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before it began
            connection.close()
        del self._handshakes[connection]
        self._admission.end(connection)

    async def _greet(self, connection: socket.socket) -> None:
        """Do what comes before the protocol, which hears of the connection only when all of it succeeded."""
        source = None
        if self._proxied:
            try:
                async with asyncio.timeout(self._snapshot().wire.head_timeout_s):
                    source = await take_header(self._loop, connection)
            except (ProxyHeaderError, OSError):  # TimeoutError is an OSError
                self._admission.refuse("proxy_header")
                _reset(connection)
                return
            except asyncio.CancelledError:  # it gave way, or we end
                _reset(connection)
                return
            if source.address:  # from here on it counts on the client
                self._admission.end(connection)
                if not self._begin(connection, self._key(source.address)):
                    return
        protocol = partial(self._protocol, source)
        if self._rules is not None:
            await self._shake_hands(connection, protocol, self._rules())
            return
        try:
            await self._loop.connect_accepted_socket(protocol, connection)
        except (OSError, asyncio.CancelledError):
            connection.close()

    async def _shake_hands(
        self, connection: socket.socket, protocol: Callable[[], asyncio.Protocol], rules: ListenerTLS
    ) -> None:
        self._metrics.tls_handshakes_open.inc()
        GREETED.set(connection)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                protocol,
                connection,
                ssl=rules.context,
                ssl_handshake_timeout=self._handshake_timeout_s,
                ssl_shutdown_timeout=self._snapshot().wire.write_timeout_s,  # to take the rest, and say so
            )
        except (OSError, asyncio.CancelledError) as error:
            connection.close()
            self._metrics.tls_failures.inc((why(error),))
            return
        finally:
            self._metrics.tls_handshakes_open.inc(by=-1)
        session = transport.get_extra_info("ssl_object")
        if isinstance(session, ssl.SSLObject):
            self._metrics.tls_handshakes.inc((session.version() or "", "yes" if session.session_reused else "no"))


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


def why(error: BaseException) -> str:
    """Name the reason of a failed handshake, out of a closed list."""
    match error:
        case ssl.SSLError():
            reason = getattr(error, "reason", None) or ""  # absent where Python itself raises
            if "_ALERT_" in reason:
                return "client_alert"
            return _REASONS.get(reason, "other")
        case ConnectionAbortedError():
            return "timeout"
        case ConnectionError():
            return "closed"
        case _:
            return "other"
