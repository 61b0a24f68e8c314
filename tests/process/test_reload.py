"""A running gateway gets another configuration, whole or not at all."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from gateway.server.certificate import self_signed

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine


def test_a_new_policy_holds_from_the_next_request_on(running_gateway: Any, browser: Any) -> None:
    assert browser.get("/").status == 200
    running_gateway.edit(
        ("roles: [client]", "roles: [boss]"), ("  client: {}", "  client: {}\n  boss: {}"), file="policies/portal.yaml"
    )
    running_gateway.edit(("roles: [client]", "roles: [boss]"), file="policies/tests/portal.yaml")
    done = running_gateway.cli("reload")
    assert done.returncode == 0, done.stderr
    assert browser.get("/").status == 403
    assert running_gateway.metric('gateway_policy_reloads_total{result="success"}') == 1


def test_a_bad_file_changes_nothing_and_says_where(running_gateway: Any, browser: Any) -> None:
    running_gateway.edit(("roles: [client]", "rolls: [client]"), file="policies/portal.yaml")
    done = running_gateway.cli("reload")
    assert done.returncode == 2
    assert "policies/portal.yaml:" in done.stderr
    assert browser.get("/").status == 200
    assert running_gateway.ready()[0] == 200
    assert running_gateway.metric('gateway_policy_reloads_total{result="failure"}') == 1


def test_a_gateway_yaml_that_is_not_even_yaml_changes_nothing(running_gateway: Any, browser: Any) -> None:
    running_gateway.config.write_text("{")
    done = running_gateway.cli("reload")
    assert done.returncode == 2
    assert "gateway.yaml:" in done.stderr
    assert browser.get("/").status == 200


def test_a_policy_that_breaks_its_cases_changes_nothing(running_gateway: Any, browser: Any) -> None:
    running_gateway.edit(
        ("roles: [client]", "roles: [boss]"), ("  client: {}", "  client: {}\n  boss: {}"), file="policies/portal.yaml"
    )
    done = running_gateway.cli("reload")
    assert done.returncode == 2
    assert "the case 'a client opens the portal' fails" in done.stderr
    assert browser.get("/").status == 200


def test_what_a_reload_cannot_change_is_refused_by_name(running_gateway: Any) -> None:
    running_gateway.edit(
        ("workers: 2", "workers: 1"),
        ("audit: {", "audit: {segment_age: 2h, streams: {traffic: {when_full: gap}}, disk: {high: 16%}, "),
    )
    done = running_gateway.cli("reload")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{name}: changed; nothing was reloaded: gateway upgrade applies it without dropping a request"
        for name in ("workers", "audit.disk", "audit.segment_age", "audit.streams.traffic.when_full")
    ]


def test_sighup_reloads_too(running_gateway: Any) -> None:
    running_gateway.process.send_signal(signal.SIGHUP)
    running_gateway.wait_until(lambda: running_gateway.metric('gateway_policy_reloads_total{result="success"}') == 1)


def test_a_new_certificate_is_served_without_a_restart(running_gateway: Any, browser: Any) -> None:
    certificate, key = self_signed(["localhost"], now=time.time())
    for name, data in (("cert.pem", certificate), ("key.pem", key)):
        (running_gateway.directory / "config" / "tls" / name).write_bytes(data)
    assert running_gateway.cli("reload").returncode == 0
    assert browser.get("/").status == 200  # trusts the new certificate alone


def test_the_pages_follow_a_reload(running_gateway: Any, make_browser: Any) -> None:
    visitor = make_browser(running_gateway)
    visitor.sign_in()
    assert b"Recovery codes" in visitor.get("/.gateway/account").body
    assert visitor.get("/.gateway/account/recovery").status == 200
    running_gateway.edit(
        (
            "mfa: {required: always, methods: [webauthn, totp, recovery]}",
            "mfa: {required: always, methods: [webauthn, totp]}",
        )
    )
    assert running_gateway.cli("reload").returncode == 0
    assert b"Recovery codes" not in visitor.get("/.gateway/account").body
    assert visitor.get("/.gateway/account/recovery").status == 404


def test_a_worker_that_restarts_after_a_reload_runs_on_the_new_configuration(
    running_gateway: Any, browser: Any
) -> None:
    running_gateway.edit(("version: 1\n", "version: 1\n# another digest\n"))
    assert running_gateway.cli("reload").returncode == 0
    for victim in running_gateway.children("edge"):
        os.kill(victim, signal.SIGKILL)
    running_gateway.wait_until(lambda: running_gateway.ready()[0] == 503)
    running_gateway.wait_until(lambda: running_gateway.ready()[0] == 200)
    assert browser.get("/").status == 200


def test_reload_without_a_gateway_says_so(make_gateway: Any) -> None:
    gateway = make_gateway()
    done = gateway.cli("reload")
    assert done.returncode == 2
    assert "no gateway runs on" in done.stderr
