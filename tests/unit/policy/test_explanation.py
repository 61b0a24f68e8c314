from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.policy import PolicyTable
from gateway.policy.explanation import Explanation, explain
from gateway.policy.judgement import Person, judge, parse_request

POLICY = """
version: 1
roles: {client: {}, billing: {includes: [client]}, auditor: {}}
routes:
  - name: assets
    match: {path: "/static/**", methods: [GET]}
    upstream: portal
    public: true
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET]}
    upstream: portal
    allow:
      - {roles: [client], when: 'session.mfa_age < duration("12h") && network.is_in("10.0.0.0/8")'}
      - {roles: [auditor], tenants: [zeta]}
      - {roles: [auditor], when: 'request.secure || user.name == "root"'}
  - name: device
    match: {path: "/device", methods: [GET]}
    upstream: portal
    public: true
    client_certificate: required
  - name: closed
    match: {path: "/closed", methods: [GET]}
    upstream: portal
    deny: true
  - name: half
    match: {path: "/half", methods: [GET]}
    upstream: portal
    unsafe_without_mfa: true
    allow: [{roles: [client], when: 'true && request.secure'}]
"""
ALICE = Person(user="alice", tenant="acme", roles=("billing",), mfa_age=60)


@pytest.fixture
def shown(
    compiled: Callable[..., PolicyTable], hosts: Mapping[str, str], now: float
) -> Callable[..., list[tuple[str, str, str]]]:
    def criteria(
        path: str,
        person: Person | None = ALICE,
        *,
        method: str = "GET",
        host: str = "acme.example.com",
        ip: str = "10.0.0.1",
    ) -> list[tuple[str, str, str]]:
        facts = parse_request(method, f"https://{host}{path}", client_ip=ip)
        return [
            (item.outcome, item.name, item.detail)
            for item in explain(compiled(POLICY), hosts, facts, person, now).criteria
        ]

    return criteria


