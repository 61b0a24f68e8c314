"""How many WebSockets a person may have open: exact over workers that share nothing but memory, and after their death."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.fault.test_revocation import HELLO, handshake

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

WORKERS = 2
MOST = 4
TRIES = 12
PATIENCE_S = 30.0


@pytest.fixture
def gateway(make_gateway: Callable[..., Any], upstream: Any) -> Any:
    made = make_gateway(workers=WORKERS)
    made.edit(("max_connections: 4000}", f"max_connections: 4000, tunnels: {{per_user: {MOST}}}}}"))
    made.start()
    return made


@pytest.fixture
def opened() -> Iterator[list[http.client.HTTPSConnection]]:
    connections: list[http.client.HTTPSConnection] = []
    yield connections
    for connection in connections:
        connection.close()


def test_a_person_has_so_many_websockets_over_all_workers_and_again_after_their_death(
    gateway: Any, browser: Any, opened: list[http.client.HTTPSConnection]
) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    statuses = [open_one(gateway, cookie, opened) for _ in range(TRIES)]
    assert sorted(statuses) == [101] * MOST + [429] * (TRIES - MOST)
    edges = gateway.children("edge")
    assert len(edges) == WORKERS
    for pid in edges:
        os.kill(pid, signal.SIGKILL)
    gateway.wait_until(lambda: len(set(gateway.children("edge")) - set(edges)) == WORKERS)
    gateway.wait_until(lambda: gateway.ready()[0] == 200)
    deadline = time.monotonic() + PATIENCE_S
    again: list[int] = []
    while again.count(101) < MOST:
        assert time.monotonic() < deadline, again
        with suppress(OSError):
            again.append(open_one(gateway, cookie, opened))
    assert open_one(gateway, cookie, opened) == 429
    line = 'gateway_decisions_total{reason="too_many_open",stage="limit"}'
    gateway.wait_until(lambda: gateway.metric(line) >= 1)


def open_one(gateway: Any, cookie: str, opened: list[http.client.HTTPSConnection]) -> int:
    """Try to open a WebSocket; returns the status of the answer."""
    connection = gateway.connect()
    opened.append(connection)
    head: bytes = handshake(gateway, connection, cookie)
    status = int(head.split(b" ")[1])
    if status == 101:
        connection.sock.sendall(HELLO)
        assert connection.sock.recv(len(HELLO)) == HELLO
    return status
