"""Clients that hold connections open and say little: cut off in time, while others are served, in little memory."""

from __future__ import annotations

import resource
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fault.memory import resident

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

SLOW = 40
IDLE = 2000
IDLE_BYTES_EACH = 96 << 10
CUT_OFF_S = 40.0
"""The configuration says two seconds; a busy test machine gets more."""


def context(gateway: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(gateway.directory / "config" / "tls" / "cert.pem"))


def open_one(gateway: Any, tls: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=CUT_OFF_S)
    return tls.wrap_socket(plain, server_hostname="localhost")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Enough descriptors for both ends of all connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * IDLE:
        pytest.skip("needs more file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("beginning", "drop"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-Slow: 1\r\n"),
        (b"POST /public/x HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 10000\r\n\r\n", b"x"),
    ],
    ids=["in the head", "in the body"],
)
def test_a_slow_loris_is_cut_off_while_others_are_served(
    gateway: Any, browser: Any, upstream: Any, beginning: bytes, drop: bytes
) -> None:
    tls = context(gateway)
    if b"%d" in beginning:
        beginning %= gateway.port
    slow = [open_one(gateway, tls) for _ in range(SLOW)]
    for connection in slow:
        connection.sendall(beginning)
    alive = list(slow)
    began = time.monotonic()
    served = 0
    while alive:
        assert time.monotonic() - began < CUT_OFF_S, f"{len(alive)} of {SLOW} are still connected"
        assert browser.get("/invoices/1").status == 200
        served += 1
        for connection in list(alive):
            if not drip(connection, drop):
                alive.remove(connection)
    for connection in slow:
        connection.close()
    assert served > 0
    assert browser.get("/invoices/2").status == 200
    gateway.wait_until(lambda: gateway.metric("gateway_client_connections") <= 4)


def drip(connection: ssl.SSLSocket, drop: bytes) -> bool:
    """Send a little more; False when the gateway has ended it."""
    connection.settimeout(0.005)
    try:
        connection.sendall(drop)
        while connection.recv(4096):
            pass
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def test_two_thousand_idle_connections_disturb_nobody(gateway: Any, browser: Any, many_files: None) -> None:
    tls = context(gateway)
    edges = gateway.children("edge")
    before = {pid: resident(pid) for pid in edges}
    idle: list[ssl.SSLSocket] = []
    try:
        for _ in range(IDLE):
            connection = open_one(gateway, tls)
            connection.sendall(f"GET /invoices/0 HTTP/1.1\r\nHost: localhost:{gateway.port}\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 401"
            idle.append(connection)
        grown = sum(resident(pid) - size for pid, size in before.items())
        print(f"{IDLE} idle TLS connections: {grown / (1 << 20):.1f} MiB, {grown / IDLE / 1024:.1f} KiB each")
        for number in range(20):
            assert browser.get(f"/invoices/{number}").status == 200
        assert gateway.ready()[0] == 200
        assert gateway.metric("gateway_client_connections") >= IDLE
        assert grown < IDLE * IDLE_BYTES_EACH
    finally:
        for connection in idle:
            connection.close()
    gateway.wait_until(lambda: gateway.metric("gateway_client_connections") <= 4)
    assert gateway.cli("audit", "verify").returncode == 0
