"""No configured upstream may lead to one of the gateway's own sockets, however the path is disguised."""

from __future__ import annotations

import os
import socket

from gateway.edge.snapshot import Server


class OwnSocketError(ConnectionError):
    """A configured Unix socket turned out to be one of the gateway's own."""


def refuse_own_path(server: Server) -> None:
    """Refuse a path that leads to one of the gateway's own sockets. Raises OwnSocketError."""
    if server.own_sockets and os.path.realpath(server.path).startswith(server.own_sockets + "/"):
        raise OwnSocketError(server.path)


def refuse_own_socket(server: Server, sock: socket.socket) -> None:
    """Refuse a connection whose other end was bound as one of the gateway's own sockets. Raises OwnSocketError.

    attack: a symbolic or hard link put there after the configuration was read.
    """
    if server.own_sockets and os.path.realpath(str(sock.getpeername())).startswith(server.own_sockets + "/"):
        raise OwnSocketError(server.path)
