"""Redis dies, hangs, refuses, fills up or fails over: 503 with Retry-After, nobody is signed out, nobody who was signed out comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fakes.redis_servers import PASSWORD, Server, cluster, standalone, watched
from tests.process.conftest import Browser, Gateway

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

PATIENCE_S = 40.0
AWAY_S = 2.0
"""Longest that anybody may wait for a 503 on a busy machine: the time-out of the state is a quarter of a second."""


class Said(NamedTuple):
    status: int
    retry_after: str
    set_cookie: str
    reason: str


def ask(gateway: Any, cookie: str, path: str = "/") -> Said:
    with closing(gateway.connect()) as connection:
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        body = answer.read().decode()
    reason = body.partition('"reason":"')[2].partition('"')[0]
    return Said(answer.status, answer.getheader("Retry-After", ""), answer.getheader("Set-Cookie", ""), reason)


def until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def cookie_of(browser: Any) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


@contextmanager
def running(directory: Path, configured: Gateway, state: str) -> Iterator[Gateway]:
    gateway = configured.copy(directory / "g")
    gateway.edit(("workers: auto", "workers: 1"), ("state_dir: state", f"state_dir: state\nstate: {state}"))
    for name in ("alice", "bob"):
        gateway.add_user(name)
    try:
        gateway.start()
        yield gateway
    finally:
        if gateway.process:
            gateway.stop()


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    with standalone("enable-debug-command yes") as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, configured: Gateway, redis: Server) -> Iterator[Gateway]:
    """One gateway for all faults of one server: each of them passes."""
    state = f"redis://127.0.0.1:{redis.port}/0"
    with running(tmp_path_factory.mktemp("away"), configured, state) as made:
        yield made


@pytest.fixture(scope="module")
def cookie(gateway: Gateway) -> str:
    """Of one session, which outlives every fault."""
    browser = Browser(gateway)
    browser.sign_in()
    assert ask(gateway, cookie_of(browser)).status == 200
    return cookie_of(browser)


def assert_away(gateway: Gateway, cookie: str) -> None:
    """Nobody is let in, nobody is signed out, everybody is told when to come back, and what needs no state is served."""
    until(lambda: ask(gateway, cookie).status == 503, "refused")
    for _ in range(5):
        began = time.monotonic()
        said = ask(gateway, cookie)
        assert time.monotonic() - began < AWAY_S
        assert said == Said(503, "2", "", "store_unavailable")
    assert ask(gateway, "", "/public/x").status == 200
    until(lambda: "store" in str(gateway.ready()[1]), "/readyz says so")


def assert_back(gateway: Gateway, cookie: str) -> None:
    until(lambda: ask(gateway, cookie).status == 200, "served again")
    until(lambda: gateway.ready()[0] == 200, "ready again")


def test_a_redis_that_is_killed(gateway: Gateway, redis: Server, cookie: str) -> None:
    redis.stop()
    try:
        assert_away(gateway, cookie)
    finally:
        redis.start()
    assert_back(gateway, cookie)


def test_a_worker_that_dies_while_redis_is_away_comes_back(gateway: Gateway, redis: Server, cookie: str) -> None:
    redis.stop()
    try:
        (pid,) = gateway.children("edge")
        os.kill(pid, signal.SIGKILL)
        until(lambda: gateway.children("edge") not in ([pid], []), "another worker")
        until(lambda: _serves(gateway), "it serves what needs no state")
        assert_away(gateway, cookie)
    finally:
        redis.start()
    assert_back(gateway, cookie)


def _serves(gateway: Gateway) -> bool:
    try:
        return ask(gateway, "", "/public/x").status == 200
    except OSError:
        return False


def test_a_redis_that_hangs(gateway: Gateway, redis: Server, cookie: str) -> None:
    redis.pause()
    try:
        assert_away(gateway, cookie)
    finally:
        redis.resume()
    assert_back(gateway, cookie)


def test_a_right_that_is_taken_away(gateway: Gateway, redis: Server, cookie: str) -> None:
    redis.ask("ACL", "SETUSER", "default", "-mget")
    try:
        assert_away(gateway, cookie)
    finally:
        redis.ask("ACL", "SETUSER", "default", "+mget")
    assert_back(gateway, cookie)


def test_a_password_that_is_wrong_all_of_a_sudden(gateway: Gateway, redis: Server, cookie: str) -> None:
    redis.ask("CONFIG", "SET", "requirepass", PASSWORD)
    try:
        redis.ask("CLIENT", "KILL", "TYPE", "normal", password=PASSWORD)
        assert_away(gateway, cookie)
        assert PASSWORD not in gateway.log.read_text()
    finally:
        redis.ask("CONFIG", "SET", "requirepass", "", password=PASSWORD)
    assert_back(gateway, cookie)


def test_a_master_that_became_a_replica(gateway: Gateway, redis: Server, cookie: str) -> None:
    """What a replica knows of revocations may be old, so that it is not asked, although it would answer."""
    redis.ask("REPLICAOF", "127.0.0.1", 1)  # nobody is there: it keeps what it has, and closes no connection
    try:
        assert_away(gateway, cookie)
    finally:
        redis.ask("REPLICAOF", "NO", "ONE")
    assert_back(gateway, cookie)


def test_a_redis_that_is_full(gateway: Gateway, redis: Server, cookie: str) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        for _ in range(3):
            assert ask(gateway, cookie).status == 200  # who is signed in works on
        browser = Browser(gateway)
        page = browser.get("/.gateway/login")
        assert page.status in (200, 503)
        if page.status == 200:
            answer = browser.submit("/.gateway/login", {"username": "alice", "password": "whatever"})
            assert answer.status == 503  # a try that cannot be counted is none
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", "0")
    assert_back(gateway, cookie)


# several servers


class Load:
    """Clients that ask all the time; keeps whoever got an answer that must not be."""

    def __init__(self, gateway: Gateway, cookie: str) -> None:
        self.statuses: dict[int, int] = {}
        self.signed_out: list[Said] = []
        self._gateway, self._cookie = gateway, cookie
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            said = ask(self._gateway, self._cookie)
            self.statuses[said.status] = self.statuses.get(said.status, 0) + 1
            if said.status not in (200, 503) or said.set_cookie:
                self.signed_out.append(said)
            time.sleep(0.01)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_failover_by_sentinels_gives_no_wrong_answer(tmp_path: Path, configured: Gateway) -> None:
    with watched("portal") as group:
        state = f"{{url: 'redis+sentinel://127.0.0.1:{group.sentinel.port}/portal', replicas: 1}}"
        with running(tmp_path, configured, state) as gateway:
            stays, ends = Browser(gateway), Browser(gateway)
            stays.sign_in()
            ends.sign_in("bob")
            revoked = cookie_of(ends)
            assert ask(gateway, revoked).status == 200
            assert gateway.cli("session", "revoke", "--user", "bob").returncode == 0
            assert ask(gateway, revoked).status == 401
            load = Load(gateway, cookie_of(stays))
            old = group.master()
            old.pause()  # it neither answers nor lets go: the worst way to leave
            try:
                until(lambda: group.master() is not old, "the Sentinel chose another master")
                until(lambda: ask(gateway, cookie_of(stays)).status == 200, "served by the new master")
                assert ask(gateway, revoked).status == 401
            finally:
                old.resume()  # it still believes to be the master
            for _ in range(20):
                assert ask(gateway, revoked).status == 401
                time.sleep(0.1)
            load.end()
            assert load.signed_out == []
            assert load.statuses[200] > 0
            until(group.replicated, "the old master follows the new one")


def test_a_node_of_a_cluster_that_dies_is_replaced(tmp_path: Path, configured: Gateway) -> None:
    with cluster(masters=3, replicas=3) as nodes:
        state = "'redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes[:3]) + "'"
        with running(tmp_path, configured, state) as gateway:
            browser = Browser(gateway)
            browser.sign_in()
            cookie = cookie_of(browser)
            (owner,) = [node for node in nodes[:3] if node.ask("DBSIZE")]
            load = Load(gateway, cookie)
            owner.stop()
            until(lambda: 503 in load.statuses, "its clients notice")
            until(lambda: ask(gateway, cookie).status == 200, "its replica took over")
            load.end()
            assert load.signed_out == []
