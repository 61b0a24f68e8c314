from __future__ import annotations

import pytest

from gateway.policy import compile_policy
from gateway.policy.proof.idle import MOST_QUESTIONS, find_idle
from gateway.policy.proof.space import World

HOSTS = {"portal.example.com": "", "acme.example.com": "acme", "zeta.example.com": "zeta"}
HEAD = "version: 1\nroles: {client: {}, billing: {includes: [client]}}\nroutes:\n"


def found(route: str, *, tenants: tuple[str, ...] = ("acme", "zeta"), most: int = MOST_QUESTIONS) -> list[str]:
    """List what decides nothing in one route, each as line, column and name."""
    text = HEAD + route
    table, _ = compile_policy({"p.yaml": text}, upstreams={"portal"}, tenants=tenants, hosts=HOSTS)
    findings = find_idle(World(table, HOSTS, tenants), {"p.yaml": text}, now=1_800_000_000.0, most=most)
    assert all(finding.severity == "warning" and finding.excerpt for finding in findings)
    return [f"{finding.line}:{finding.column} {finding.name}" for finding in findings]


def route(*lines: str, match: str = '{path: "/a/{id}", methods: [GET]}') -> str:
    return "\n".join([f"  - name: a\n    match: {match}\n    upstream: portal", *lines, ""])


def allow(*conditions: str) -> str:
    return route("    allow:", *(f"      - roles: [client]\n        when: {condition}" for condition in conditions))


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ('session.mfa_age < duration("1h") && session.mfa_age > duration("2h")', "always-false"),
        ('session.tenant == "acme" && session.tenant == "zeta"', "always-false"),
        ('request.method == "POST"', "always-false"),
        ('request.host == "other.example.com"', "always-false"),
        ('network.is_in("10.0.0.0/8") && network.is_in("192.0.2.0/24")', "always-false"),
        ('("nobody" in session.roles)', "always-false"),
        ("request.secure || !request.secure", "always-true"),
        ('session.mfa_age >= duration("0s")', "always-true"),
        ('("client" in session.roles)', "always-true"),
    ],
)
def test_a_condition_that_decides_nothing_is_found_where_it_stands(condition: str, name: str) -> None:
    assert found(allow(condition)) == [f"9:15 {name}"]


def test_the_same_condition_is_asked_again_for_a_route_of_another_action() -> None:
    """The answer for the first route was taken for that of the second, where the condition is true."""
    text = (
        '  - {name: %s, match: {path: "/%s", methods: [POST]}, upstream: portal, action: %s,\n'
        "     allow: [{roles: [client], when: 'request.action == \"delete\" && request.secure'}]}\n"
    )
    both = text % ("a", "a", "edit") + text % ("b", "b", "delete")
    assert found(both) == ["5:38 always-false"]


@pytest.mark.parametrize(
    "condition",
    [
        'session.mfa_age < duration("2h") && session.mfa_age > duration("1h")',
        'session.tenant == "acme"',
        'path.id == session.tenant || path.id == "x"',
        'now < timestamp("2020-01-01T00:00:00Z")',
        'user.email.endsWith("@example.com")',
        'user.name.matches("a.*") && user.name.matches("b.*")',
        '("billing" in session.roles)',
    ],
)
def test_a_condition_that_decides_something_or_may_is_left_alone(condition: str) -> None:
    assert found(allow(condition)) == []


def test_an_entry_that_another_one_covers_is_shadowed() -> None:
    assert found(allow('session.mfa_age < duration("5m")', 'session.mfa_age < duration("10m")')) == [
        "8:9 shadowed-entry"
    ]
    assert found(allow('session.mfa_age < duration("10m")', 'session.mfa_age < duration("5m")')) == [
        "10:9 shadowed-entry"
    ]


def test_of_two_entries_that_say_the_same_the_later_one_is_shadowed() -> None:
    assert found(allow('session.mfa_age < duration("1h")', 'session.mfa_age < duration("60m")')) == [
        "10:9 shadowed-entry"
    ]


def test_an_entry_that_asks_for_more_beside_its_condition_is_not_shadowed() -> None:
    lines = [
        "    allow:",
        "      - roles: [client]",
        '        when: session.mfa_age < duration("5m")',
        "        rate_limit: {rate: 1/s, burst: 1, per: user}",
        "      - roles: [client]",
        '        when: session.mfa_age < duration("10m")',
    ]
    assert found(route(*lines)) == []


def test_an_entry_whose_people_a_denial_refuses_all_is_denied() -> None:
    lines = [
        "    deny:",
        '      - when: session.mfa_age > duration("1h")',
        "    allow:",
        "      - roles: [client]",
        '        when: session.mfa_age > duration("2h")',
        "      - roles: [client]",
        '        when: session.tenant == "acme"',
    ]
    assert found(route(*lines)) == ["10:9 denied-entry"]


def test_a_denial_of_somebody_else_leaves_an_entry_alone() -> None:
    lines = [
        "    deny:",
        "      - roles: [billing]",
        '        when: session.mfa_age > duration("1h")',
        "    allow:",
        "      - roles: [client]",
        '        when: session.mfa_age > duration("2h")',
    ]
    assert found(route(*lines)) == []


def test_a_denial_that_is_never_true_refuses_nobody() -> None:
    lines = [
        "    deny:",
        '      - when: session.tenant == "acme" && session.tenant == "zeta"',
        "    allow: [{roles: [client]}]",
    ]
    assert found(route(*lines)) == ["8:15 always-false"]


def test_a_denial_of_people_whom_nothing_allows_is_idle() -> None:
    lines = [
        "    deny:",
        '      - when: session.mfa_age > duration("12h")',
        "      - tenants: [zeta]",
        "    allow:",
        "      - {roles: [client], tenants: [acme], when: 'session.mfa_age < duration(\"1h\")'}",
    ]
    assert found(route(*lines)) == ["8:9 idle-denial", "9:9 idle-denial"]


def test_a_denial_by_an_address_that_may_be_unknown_is_not_idle() -> None:
    """A denial that cannot be evaluated refuses: only one that is surely false has no effect."""
    lines = [
        "    deny:",
        '      - when: network.is_in("10.0.0.0/8")',
        "    allow:",
        '      - {roles: [client], when: \'network.is_in("192.0.2.0/24") || session.tenant == "acme"\'}',
    ]
    assert found(route(*lines)) == []


def test_an_entry_about_a_tenant_without_a_host_of_the_route_is_unreachable() -> None:
    hosts = '{path: "/a", methods: [GET], hosts: [acme.example.com]}'
    lines = ["    allow:", "      - {roles: [client], tenants: [acme, zeta]}"]
    assert found(route(*lines, match=hosts)) == ["8:9 unreachable-tenant"]
    assert found(route(*lines)) == []


def test_what_stands_in_a_named_entry_is_found_at_the_entry_that_uses_it() -> None:
    text = route("    allow:", "      - {use: never}")
    text += 'entries:\n  never: {roles: [client], when: \'session.tenant == "a" && session.tenant == "b"\'}\n'
    assert found(text) == ["8:9 always-false"]


def test_the_same_question_about_many_routes_is_asked_once() -> None:
    lines = [
        f"  - name: r{number}\n    match: {{path: /r{number}, methods: [GET]}}\n    upstream: portal\n"
        "    allow: [{roles: [client], when: request.secure || !request.secure}]\n"
        for number in range(5)
    ]
    assert [line.partition(" ")[2] for line in found("".join(lines), most=2)] == ["always-true"] * 5


def test_beyond_the_bound_nothing_is_claimed() -> None:
    assert found(allow("request.secure || !request.secure"), most=0) == []
