"""Step-up of routes as policies say it: read, decided, explained, tried by cases."""

from __future__ import annotations

import pytest

from gateway.document.source import DocumentError
from gateway.exchange.reason import Reason
from gateway.exchange.step_up import Assurance, Requirement
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.cases import load_cases, run_cases
from gateway.policy.explanation import explain
from gateway.policy.judgement import Person, judge, parse_request

HOSTS = {"portal.example.com": ""}
NOW = 1_790_000_000.0

ROUTES = """\
version: 1
roles: {{client: {{}}}}
routes:
  - name: pay
    match: {{path: /pay, methods: [POST]}}
    upstream: portal
    {options}
    {verdict}
"""


def table_of(options: str, verdict: str = "allow: [{roles: [client]}]") -> PolicyTable:
    text = ROUTES.format(options=options, verdict=verdict)
    table, _ = compile_policy({"portal.yaml": text}, upstreams=["portal"], tenants=[], hosts=HOSTS)
    return table


def reason_of(table: PolicyTable, person: Person | None) -> Reason:
    facts = parse_request("POST", "https://portal.example.com/pay")
    return judge(table, HOSTS, facts, person, NOW).decision.reason


def person(*, amr: tuple[str, ...] = ("pwd", "otp", "mfa"), mfa_age: float | None = 0, auth_age: float = 0) -> Person:
    return Person(user="alice", tenant="", roles=("client",), amr=amr, mfa_age=mfa_age, auth_age=auth_age)


def test_a_route_says_how_fresh_and_how_strong_a_sign_in_it_wants() -> None:
    route = table_of("mfa_age: 5m\n    auth_age: 1h\n    acr: phr").routes["pay"]
    assert route.requirement == Requirement(mfa_age_s=300, auth_age_s=3600, acr=Assurance.PHISHING_RESISTANT)


def test_a_route_that_says_nothing_wants_nothing() -> None:
    assert table_of("action: edit").routes["pay"].requirement is None


@pytest.mark.parametrize(
    ("options", "verdict", "complaint"),
    [
        ("mfa_age: 0s", "", "must be more than 0"),
        ("mfa_age: 5", "", "portal.yaml:7:14"),
        ("acr: aal1", "", "aal2"),
        ("acr: aal3", "", "aal2"),
        ("acr: [phr]", "", "portal.yaml:7:10"),
        ("mfa_age: 5m", "public: true", "mfa_age has no effect on a route that asks for no session"),
        ("auth_age: 5m", "deny: true", "auth_age has no effect on a route that asks for no session"),
        ("acr: phr\n    unsafe_without_mfa: true", "", "acr asks for a second factor, and unsafe_without_mfa for none"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_its_place(options: str, verdict: str, complaint: str) -> None:
    with pytest.raises(DocumentError) as error:
        table_of(options, verdict or "allow: [{roles: [client]}]")
    text = "\n".join(error.value.diagnostics)
    assert complaint in text
    assert "portal.yaml:" in text


@pytest.mark.parametrize(
    ("options", "who", "expected"),
    [
        ("mfa_age: 5m", person(mfa_age=300), Reason.ALLOWED),
        ("mfa_age: 5m", person(mfa_age=301), Reason.STEP_UP_REQUIRED),
        ("auth_age: 1h", person(auth_age=3601), Reason.STEP_UP_REQUIRED),
        ("auth_age: 1h\n    unsafe_without_mfa: true", person(mfa_age=None, auth_age=60), Reason.ALLOWED),
        ("acr: aal2", person(), Reason.ALLOWED),
        ("acr: phr", person(), Reason.STEP_UP_REQUIRED),
        ("acr: phr", person(amr=("pwd", "hwk", "mfa")), Reason.ALLOWED),
        ("acr: phr", person(amr=("swk", "user", "mfa")), Reason.ALLOWED),
        ("mfa_age: 5m", person(mfa_age=None), Reason.MFA_REQUIRED),
        ("mfa_age: 5m", None, Reason.SIGN_IN_REQUIRED),
    ],
)
def test_who_is_asked_again(options: str, who: Person | None, expected: Reason) -> None:
    assert reason_of(table_of(options), who) is expected


def test_a_broad_route_hides_no_narrow_one_that_asks_again() -> None:
    """attack: /pay.json is /pay to the portal, and asks for nothing."""
    text = """\
version: 1
roles: {client: {}}
routes:
  - {name: pay, match: {path: /pay, methods: [GET]}, upstream: portal, mfa_age: 5m, allow: [{roles: [client]}]}
  - {name: rest, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
"""
    table, _ = compile_policy({"portal.yaml": text}, upstreams=["portal"], tenants=[], hosts=HOSTS)
    facts = parse_request("GET", "https://portal.example.com/pay.json")
    assert judge(table, HOSTS, facts, person(), NOW).decision.reason is Reason.AMBIGUOUS_PATH


def test_an_explanation_names_each_age_and_the_rung() -> None:
    table = table_of("mfa_age: 5m\n    auth_age: 1h\n    acr: phr")
    facts = parse_request("POST", "https://portal.example.com/pay")
    found = explain(table, HOSTS, facts, person(mfa_age=600), NOW)
    assert found.decision.reason is Reason.STEP_UP_REQUIRED
    assert [(part.outcome, part.detail) for part in found.criteria if part.name == "step_up"] == [
        ("hit", "auth_age at most 60 min; it is 10 min"),
        ("miss", "mfa_age at most 5 min; it is 10 min"),
        ("miss", "acr phr; the session has aal2"),
    ]


def test_an_explanation_says_that_there_was_no_factor_at_all() -> None:
    table = table_of("mfa_age: 5m")
    facts = parse_request("POST", "https://portal.example.com/pay")
    found = explain(table, HOSTS, facts, person(mfa_age=None), NOW)
    assert "mfa_age at most 5 min; there was none" in [part.detail for part in found.criteria]


def test_cases_try_a_step_up() -> None:
    cases = """\
cases:
  - name: an old proof is asked for again
    as: {user: alice, tenant: acme, roles: [client], mfa_age: 1h}
    request: POST https://portal.example.com/pay
    expect: {decision: deny, reason: step_up_required}
  - name: a passkey just now is enough
    as: {user: alice, tenant: acme, roles: [client], mfa_age: 10s, amr: [pwd, hwk, mfa]}
    request: POST https://portal.example.com/pay
    expect: {decision: allow, route: pay}
  - name: a condition may ask for the rung
    as: {user: alice, tenant: acme, roles: [client], mfa_age: 10s}
    request: POST https://portal.example.com/pay
    expect: {decision: deny, reason: condition_false}
"""
    table = table_of("mfa_age: 5m", 'allow: [{roles: [client], when: session.acr == "phr"}]')
    loaded = load_cases({"tests/portal.yaml": cases}, table=table, hosts=HOSTS, tenants=frozenset())
    assert [result.passed for result in run_cases(loaded, table=table, hosts=HOSTS, now=NOW)] == [True, True, True]
