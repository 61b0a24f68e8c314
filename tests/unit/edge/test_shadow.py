"""A candidate policy beside the live one: it is counted and noted, and no request fares otherwise for it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.authn.api_key import make_key
from gateway.edge.bearer import Bearers
from gateway.edge.remote import RemoteState
from gateway.edge.remote_limits import RemoteLimits
from gateway.edge.snapshot import ForwardAuthRules
from gateway.exchange.route import LimitSpec
from gateway.exchange.session import Owed
from gateway.policy import PolicyTable, compile_policy
from gateway.ratelimit.gcra import Bucket
from gateway.session.token import make_token
from gateway.wire.forwarded import TrustedProxies
from tests.fakes.portal import Portal
from tests.unit.edge.conftest import PATIENCE_S, POLICY, Edge, Entry, KeyEntry, session, until
from tests.unit.edge.remote_store import MemoryStore

Counts = dict[tuple[str, ...], float]
KEY = make_key(b"k" * 32)
GONE = """  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET]}
    upstream: portal
    resource: {type: invoice, id: "{id}"}
    allow: [{roles: [client]}]
"""


def table(*changes: tuple[str, str]) -> PolicyTable:
    text = POLICY
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return compile_policy(
        {"policies-next/test.yaml": text},
        upstreams=["portal"],
        tenants=["acme", "globex"],
        hosts=["127.0.0.1", "globex.example"],
    )[0]


def stricter() -> PolicyTable:
    """Invoices are the administrators' alone, and `/public/` is gone."""
    return table(
        (GONE, GONE.replace("[client]", "[admin]")),
        ('path: "/public/**"', 'path: "/open/**"'),
    )


def counts(edge: Edge) -> Counts:
    (sample,) = [sample for sample in edge.worker.metrics.dump() if sample.name == "gateway_policy_shadow_total"]
    return dict(sample.values)


def noted(edge: Edge) -> Any:
    """What the last record says of the candidate; None where it says nothing."""
    return edge.audit.records[-1]["unmapped"]["gw"].get("shadow")


async def events(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"9\r\ndata: 1\n\n\r\n")
    await reader.read()


async def test_without_a_candidate_nothing_is_counted_and_records_say_nothing(edge: Edge) -> None:
    assert (await edge.get(token="tok")).status == 200
    assert counts(edge) == {}
    assert b"shadow" not in edge.audit.payloads[-1]
    assert b"candidate" not in edge.audit.payloads[-1]


async def test_who_would_lose_something_keeps_it_and_the_record_says_so(edge: Edge) -> None:
    edge.change(candidate=(candidate := stricter()))
    assert (await edge.get("/invoices/7", token="tok")).status == 200
    assert noted(edge) == {
        "decision": "deny",
        "reason": "role_missing",
        "route": "invoice",
        "rule": candidate.rules["invoice"].refused.rule,
        "version": candidate.version,
    }
    assert edge.audit.records[-1]["unmapped"]["gw"]["candidate"] == candidate.version
    assert edge.audit.records[-1]["policy"]["version"] == edge.worker.snapshot.policy.version != candidate.version
    assert counts(edge) == {("invoice", "would_deny"): 1}


async def test_who_would_gain_something_is_refused_all_the_same(edge: Edge) -> None:
    edge.change(candidate=table(('path: "/admin/**", methods: [GET]}\n    upstream: portal\n    allow: [{roles: [admin]}]', 'path: "/admin/**", methods: [GET]}\n    upstream: portal\n    allow: [{roles: [client]}]')))  # fmt: skip
    assert (await edge.get("/admin/x", token="tok")).status == 403
    assert noted(edge)["decision"] == "allow"
    assert counts(edge) == {("admin", "would_allow"): 1}
    assert edge.portal.heads == []


