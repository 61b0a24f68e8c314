from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.demo.ports import PortTakenError, choose


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def free() -> int:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port: int = other.getsockname()[1]
        return port


def test_a_port_that_was_asked_for_and_is_free_is_used() -> None:
    port, taken = free(), set[int]()
    assert choose(port, 1, taken) == port
    assert taken == {port}


def test_a_port_that_was_asked_for_and_is_taken_is_said(busy: int) -> None:
    with pytest.raises(PortTakenError, match=f"port {busy} on 127.0.0.1 is taken"):
        choose(busy, 1, set())


def test_the_next_free_port_stands_in_for_a_default_that_is_taken(busy: int) -> None:
    assert choose(None, busy, set()) > busy


def test_two_listeners_never_get_the_same_port() -> None:
    port, taken = free(), set[int]()
    choose(None, port, taken)
    with pytest.raises(PortTakenError):
        choose(port, 1, taken)
    assert choose(None, port, taken) != port


def test_when_everything_is_taken_the_range_is_named() -> None:
    with pytest.raises(PortTakenError, match="no port from 5000 to 5099"):
        choose(None, 5000, set(range(5000, 5100)))
