"""A running gateway whose surroundings fail."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine


def test_a_lost_state_file_is_503_and_said_and_signs_nobody_out(running_gateway: Any, browser: Any) -> None:
    state = running_gateway.directory / "state" / "state.sqlite3"
    moved = state.with_name("moved")
    state.rename(moved)
    running_gateway.wait_until(lambda: running_gateway.ready()[0] == 503)
    running_gateway.wait_until(lambda: "store" in running_gateway.ready()[1])
    running_gateway.wait_until(lambda: browser.get("/").status == 503)  # a cached session is read again after a second
    answer = browser.get("/")
    assert "retry-after" in answer.headers
    assert "__Host-gw" in browser.cookies
    moved.rename(state)
    running_gateway.wait_until(lambda: running_gateway.ready()[0] == 200)
    assert browser.get("/").status == 200


def test_a_revoked_session_is_refused_by_every_worker_at_its_next_request(running_gateway: Any, browser: Any) -> None:
    for _ in range(8):  # connections spread over both workers
        assert browser.get("/").status == 200
    done = running_gateway.cli("session", "revoke", "--user", "alice")
    assert done.returncode == 0, done.stderr
    assert {browser.get("/").status for _ in range(8)} == {302}


def test_a_foreign_host_name_on_the_admin_listener_is_refused(running_gateway: Any) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", running_gateway.admin_port, timeout=10)
    connection.request("GET", "/metrics", headers={"Host": "evil.example.com"})
    assert connection.getresponse().status == 421
    connection.close()


def test_every_process_is_kept_from_what_it_has_no_business_with(running_gateway: Any) -> None:
    from gateway.server.confine import landlock_version

    expected = 1.0 if landlock_version() else 0.0
    for process in ("audit", "pages", "edge-0", "edge-1"):
        assert running_gateway.metric(f'gateway_process_separated{{process="{process}"}}') == expected


def test_no_secret_stands_in_the_log(running_gateway: Any, browser: Any) -> None:
    browser.get("/secret-path?token=hidden-in-a-query")
    text = running_gateway.log.read_text()
    for secret in (
        "wren-lantern",
        "JBSWY3DP",
        browser.cookies["__Host-gw"],
        "hidden-in-a-query",
        "secret-path",
        "alice",
    ):
        assert secret not in text
