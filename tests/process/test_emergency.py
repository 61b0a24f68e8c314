"""An emergency, through a whole gateway: the identity provider is down, and an account that rests in an envelope is let in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.store.keyring import Keyring
from gateway.store.records import User
from gateway.store.state import Store, open_store
from tests.machine import free_port
from tests.process.conftest import PASSWORD, Gateway

LOCAL = "    - {id: local, type: password}\n"


def test_an_emergency_account_is_let_in_while_the_provider_is_down_and_put_out_at_its_end(
    make_gateway: Callable[..., Gateway], make_browser: type[Any]
) -> None:
    gateway = make_gateway(workers=1)
    provider = f"""\
    - {{id: corp, type: oidc, name: Corp, issuer: "https://127.0.0.1:{free_port()}", client_id: gateway, client_secret: {{file: corp.secret}},
       roles: {{claim: groups, grant: {{staff: client}}}}, tenant: main}}
"""
    (gateway.directory / "corp.secret").write_text("secret\n")
    (gateway.directory / "corp.secret").chmod(0o600)
    gateway.edit((LOCAL, LOCAL + provider))
    gateway.add_user("envelope")
    assert gateway.cli("user", "disable", "envelope").returncode == 0
    gateway.start()
    browser = make_browser(gateway)
    refused = browser.submit("/.gateway/login", {"username": "envelope", "password": PASSWORD})
    assert refused.status == 401, "the envelope alone opens nothing"

    opened = gateway.cli("break-glass", "open", "envelope", "--reason", "the provider is down", "--ticket", "INC-7")
    assert opened.returncode == 0, opened.stderr
    browser.sign_in("envelope")
    assert browser.get("/").status == 200
    gateway.wait_until(lambda: "break_glass.used" in gateway.admin("/metrics").body.decode())
    samples = gateway.admin("/metrics").body.decode().splitlines()
    assert [line for line in samples if 'event="break_glass.used"' in line and not line.endswith(" 0")]

    closed = gateway.cli("break-glass", "close", "envelope", "--json")
    assert json.loads(closed.stdout)["sessions_ended"] == 1
    assert browser.get("/").headers["location"].startswith("/.gateway/login")
    assert gateway.stop() == 0
    lines = gateway.cli("audit", "query", "--json", "--limit", "1000").stdout.splitlines()
    records = [json.loads(line)["record"] for line in lines]
    marked = [r for r in records if "break_glass" in r["unmapped"]["gw"] and "http_request" in r]
    assert any(r["api"]["service"]["name"] == "portal" for r in marked)
    findings = [r for r in records if r["class_uid"] == 2004]
    assert [r["unmapped"]["gw"]["event"] for r in findings] == ["break_glass.used"]
    assert gateway.cli("audit", "verify").returncode == 0


def test_an_emergency_that_nobody_closed_is_over_for_good_also_when_the_clock_is_put_back(
    make_gateway: Callable[..., Gateway],
) -> None:
    """Attack: the envelope, and a clock of the past."""
    gateway = make_gateway(workers=1)
    gateway.add_user("envelope")
    assert gateway.cli("user", "disable", "envelope").returncode == 0
    assert gateway.cli("break-glass", "open", "envelope", "--reason", "the provider is down").returncode == 0
    change(gateway, until=time.time() - 60)
    gateway.start()
    gateway.wait_until(lambda: account(gateway).disabled)
    assert account(gateway).until == 0
    assert gateway.stop() == 0
    lines = gateway.cli("audit", "query", "--event", "break_glass.expired", "--json").stdout.splitlines()
    (record,) = [json.loads(line)["record"] for line in lines]
    assert (record["class_uid"], record["user"]["name"]) == (3001, "envelope")
    assert gateway.cli("audit", "verify").returncode == 0


def state(gateway: Gateway) -> Store:
    return open_store(gateway.directory / "state", Keyring.load(gateway.directory / "config" / "keyring.json"))


def account(gateway: Gateway) -> User:
    store = state(gateway)
    try:
        user = store.user_named("envelope")
        assert user is not None
        return user
    finally:
        store.close()


def change(gateway: Gateway, **changes: Any) -> None:
    user, store = account(gateway), state(gateway)
    try:
        assert store.change_user(user, msgspec.structs.replace(user, **changes), now=time.time()) is not None
    finally:
        store.close()
