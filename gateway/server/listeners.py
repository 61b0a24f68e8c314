"""The public sockets: bound once by the supervisor, kept over every restart of a worker.

Each listener has one SO_REUSEPORT socket for each worker, so that the kernel spreads connections
and the queue of a crashed worker waits for its successor.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from gateway.exchange.errors import ConfigurationError
from gateway.server.control import ListenerSocket
from gateway.server.fields import Address
from gateway.server.settings import Listener

_BACKLOG = 4096
"""Cut by net.core.somaxconn."""


class Listeners:
    """All listening sockets of the gateway, by worker."""

    def __init__(self, listeners: Sequence[Listener], workers: int) -> None:
        """Bind everything or nothing.

        Raises:
            ConfigurationError: names each listener whose address is taken, forbidden or not on this machine.

        """
        self._listeners = tuple(listeners)
        self._sockets: list[list[socket.socket]] = [[] for _ in range(workers)]
        problems = []
        for index, listener in enumerate(listeners):
            try:
                _probe(listener.address)
                for sockets in self._sockets:
                    sockets.append(_listen(listener.address))
            except OSError as error:
                problems.append(explain_bind(f"listen[{index}]", listener.address, error))
        if problems:
            self.close()
            raise ConfigurationError(tuple(problems))

    def of_worker(self, slot: int) -> tuple[ListenerSocket, ...]:
        """Describe the sockets of one worker, for its boot message."""
        return tuple(
            ListenerSocket(fd=sock.fileno(), kind=listener.kind, address=str(listener.address))
            for sock, listener in zip(self._sockets[slot], self._listeners, strict=True)
        )

    def close(self) -> None:
        """Close our copies; connections already queued belong to the workers that still hold theirs."""
        for sockets in self._sockets:
            for sock in sockets:
                sock.close()


def bind(name: str, address: Address) -> socket.socket:
    """Bind one listening socket that belongs to one process. Raises ConfigurationError, naming the listener `name`."""
    sock = _open(address)
    try:
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigurationError((explain_bind(name, address, error),)) from error
    return sock


def explain_bind(name: str, address: Address, error: OSError) -> str:
    """Say why an address cannot be bound, and what to do."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"{name}: {address} is taken by another program; stop it, or choose another port"
        case errno.EACCES | errno.EPERM:
            return f"{name}: {address} may not be bound by this user; choose a port above 1023, or grant CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return f"{name}: {address} is not an address of this machine"
        case _:
            return f"{name}: {address} cannot be bound: {(error.strerror or 'unknown error').lower()}"


def _open(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _probe(address: Address) -> None:
    """Bind without SO_REUSEPORT: with it, another gateway of the same user would silently share the port."""
    with _open(address) as sock:
        sock.bind(address)


def _listen(address: Address) -> socket.socket:
    sock = _open(address)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)  # noqa: FBT003 - a positional-only parameter
    except OSError:
        sock.close()
        raise
    return sock
