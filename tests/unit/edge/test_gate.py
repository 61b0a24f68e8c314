"""What detectors answered, at the edge: who is blocked, slowed down or asked for proof, and who is not."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gateway.edge.resolve import Resolver
from gateway.exchange.session import Owed
from gateway.inspection.abuse.rule import Answer, Scope
from gateway.inspection.abuse.standing import Standing, Standings
from gateway.policy import compile_policy
from tests.unit.edge.conftest import Edge, Entry, KeyEntry, Reply, session

POLICY = """
version: 1
roles: {client: {}}
routes:
  - {name: public, match: {path: "/public/**", methods: [GET]}, upstream: portal, public: true}
  - name: home
    match: {path: /, methods: [GET]}
    upstream: portal
    credentials: [session, api_key]
    authorization: gateway
    allow: [{roles: [client]}]
"""
HERE = "127.0.0.1"


def standing(scope: Scope, subject: str, answer: Answer = Answer.BLOCK, **more: object) -> Standing:
    now = time.time()
    made = Standing(
        reference="a_1", detector="D-03", rule="r", scope=scope, subject=subject, answer=answer, since=now - 1,
        until=now + 900, rate_per_s=0.01, burst=2,
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def stand(edge: Edge, *standings: Standing) -> None:
    edge.worker.gate.adopt(Standings(standings))


def reason(reply: Reply) -> str:
    return str(json.loads(reply.body)["reason"])


JSON = "Accept: application/json\r\n"


@pytest.fixture(autouse=True)
def routes(edge: Edge) -> None:
    table, _ = compile_policy(
        {"p.yaml": POLICY}, upstreams=["portal"], tenants=["acme", "globex"], hosts=["127.0.0.1", "globex.example"]
    )
    edge.change(policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))
    edge.sessions.entries[b"bob"] = Entry(session(handle="handle3", user="bob", user_id="u3"))
    edge.sessions.entries[b"half"] = Entry(session(handle="handle4", user="eve", user_id="u4", owes=Owed.MFA))
    edge.sessions.keys[b"gwk_secret"] = KeyEntry(session(handle="k_1", credential="api_key"))


async def test_a_blocked_network_gets_nothing_not_even_our_pages(edge: Edge) -> None:
    stand(edge, standing(Scope.NETWORK, HERE))
    for target, token in (("/", "tok"), ("/public/x", ""), ("/.gateway/login", "")):
        reply = await edge.get(target, token=token, fields=JSON)
        assert (reply.status, reason(reply)) == (403, "abuse_blocked")
    assert edge.portal.heads == []
    assert edge.sessions.lookups == 0, "before any store is asked"


async def test_the_record_names_the_answer(edge: Edge) -> None:
    stand(edge, standing(Scope.NETWORK, HERE))
    await edge.get("/", token="tok")
    record = edge.audit.records[-1]
    assert record["policy"]["uid"] == "a_1"
    assert record["status_detail"] == "abuse_blocked"


async def test_a_person_sees_a_page_with_the_reference_of_the_request(edge: Edge) -> None:
    stand(edge, standing(Scope.NETWORK, HERE))
    reply = await edge.get("/", token="tok", fields="Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
    assert reply.status == 403
    assert b"Blocked for a while" in reply.body
    assert reply.field("x-request-id")[0] in reply.body


async def test_other_networks_are_served_and_so_is_this_one_when_it_is_over(edge: Edge) -> None:
    stand(edge, standing(Scope.NETWORK, "203.0.113.7"), standing(Scope.NETWORK, HERE, until=time.time() - 1))
    assert (await edge.get("/", token="tok")).status == 200


async def test_an_answer_to_sign_ins_spares_who_is_signed_in(edge: Edge) -> None:
    stand(edge, standing(Scope.NETWORK, HERE, spares_signed_in=True))
    assert (await edge.get("/", token="tok")).status == 200
    assert (await edge.get("/.gateway/account", token="tok")).status == 200
    assert (await edge.get("/public/x")).status == 403
    assert (await edge.get("/.gateway/login", method="POST", body=b"x=1")).status == 403


@pytest.mark.parametrize("token", ["tok", "half"])
async def test_neither_an_account_of_ones_own_nor_half_a_sign_in_lets_anybody_try_more(edge: Edge, token: str) -> None:
    """Attack: stuffing from inside a session, or with the session that one leaked password opened."""
    stand(edge, standing(Scope.NETWORK, HERE, spares_signed_in=True))
    assert (await edge.get("/.gateway/login", method="POST", body=b"x=1", token=token)).status == 403


async def test_half_a_sign_in_is_not_signed_in(edge: Edge) -> None:
    stand(edge, standing(Scope.NETWORK, HERE, spares_signed_in=True))
    assert (await edge.get("/.gateway/mfa", token="half")).status == 403


async def test_a_blocked_person_is_refused_and_their_neighbour_is_not(edge: Edge) -> None:
    stand(edge, standing(Scope.PERSON, "u1"))
    assert (await edge.get("/", token="tok")).status == 403
    assert (await edge.get("/", token="bob")).status == 200
    assert (await edge.get("/public/x")).status == 200


async def test_a_blocked_person_can_sign_out(edge: Edge) -> None:
    stand(edge, standing(Scope.PERSON, "u1"))
    assert (await edge.get("/.gateway/logout", token="tok")).status == 200
    assert (await edge.get("/.gateway/account", token="tok")).status == 200


async def test_a_blocked_person_does_not_administer(edge: Edge) -> None:
    stand(edge, standing(Scope.PERSON, "u1"))
    assert (await edge.get("/.gateway/admin/", token="tok")).status == 403


async def test_one_session_of_a_person_is_blocked_and_another_is_not(edge: Edge) -> None:
    edge.sessions.entries[b"other"] = Entry(session(handle="handle9"))
    stand(edge, standing(Scope.SESSION, "handle1"))
    assert (await edge.get("/", token="tok")).status == 403
    assert (await edge.get("/", token="other")).status == 200


async def test_a_blocked_key_is_refused_and_its_owner_is_not(edge: Edge) -> None:
    stand(edge, standing(Scope.KEY, "k_1"))
    assert (await edge.get("/", fields="X-API-Key: gwk_secret\r\n")).status == 403
    assert (await edge.get("/", token="tok")).status == 200


async def test_whoever_is_slowed_down_is_served_now_and_then_and_told_when(edge: Edge) -> None:
    stand(edge, standing(Scope.PERSON, "u1", Answer.SLOW_DOWN))
    replies = [await edge.get("/", token="tok", fields=JSON) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert reason(replies[2]) == "abuse_slowed"
    assert 90 <= int(replies[2].field("retry-after")[0]) <= 101
    assert (await edge.get("/", token="bob")).status == 200


async def test_what_stands_is_read_again_and_the_count_goes_on(edge: Edge) -> None:
    slow = standing(Scope.NETWORK, HERE, Answer.SLOW_DOWN)
    stand(edge, slow)
    assert [(await edge.get("/public/x")).status for _ in range(2)] == [200, 200]
    stand(edge, slow)
    assert (await edge.get("/public/x")).status == 429


async def test_everybody_s_sign_ins_at_an_organisation_are_slowed_and_nothing_else(edge: Edge) -> None:
    edge.change(login_limit=replace_burst(edge))
    stand(edge, standing(Scope.TENANT, "*", Answer.SLOW_DOWN))
    posted = [(await edge.get("/.gateway/login", method="POST", body=b"x=1")).status for _ in range(3)]
    assert posted == [200, 200, 429]
    assert (await edge.get("/.gateway/login")).status == 200
    assert (await edge.get("/public/x")).status == 200


def replace_burst(edge: Edge) -> Any:
    bucket = edge.worker.snapshot.login_limit
    return type(bucket)(msgspec.structs.replace(bucket.spec, burst=100), is_sign_in=True)


async def test_who_has_to_step_up_proves_it_once_and_goes_on(edge: Edge) -> None:
    now = time.time()
    old = session(mfa_time=now - 600)
    edge.sessions.entries[b"tok"] = Entry(old)
    stand(edge, standing(Scope.PERSON, "u1", Answer.STEP_UP, since=now - 60))
    reply = await edge.get("/", token="tok", fields="Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
    assert reply.status == 302
    assert reply.field("location")[0].startswith(b"/.gateway/mfa?step_up=mfa_age")
    refused = await edge.get("/", token="tok", fields=JSON)
    assert (refused.status, reason(refused)) == (401, "step_up_required")
    assert (await edge.get("/.gateway/mfa", token="tok")).status == 200
    assert (await edge.get("/public/x", token="tok")).status == 200
    edge.sessions.entries[b"tok"] = Entry(msgspec.structs.replace(old, mfa_time=now))
    assert (await edge.get("/", token="tok")).status == 200


async def test_a_program_proves_no_second_factor_so_it_waits(edge: Edge) -> None:
    stand(edge, standing(Scope.PERSON, "u1", Answer.STEP_UP))
    reply = await edge.get("/", fields=f"X-API-Key: gwk_secret\r\n{JSON}")
    assert (reply.status, reason(reply)) == (403, "abuse_blocked")


async def test_where_nothing_stands_nothing_is_looked_up(edge: Edge) -> None:
    assert not edge.worker.gate.standings
    assert (await edge.get("/", token="tok")).status == 200


async def test_a_reload_keeps_what_stands(edge: Edge) -> None:
    stand(edge, standing(Scope.NETWORK, HERE))
    edge.worker.swap(replace(edge.worker.snapshot, gate=None))
    assert (await edge.get("/", token="tok")).status == 403


async def test_a_proof_for_one_finding_does_not_do_for_a_later_one_nor_for_slowness(edge: Edge) -> None:
    now = time.time()
    edge.sessions.entries[b"tok"] = Entry(session(mfa_time=now - 300))
    long = standing(Scope.PERSON, "u1", Answer.STEP_UP, since=now - 600, until=now + 3000)
    later = standing(Scope.SESSION, "handle1", Answer.STEP_UP, reference="a_2", since=now - 60, until=now + 60)
    stand(edge, long, later)
    assert reason(await edge.get("/", token="tok", fields=JSON)) == "step_up_required"
    slow = standing(Scope.PERSON, "u1", Answer.SLOW_DOWN, reference="a_3")
    stand(edge, long, slow)
    replies = [await edge.get("/", token="tok", fields=JSON) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]


async def test_of_two_that_slow_down_the_slower_one_counts_however_soon_it_ends(edge: Edge) -> None:
    now = time.time()
    fast = standing(Scope.NETWORK, HERE, Answer.SLOW_DOWN, until=now + 3000, rate_per_s=100.0, burst=100)
    slow = standing(Scope.NETWORK, HERE, Answer.SLOW_DOWN, reference="a_2", until=now + 60)
    stand(edge, fast, slow)
    replies = [await edge.get("/", token="tok", fields=JSON) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