async def test_where_both_agree_the_record_stays_as_it_is(edge: Edge) -> None:
    edge.change(candidate=stricter())
    assert (await edge.get(token="tok")).status == 200
    assert noted(edge) is None
    assert (await edge.get("/admin/x", token="tok")).status == 403
    assert noted(edge) is None
    assert (await edge.get()).status == 401
    assert counts(edge) == {("home", "same"): 2, ("admin", "same"): 1}


async def test_a_route_that_only_one_of_them_has_is_a_difference(edge: Edge) -> None:
    edge.change(candidate=stricter())
    assert (await edge.get("/public/x")).status == 200
    assert noted(edge) | {"version": ""} == {
        "decision": "deny", "reason": "no_route", "route": "none", "rule": "", "version": "",
    }  # fmt: skip
    assert (await edge.get("/open/x")).status == 404
    assert noted(edge)["route"] == "public"
    assert counts(edge) == {("public", "would_deny"): 1, ("public", "would_allow"): 1}


async def test_a_public_route_that_would_be_protected_looks_at_who_is_signed_in(edge: Edge) -> None:
    protected = 'name: public, match: {path: "/public/**", methods: [GET, POST, PUT, OPTIONS]}, upstream: portal, '
    edge.change(candidate=table((protected + "public: true", protected + "allow: [{roles: [client]}]")))
    assert (await edge.get("/public/x", token="tok")).status == 200
    assert noted(edge) is None
    assert (await edge.get("/public/x")).status == 200
    assert noted(edge)["reason"] == "sign_in_required"


async def test_a_fresher_proof_that_would_be_asked_for_is_a_loss(edge: Edge) -> None:
    edge.change(candidate=table((GONE, GONE.replace("    upstream", "    mfa_age: 5m\n    upstream"))))
    edge.sessions.entries[b"tok"] = Entry(session(mfa_time=session().mfa_time - 3600))
    assert (await edge.get("/invoices/7", token="tok")).status == 200
    assert noted(edge)["reason"] == "step_up_required"


async def test_somebody_who_owes_a_factor_is_nobody_to_both(edge: Edge) -> None:
    edge.change(candidate=stricter())
    edge.sessions.entries[b"tok"] = Entry(session(owes=Owed.MFA, mfa_time=0.0))
    assert (await edge.get("/invoices/7", token="tok")).status == 401
    assert counts(edge) == {("invoice", "same"): 1}


async def test_an_answer_in_two_records_is_noted_in_both(edge: Edge) -> None:
    edge.change(candidate=table(("path: /, methods: [GET, POST]", "path: /, methods: [GET]")))
    assert (await edge.get(method="POST", body=b"x", token="tok")).status == 200
    phases = [
        (record["unmapped"]["gw"]["phase"], "shadow" in record["unmapped"]["gw"]) for record in edge.audit.records
    ]
    assert phases == [("intent", True), ("single", True)]


async def test_an_api_key_that_would_lose_its_route_is_noted_and_counted_once(edge: Edge) -> None:
    keyed = GONE.replace("    upstream", "    credentials: [session, api_key]\n    upstream")
    live = table((GONE, keyed))
    edge.sessions.keys[KEY] = KeyEntry(session(credential="api_key"), bucket=None)
    edge.change(
        policy=live,
        resolver=type(edge.worker.snapshot.resolver)(live),
        candidate=table((GONE, keyed.replace("[client]", "[admin]"))),
    )
    seen = edge.sessions.keys[KEY].seen
    assert (await edge.get("/invoices/7", fields=f"X-Api-Key: {KEY.decode()}\r\n")).status == 200
    assert noted(edge)["reason"] == "role_missing"
    (proven,) = [sample for sample in edge.worker.metrics.dump() if sample.name == "gateway_credentials_total"]
    assert dict(proven.values) == {("api_key", "accepted"): 1}
    assert edge.sessions.keys[KEY].seen >= seen


