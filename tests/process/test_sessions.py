"""Sessions of a running gateway: what ends them, what does not, and where else their cookie opens nothing."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pyotp
import pytest

from gateway.store.keyring import Keyring
from tests.process.conftest import PASSWORD, SECRET

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine
RULES = (
    "sessions: {idle: 10m, absolute: 8h, concurrent: 1, when_full: refuse, bind: {device: true}, background: [X-Poll]}"
)
SHIPPED = "sessions: {idle: 15m, absolute: 8h, concurrent: 5}"


class Poller:
    """A browser that asks again and again, and keeps what it was answered."""

    def __init__(self, browser: Any) -> None:
        self.statuses: list[int] = []
        self._browser = browser
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends.wait(0.05):
            self.statuses.append(self._browser.get("/").status)

    def stop(self) -> set[int]:
        self._ends.set()
        self._thread.join()
        return set(self.statuses)


def sealed_under(gateway: Any) -> dict[str, int]:
    listed = gateway.cli("keys", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return {key["id"]: key["values"] for key in json.loads(listed.stdout)["keys"] if key["kind"] == "seal"}


def test_key_rotation_logs_nobody_out(running_gateway: Any, browser: Any) -> None:
    """A client polls while keys are added to a running gateway."""
    poller = Poller(browser)
    rotated = running_gateway.cli("keys", "rotate")
    assert rotated.returncode == 0, rotated.stderr
    before = len(poller.statuses)
    running_gateway.wait_until(lambda: len(poller.statuses) > before + 20)
    assert poller.stop() == {200}


def test_sealing_anew_and_dropping_the_old_key_log_nobody_out(
    make_gateway: Callable[..., Any], make_browser: Any
) -> None:
    """The same an hour later, without the hour: values move to the key in use, then the old one is dropped."""
    gateway = make_gateway()
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    gateway.stop()
    path = gateway.directory / "config" / "keyring.json"
    Keyring.load(path).rotate(os.urandom, time.time() - 3600).replace(path)
    gateway.start()
    newest = max(sealed_under(gateway), key=int)
    assert browser.get("/").status == 200, "sealed under an old key"
    poller = Poller(browser)
    gateway.wait_until(lambda: all(not count for key, count in sealed_under(gateway).items() if key != newest))
    retired = gateway.cli("keys", "rotate", "--retire")
    assert retired.returncode == 0, retired.stderr
    gateway.wait_until(lambda: list(sealed_under(gateway)) == [newest])
    before = len(poller.statuses)
    gateway.wait_until(lambda: len(poller.statuses) > before + 20)
    assert poller.stop() == {200}
    assert browser.get("/.gateway/account").status == 200


def test_a_bound_session_and_the_last_place(make_gateway: Callable[..., Any], make_browser: Any) -> None:
    """A stolen cookie opens nothing, and whoever signs in once too often chooses which session ends."""
    gateway = make_gateway()
    gateway.edit((SHIPPED, RULES))
    gateway.start()
    owner, thief = make_browser(gateway), make_browser(gateway)
    owner.sign_in()
    assert set(owner.cookies) >= {"__Host-gw", "__Host-gw-device"}
    told = owner.get("/.gateway/session").json
    assert told["signed_in"]
    assert told["idle_s"] <= 600
    assert owner.get("/", {"X-Poll": "1"}).status == 200

    thief.cookies["__Host-gw"] = owner.cookies["__Host-gw"]
    answer = thief.get("/")
    assert (answer.status, answer.headers["location"]) == (302, "/.gateway/login?return_to=/")
    assert thief.get("/.gateway/account").headers["location"] == "/.gateway/login?reason=session_elsewhere"
    assert "signed_in" in thief.get("/.gateway/session").json
    assert not thief.get("/.gateway/session").json["signed_in"]
    assert owner.get("/").status == 200
    gateway.wait_until(lambda: gateway.metric('gateway_sessions_elsewhere_total{bond="device"}') >= 3)
    found = gateway.cli("audit", "query", "--json", "--limit", "50").stdout
    assert '"session.bound_elsewhere"' in found

    late = make_browser(gateway)
    answer = late.submit("/.gateway/login?return_to=/late", {"username": "alice", "password": PASSWORD})
    next_code = pyotp.TOTP(SECRET).at(time.time() + 30)  # the present one was used; a step of drift is allowed
    answer = late.submit(answer.headers["location"], {"code": next_code})
    assert answer.headers["location"] == "/.gateway/sessions"
    assert late.get("/").headers["location"].startswith("/.gateway/sessions"), "nothing is open before there is room"
    answer = late.submit("/.gateway/sessions", {})
    assert (answer.status, answer.headers["location"]) == (303, "/late")
    assert late.get("/late").status == 200
    assert owner.get("/").status == 302, "it gave way, and only because its owner said so"
    (session,) = json.loads(gateway.cli("session", "list", "--json").stdout)["sessions"]
    assert session["bound"]
    assert gateway.cli("session", "revoke", "--issued-before", "0s", "--role", "client").returncode == 0
    assert late.get("/late").status == 302
    assert gateway.cli("audit", "verify").returncode == 0
