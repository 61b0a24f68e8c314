from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from gateway.document.source import DocumentError
from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable
from gateway.policy.cases import Case, load_cases, run_cases

POLICY = """
version: 1
roles: {client: {}, billing: {includes: [client]}}
routes:
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET]}
    upstream: portal
    allow:
      - roles: [billing]
        when: session.mfa_age < duration("12h") && network.is_in("10.0.0.0/8") && now.getHours() == 9
"""
CASE = """cases:
  - name: billing reads an invoice
    as: {user: alice, id: u1, email: a@x.example, tenant: acme, roles: [billing], mfa_age: 60s, auth_age: 2h, amr: [pwd, otp]}
    from: {ip: 10.1.1.1, user_agent: Browser}
    at: 2026-03-01T09:30:00Z
    request: GET https://acme.example.com/invoices/42?x=1
    expect: {decision: allow, route: invoice, reason: allowed}
"""


@pytest.fixture
def read(compiled: Callable[..., PolicyTable], hosts: Mapping[str, str]) -> Callable[..., list[Case]]:
    def cases(text: str) -> list[Case]:
        return load_cases(
            {"policies/tests/c.yaml": text}, table=compiled(POLICY), hosts=hosts, tenants=frozenset({"acme", "zeta"})
        )

    return cases


@pytest.fixture
def run(
    compiled: Callable[..., PolicyTable], hosts: Mapping[str, str], read: Callable[..., list[Case]], now: float
) -> Callable[..., list[tuple[bool, str, str]]]:
    def results(text: str) -> list[tuple[bool, str, str]]:
        found = run_cases(read(text), table=compiled(POLICY), hosts=hosts, now=now)
        return [(result.passed, result.expected, result.actual) for result in found]

    return results


def test_a_case_is_read_word_by_word(read: Callable[..., list[Case]]) -> None:
    case = read(CASE)[0]
    assert (case.name, case.source) == ("billing reads an invoice", "policies/tests/c.yaml:2:5")
    assert case.person is not None
    assert (case.person.user, case.person.user_id, case.person.email, case.person.tenant) == (
        "alice",
        "u1",
        "a@x.example",
        "acme",
    )
    assert (case.person.roles, case.person.mfa_age, case.person.auth_age, case.person.amr) == (
        ("billing",),
        60,
        7200,
        ("pwd", "otp"),
    )
    assert (case.facts.method, case.facts.host, case.facts.path, case.facts.query) == (
        "GET",
        "acme.example.com",
        "/invoices/42",
        "x=1",
    )
    assert (case.facts.client_ip, case.facts.user_agent, case.at) == ("10.1.1.1", "Browser", 1772357400.0)
    assert (case.decision, case.route, case.reason) == ("allow", "invoice", Reason.ALLOWED)


def test_a_case_that_holds_passes(run: Callable[..., list[tuple[bool, str, str]]]) -> None:
    assert run(CASE) == [(True, "allow (allowed) by invoice", "allow (allowed) by invoice at policies/p.yaml:9:9")]


@pytest.mark.parametrize(
    ("old", "new", "actual"),
    [
        ("roles: [billing]", "roles: [client]", "deny (role_missing) by invoice at policies/p.yaml:8:5"),
        ("mfa_age: 60s", "mfa_age: 13h", "deny (condition_false) by invoice at policies/p.yaml:9:9"),
        ("mfa_age: 60s", "mfa_age: never", "deny (mfa_required) by invoice"),
        ("{ip: 10.1.1.1, user", "{user", "deny (condition_failed) by invoice at policies/p.yaml:9:9"),
        ("T09:30", "T10:30", "deny (condition_false) by invoice at policies/p.yaml:9:9"),
        ("tenant: acme", "tenant: zeta", "deny (tenant_mismatch) by invoice"),
        ("GET https", "POST https", "deny (method_not_allowed)"),
        ("/invoices/42", "/other", "deny (no_route)"),
    ],
)
def test_a_case_that_does_not_hold_fails_with_what_came_out(
    run: Callable[..., list[tuple[bool, str, str]]], old: str, new: str, actual: str
) -> None:
    assert old in CASE
    assert run(CASE.replace(old, new)) == [(False, "allow (allowed) by invoice", actual)]
    denied = CASE.replace(old, new).replace("{decision: allow, route: invoice, reason: allowed}", "{decision: deny}")
    assert run(denied) == [(True, "deny", actual)]


def test_a_case_without_a_person_is_nobody_signed_in(run: Callable[..., list[tuple[bool, str, str]]]) -> None:
    text = "cases: [{name: x, request: GET https://acme.example.com/invoices/1, expect: {decision: deny, route: invoice, reason: sign_in_required}}]"
    assert run(text)[0][0]


