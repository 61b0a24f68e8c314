"""Two gateways on one Redis, behind a balancer that sends every connection to the other one: nobody notices that there are two."""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyotp
import pytest

from tests.fakes.redis_servers import Server, standalone
from tests.fakes.splitter import Splitter
from tests.fault.test_revocation import CLOSED_BY_POLICY, open_websocket, read_to_the_end
from tests.machine import free_port
from tests.process.conftest import PASSWORD, SECRET

PEOPLE = ("alice", "bob", "carol", "dave", "erin", "frank")
pytestmark = [pytest.mark.fault, pytest.mark.timeout(150)]


class Pair:
    """Looks like one gateway to a browser."""

    def __init__(self, nodes: list[Any], splitter: Splitter) -> None:
        self.nodes = nodes
        self.splitter = splitter
        self.port = splitter.port
        self.public_url = f"https://localhost:{splitter.port}"
        self._turn = 0

    def connect(self, address: str = "127.0.0.1") -> http.client.HTTPSConnection:
        """Open a connection to whoever's turn it is; from another address without the balancer, which would hide it."""
        if address == "127.0.0.1":
            connection = self.nodes[0].connect()
            connection.port = self.port
        else:
            self._turn += 1
            connection = self.nodes[self._turn % len(self.nodes)].connect(address)
            connection.connect()
            connection.port = self.port  # as Host says it
        return connection  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    with standalone() as server:
        yield server


@contextmanager
def running_pair(directory: Path, configured: Any, redis: Server, database: int = 0) -> Iterator[Pair]:
    """Two gateways that are ready, with some people."""
    shared = free_port()
    nodes = [configured.copy(directory / name) for name in ("first", "second")]
    for node in nodes:
        node.edit(
            ("workers: auto", "workers: 1"),
            (f"public_url: https://localhost:{node.port}", f"public_url: https://localhost:{shared}"),
            ("state_dir: state", f"state_dir: state\nstate: redis://127.0.0.1:{redis.port}/{database}"),
            ("login: {rate: 1000/s, burst: 1000, per: ip}", "login: {rate: 1/m, burst: 12, per: ip}"),
        )
        node.edit((f"localhost:{node.port}", f"localhost:{shared}"), file="policies/tests/portal.yaml")
    for name in PEOPLE:
        nodes[0].add_user(name)
    splitter = Splitter([node.port for node in nodes], port=shared)
    try:
        starts = [threading.Thread(target=node.start) for node in nodes]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        yield Pair(nodes, splitter)
    finally:
        splitter.close()
        for node in nodes:
            if node.process:
                node.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, configured: Any, redis: Server) -> Iterator[Pair]:
    """One pair for all tests: each has a person of its own."""
    with running_pair(tmp_path_factory.mktemp("pair"), configured, redis) as made:
        yield made


def cookie_of(browser: Any) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def ask(node: Any, cookie: str, path: str = "/") -> int:
    with closing(node.connect()) as connection:
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.read()
        return int(answer.status)


def test_a_person_signs_in_works_and_signs_out_wherever_each_request_goes(
    pair: Pair, make_browser: Any, upstream: Any
) -> None:
    browser = make_browser(pair)
    assert browser.get("/").status == 302
    browser.sign_in()
    for _ in range(4):
        assert browser.get("/").status == 200
    assert {effect.user for effect in upstream.effects[-4:]} == {"alice"}
    account = browser.get("/.gateway/account")
    assert account.status == 200
    assert b"alice" in account.body
    assert min(pair.splitter.visits) >= 5  # the page of a form and its answer were on different nodes
    cookie = cookie_of(browser)
    assert browser.submit("/.gateway/logout", {}).status in (200, 303)
    assert [ask(node, cookie) for node in pair.nodes] == [401, 401]
    assert all(node.cli("audit", "verify").returncode == 0 for node in pair.nodes)


def test_a_code_is_good_once_on_both_nodes_together(pair: Pair, make_browser: Any) -> None:
    """RFC 6238 section 5.2: the second use of a code is refused, wherever it comes."""
    first, second = make_browser(pair), make_browser(pair)
    for browser in (first, second):
        assert browser.submit("/.gateway/login", {"username": "bob", "password": PASSWORD}).status == 303
    code = pyotp.TOTP(SECRET).now()
    assert first.submit("/.gateway/mfa", {"code": code}).status == 303
    assert second.submit("/.gateway/mfa", {"code": code}).status != 303


def test_attempts_are_counted_over_both_nodes(pair: Pair, make_browser: Any) -> None:
    browser = make_browser(pair, address="127.0.0.9")
    wrong = {"password": "wrong-horse-battery"}
    statuses = [browser.submit("/.gateway/login", {"username": f"nobody{each}"} | wrong).status for each in range(14)]
    assert statuses.index(429) == 12


def test_a_form_that_a_sign_in_interrupts_is_kept_by_one_node_and_sent_by_the_other(
    pair: Pair, make_browser: Any, upstream: Any
) -> None:
    browser = make_browser(pair)
    browser.sign_in("carol")
    done = pair.nodes[1].cli("session", "revoke", "--user", "carol")
    assert done.returncode == 0, done.stderr
    answer = browser._ask(
        "POST", "/orders", "item=7", {"Content-Type": "application/x-www-form-urlencoded", "Origin": pair.public_url, "Sec-Fetch-Site": "same-origin"}
    )  # fmt: skip
    assert answer.status in (302, 303), answer.status
    assert not [effect for effect in upstream.effects if effect.path == "/orders"]


def test_a_session_that_one_node_ends_is_over_on_the_other_at_the_very_next_request(
    pair: Pair, make_browser: Any
) -> None:
    browser = make_browser(pair)
    browser.sign_in("dave")
    cookie = cookie_of(browser)
    first, second = pair.nodes
    with closing(second.connect()) as connection:
        for _ in range(3):
            connection.request("GET", "/", headers={"Cookie": cookie})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        assert first.cli("session", "revoke", "--user", "dave").returncode == 0
        connection.request("GET", "/", headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 401


def test_what_is_open_on_one_node_ends_when_the_session_ends_on_the_other(
    pair: Pair, make_browser: Any, upstream: Any
) -> None:
    browser = make_browser(pair)
    browser.sign_in("erin")
    cookie = cookie_of(browser)
    first, second = pair.nodes
    with closing(second.connect()) as events, closing(second.connect()) as tunnel:
        events.request("GET", "/events", headers={"Cookie": cookie})
        stream = events.getresponse()
        assert stream.readline() == b"data: tick\n"
        open_websocket(second, tunnel, cookie)
        assert first.cli("session", "revoke", "--user", "erin").returncode == 0
        revoked = time.monotonic()
        read_to_the_end(stream, revoked)
        assert tunnel.sock.recv(4) == CLOSED_BY_POLICY
        with suppress(OSError):
            assert tunnel.sock.recv(1) == b""
        assert time.monotonic() - revoked < 15.0


def test_a_node_that_dies_takes_nobodys_session_with_it(
    tmp_path: Path, configured: Any, redis: Server, make_browser: Any
) -> None:
    with running_pair(tmp_path, configured, redis, database=1) as pair:
        browser = make_browser(pair)
        browser.sign_in("frank")
        cookie = cookie_of(browser)
        first, second = pair.nodes
        os.kill(first.process.pid, 9)
        first.process.wait(10)
        assert ask(second, cookie) == 200
        assert '"user": "frank"' in second.cli("session", "list", "--json").stdout
