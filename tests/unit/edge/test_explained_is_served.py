"""What `judge` says, which cases, `explain` and the console believe, is what the data plane does, and what replay finds again."""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec
import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.authn.api_key import make_key
from gateway.edge.resolve import Resolver
from gateway.exchange.session import Owed
from gateway.policy import Facts, PolicyTable
from gateway.policy.explanation import explain
from gateway.policy.history.recorded import Recall, Recorded
from gateway.policy.history.replaying import Replayer
from gateway.policy.judgement import Person, judge, parse_request
from gateway.server.tenancy import tenant_fields
from tests.unit.edge.conftest import Edge, Entry, KeyEntry, Reply, until
from tests.unit.policy.strategies import HOSTS, Asked, Policy, people, policies, requests

KEY = make_key(b"k" * 32)
AGENT = "Browser/1"
RECALL = Recall()
SITUATIONS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])


def serve_by(edge: Edge, table: PolicyTable) -> None:
    """Have the edge serve by another policy."""
    edge.change(
        policy=table,
        resolver=Resolver(table),
        hosts=HOSTS,
        limits_of=dict.fromkeys(table.routes, ()),
        mapped_names=tenant_fields(table),
    )


def sign_in(edge: Edge, person: Person | None, facts: Facts, now: float) -> str:
    """Give a person the session or the key they would have; returns the header field that shows it."""
    if person is None:
        return ""
    session = person.session(facts, now)
    if person.credential == "api_key":
        edge.sessions.keys[KEY] = KeyEntry(session)
        return f"X-API-Key: {KEY.decode()}\r\n"
    owes = Owed.MFA if person.mfa_age is None else Owed.NOTHING
    edge.sessions.entries[b"own"] = Entry(msgspec.structs.replace(session, owes=owes))
    return "Cookie: gw=own\r\n"


class Served(NamedTuple):
    """What became of a request, as the audit trail and the portal have it."""

    reason: str
    route: str
    rule: str
    reached: bool
    payload: bytes
    """The record."""


async def served(edge: Edge, asked: Asked, shown: str) -> Served:
    """Send a request."""
    seen, known = len(edge.portal.heads), len(edge.audit.payloads)
    fields = "".join(f"{name}: {value}\r\n" for name, value in asked.fields)
    head = (
        f"{asked.method} {asked.target} HTTP/1.1\r\nHost: {asked.host}\r\nConnection: close\r\n"
        f"User-Agent: {AGENT}\r\n{fields}{shown}\r\n"
    )
    [request_id] = Reply(await edge.raw(head.encode())).field("x-request-id")

    def records() -> list[bytes]:
        return [payload for payload in edge.audit.payloads[known:] if b'"uid":"%b"' % request_id in payload]

    await until(lambda: records() and b'"phase":"intent"' not in records()[-1])  # a write is recorded before and after
    payload = records()[-1]
    record = orjson.loads(payload)
    said = record["unmapped"]["gw"]
    rule = record.get("policy", {}).get("uid", "")
    return Served(said["reason"], said["route"], rule, len(edge.portal.heads) > seen, payload)


def facts_of(asked: Asked) -> Facts | None:
    """Read a request as the tools do; None = they refuse it, too."""
    try:
        facts = parse_request(asked.method, asked.url, client_ip="127.0.0.1", user_agent=AGENT)
    except ValueError:
        return None
    return msgspec.structs.replace(facts, fields=asked.fields)


@SITUATIONS
@given(policy=policies(), data=st.data())
async def test_what_is_explained_is_what_is_served(edge: Edge, policy: Policy, data: st.DataObject) -> None:
    serve_by(edge, policy.table)
    replayer = Replayer(policy.table, HOSTS)
    for _ in range(data.draw(st.integers(1, 6))):
        asked, person = data.draw(requests(policy.routes)), data.draw(st.one_of(st.none(), people()))
        facts, now = facts_of(asked), time.time()
        shown = sign_in(edge, person, facts or Facts(method="", host=asked.host, path="/"), now)
        answer = await served(edge, asked, shown)
        if facts is None:
            assert not answer.reached
            continue
        verdict = judge(policy.table, HOSTS, facts, person, now)
        decision = verdict.decision
        assert answer[:4] == (decision.reason.value, verdict.route or "none", decision.rule, decision.allowed)
        assert explain(policy.table, HOSTS, facts, person, now).decision == decision
        recorded = RECALL.read(answer.payload, 0, 1 << 62)
        if isinstance(recorded, Recorded):
            assert replayer.decide(recorded).beside(recorded) in {"same", "unknown"}
        else:
            assert (recorded, answer.reason) == ("not policy", "api_key_refused")