async def test_what_only_the_candidate_would_have_to_prove_is_not_proven(edge: Edge) -> None:
    """Attack: garbage tokens on a route that takes none would cost a signature each."""
    edge.change(
        candidate=table((GONE, GONE.replace("    upstream", "    credentials: [api_key, bearer]\n    upstream")))
    )
    answer = await edge.get("/invoices/7", token="tok", fields="Authorization: Bearer abc.def.ghi\r\n")
    assert answer.status == 200
    await edge.get("/invoices/7", fields="Authorization: Bearer abc.def.ghi\r\n")
    assert counts(edge) == {("invoice", "would_deny"): 1, ("invoice", "unknown"): 1}  # two credentials; one unproven
    assert (noted(edge)["decision"], noted(edge)["reason"]) == ("unknown", "credential_unproven")


async def test_garbage_tokens_on_a_route_that_takes_api_keys_alone_cost_no_signature(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: the live policy refuses them unread and uncounted; a candidate that takes tokens would verify each."""
    keyed = GONE.replace("    upstream", "    credentials: [session, api_key]\n    upstream")
    live = table((GONE, keyed))
    edge.change(
        policy=live,
        resolver=type(edge.worker.snapshot.resolver)(live),
        candidate=table((GONE, keyed.replace("api_key]", "api_key, bearer]"))),
    )
    verified: list[bytes] = []
    verify = Bearers.verify

    def noting(self: Bearers, token: bytes, issuers: Any, now: float) -> Any:
        verified.append(token)
        return verify(self, token, issuers, now)

    monkeypatch.setattr(Bearers, "verify", noting)
    for number in range(3):
        reply = await edge.get("/invoices/7", fields=f"Authorization: Bearer abc.def.{number}\r\n")
        assert reply.status == 401
        assert edge.audit.records[-1]["unmapped"]["gw"]["reason"] == "token_refused"
    assert verified == []
    assert counts(edge) == {("invoice", "unknown"): 3}


async def test_a_key_that_is_nobodys_is_refused_by_both(edge: Edge) -> None:
    keyed = GONE.replace("    upstream", "    credentials: [session, api_key]\n    upstream")
    live = table((GONE, keyed))
    edge.change(
        policy=live,
        resolver=type(edge.worker.snapshot.resolver)(live),
        candidate=table((GONE, keyed.replace("[client]", "[admin]"))),
    )
    assert (await edge.get("/invoices/7", fields=f"X-Api-Key: {KEY.decode()}\r\n")).status == 401
    assert counts(edge) == {("invoice", "same"): 1}


async def test_limits_are_counted_once_and_their_refusals_are_not_compared(edge: Edge) -> None:
    edge.change(candidate=stricter(), limits=(Bucket(LimitSpec(name="all", rate_per_s=1 / 3600, burst=3, per="ip")),))
    assert [(await edge.get("/limited", token="tok")).status for _ in range(4)] == [200, 200, 429, 429]
    assert counts(edge) == {("limited", "same"): 2}


async def test_our_own_pages_are_no_business_of_a_policy(edge: Edge) -> None:
    edge.change(candidate=stricter())
    await edge.get("/.gateway/jwks.json")
    assert counts(edge) == {}


async def test_a_store_that_is_away_is_no_answer_of_the_policy(edge: Edge) -> None:
    edge.change(candidate=stricter())
    edge.sessions.unavailable = True
    assert (await edge.get("/invoices/7", token="tok")).status == 503
    assert counts(edge) == {}


async def test_a_candidate_that_fails_touches_no_request_and_is_reported_once(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge.change(candidate=stricter())
    live = type(edge.worker.snapshot.policy).decide

    def decide(self: PolicyTable, *arguments: Any) -> Any:
        if self is not edge.worker.snapshot.policy:
            raise RuntimeError("secret")
        return live(self, *arguments)

    monkeypatch.setattr(PolicyTable, "decide", decide)
    assert [(await edge.get(token="tok")).status for _ in range(2)] == [200, 200]
    assert counts(edge) == {("home", "unknown"): 2}
    ((event, detail),) = edge.reports
    assert event == "policy.candidate_failed"
    assert "RuntimeError" in detail
    assert "secret" not in detail
    assert noted(edge) == {
        "decision": "unknown", "reason": "candidate_failed", "route": "home", "rule": "",
        "version": edge.worker.snapshot.candidate.version,  # type: ignore[union-attr]
    }  # fmt: skip
    edge.reports.clear()


async def test_a_use_of_a_session_is_noted_once(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.change(candidate=table((GONE, GONE.replace("[client]", "[client, admin]"))))
    touched: list[Any] = []
    monkeypatch.setattr(edge.sessions, "touch", lambda entry, now: touched.append(now))
    await edge.get("/invoices/7", token="tok")
    assert len(touched) == 1


async def test_another_proxys_question_is_compared_too(edge: Edge) -> None:
    loopback = ip_network("127.0.0.0/8")
    rules = ForwardAuthRules(style="envoy", askers=TrustedProxies([loopback]), proxies=TrustedProxies([loopback]))
    edge.change(forward_auth=rules, candidate=stricter())
    fields = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
    assert (await edge.get("/.gateway/check/invoices/7", token="tok", fields=fields)).status == 200
    assert noted(edge)["reason"] == "role_missing"
    # not canonical: refused by both, for the same reason
    assert (await edge.get("/.gateway/check/public/a/../b", fields=fields)).status != 200
    assert counts(edge) == {("invoice", "would_deny"): 1, ("public", "same"): 1}


async def test_what_is_open_does_not_notice_a_candidate(edge: Edge) -> None:
    edge.portal.answers[b"/invoices/7"] = events
    reader, writer = await edge.connect()
    writer.write(b"GET /invoices/7 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    async with asyncio.timeout(PATIENCE_S):
        while b"data: 1" not in await reader.readline():
            pass
    connection = next(iter(edge.worker._connections))
    edge.change(candidate=stricter())
    looked = connection.checked_at  # type: ignore[attr-defined]  # of an Http1Connection
    await until(lambda: connection.checked_at > looked + 1.0)  # type: ignore[attr-defined]  # decided about again, twice
    assert connection.open_requests() == 1
    assert counts(edge) == {}
    writer.close()
    await until(lambda: connection not in edge.worker._connections)


async def test_with_a_store_in_the_network_the_candidate_judges_by_what_was_asked(edge: Edge) -> None:
    token = make_token(b"a" * 32)
    store = MemoryStore()
    store.entries = {token: Entry(session())}
    worker = edge.worker
    limits = RemoteLimits(worker.limits, store, soon=worker.soon, metrics=worker.metrics)
    worker.remote = RemoteState(store, limits, soon=worker.soon, metrics=worker.metrics)
    edge.change(candidate=stricter())
    assert (await edge.get("/invoices/7", token=token.decode())).status == 200
    assert noted(edge)["reason"] == "role_missing"
    assert (await edge.get("/open/x")).status == 404
    assert noted(edge)["decision"] == "allow"
    # a route that only the candidate has, and that needs somebody: nobody was asked for
    protected = 'name: public, match: {path: "/public/**", methods: [GET, POST, PUT, OPTIONS]}, upstream: portal, '
    edge.change(candidate=table((protected + "public: true", protected.replace("/public", "/own") + "allow: [{roles: [client]}]")))  # fmt: skip
    assert (await edge.get("/own/x", token=token.decode())).status == 404
    assert counts(edge) == {
        ("invoice", "would_deny"): 1, ("public", "would_allow"): 1, ("public", "unknown"): 1,
    }  # fmt: skip
    assert (noted(edge)["decision"], noted(edge)["reason"]) == ("unknown", "store_unavailable")
    assert [len(question) for question in store.questions] == [1]
    await until(lambda: worker.remote is not None and not worker.remote.waiting)


async def test_a_reload_takes_the_candidate_away(edge: Edge) -> None:
    edge.change(candidate=stricter())
    edge.change(candidate=None)
    assert (await edge.get("/invoices/7", token="tok")).status == 200
    assert noted(edge) is None
    assert counts(edge) == {}
