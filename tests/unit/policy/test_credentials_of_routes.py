"""What may prove who asks on a route, and what scopes a program's credential needs there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable
from gateway.policy.explanation import explain
from gateway.policy.judgement import Person, judge, parse_request

NOW = 1_800_000_000.0
HOSTS = {"acme.example.com": "acme"}
ROUTE = """version: 1
roles: {client: {}}
routes:
  - name: page
    match: {path: "/page", methods: [GET]}
    upstream: portal
    %s
    allow: [%s]
"""
POLICY = """version: 1
roles: {client: {}, billing: {}}
routes:
  - name: pages
    match: {path: "/pages", methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
  - name: api
    match: {path: "/api", methods: [GET]}
    upstream: portal
    credentials: [api_key, bearer]
    allow:
      - {roles: [client], scopes: [invoices.read, invoices.list]}
      - {roles: [billing], when: '"wide" in session.scopes && session.credential == "bearer"'}
  - name: both
    match: {path: "/both", methods: [GET]}
    upstream: portal
    credentials: [session, bearer]
    allow: [{roles: [client], scopes: [invoices.read]}]
  - name: own-authorization
    match: {path: "/own", methods: [GET]}
    upstream: portal
    credentials: [session, api_key]
    authorization: portal
    allow: [{roles: [client]}]
"""
READS = ("invoices.read", "invoices.list")


@pytest.fixture
def table(compiled: Callable[..., PolicyTable]) -> PolicyTable:
    return compiled(POLICY)


def person(credential: str = "cookie", scopes: tuple[str, ...] = (), roles: tuple[str, ...] = ("client",)) -> Person:
    return Person(user="alice", tenant="acme", roles=roles, credential=credential, scopes=scopes)  # type: ignore[arg-type]  # a closed set


def reason(table: PolicyTable, path: str, who: Person | None) -> Reason:
    facts = parse_request("GET", f"https://acme.example.com{path}")
    return judge(table, HOSTS, facts, who, NOW).decision.reason


def test_absent_credentials_are_a_session_alone(table: PolicyTable) -> None:
    assert table.routes["pages"].credentials == ("session",)
    assert table.routes["pages"].authorization == "portal"
    assert reason(table, "/pages", person()) is Reason.ALLOWED
    assert reason(table, "/pages", person("api_key")) is Reason.SIGN_IN_REQUIRED
    assert reason(table, "/pages", person("bearer")) is Reason.SIGN_IN_REQUIRED


def test_a_route_for_programs_keeps_authorization_for_the_gateway(table: PolicyTable) -> None:
    assert table.routes["api"].authorization == "gateway"
    assert table.routes["own-authorization"].authorization == "portal"


def test_a_session_is_no_credential_on_a_route_for_programs(table: PolicyTable) -> None:
    assert reason(table, "/api", person()) is Reason.CREDENTIAL_REQUIRED
    assert reason(table, "/api", None) is Reason.CREDENTIAL_REQUIRED
    assert reason(table, "/both", None) is Reason.SIGN_IN_REQUIRED


def test_every_scope_of_an_entry_is_needed(table: PolicyTable) -> None:
    assert reason(table, "/api", person("api_key", READS)) is Reason.ALLOWED
    assert reason(table, "/api", person("bearer", (*READS, "more"))) is Reason.ALLOWED
    for scopes in ((), READS[:1], ("invoices",), ("INVOICES.READ", "invoices.list"), ("invoices.read invoices.list",)):
        assert reason(table, "/api", person("bearer", scopes)) is Reason.SCOPE_MISSING


def test_a_scope_gives_nothing_without_the_role(table: PolicyTable) -> None:
    assert reason(table, "/api", person("bearer", READS, roles=())) is Reason.ROLE_MISSING


def test_people_who_are_signed_in_need_no_scope(table: PolicyTable) -> None:
    assert reason(table, "/both", person()) is Reason.ALLOWED
    assert reason(table, "/both", person("bearer")) is Reason.SCOPE_MISSING


def test_programs_are_asked_for_no_second_factor_and_people_are(table: PolicyTable) -> None:
    nobody = Person(user="alice", tenant="acme", roles=("client",), mfa_age=None)
    assert reason(table, "/both", nobody) is Reason.MFA_REQUIRED
    assert reason(table, "/both", person("bearer", READS)) is Reason.ALLOWED


def test_a_condition_can_ask_for_scopes_and_the_kind_of_credential(table: PolicyTable) -> None:
    assert reason(table, "/api", person("bearer", ("wide",), roles=("billing",))) is Reason.ALLOWED
    assert reason(table, "/api", person("api_key", ("wide",), roles=("billing",))) is Reason.CONDITION_FALSE


def test_a_second_factor_that_a_route_asks_for_by_age_is_not_a_programs(compiled: Callable[..., PolicyTable]) -> None:
    table = compiled(ROUTE % ("credentials: [api_key]\n    mfa_age: 5m", "{roles: [client]}"))
    assert reason(table, "/page", person("api_key")) is Reason.STEP_UP_REQUIRED


def test_the_tenant_of_a_program_is_its_own(table: PolicyTable) -> None:
    who = Person(user="x", tenant="zeta", roles=("client",), credential="bearer", scopes=READS)
    assert reason(table, "/api", who) is Reason.TENANT_MISMATCH


def test_an_explanation_names_credential_and_scope(table: PolicyTable) -> None:
    facts = parse_request("GET", "https://acme.example.com/api")
    lines = {c.name: c for c in explain(table, HOSTS, facts, person(), NOW).criteria}
    assert lines["credential"].outcome == "miss"
    assert lines["credential"].detail == "the route takes api_key or bearer; this is a session"
    lines = {c.name: c for c in explain(table, HOSTS, facts, person("bearer", READS[:1]), NOW).criteria}
    assert (lines["scope"].outcome, lines["scope"].detail) == ("miss", "lacks the scope invoices.list")


@pytest.mark.parametrize(
    ("option", "grant", "expected"),
    [
        ("credentials: [api_key, token]", "{roles: [client]}", "7:28: 'token' is not one of session, api_key, bearer"),
        ("credentials: []", "{roles: [client]}", "7:18: the list is empty; name at least one item, or remove the key"),
        ("credentials: bearer", "{roles: [client]}", "7:18: expected a list, found 'bearer'; write [bearer]"),
        ("credentials: [bearer, bearer]", "{roles: [client]}", "7:27: 'bearer' is listed twice"),
        (
            "credentials: [certificate]",
            "{roles: [client]}",
            "7:19: certificates are asked for by client_certificate: optional or required",
        ),
        (
            "credentials: [bearer]\n    authorization: portal",
            "{roles: [client]}",
            "8:20: bearer tokens come in Authorization; write gateway, or leave the key out",
        ),
        (
            "credentials: [bearer]\n    authorization: drop",
            "{roles: [client]}",
            "8:20: bearer tokens come in Authorization; write gateway, or leave the key out",
        ),
        (
            "cache: portal",
            "{roles: [client], scopes: [a]}",
            "8:40: scopes are those of API keys and bearer tokens; this route takes neither (credentials)",
        ),
        (
            "credentials: [bearer]",
            "{roles: [client], scopes: ['a b']}",
            "8:40: 'a b': a scope is one word of printable ASCII without quotes and backslashes, 256 characters at most",
        ),
        (
            "credentials: [bearer]",
            "{roles: [client], scopes: []}",
            "8:39: the list is empty; name at least one item, or remove the key",
        ),
        (
            "credentials: [bearer]",
            "{roles: [client]}, {roles: [client], scopes: [a]}",
            "8:32: unreachable: the entry at p.yaml:8:13 allows the same roles without a condition",
        ),
    ],
)
def test_each_wrong_credential_is_an_error_at_its_place(
    errors_of: Callable[..., list[str]], option: str, grant: str, expected: str
) -> None:
    assert errors_of(ROUTE % (option, grant)) == [f"p.yaml:{expected}"]


@pytest.mark.parametrize("verdict", ["public: true", "deny: true"])
def test_credentials_of_a_route_that_asks_nobody_are_an_error(
    errors_of: Callable[..., list[str]], verdict: str
) -> None:
    text = (ROUTE % ("credentials: [bearer]", "{roles: [client]}")).replace("allow: [{roles: [client]}]", verdict)
    assert errors_of(text) == ["p.yaml:7:5: credentials has no effect on a route that asks nobody who they are"]


def test_two_entries_with_different_scopes_may_stand_side_by_side(compiled: Callable[..., PolicyTable]) -> None:
    table = compiled(
        ROUTE % ("credentials: [bearer]", "{roles: [client], scopes: [a]}, {roles: [client], scopes: [b]}")
    )
    assert reason(table, "/page", person("bearer", ("b",))) is Reason.ALLOWED


def test_a_limit_per_key_needs_somebody_with_a_key(
    compiled: Callable[..., PolicyTable], errors_of: Callable[..., list[str]]
) -> None:
    option = "credentials: [api_key]\n    rate_limit: {rate: 1/s, burst: 1, per: key}"
    limit = compiled(ROUTE % (option, "{roles: [client]}")).routes["page"].limit
    assert limit is not None
    assert limit.per == "key"