def test_the_right_answer_for_another_reason_or_by_another_route_fails(
    run: Callable[..., list[tuple[bool, str, str]]],
) -> None:
    text = "cases: [{name: x, request: GET https://acme.example.com/invoices/1, expect: {decision: deny, reason: role_missing}}]"
    assert not run(text)[0][0]
    text = "cases: [{name: x, request: GET https://acme.example.com/other, expect: {decision: deny, route: invoice}}]"
    assert not run(text)[0][0]


def test_a_person_without_a_role_is_a_case(run: Callable[..., list[tuple[bool, str, str]]]) -> None:
    assert run(CASE.replace("roles: [billing]", "roles: []"))[0][2].startswith("deny (role_missing)")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("cases:", "tests:", "1:1: unknown key 'tests'"),
        ("cases:", "version: 2\ncases:", "1:10: the version of this format is 1"),
        ("name: billing reads an invoice", "name: 5", "2:11: expected text, found the number 5; quote it"),
        ("  - name: billing reads an invoice\n    as", "  - as", "2:5: the key 'name' is missing"),
        ("    as:", "    who:", "3:5: unknown key 'who'"),
        ("user: alice, ", "", "3:9: the key 'user' is missing"),
        ("tenant: acme", "tenant: amce", "3:59: unknown tenant 'amce'; did you mean 'acme'?"),
        ("[billing]", "[biling]", "3:73: unknown role 'biling'; did you mean 'billing'?"),
        ("[billing]", "[billing, billing]", "3:82: 'billing' is listed twice"),
        ("60s", "60", "3:92: '60' is not a length of time; write a number and a unit, such as 30s, 15m, 8h or 2y"),
        ("{ip:", "{adress:", "4:12: unknown key 'adress'"),
        ("T09:30:00Z", "", "5:9: '2026-03-01' is not a time with its zone, such as 2026-03-01T09:30:00Z"),
        ("2026-03-01T09:30:00Z", "now", "5:9: 'now' is not a time with its zone, such as 2026-03-01T09:30:00Z"),
        ("GET https", "GTE https", "6:14: 'GTE https://acme.example.com/invoices/42?x=1' does not start with a method, as in GET https://host/path; did you mean 'GET'?"),
        ("https://acme.example.com", "", "6:14: '/invoices/42?x=1' is not an absolute URL such as https://portal.example.com/invoices/42"),
        ("acme.example.com", "acne.example.com", "6:14: unknown host 'acne.example.com'; did you mean 'acme.example.com'?"),
        ("/42?", "/%00?", "6:14: 'https://acme.example.com/invoices/%00?x=1': the gateway refuses this address (invalid_target)"),
        ("2026-03-01T09:30:00Z", "5", "5:9: expected text, found the number 5; quote it"),
        ("GET https://acme.example.com/invoices/42?x=1", "[GET]", "6:14: expected text, found a list"),
        ("decision: allow", "decision: allowed", "7:24: 'allowed' is not one of allow, deny; did you mean 'allow'?"),
        ("decision: allow, ", "", "7:13: the key 'decision' is missing"),
        ("route: invoice", "route: invoices", "7:38: unknown route 'invoices'; did you mean 'invoice'?"),
        ("reason: allowed", "reason: fine", "7:55: 'fine' is not one of allowed, public,"),
    ],
)  # fmt: skip
def test_whatever_a_case_gets_wrong_is_an_error_at_its_place(
    read: Callable[..., list[Case]], old: str, new: str, expected: str
) -> None:
    """A mistyped role would make a refusal pass for the wrong reason."""
    assert old in CASE
    with pytest.raises(DocumentError) as caught:
        read(CASE.replace(old, new))
    assert any(line.startswith(f"policies/tests/c.yaml:{expected}") for line in caught.value.diagnostics)


def test_two_cases_of_one_name_are_an_error(read: Callable[..., list[Case]]) -> None:
    with pytest.raises(DocumentError, match=r"a case of this name stands at policies/tests/c.yaml:2:11"):
        read(CASE + CASE.removeprefix("cases:\n"))


def test_errors_of_all_case_files_are_reported(compiled: Callable[..., PolicyTable], hosts: Mapping[str, str]) -> None:
    with pytest.raises(DocumentError) as caught:
        load_cases(
            {"a.yaml": "cases: []", "b.yaml": "x: [", "c.yaml": "cases: 5"},
            table=compiled(POLICY),
            hosts=hosts,
            tenants=frozenset(),
        )
    assert [line.partition(":")[0] for line in caught.value.diagnostics] == ["a.yaml", "b.yaml", "c.yaml"]