def test_an_unknown_host_is_the_only_criterion(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    assert shown("/", host="other.example.com") == [("miss", "host", "other.example.com is not served here")]


def test_a_path_without_a_route_says_so(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    assert shown("/x", host="portal.example.com") == [
        ("hit", "host", "portal.example.com is shared by all tenants"),
        ("miss", "path", "no template matches /x"),
    ]


def test_an_ambiguous_path_says_so(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    assert shown("/static/..%2Fclosed")[1][:2] == ("miss", "path")


def test_a_method_that_is_not_listed_names_those_that_are(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    assert shown("/static/x", method="POST")[2] == ("miss", "method", "POST is not one of GET, HEAD")


def test_a_public_route_asks_no_further(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    assert shown("/static/x", None)[3:] == [("hit", "public", "the route is public: nobody is asked who they are")]


def test_a_certificate_that_the_connection_needs_is_named_and_taken_for_shown(
    shown: Callable[..., list[tuple[str, str, str]]],
) -> None:
    assert [(outcome, name) for outcome, name, _ in shown("/device", None)][-2:] == [
        ("hit", "certificate"),
        ("hit", "public"),
    ]


def test_nobody_signed_in_is_a_miss(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    assert shown("/invoices/1", None)[3:] == [("miss", "session", "nobody is signed in")]


def test_each_part_of_a_conjunction_is_a_criterion(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    assert shown("/invoices/1", ip="192.0.2.1")[3:9] == [
        ("hit", "session", "alice of the tenant acme"),
        ("hit", "factor", "proven 60 s ago"),
        ("hit", "tenant", "the host belongs to acme, the session to acme"),
        ("hit", "role", "holds billing, which includes client"),
        ("hit", "when", 'session.mfa_age < duration("12h")'),
        ("miss", "when", 'network.is_in("10.0.0.0/8")'),
    ]


def test_what_cannot_be_found_out_is_unknown_with_its_cause(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    outcome, name, detail = shown("/invoices/1", ip="")[8]
    assert (outcome, name) == ("unknown", "when")
    assert "does not appear to be an IPv4 or IPv6 address" in detail


def test_every_entry_is_explained_with_its_place(
    compiled: Callable[..., PolicyTable], hosts: Mapping[str, str], now: float
) -> None:
    person = Person(user="bob", tenant="acme", roles=("auditor", "ghost"))
    facts = parse_request("GET", "https://acme.example.com/invoices/1")
    criteria = [item for item in explain(compiled(POLICY), hosts, facts, person, now).criteria if item.rule]
    assert [(item.rule.partition("yaml:")[2], item.name, item.outcome) for item in criteria] == [
        ("13:9", "role", "miss"), ("13:9", "when", "hit"), ("13:9", "when", "unknown"),
        ("14:9", "role", "hit"), ("14:9", "tenant", "miss"),
        ("15:9", "role", "hit"), ("15:9", "when", "hit"),
    ]  # fmt: skip
    assert criteria[0].detail == "needs client; holds auditor, ghost (unknown to the policy: ghost)"
    assert criteria[3].detail == "holds auditor"
    assert criteria[4].detail == "needs the tenant zeta; the session's is acme"


def test_a_closed_route_and_a_route_without_the_factor_say_so(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    assert ("miss", "deny", "the route is closed to everybody") in shown("/closed")
    assert ("hit", "factor", "the route asks for no second factor") in shown("/half")
    assert ("miss", "factor", "the second factor was not proven") in shown(
        "/closed", Person(user="a", tenant="acme", roles=(), mfa_age=None)
    )


def test_a_condition_whose_parts_do_not_stand_alone_is_one_criterion(
    shown: Callable[..., list[tuple[str, str, str]]],
) -> None:
    assert ("hit", "when", "true && request.secure") in shown("/half")


def test_ages_are_told_in_the_unit_that_fits(shown: Callable[..., list[tuple[str, str, str]]]) -> None:
    for age, text in ((90, "90 s"), (600, "10 min"), (10_800, "3 h")):
        assert ("hit", "factor", f"proven {text} ago") in shown(
            "/closed", Person(user="a", tenant="acme", roles=(), mfa_age=age)
        )


def _says_allowed(explanation: Explanation) -> bool:
    """Conclude from the criteria alone."""
    general = [item.outcome == "hit" for item in explanation.criteria if not item.rule]
    by_rule: dict[str, list[bool]] = {}
    for item in explanation.criteria:
        if item.rule:
            by_rule.setdefault(item.rule, []).append(item.outcome == "hit")
    public = any(item.name == "public" for item in explanation.criteria)
    return all(general) and (public or any(all(hits) for hits in by_rule.values()))


@given(
    path=st.sampled_from(["/static/x", "/invoices/1", "/closed", "/half", "/nothing", "/static/..%2fx"]),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    host=st.sampled_from(["acme.example.com", "zeta.example.com", "portal.example.com", "other.example.com"]),
    scheme=st.sampled_from(["http", "https"]),
    ip=st.sampled_from(["", "10.0.0.1", "192.0.2.1"]),
    person=st.none()
    | st.builds(
        Person,
        user=st.sampled_from(["alice", "root"]),
        tenant=st.sampled_from(["acme", "zeta", ""]),
        roles=st.lists(st.sampled_from(["client", "billing", "auditor", "ghost"]), unique=True).map(tuple),
        mfa_age=st.sampled_from([None, 0.0, 60.0, 50_000.0]),
    ),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_explanation_is_the_decision_and_its_criteria_agree_with_it(  # noqa: PLR0917 - fixtures and drawn values
    compiled: Callable[..., PolicyTable],
    hosts: Mapping[str, str],
    now: float,
    path: str,
    method: str,
    host: str,
    scheme: str,
    ip: str,
    person: Person | None,
) -> None:
    table = compiled(POLICY)
    facts = parse_request(method, f"{scheme}://{host}{path}", client_ip=ip)
    explanation = explain(table, hosts, facts, person, now)
    verdict = judge(table, hosts, facts, person, now)
    assert (explanation.decision, explanation.route) == (verdict.decision, verdict.route)
    assert explanation.decision.allowed == _says_allowed(explanation)
    if verdict.match is not None:
        session = person.session(facts, now) if person else None
        decided = table.decide(verdict.match, session, facts, now)
        assert decided == explanation.decision or explanation.decision.reason == "tenant_mismatch"
