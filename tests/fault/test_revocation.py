"""A session that was ended from the command line is over: at its next request on every worker, and in what is open."""

from __future__ import annotations

import base64
import http.client
import os
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

WORKERS = 3
HELLO = b"\x81\x85\0\0\0\0hello"
"""A text frame of a client, under a mask that changes nothing."""
CLOSED_BY_POLICY = b"\x88\x02\x03\xf0"
"""A Close frame with the code 1008."""
ENDS_WITHIN_S = 15.0
"""The design says two seconds; a busy test machine gets more."""


@pytest.fixture
def gateway(make_gateway: Callable[..., Any], upstream: Any) -> Any:
    made = make_gateway(workers=WORKERS)
    made.start()
    return made


def test_a_revoked_session_is_refused_at_its_next_request_on_every_worker(gateway: Any, browser: Any) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    connections = spread(gateway, cookie)
    try:
        done = gateway.cli("session", "revoke", "--user", "alice")
        assert done.returncode == 0, done.stderr
        for connection in connections:
            assert ask(connection, cookie) == 401
    finally:
        for connection in connections:
            connection.close()
    browser.cookies.clear()
    assert gateway.cli("audit", "verify").returncode == 0


def test_a_revocation_ends_an_open_event_stream_and_an_open_websocket(
    gateway: Any, browser: Any, upstream: Any
) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with closing(gateway.connect()) as events, closing(gateway.connect()) as tunnel:
        events.request("GET", "/events", headers={"Cookie": cookie})
        stream = events.getresponse()
        assert stream.readline() == b"data: tick\n"
        open_websocket(gateway, tunnel, cookie)
        assert gateway.cli("session", "revoke", "--user", "alice").returncode == 0
        revoked = time.monotonic()
        read_to_the_end(stream, revoked)
        stream_s = time.monotonic() - revoked
        assert tunnel.sock.recv(4) == CLOSED_BY_POLICY
        with suppress(OSError):
            assert tunnel.sock.recv(1) == b""
        print(
            f"after the command the event stream ended in {stream_s:.2f} s, both in {time.monotonic() - revoked:.2f} s"
        )
        assert time.monotonic() - revoked < ENDS_WITHIN_S
    deadline = time.monotonic() + ENDS_WITHIN_S
    while upstream.open_streams:
        assert time.monotonic() < deadline, "the portal still serves them"
        time.sleep(0.02)
    done = gateway.cli("audit", "query", "--json", "--limit", "20")
    assert '"session_revoked"' in done.stdout


def test_a_reload_after_which_the_route_refuses_closes_an_open_websocket(
    gateway: Any, browser: Any, upstream: Any
) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with closing(gateway.connect()) as tunnel:
        open_websocket(gateway, tunnel, cookie)
        (gateway.directory / "policies" / "closed.yaml").write_text(
            "version: 1\nroutes:\n"
            "  - {name: closed, match: {path: /socket, methods: [GET]}, upstream: portal, deny: true}\n"
        )
        done = gateway.cli("reload")
        assert done.returncode == 0, done.stderr
        assert tunnel.sock.recv(4) == CLOSED_BY_POLICY
        with suppress(OSError):
            assert tunnel.sock.recv(1) == b""
    gateway.wait_until(lambda: not upstream.open_streams)
    gateway.wait_until(lambda: '"no_rule"' in gateway.cli("audit", "query", "--json", "--limit", "20").stdout)
    line = 'gateway_streams_closed_total{kind="websocket",reason="no_rule"}'
    gateway.wait_until(lambda: gateway.metric(line) == 1)


def test_a_stream_of_another_person_goes_on(gateway: Any, browser: Any, make_browser: Any) -> None:
    gateway.add_user("bob", secret="KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU")
    other = make_browser(gateway)
    other.sign_in("bob", secret="KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU")
    cookie = "; ".join(f"{name}={value}" for name, value in other.cookies.items())
    with closing(gateway.connect()) as events:
        events.request("GET", "/events", headers={"Cookie": cookie})
        stream = events.getresponse()
        assert gateway.cli("session", "revoke", "--user", "alice").returncode == 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert stream.readline() in {b"data: tick\n", b"\n"}
    assert other.get("/").status == 200


def open_websocket(gateway: Any, tunnel: http.client.HTTPSConnection, cookie: str) -> None:
    """Open a WebSocket to the portal's echo and see it work."""
    head = handshake(gateway, tunnel, cookie)
    assert head.startswith(b"HTTP/1.1 101 "), head
    tunnel.sock.sendall(HELLO)
    assert tunnel.sock.recv(len(HELLO)) == HELLO


def handshake(gateway: Any, tunnel: http.client.HTTPSConnection, cookie: str) -> bytes:
    """Send a WebSocket handshake; returns the head of the answer."""
    tunnel.connect()
    key = base64.b64encode(os.urandom(16)).decode()
    tunnel.sock.sendall(
        f"GET /socket HTTP/1.1\r\nHost: localhost:{gateway.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nOrigin: {gateway.public_url}\r\nCookie: {cookie}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = tunnel.sock.recv(1)
        assert more, head
        head += more
    return head


def read_to_the_end(stream: http.client.HTTPResponse, since: float) -> None:
    """Read events until the gateway ends them."""
    with suppress(http.client.IncompleteRead, OSError):
        while stream.readline():
            assert time.monotonic() - since < ENDS_WITHIN_S


def spread(gateway: Any, cookie: str) -> list[http.client.HTTPSConnection]:
    """Open connections and use the session on each, until every worker has served some; returns them all."""
    connections = []
    for _ in range(24 * WORKERS):
        connection = gateway.connect()
        assert ask(connection, cookie) == 200
        connections.append(connection)
    served = [holds_connections(pid, gateway.port) for pid in gateway.children("edge")]
    assert len(served) == WORKERS
    assert all(served), "the kernel left a worker out"
    return connections


def holds_connections(pid: int, port: int) -> int:
    """Count the descriptors of a process that are sockets connected to the gateway's port."""
    inodes = set()
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            _, local, _, state, *_rest = line.split()
            if state == "01" and int(local.split(":")[1], 16) == port:
                inodes.add(line.split()[9])
    return sum(
        target[8:-1] in inodes
        for entry in os.scandir(f"/proc/{pid}/fd")
        if (target := os.readlink(entry.path)).startswith("socket:[")
    )


def ask(connection: http.client.HTTPSConnection, cookie: str) -> int:
    """Send one request and read its answer."""
    connection.request("GET", "/invoices/1", headers={"Cookie": cookie})
    response = connection.getresponse()
    response.read()
    return response.status
