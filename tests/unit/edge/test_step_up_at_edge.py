"""Step-up on the data plane: who is asked again, where they are sent, and what programs are told."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from gateway.edge.resolve import Resolver
from gateway.exchange.envelope import unpack_envelope
from gateway.exchange.session import Owed
from gateway.policy import compile_policy
from tests.unit.edge.conftest import Edge, Entry, Reply, session

POLICY = """
version: 1
roles: {client: {}}
routes:
  - {name: fresh, match: {path: /fresh, methods: [GET, POST]}, upstream: portal, mfa_age: 5m, allow: [{roles: [client]}]}
  - {name: strong, match: {path: /strong, methods: [GET]}, upstream: portal, acr: phr, allow: [{roles: [client]}]}
  - {name: both, match: {path: /both, methods: [GET]}, upstream: portal, acr: phr, mfa_age: 5m, allow: [{roles: [client]}]}
  - {name: again, match: {path: /again, methods: [GET]}, upstream: portal, auth_age: 1h, allow: [{roles: [client]}]}
  - {name: all, match: {path: /all, methods: [GET]}, upstream: portal, acr: aal2, mfa_age: 5m, auth_age: 1h, allow: [{roles: [client]}]}
"""
PAGE = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
FORM = (
    "Content-Type: application/x-www-form-urlencoded\r\nAccept: text/html\r\nOrigin: http://127.0.0.1\r\n"
    "Referer: http://127.0.0.1/form?a=1\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Dest: document\r\n"
)


@pytest.fixture
def bank(edge: Edge) -> Edge:
    """An edge whose routes ask for step-up; `old` proved everything two hours ago."""
    table, _ = compile_policy(
        {"policies/test.yaml": POLICY}, upstreams=["portal"], tenants=["acme", "globex"], hosts=["127.0.0.1"]
    )
    edge.change(policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))
    then = time.time() - 7200
    edge.sessions.entries[b"old"] = Entry(session(mfa_time=then, auth_time=then, amr=("pwd", "otp", "mfa")))
    edge.sessions.entries[b"key"] = Entry(session(amr=("pwd", "hwk", "mfa")))
    return edge


def told(reply: Reply) -> dict[str, Any]:
    document = json.loads(reply.body)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/fresh", b"/.gateway/mfa?step_up=mfa_age&return_to=/fresh"),
        ("/strong", b"/.gateway/mfa?step_up=acr&acr=phr&return_to=/strong"),
        ("/again", b"/.gateway/mfa?step_up=auth_age&max_age=3600&return_to=/again"),
    ],
)
async def test_a_person_is_brought_to_the_page_that_asks_for_what_is_missing(
    bank: Edge, path: str, page: bytes
) -> None:
    reply = await bank.get(path, token="old", fields=PAGE)
    assert (reply.status, reply.field("location")) == (302, [page])
    assert bank.portal.heads == []
    assert bank.audit.records[-1]["unmapped"]["gw"]["reason"] == "step_up_required"


async def test_a_younger_proof_is_asked_for_that_is_as_strong_as_the_route_wants(bank: Edge) -> None:
    """attack: a phished code in place of the passkey, where the page would take either."""
    then = time.time() - 7200
    bank.sessions.entries[b"weary"] = Entry(session(mfa_time=then, amr=("pwd", "hwk", "mfa")))
    reply = await bank.get("/both", token="weary", fields=PAGE)
    assert reply.field("location") == [b"/.gateway/mfa?step_up=mfa_age&acr=phr&return_to=/both"]
    assert (await bank.get("/both", token="key")).status == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/fresh", b'acr_values="aal2", max_age="300"'),
        ("/strong", b'acr_values="phr"'),
        ("/again", b'max_age="3600"'),
        ("/all", b'acr_values="aal2", max_age="300"'),
    ],
)
async def test_a_program_reads_what_is_missing_as_rfc_9470_writes_it(bank: Edge, path: str, words: bytes) -> None:
    reply = await bank.get(path, token="old", fields="Accept: application/json\r\n")
    assert reply.status == 401
    (challenge,) = reply.field("www-authenticate")
    assert challenge.startswith(b'Session realm="gateway", error="insufficient_user_authentication", ')
    assert challenge.endswith(words)
    assert told(reply)["reason"] == "step_up_required"
    assert told(reply)["login_url"].startswith("/.gateway/mfa?step_up=")


async def test_whoever_proved_enough_passes(bank: Edge) -> None:
    for path in ("/fresh", "/again", "/strong", "/all"):
        assert (await bank.get(path, token="key")).status == 200
    for path in ("/fresh", "/again"):
        assert (await bank.get(path, token="tok")).status == 200


async def test_a_remembered_device_stands_on_the_first_rung(bank: Edge) -> None:
    """attack: what the device proved a moment ago is no second factor of this sign-in."""
    bank.sessions.entries[b"kept"] = Entry(session(amr=("pwd",)))
    assert (
        told(await bank.get("/all", token="kept", fields="Accept: application/json\r\n"))["reason"]
        == "step_up_required"
    )


async def test_nobody_is_asked_for_a_step_up_before_the_sign_in_itself(bank: Edge) -> None:
    bank.sessions.entries[b"half"] = Entry(session(owes=Owed.MFA, mfa_time=0.0, amr=("pwd",)))
    assert told(await bank.get("/fresh"))["reason"] == "sign_in_required"
    assert told(await bank.get("/fresh", token="half"))["reason"] == "mfa_required"


async def test_a_form_that_needs_a_step_up_is_kept_until_then(bank: Edge) -> None:
    bank.portal.answers[b"/.gateway/keep"] = (
        b"HTTP/1.1 303 See Other\r\nLocation: /.gateway/mfa\r\nContent-Length: 0\r\n\r\n"
    )
    reply = await bank.get("/fresh", method="POST", body=b"amount=12", fields=FORM, token="old")
    assert reply.status == 303
    assert bank.portal.head.startswith(b"POST /.gateway/keep HTTP/1.1\r\n")
    (value,) = bank.portal.field(b"x-gateway-envelope")
    kept = unpack_envelope(value).interrupted
    assert kept is not None
    assert (kept.target, kept.return_to, kept.reason) == ("/fresh", "/form?a=1", "step_up_required")
    assert kept.step_up == "/.gateway/mfa?step_up=mfa_age"


async def test_a_form_of_a_script_is_not_kept(bank: Edge) -> None:
    fields = "Content-Type: application/x-www-form-urlencoded\r\nAccept: */*\r\nSec-Fetch-Mode: cors\r\n"
    reply = await bank.get("/fresh", method="POST", body=b"amount=12", fields=fields, token="old")
    assert (reply.status, told(reply)["reason"]) == (401, "step_up_required")
    assert bank.portal.heads == []
