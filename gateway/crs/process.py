"""One process of the second engine: loads its rules, says so, and judges what it is asked until nobody asks any more.

It is started by an edge, inherits how that is confined, and has nothing but one end of a socket pair: no keys, no
configuration beside its rules. Run as `python -m gateway.crs.process FD`, with `Rules` as the first message.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from gateway.crs.engine import LEVELS, Engine
from gateway.crs.rules import RulesError, read_rules
from gateway.crs.talk import LARGEST, LENGTH, Loaded, NotLoaded, framed, unpack_question
from gateway.exchange.opinion import Question

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_NO_NEW_PRIVS: Final = 38
MAX_MEMORY: Final = 2 * 1024**3
"""Address space beyond which the library fails instead of the machine."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Which rules a process loads, and at which levels."""

    directory: str
    setup: str = ""
    without: tuple[int, ...] = ()
    paranoia: int = 1
    threshold: int = 5


def load(rules: Rules) -> Engine:
    """Read and load. Raises RulesError."""
    text = read_rules(
        Path(rules.directory),
        setup=Path(rules.setup) if rules.setup else None,
        levels=LEVELS.format(paranoia=rules.paranoia, threshold=rules.threshold),
        without=rules.without,
    )
    return Engine(text)


def main() -> int:
    """Serve one edge."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the edge says when
    with socket.socket(fileno=int(sys.argv[1])) as edge:
        first = _receive(edge)
        if first is None:
            return 0
        try:
            engine = load(msgspec.msgpack.decode(first, type=Rules))
        except RulesError as error:
            edge.sendall(framed(NotLoaded(str(error))))
            return 1
        edge.sendall(framed(Loaded(engine.loaded)))
        while (data := _receive(edge)) is not None:
            asked: Question = unpack_question(data)
            edge.sendall(framed(engine.judge(asked)))
    return 0


def _receive(edge: socket.socket) -> bytes | None:
    head = _exactly(edge, LENGTH.size)
    if head is None:
        return None
    (size,) = LENGTH.unpack(head)
    return _exactly(edge, size) if size <= LARGEST else None


def _exactly(edge: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        more = edge.recv(min(size - len(data), 1 << 20))
        if not more:
            return None
        data += more
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
