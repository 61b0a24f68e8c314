"""Detectors against a whole gateway: what is found, what is answered, whom it leaves alone, and how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pyotp
import pytest

from tests.process.conftest import SECRET

pytestmark = pytest.mark.timeout(240)  # whole processes on a busy machine
ATTACKER = "127.0.0.66"
OTHER_SECRET = "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"
ROUTES = """\
roles:
  client: {}
  auditor: {}
routes:
  - name: records
    match: {path: "/records/{id}", methods: [GET]}
    upstream: portal
    resource: {type: record, id: "{id}", owner: "{id}"}
    audit: {classification: pii}
    allow: [{roles: [client]}]
  - name: secrets
    match: {path: "/secrets/{id}", methods: [GET]}
    upstream: portal
    resource: {type: secret, id: "{id}"}
    allow: [{roles: [auditor]}]
"""


def configure(gateway: Any, detectors: str) -> None:
    gateway.edit(("login: {rate: 10/m, burst: 10, per: ip}", "login: {rate: 100/s, burst: 1000, per: ip}"))
    gateway.edit(("roles:\n  client: {}\nroutes:\n", ROUTES), file="policies/portal.yaml")
    gateway.config.write_text(f"{gateway.config.read_text()}\ninspection:\n  detectors: {detectors}\n")


def answers(gateway: Any) -> list[dict[str, Any]]:
    listed = gateway.cli("abuse", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return list(json.loads(listed.stdout)["answers"])


def found(gateway: Any) -> list[dict[str, Any]]:
    """Everything that detectors found, oldest first."""
    lines = gateway.cli("audit", "query", "--json", "--event", "abuse.found").stdout.splitlines()
    return [json.loads(line)["record"] for line in lines]


def stuff(browser: Any, start: int, count: int) -> list[int]:
    """Try a list of leaked passwords, each once."""
    statuses = []
    for number in range(start, start + count):
        page = browser.get("/.gateway/login")
        if page.status != 200:
            statuses.append(page.status)
            break
        answer = browser.submit(
            "/.gateway/login", {"username": f"leaked{number}@example.com", "password": f"pw{number}"}
        )
        statuses.append(answer.status)
    return statuses


def test_credential_stuffing_is_blocked_at_its_address_and_nowhere_else(
    make_gateway: Callable[..., Any], make_browser: Any
) -> None:
    gateway = make_gateway()
    configure(gateway, "{D-03: {action: block, for: 1h}}")
    gateway.start()
    colleague = make_browser(gateway, address=ATTACKER)
    colleague.sign_in()
    attacker = make_browser(gateway, address=ATTACKER)
    assert set(stuff(attacker, 0, 26)) == {401}
    stranger = make_browser(gateway, address=ATTACKER)
    gateway.wait_until(lambda: {stranger.get("/.gateway/login").status for _ in range(10)} == {403})

    refused = make_browser(gateway, address=ATTACKER).get("/.gateway/login")
    assert b"Blocked for a while" in refused.body
    assert refused.headers["x-request-id"].encode() in refused.body
    assert colleague.get("/records/1").status == 200, "who is signed in there goes on working"
    assert make_browser(gateway).get("/.gateway/login").status == 200, "so does everybody elsewhere"

    (standing,) = answers(gateway)
    assert (standing["detector"], standing["subject"], standing["answer"]) == ("D-03", ATTACKER, "block")
    records = found(gateway)
    stuffing = next(each for each in records if each["unmapped"]["gw"]["abuse"]["detector"] == "D-03")
    assert stuffing["unmapped"]["gw"]["abuse"]["reference"] == standing["reference"]
    assert stuffing["unmapped"]["gw"]["abuse"]["numbers"]["accounts"] >= 15
    assert stuffing["src_endpoint"]["ip"] == ATTACKER
    assert {each["unmapped"]["gw"]["abuse"]["answer"] for each in records if each != stuffing} <= {"alert"}
    assert gateway.metric('gateway_abuse_findings_total{answer="block",detector="D-03"}') == 1
    gateway.wait_until(lambda: gateway.metric('gateway_abuse_answers{answer="block"}') == 1)
    assert "leaked" not in json.dumps(records)
    (blocked,) = [
        json.loads(line)["record"]
        for line in gateway.cli(
            "audit", "query", "--json", "--request-id", refused.headers["x-request-id"]
        ).stdout.splitlines()
    ]
    assert blocked["policy"]["uid"] == standing["reference"]

    gateway.stop()
    gateway.start()
    assert make_browser(gateway, address=ATTACKER).get("/.gateway/login").status == 403, "it stands over a restart"
    lifted = gateway.cli("abuse", "lift", standing["reference"], "--reason", "the new branch office")
    assert lifted.returncode == 0, lifted.stderr
    gateway.wait_until(lambda: make_browser(gateway, address=ATTACKER).get("/.gateway/login").status == 200)
    assert set(stuff(make_browser(gateway, address=ATTACKER), 100, 2)) == {401}, "whoever was let go begins anew"
    assert answers(gateway) == []
    assert gateway.cli("audit", "verify").returncode == 0


def test_an_alert_changes_nothing_for_anybody(make_gateway: Callable[..., Any], make_browser: Any) -> None:
    gateway = make_gateway()
    configure(gateway, "{}")
    gateway.start()
    scanner = make_browser(gateway, address=ATTACKER)
    scanner.sign_in()
    for number in range(101):
        assert scanner.get(f"/secrets/{number}").status == 403
    gateway.wait_until(
        lambda: (
            gateway.metric('gateway_abuse_findings_total{answer="alert",detector="D-17"}') >= 1
            and gateway.metric('gateway_abuse_findings_total{answer="alert",detector="D-16"}') >= 1
        )
    )
    assert scanner.get("/records/1").status == 200
    assert answers(gateway) == []
    assert {each["unmapped"]["gw"]["abuse"]["detector"] for each in found(gateway)} == {"D-16", "D-17"}


def test_who_tries_ids_is_slowed_down_for_a_while_and_a_neighbour_is_not(
    make_gateway: Callable[..., Any], make_browser: Any
) -> None:
    gateway = make_gateway(workers=1)
    configure(gateway, "{D-16: {action: slow_down, for: 10s, rate: 1/h, burst: 2}}")
    gateway.add_user("bob", secret=OTHER_SECRET)
    gateway.start()
    thief, neighbour = (make_browser(gateway, address=ATTACKER) for _ in range(2))
    thief.sign_in()
    neighbour.sign_in("bob", secret=OTHER_SECRET)
    for number in range(20):
        assert thief.get(f"/secrets/{number}").status == 403
    gateway.wait_until(lambda: thief.get("/records/1").status == 429)
    slowed = thief.get("/records/1")
    assert int(slowed.headers["retry-after"]) > 1000
    assert b"slow down" in slowed.body
    assert {neighbour.get("/records/2").status for _ in range(5)} == {200}
    gateway.wait_until(lambda: thief.get("/records/1").status == 200)
    assert answers(gateway) == [], "it ended by itself"


def test_who_looks_at_watched_data_has_to_prove_who_they_are(
    make_gateway: Callable[..., Any], make_browser: Any
) -> None:
    gateway = make_gateway(workers=1)
    configure(gateway, "{D-15: {action: step_up, for: 1h, watched: [famous]}}")
    gateway.start()
    clerk = make_browser(gateway)
    clerk.sign_in()
    assert clerk.get("/records/anybody").status == 200
    assert clerk.get("/records/famous").status == 200, "the first look is told, and not kept from anybody"
    gateway.wait_until(lambda: clerk.get("/records/anybody").status == 302)
    asked = clerk.get("/records/anybody").headers["location"]
    assert asked.startswith("/.gateway/mfa?step_up=mfa_age")
    code = pyotp.TOTP(SECRET).at(time.time() + 30)  # the present one was used; a step of drift is allowed
    assert clerk.submit(asked, {"code": code}).status == 303
    assert clerk.get("/records/anybody").status == 200
    (finding,) = found(gateway)
    assert finding["user"]["name"] == "alice"
    assert finding["unmapped"]["gw"]["abuse"]["rule"] == "watched"
