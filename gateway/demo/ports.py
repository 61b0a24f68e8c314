"""Which loopback ports the demo listens on: the ones asked for, or the next free ones when nobody asked."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"
TRIED = 100


class PortTakenError(Exception):
    """A port that was asked for, or every port tried, is in use."""


def choose(asked: int | None, default: int, taken: set[int]) -> int:
    """Return `asked` if it can be listened on, or the first free port from `default` on; add it to `taken`.

    The port is free when this returns; another program may still be quicker.

    Raises:
        PortTakenError: with a sentence for the person.

    """
    if asked is not None:
        if asked in taken or not _is_free(asked):
            raise PortTakenError(f"port {asked} on {LOOPBACK} is taken or not allowed; name another one")
        taken.add(asked)
        return asked
    for port in range(default, default + TRIED):
        if port not in taken and _is_free(port):
            taken.add(port)
            return port
    raise PortTakenError(f"no port from {default} to {default + TRIED - 1} on {LOOPBACK} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT of an earlier demo is no obstacle
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)  # fails where another socket listens, also one with SO_REUSEPORT
        except OSError:
            return False
    return True
