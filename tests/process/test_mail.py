"""Codes and notices from a whole gateway to a whole mail server."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.mail_server import PASSWORD, USER, MailServer, mail_server_in_a_thread

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine

SESSIONS = "sessions: {idle: 15m, absolute: 8h, concurrent: 5"
NEW = "a lamp beside the harbour wall"


def configure(gateway: Any, server: MailServer) -> None:
    config = gateway.directory / "config"
    (config / "smtp").write_text(PASSWORD)
    (config / "smtp").chmod(0o600)
    (config / "mail-ca.pem").write_bytes(server.authority)
    with gateway.config.open("a") as file:
        file.write(
            f"""
mail:
  smtp: {{host: localhost, port: {server.port}, username: {USER}, password: {{file: config/smtp}}, ca: config/mail-ca.pem}}
  from: The portal <portal@example.com>
  retry: {{first: 1s, longest: 2s}}
"""
        )


def add(gateway: Any) -> None:
    words = ("--tenant", "main", "--role", "client", "--email", "carol@example.com", "--password-stdin", "--self-enrol")
    added = gateway.cli("user", "add", "carol", *words, stdin="wren-lantern-copper-44\n")
    assert added.returncode == 0, added.stderr


def test_a_forgotten_password_is_reset_although_the_mail_server_was_down_and_the_gateway_restarted(
    make_gateway: Callable[..., Any], make_browser: Any
) -> None:
    gateway = make_gateway(workers=1)
    with mail_server_in_a_thread() as server:
        configure(gateway, server)
        add(gateway)
        server.answer = "451 not now"
        gateway.start()
        browser = make_browser(gateway)
        login = browser.get("/.gateway/login")
        assert b"/.gateway/reset" in login.body
        asked = browser.submit("/.gateway/reset", {"username": "carol@example.com"})
        assert (asked.status, asked.headers["location"]) == (303, "/.gateway/reset/code")
        gateway.wait_until(lambda: server.commands > 0)
        assert not server.arrived
        assert gateway.stop() == 0
        server.answer = ""
        gateway.start()
        gateway.wait_until(lambda: len(server.arrived) == 1)
        code = re.search(r"\d{4} \d{4}", server.texts()[0])
        assert code is not None
        assert (
            browser.submit("/.gateway/reset/code", {"code": code[0]}).headers["location"] == "/.gateway/reset/password"
        )
        done = browser.submit("/.gateway/reset/password", {"new_password": NEW, "new_password_again": NEW})
        assert done.headers["location"] == "/.gateway/login?reason=password_reset"
        signed_in = make_browser(gateway).submit("/.gateway/login", {"username": "Carol", "password": NEW})
        assert signed_in.status == 303
        gateway.wait_until(lambda: len(server.arrived) == 2)
        assert server.mails()[1]["Subject"] == "Your password was reset"
        gateway.wait_until(lambda: gateway.metric('gateway_mail_sent_total{matter="reset_code"}') == 1)
        assert gateway.metric("gateway_mail_queue_letters") == 0
        events = gateway.cli("audit", "query", "--json").stdout
        for event in ("password.reset_requested", "password.reset_proven", "password.reset"):
            assert f'"{event}"' in events
        everything = events + "".join(path.read_text(errors="replace") for path in gateway.directory.glob("*.log"))
        for secret in (code[0], code[0].replace(" ", ""), NEW, PASSWORD):
            assert secret not in everything
        assert gateway.stop() == 0


def test_a_new_device_is_confirmed_by_the_code_from_the_mail(
    make_gateway: Callable[..., Any], make_browser: Any
) -> None:
    gateway = make_gateway(workers=1)
    with mail_server_in_a_thread() as server:
        configure(gateway, server)
        shipped = gateway.config.read_text()
        assert SESSIONS in shipped
        gateway.config.write_text(shipped.replace(SESSIONS, f"{SESSIONS}, new_device: confirm"))
        add(gateway)
        gateway.start()
        browser = make_browser(gateway)
        signed_in = browser.submit("/.gateway/login", {"username": "carol", "password": "wren-lantern-copper-44"})
        assert (signed_in.status, signed_in.headers["location"]) == (303, "/.gateway/device")
        server.answer = "451 not now"
        assert b"c\xe2\x80\xa6@example.com" in browser.get("/.gateway/device").body
        gateway.wait_until(lambda: server.commands > 0)
        assert browser.get("/").headers["location"].startswith("/.gateway/device")
        server.answer = ""
        gateway.wait_until(lambda: len(server.arrived) == 1)
        assert server.mails()[0]["Subject"] == "Your code to sign in on a new device"
        code = re.search(r"\d{4} \d{4}", server.texts()[0])
        assert code is not None
        thief = make_browser(gateway)
        thief.submit("/.gateway/login", {"username": "carol", "password": "wren-lantern-copper-44"})
        assert thief.submit("/.gateway/device", {"code": code[0]}).status == 401
        answer = browser.submit("/.gateway/device", {"code": code[0]})
        assert (answer.status, answer.headers["location"]) == (303, "/.gateway/enrol")
        given = 'gateway_device_confirmations_total{outcome="success",step="given"}'
        gateway.wait_until(lambda: gateway.metric(given) == 1)
        events = gateway.cli("audit", "query", "--json").stdout
        for event in ("device.confirmation_requested", "device.confirmation_failed", "device.confirmed"):
            assert f'"{event}"' in events
        assert code[0] not in events
        assert gateway.stop() == 0
