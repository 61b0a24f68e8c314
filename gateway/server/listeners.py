"""The public sockets: bound once, kept over every restart of a worker and over every upgrade.

Each listener has one SO_REUSEPORT socket for each worker, so that the kernel spreads connections
and the queue of a crashed worker waits for its successor. A socket that was handed over is served on
whatever the number of workers is now: closing one would reset the connections that wait in it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence

from gateway.exchange.errors import ConfigurationError
from gateway.server.control import ListenerSocket
from gateway.server.fields import Address
from gateway.server.settings import Listener

_BACKLOG = 4096
"""Cut by net.core.somaxconn."""


class Listeners:
    """All listening sockets of the gateway, by listener."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        workers: int,
        inherited: Mapping[str, Sequence[socket.socket]] | None = None,
    ) -> None:
        """Bind everything or nothing. What was `inherited`, by address, is used and not bound anew.

        With a predecessor, new sockets are bound and do not listen yet: a connection that came before a
        worker accepts would be lost if the upgrade were given up. The worker that gets them lets them listen.

        Raises:
            ConfigurationError: names each listener whose address is taken, forbidden or not on this machine.

        """
        self._listeners = tuple(listeners)
        self._workers = workers
        self._sockets: list[list[socket.socket]] = []
        problems = []
        for index, listener in enumerate(listeners):
            sockets = list((inherited or {}).get(str(listener.address), ()))
            is_new = not sockets
            self._sockets.append(sockets)
            try:
                if is_new:
                    _probe(listener.address)
                while len(sockets) < workers:
                    sockets.append(_bind(listener.address, listens=inherited is None))
            except OSError as error:
                problems.append(explain_bind(f"listen[{index}]", listener.address, error))
        for address, unused in (inherited or {}).items():
            if not any(str(listener.address) == address for listener in listeners):
                for sock in unused:  # the predecessor serves what waits in them
                    sock.close()
        if problems:
            self.close()
            raise ConfigurationError(tuple(problems))

    @property
    def by_address(self) -> dict[str, list[socket.socket]]:
        """Every socket, for a successor."""
        return {
            str(listener.address): sockets for listener, sockets in zip(self._listeners, self._sockets, strict=True)
        }

    def of_worker(self, worker: int) -> tuple[ListenerSocket, ...]:
        """Describe the sockets of one worker, for its boot message."""
        return tuple(
            ListenerSocket(
                fd=sock.fileno(),
                kind=listener.kind,
                proxied=listener.proxy_protocol,
                address=str(listener.address),
            )
            for listener, sockets in zip(self._listeners, self._sockets, strict=True)
            for sock in sockets[worker :: self._workers]
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


def _bind(address: Address, *, listens: bool) -> socket.socket:
    sock = _open(address)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        if listens:
            sock.listen(_BACKLOG)
        sock.setblocking(False)  # noqa: FBT003 - a positional-only parameter
    except OSError:
        sock.close()
        raise
    return sock
