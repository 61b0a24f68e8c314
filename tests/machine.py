"""Ports and processes of the machine that the tests run on, and what it lacks."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import pytest

_FIRST_PORT, _PORT_AFTER = 20_000, 32_768
"""Below those that Linux gives to outgoing connections: one of these could take the port before a program listens on it."""


def _ports() -> Iterator[int]:
    """Each port in turn; processes of one run begin at different places."""
    count = _PORT_AFTER - _FIRST_PORT
    for n in itertools.count(os.getpid() * 997):
        yield _FIRST_PORT + n % count


_PORTS: Final = _ports()


def cannot_run(sentence: str) -> NoReturn:
    """End a test for which this machine lacks something: a failure in CI, skipped on a laptop."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


def free_port() -> int:
    """Find a TCP port that nobody listens on, and that no outgoing connection is given either."""
    while True:
        port = next(_PORTS)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


def free_ports(count: int) -> list[int]:
    """Find several, all different."""
    return [free_port() for _ in range(count)]


def lives(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
