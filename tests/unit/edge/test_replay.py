"""What the edge decides and records, decided again from its records: the same, whatever was asked."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.edge.resolve import Resolver
from gateway.exchange.session import Owed
from gateway.policy import compile_policy
from gateway.policy.history.recorded import Recall, Recorded
from gateway.policy.history.replaying import Replayer
from gateway.ratelimit.gcra import Bucket
from gateway.wire.forwarded import TrustedProxies
from tests.unit.edge.conftest import POLICY, Edge, Entry, session, until

MORE = """
  - name: dated
    match: {path: "/dated/{id}", methods: [GET, POST]}
    upstream: portal
    allow:
      - {roles: [admin], when: 'session.mfa_age < duration("1h")'}
      - {roles: [client], when: 'path.id == user.name || user.email.endsWith("@acme.example")'}
    deny:
      - {when: 'request.user_agent.contains("bad") && request.method == "POST"'}
  - name: fresh
    match: {path: /fresh, methods: [GET]}
    upstream: portal
    mfa_age: 10m
    allow: [{roles: [client]}]
  - name: queried
    match: {path: /queried, methods: [GET]}
    upstream: portal
    allow: [{roles: [client], when: 'request.query == "a=1"'}]
  - name: nearby
    match: {path: /nearby, methods: [GET]}
    upstream: portal
    require: {network: [10.0.0.0/8]}
    allow: [{roles: [client]}]
  - {name: nobody, match: {path: /nobody, methods: [GET]}, upstream: portal, deny: true}
"""


def use(edge: Edge, text: str) -> None:
    hosts = dict(edge.worker.snapshot.hosts)
    table, _ = compile_policy(
        {"policies/test.yaml": text}, upstreams=["portal"], tenants=["acme", "globex"], hosts=hosts, mfa_required=True
    )
    limits = {name: (Bucket(route.limit),) if route.limit else () for name, route in table.routes.items()}
    edge.change(policy=table, resolver=Resolver(table), limits_of=limits)


@pytest.fixture
def people(edge: Edge) -> list[str]:
    now = session().auth_time
    edge.sessions.entries |= {
        b"old": Entry(session(handle="old", roles=("admin",), mfa_time=now - 7200, auth_time=now - 7200)),
        b"other": Entry(session(handle="other", tenant="globex", email="a@globex.example", user="bob")),
        b"owing": Entry(session(handle="owing", owes=Owed.MFA, mfa_time=0.0, amr=("pwd",))),
        b"strange": Entry(session(handle="strange", owes=Owed.DEVICE)),
        b"none": Entry(session(handle="none", roles=())),
    }
    return ["", "tok", "admin", "old", "other", "owing", "strange", "none", "unknown"]


PATHS = (
    "/", "/public/x", "/invoices/1", "/admin/x", "/admin%2Fx", "/unproven", "/ours", "/limited", "/dated/alice", "/dated/b%6Fb", "/fresh",
    "/queried?a=1", "/nearby", "/nobody", "/nowhere", "/public/../admin/x", "/invoices/1;x=2",
)  # fmt: skip


async def test_every_decision_of_the_edge_can_be_made_again_from_its_record(edge: Edge, people: list[str]) -> None:
    use(edge, POLICY + MORE)
    for token in people:
        for path in PATHS:
            await edge.get(path, token=token, fields="User-Agent: Browser/1\r\n")
    await edge.get("/dated/alice", method="POST", token="tok", fields="User-Agent: bad/1\r\n", body=b"x")
    await edge.get("/", method="DELETE", token="tok")
    await until(lambda: len(edge.audit.payloads) >= len(people) * len(PATHS) + 2)
    recall, replayer = Recall(), Replayer(edge.worker.snapshot.policy, edge.worker.snapshot.hosts)
    outcomes: dict[str, int] = {}
    reasons = set()
    for payload in edge.audit.payloads:
        read = recall.read(payload, 0, 1 << 62)
        if not isinstance(read, Recorded):
            outcomes[str(read)] = outcomes.get(str(read), 0) + 1
            continue
        redecision = replayer.decide(read)
        outcome = redecision.beside(read)
        assert outcome in ("same", "unknown"), (read, redecision)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        reasons.add(read.reason.value)
        if outcome == "same" and not read.is_later and redecision.verdict is not None:
            decision = redecision.verdict.decision
            assert decision.allowed == read.allowed
            assert not read.allowed or (decision.reason, decision.rule) == (read.reason, read.rule)
    assert reasons >= {
        "allowed", "public", "sign_in_required", "mfa_required", "device_unconfirmed", "role_missing", "condition_false", "denied",
        "network_refused", "no_route", "method_not_allowed", "step_up_required", "ambiguous_path", "no_rule", "rate_limited",
    }  # fmt: skip
    assert outcomes["same"] > 100
    assert set(outcomes) <= {"same", "unknown", "part of another", "not policy"}


async def test_an_address_is_in_the_record_only_where_a_condition_asks_for_it(edge: Edge) -> None:
    await edge.get("/", token="tok")
    use(edge, POLICY + MORE)
    await edge.get("/", token="tok")
    await until(lambda: len(edge.audit.records) >= 2)
    before, after = (record["unmapped"]["gw"]["decision_inputs"] for record in edge.audit.records)
    assert "email" not in before
    assert after["email"] == "alice@acme.example"


async def test_what_a_trusted_proxy_says_of_the_scheme_is_recorded(edge: Edge) -> None:
    edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)))
    await edge.get("/public/x")
    await edge.get("/public/x", fields="X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n")
    await until(lambda: len(edge.audit.records) >= 2)
    assert [record["unmapped"]["gw"]["decision_inputs"]["secure"] for record in edge.audit.records] == [False, True]
