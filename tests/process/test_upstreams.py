"""A gateway before several real servers, some of which end without a word."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.machine import free_port

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine

SERVER = """
import asyncio, os, sys
where, name = sys.argv[1:]
async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\\r\\n\\r\\n")
            await asyncio.sleep(0.002)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(name), name.encode()))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    if where.isdigit():
        server = await asyncio.start_server(serve, "127.0.0.1", int(where))
    else:
        server = await asyncio.start_unix_server(serve, where)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Server:
    """A server of its own process, so that it can be killed."""

    def __init__(self, where: str, name: str) -> None:
        self.where, self.name = where, name
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, self.where, self.name], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def make_server() -> Iterator[Callable[[str, str], Server]]:
    made: list[Server] = []

    def make(where: str, name: str) -> Server:
        made.append(Server(where, name))
        return made[-1]

    yield make
    for server in made:
        if server.process.poll() is None:
            server.kill()


class Visitors:
    """People who read one page after the other and note who answered."""

    def __init__(self, gateway: Any, cookies: dict[str, str], number: int = 6) -> None:
        self._gateway = gateway
        self._cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self.answers: Counter[tuple[int, str]] = Counter()
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, (self.answers, self.errors)
            time.sleep(0.02)

    def until_more(self, number: int = 150) -> None:
        """Wait until so many more answers came."""
        before = self.answers.total()
        self.until(lambda: self.answers.total() >= before + number)

    def _visit(self) -> None:
        connection: http.client.HTTPSConnection = self._gateway.connect()
        try:
            while not self._stop.is_set():
                connection.request("GET", "/", headers={"Cookie": self._cookie})
                answer = connection.getresponse()
                self.answers[answer.status, answer.read().decode()] += 1
                time.sleep(0.005)
        except OSError as error:
            self.errors.append(repr(error))
        finally:
            connection.close()


def configure(gateway: Any, portal_port: int, upstream: str) -> None:
    gateway.edit((f'servers: ["http://127.0.0.1:{portal_port}"]', upstream))
    path: Path = gateway.config
    path.write_text(
        path.read_text().replace(
            "client: {rate: 50/s, burst: 200, per: ip}", "client: {rate: 5000/s, burst: 5000, per: ip}"
        )
    )


def test_a_server_that_is_killed_under_load_costs_no_request_and_comes_back(
    make_gateway: Callable[..., Any],
    make_browser: Any,
    portal: Any,
    make_server: Callable[[str, str], Server],
    tmp_path: Path,
) -> None:
    gateway = make_gateway()
    port = free_port()
    make_server(str(tmp_path / "one.sock"), "one")
    second = make_server(str(port), "two")
    configure(
        gateway,
        portal.port,
        f'servers: ["unix:{tmp_path}/one.sock", "http://127.0.0.1:{port}"], ejection: {{failures: 1, time: 1s, max_time: 1s}}',
    )
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    with Visitors(gateway, browser.cookies) as visitors:
        visitors.until_more()
        assert {who for _, who in visitors.answers} == {"one", "two"}
        second.kill()
        visitors.until_more()
        name = f"127.0.0.1:{port}"
        before = visitors.answers[200, "two"]
        assert gateway.cli("reload").returncode == 0  # what is known of servers outlives it
        visitors.until_more()
        assert visitors.answers[200, "two"] == before
        degraded = json.loads(gateway.admin("/readyz").body)
        assert degraded["ready"]
        assert name in degraded["degraded"]["upstream portal"]
        second.start()
        visitors.until(lambda: visitors.answers[200, "two"] > before)
        visitors.until(
            lambda: gateway.metric(f'gateway_upstream_servers{{server="{name}",state="in",upstream="portal"}}') == 2
        )
    assert {status for status, _ in visitors.answers} == {200}, visitors.answers
    assert visitors.errors == []
    log = gateway.log.read_text()
    assert log.count("upstream.server_out") <= 40, "said for each change, not for each request"
    assert "upstream.server_in" in log
    assert "upstream portal" not in json.loads(gateway.admin("/readyz").body)["degraded"]


def test_a_portal_without_a_server_is_503_and_the_gateway_stays_ready(
    make_gateway: Callable[..., Any], make_browser: Any, portal: Any, make_server: Callable[[str, str], Server]
) -> None:
    gateway = make_gateway(workers=1)
    port = free_port()
    server = make_server(str(port), "one")
    configure(
        gateway,
        portal.port,
        f'servers: ["http://127.0.0.1:{port}"], health: {{path: /healthz, interval: 200ms, timeout: 200ms, healthy: 1, unhealthy: 1}}',
    )
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert browser.get("/").body == b"one"
    server.kill()
    gateway.wait_until(lambda: "upstream portal" in json.loads(gateway.admin("/readyz").body)["degraded"])
    answer = browser.get("/")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert gateway.ready()[0] == 200
    assert (
        gateway.metric(f'gateway_upstream_servers{{server="127.0.0.1:{port}",state="unhealthy",upstream="portal"}}')
        == 1
    )
    server.start()
    gateway.wait_until(lambda: "upstream portal" not in json.loads(gateway.admin("/readyz").body)["degraded"])
    assert browser.get("/").body == b"one"
