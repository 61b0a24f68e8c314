"""What policies can say, on the data plane: denials, requirements and obligations, for every request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.edge.resolve import Resolver
from gateway.exchange.route import Durability
from gateway.policy import PolicyTable, compile_policy
from gateway.ratelimit.gcra import Bucket
from tests.unit.edge.conftest import Edge, Entry, Reply, session, until

POLICY = """
version: 1
roles: {client: {}, staff: {}, contractor: {}}
networks: {office: [10.0.0.0/8], here: [127.0.0.0/8]}
routes:
  - name: denied
    match: {path: /denied, methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
    deny: [{roles: [contractor]}, {when: request.query == 'no'}, {when: 1 / size(request.query) > 5}]
  - name: open
    match: {path: /open, methods: [GET]}
    upstream: portal
    public: true
    headers: {response: {X-Robots-Tag: none}}
    deny: [{when: request.query == 'no'}]
  - {name: office, match: {path: /office, methods: [GET]}, upstream: portal, require: {network: [office]}, allow: [{roles: [client]}]}
  - {name: here, match: {path: /here, methods: [GET]}, upstream: portal, require: {network: [here]}, allow: [{roles: [client]}]}
  - {name: device, match: {path: /device, methods: [GET]}, upstream: portal, require: {device: known}, allow: [{roles: [client]}]}
  - {name: code, match: {path: /code, methods: [GET]}, upstream: portal, require: {factor: totp}, allow: [{roles: [client]}]}
  - {name: key, match: {path: /key, methods: [GET]}, upstream: portal, require: {factor: webauthn}, allow: [{roles: [client]}]}
  - {name: named, match: {path: /named, methods: [GET]}, upstream: portal, allow: [{roles: [client], when: network.is_in("here")}]}
  - name: plan
    match: {path: /plan, methods: [GET, POST]}
    upstream: portal
    headers: {request: {X-Plan: basic, X-Source: gateway}, response: {X-Robots-Tag: none}}
    allow:
      - roles: [staff]
        headers: {request: {X-Plan: staff}, response: {X-Level: staff}}
        rate_limit: {rate: 1/h, burst: 2, per: user}
        audit: {durability: strict}
      - roles: [client]
  - {name: plain, match: {path: /plain, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
"""
PAGE = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"


def use(edge: Edge, text: str) -> PolicyTable:
    """Let the edge serve by a policy."""
    table, _ = compile_policy(
        {"policies/test.yaml": text}, upstreams=["portal"], tenants=["acme", "globex"], hosts=["127.0.0.1"]
    )
    limits: dict[str, tuple[Bucket, ...]] = dict.fromkeys(table.routes, ())
    limits |= {limit.name: (Bucket(limit),) for limit in table.entry_limits}
    edge.change(policy=table, resolver=Resolver(table), limits_of=limits, mapped_names=table.set_fields)
    return table


@pytest.fixture
def shop(edge: Edge) -> Edge:
    use(edge, POLICY)
    edge.sessions.entries[b"both"] = Entry(session(roles=("client", "contractor")))
    edge.sessions.entries[b"known"] = Entry(session(known_device=True))
    edge.sessions.entries[b"key"] = Entry(session(amr=("pwd", "hwk", "mfa")))
    edge.sessions.entries[b"code"] = Entry(session(amr=("pwd", "otp", "mfa")))
    edge.sessions.entries[b"staff"] = Entry(session(handle="h_staff", user="sam", user_id="u_sam", roles=("staff",)))
    return edge


def reason(reply: Reply) -> tuple[int, str]:
    document: dict[str, Any] = json.loads(reply.body)
    return reply.status, document["reason"]


# Denials


async def test_a_denial_wins_and_the_record_names_it(shop: Edge) -> None:
    assert (await shop.get("/denied?ok", token="tok")).status == 200
    assert reason(await shop.get("/denied?ok", token="both")) == (403, "denied")
    gw = shop.audit.records[-1]["unmapped"]["gw"]
    assert gw["reason"] == "denied"
    assert "policies/test.yaml:10:12" in json.dumps(shop.audit.records[-1])
    assert reason(await shop.get("/denied?no", token="tok")) == (403, "denied")
    assert len(shop.portal.heads) == 1


async def test_a_denial_that_cannot_be_evaluated_refuses(shop: Edge) -> None:
    assert reason(await shop.get("/denied", token="tok")) == (403, "condition_failed")
    assert shop.portal.heads == []


async def test_a_public_route_denies_by_the_request_alone(shop: Edge) -> None:
    assert (await shop.get("/open")).status == 200
    assert reason(await shop.get("/open?no")) == (403, "denied")
    assert reason(await shop.get("/open?no", token="tok")) == (403, "denied")
    assert len(shop.portal.heads) == 1


async def test_a_stranger_signs_in_before_anything_is_denied(shop: Edge) -> None:
    assert reason(await shop.get("/denied?no")) == (401, "sign_in_required")


# Requirements


async def test_a_network_that_is_required_refuses_everybody_elsewhere(shop: Edge) -> None:
    assert reason(await shop.get("/office", token="tok")) == (403, "network_refused")
    assert reason(await shop.get("/office")) == (403, "network_refused"), "nobody is led to a sign-in that cannot help"
    assert shop.portal.heads == []
    assert (await shop.get("/here", token="tok")).status == 200
    assert reason(await shop.get("/here")) == (401, "sign_in_required")


async def test_a_client_cannot_say_that_it_is_in_the_network(shop: Edge) -> None:
    """attack: a forwarding field of a client that is no trusted proxy."""
    fields = "X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n"
    assert reason(await shop.get("/office", token="tok", fields=fields)) == (403, "network_refused")


async def test_a_network_with_a_name_stands_in_conditions_too(shop: Edge) -> None:
    assert (await shop.get("/named", token="tok")).status == 200
    use(shop, POLICY.replace('network.is_in("here")', 'network.is_in("office")'))
    assert reason(await shop.get("/named", token="tok")) == (403, "condition_false")


async def test_a_known_device_is_a_thing_of_the_session(shop: Edge) -> None:
    assert (await shop.get("/device", token="known")).status == 200
    assert reason(await shop.get("/device", token="tok")) == (403, "device_unknown")


@pytest.mark.parametrize(
    ("path", "token", "page", "acr"),
    [
        ("/code", "key", b"/.gateway/mfa?step_up=factor&factor=totp&return_to=/code", b"aal2"),
        ("/key", "code", b"/.gateway/mfa?step_up=factor&factor=webauthn&return_to=/key", b"phr"),
    ],
)
async def test_another_kind_of_factor_is_asked_for(shop: Edge, path: str, token: str, page: bytes, acr: bytes) -> None:
    reply = await shop.get(path, token=token, fields=PAGE)
    assert (reply.status, reply.field("location")) == (302, [page])
    told = await shop.get(path, token=token)
    assert reason(told) == (401, "step_up_required")
    assert b'acr_values="%b"' % acr in told.field("www-authenticate")[0]
    assert shop.portal.heads == []
    other = {"key": "code", "code": "key"}[token]
    assert (await shop.get(path, token=other)).status == 200


# Obligations


async def test_fields_are_set_for_the_upstream_and_no_copy_of_a_client_passes(shop: Edge) -> None:
    """attack: a client that sends the field which the portal believes because the gateway sets it."""
    forged = "X-Plan: gold\r\nx-plan: gold\r\nX-Source: me\r\n"
    await shop.get("/plan", token="tok", fields=forged)
    assert (shop.portal.field(b"x-plan"), shop.portal.field(b"x-source")) == ([b"basic"], [b"gateway"])
    await shop.get("/plan", token="staff", fields=forged)
    assert (shop.portal.field(b"x-plan"), shop.portal.field(b"x-source")) == ([b"staff"], [b"gateway"])
    await shop.get("/plain", token="tok", fields=forged)
    assert (shop.portal.field(b"x-plan"), shop.portal.field(b"x-source")) == ([], [])


async def test_fields_are_set_for_the_client_in_place_of_the_portals(shop: Edge) -> None:
    shop.portal.answers[b"/plan"] = (
        b"HTTP/1.1 200 OK\r\nX-Robots-Tag: all\r\nX-Level: portal\r\nX-Other: kept\r\nContent-Length: 2\r\n\r\nok"
    )
    client, staff, again = [await shop.get("/plan", token=token) for token in ("tok", "staff", "tok")]
    assert (client.field("x-robots-tag"), client.field("x-level")) == ([b"none"], [b"portal"])
    assert (staff.field("x-robots-tag"), staff.field("x-level")) == ([b"none"], [b"staff"])
    assert again.head.count(b"x-level: portal") == 1, "what one entry sets is not remembered for another"
    for reply in (client, staff):
        assert reply.field("x-other") == [b"kept"]
        assert reply.field("x-content-type-options") == [b"nosniff"]
    assert (await shop.get("/open")).field("x-robots-tag") == [b"none"]


async def test_an_entry_limits_those_whom_it_lets_in(shop: Edge) -> None:
    assert [(await shop.get("/plan", token="staff")).status for _ in range(3)] == [200, 200, 429]
    assert reason(await shop.get("/plan", token="staff"))[1] == "rate_limited"
    assert [(await shop.get("/plan", token="tok")).status for _ in range(4)] == [200] * 4


async def test_an_entry_makes_the_record_safer(shop: Edge) -> None:
    """Where the gateway does not wait for records, it waits for those of whom the entry lets in."""
    shop.change(durability=Durability.ASYNC)
    shop.audit.acknowledges = False
    assert (await shop.get("/plan", token="tok")).status == 200
    answer = asyncio.create_task(shop.get("/plan", token="staff"))
    await until(lambda: len(shop.audit.payloads) == 2)
    assert not answer.done()
    shop.audit.acknowledge_all()
    assert (await answer).status == 200
