"""Entries of `allow` and `deny`: who wins, what is an error, what is left out in shadow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.document.source import DocumentError
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.policy import Facts, Match, PolicyTable, compile_policy
from gateway.policy.cases import load_cases, run_cases
from gateway.policy.explanation import explain
from gateway.policy.judgement import Person, judge, parse_request

HOSTS = {"portal.example.com": ""}
NOW = 1_790_000_000.0
OFFICE = "10.1.2.3"

ROUTE = """\
version: 1
roles:
  client: {{}}
  contractor: {{}}
  admin: {{includes: [client, contractor]}}
routes:
  - name: pay
    match: {{path: "/pay/{{account}}", methods: [POST]}}
    upstream: portal
    {verdict}
"""
ALLOW = "allow: [{roles: [client]}]"


def table_of(verdict: str, *, candidate: bool = False) -> PolicyTable:
    table, _ = compile_policy(
        {"p.yaml": ROUTE.format(verdict=verdict)},
        upstreams=["portal"],
        tenants=["acme", "zeta"],
        hosts=HOSTS,
        candidate=candidate,
    )
    return table


def errors_of(verdict: str) -> str:
    with pytest.raises(DocumentError) as caught:
        table_of(verdict)
    return "\n".join(caught.value.diagnostics)


def person(*roles: str, tenant: str = "acme", **changes: object) -> Person:
    return Person(user="alice", tenant=tenant, roles=roles, **changes)  # type: ignore[arg-type]  # a factory of test values


def reason_of(table: PolicyTable, who: Person | None, *, ip: str = OFFICE, account: str = "1") -> tuple[Reason, str]:
    facts = parse_request("POST", f"https://portal.example.com/pay/{account}", client_ip=ip)
    decision = judge(table, HOSTS, facts, who, NOW).decision
    assert decision.allowed is (decision.reason in {Reason.ALLOWED, Reason.PUBLIC})
    return decision.reason, decision.rule


# Deny wins


def test_an_entry_of_deny_wins_over_every_entry_of_allow() -> None:
    table = table_of(f"{ALLOW}\n    deny: [{{roles: [contractor]}}]")
    assert reason_of(table, person("client"))[0] is Reason.ALLOWED
    assert reason_of(table, person("client", "contractor")) == (Reason.DENIED, "p.yaml:11:12")
    assert reason_of(table, person("contractor"))[0] is Reason.DENIED


def test_a_denied_role_is_denied_to_whoever_includes_it() -> None:
    table = table_of(f"{ALLOW}\n    deny: [{{roles: [contractor]}}]")
    assert reason_of(table, person("admin"))[0] is Reason.DENIED


def test_an_entry_of_deny_may_be_about_a_tenant_or_a_condition() -> None:
    table = table_of(
        f"{ALLOW}\n    deny:\n      - tenants: [zeta]\n      - when: '!network.is_in(\"10.0.0.0/8\")'\n"
        "      - {roles: [client], when: path.account == user.name}"
    )
    assert reason_of(table, person("client"))[0] is Reason.ALLOWED
    assert reason_of(table, person("client", tenant="zeta")) == (Reason.DENIED, "p.yaml:12:9")
    assert reason_of(table, person("client"), ip="192.0.2.1") == (Reason.DENIED, "p.yaml:13:9")
    assert reason_of(table, person("client"), account="alice") == (Reason.DENIED, "p.yaml:14:9")


def test_a_denying_condition_that_cannot_be_evaluated_refuses() -> None:
    table = table_of(f"{ALLOW}\n    deny: [{{when: '!network.is_in(\"10.0.0.0/8\")'}}]")
    assert reason_of(table, person("client"), ip="") == (Reason.CONDITION_FAILED, "p.yaml:11:12")


def test_a_denial_that_is_certain_is_named_before_one_that_failed() -> None:
    failing, fitting = "{when: 'network.is_in(\"10.0.0.0/8\")'}", "{roles: [client], when: user.name == 'alice'}"
    for entries in permutations((failing, fitting)):
        table = table_of(f"{ALLOW}\n    deny: [{', '.join(entries)}]")
        assert reason_of(table, person("client"), ip="")[0] is Reason.DENIED


def test_nobody_is_denied_before_they_signed_in() -> None:
    """attack: a page that tells strangers which tenants and roles it denies."""
    table = table_of(f"{ALLOW}\n    deny: [{{when: request.method == 'POST'}}]")
    assert reason_of(table, None)[0] is Reason.SIGN_IN_REQUIRED
    assert reason_of(table, person("client", mfa_age=None))[0] is Reason.MFA_REQUIRED


def test_a_public_route_may_deny_by_the_request() -> None:
    table = table_of('public: true\n    deny: [{when: network.is_in("198.51.100.0/24")}]')
    assert reason_of(table, None)[0] is Reason.PUBLIC
    assert reason_of(table, None, ip="198.51.100.9") == (Reason.DENIED, "p.yaml:11:12")
    assert reason_of(table, person("client"), ip="198.51.100.9")[0] is Reason.DENIED
    assert reason_of(table, None, ip="")[0] is Reason.CONDITION_FAILED


# What is wrong


@pytest.mark.parametrize(
    ("verdict", "complaint"),
    [
        (f"{ALLOW}\n    deny: []", "p.yaml:11:11: the list is empty"),
        (f"{ALLOW}\n    deny: [{{}}]", "p.yaml:11:12: the entry says neither roles, nor tenants, nor when"),
        (f"{ALLOW}\n    deny: [{{mode: enforce}}]", "p.yaml:11:12: the entry says neither roles"),
        (f"{ALLOW}\n    deny: [{{roles: []}}]", "p.yaml:11:20: the list is empty"),
        (f"{ALLOW}\n    deny: [{{roles: [clint]}}]", "p.yaml:11:21: unknown role 'clint'; did you mean 'client'?"),
        (f"{ALLOW}\n    deny: [{{tenants: [acne]}}]", "p.yaml:11:23: unknown tenant 'acne'; did you mean 'acme'?"),
        (f"{ALLOW}\n    deny: [{{roles: [client], scopes: [x]}}]", "p.yaml:11:30: unknown key 'scopes'"),
        (f"{ALLOW}\n    deny: [{{roles: [client], mode: off}}]", "p.yaml:11:36: 'off' is not one of enforce, shadow"),
        (f"{ALLOW}\n    deny: [{{when: 5}}]", "p.yaml:11:19: expected text"),
        (f"{ALLOW}\n    deny: [{{when: path.acount == 'x'}}]", "p.yaml:11:23: unknown name 'path.acount'"),
        (f"{ALLOW}\n    deny: true", "p.yaml:11:5: a route has only one of public, allow and deny"),
        ("deny: [{roles: [client]}]", "p.yaml:7:5: the route says neither allow, nor public: true, nor deny: true"),
        ("public: true\n    deny: [{roles: [client]}]", "p.yaml:11:13: a public route asks nobody who they are"),
        ("public: true\n    deny: [{tenants: [acme]}]", "p.yaml:11:13: a public route asks nobody who they are"),
        ("public: true\n    deny: [{when: user.name == 'x'}]", "p.yaml:11:23: a public route asks nobody who they are"),
        (
            f"{ALLOW}\n    deny: [{{roles: [admin]}}, {{roles: [client]}}]",
            "p.yaml:11:12: unreachable: the entry at p.yaml:11:30 refuses the same people without a condition",
        ),
        (
            f"{ALLOW}\n    deny: [{{roles: [client]}}]",
            "p.yaml:10:13: unreachable: the entry of deny at p.yaml:11:12 refuses everybody whom this one allows",
        ),
        (
            "allow: [{roles: [admin]}]\n    deny: [{roles: [contractor]}]",
            "p.yaml:10:13: unreachable: the entry of deny at p.yaml:11:12",
        ),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_its_place(verdict: str, complaint: str) -> None:
    assert complaint in errors_of(verdict)


def test_entries_that_are_about_others_are_reached() -> None:
    table_of(f"{ALLOW}\n    deny: [{{roles: [client], tenants: [zeta]}}, {{roles: [contractor]}}]")
    table_of(f"{ALLOW}\n    deny: [{{roles: [client], when: user.name == 'x'}}, {{roles: [admin], tenants: [acme]}}]")


# Another name of a narrower route


def test_a_route_that_denies_more_does_not_open_like_the_broader_one() -> None:
    text = """
version: 1
roles: {{client: {{}}, contractor: {{}}}}
routes:
  - {{name: all, match: {{path: "/x/**", methods: [GET]}}, upstream: portal, allow: [{{roles: [client]}}]{broad}}}
  - {{name: one, match: {{path: /x/report, methods: [GET]}}, upstream: portal, allow: [{{roles: [client]}}], deny: [{{roles: [contractor]}}]}}
"""
    facts = parse_request("GET", "https://portal.example.com/x/report.json")
    for broad, reason in (("", Reason.AMBIGUOUS_PATH), (", deny: [{roles: [contractor]}]", Reason.ALLOWED)):
        table, _ = compile_policy(
            {"p.yaml": text.format(broad=broad)}, upstreams=["portal"], tenants=["acme"], hosts=HOSTS
        )
        assert judge(table, HOSTS, facts, person("client"), NOW).decision.reason is reason


# Explained and tried


def test_explain_shows_what_denies_and_what_does_not() -> None:
    table = table_of(f"{ALLOW}\n    deny: [{{roles: [contractor]}}, {{when: '!network.is_in(\"10.0.0.0/8\")'}}]")
    facts = parse_request("POST", "https://portal.example.com/pay/1", client_ip=OFFICE)
    told = explain(table, HOSTS, facts, person("admin"), NOW)
    shown = [(item.name, item.outcome, item.rule) for item in told.criteria if item.rule]
    assert shown == [
        ("deny", "hit", "p.yaml:11:12"),
        ("role", "hit", "p.yaml:11:12"),
        ("deny", "miss", "p.yaml:11:35"),
        ("when", "miss", "p.yaml:11:35"),
        ("role", "hit", "p.yaml:10:13"),
    ]
    assert told.decision.rule == "p.yaml:11:12"
    assert (
        next(item.detail for item in told.criteria if item.name == "role") == "holds admin, which includes contractor"
    )
    nowhere = parse_request("POST", "https://portal.example.com/pay/1")
    unknown = explain(table, HOSTS, nowhere, person("client"), NOW)
    assert ("deny", "unknown") in [(item.name, item.outcome) for item in unknown.criteria]
    assert unknown.decision.reason is Reason.CONDITION_FAILED


def test_explain_shows_the_denials_of_a_public_route() -> None:
    table = table_of('public: true\n    deny: [{when: network.is_in("198.51.100.0/24")}]')
    facts = parse_request("POST", "https://portal.example.com/pay/1", client_ip="198.51.100.9")
    told = explain(table, HOSTS, facts, None, NOW)
    assert [(item.name, item.outcome) for item in told.criteria][-2:] == [("deny", "hit"), ("when", "hit")]


def test_cases_expect_denials() -> None:
    table = table_of(f"{ALLOW}\n    deny: [{{roles: [contractor]}}]")
    cases = """
cases:
  - name: a contractor pays nothing
    as: {user: bob, tenant: acme, roles: [client, contractor]}
    request: POST https://portal.example.com/pay/1
    expect: {decision: deny, route: pay, reason: denied}
"""
    read = load_cases({"c.yaml": cases}, table=table, hosts=HOSTS, tenants=frozenset({"acme"}))
    assert [result.passed for result in run_cases(read, table=table, hosts=HOSTS, now=NOW)] == [True]


# Shadow


def test_entries_in_shadow_change_no_answer_and_all_of_a_candidates() -> None:
    verdict = f"{ALLOW[:-1]}, {{roles: [contractor], mode: shadow}}]\n    deny: [{{tenants: [zeta], mode: shadow}}]"
    live, candidate = table_of(verdict), table_of(verdict, candidate=True)
    assert (live.has_shadow, candidate.has_shadow) == (True, True)
    assert live.version != candidate.version
    assert reason_of(live, person("contractor"))[0] is Reason.ROLE_MISSING
    assert reason_of(candidate, person("contractor"))[0] is Reason.ALLOWED
    assert reason_of(live, person("client", tenant="zeta"))[0] is Reason.ALLOWED
    assert reason_of(candidate, person("client", tenant="zeta"))[0] is Reason.DENIED


def test_without_shadow_the_candidate_is_the_policy_itself() -> None:
    live, candidate = table_of(ALLOW), table_of(ALLOW, candidate=True)
    assert (live.has_shadow, live.version) == (False, candidate.version)


def test_a_route_or_a_file_in_shadow_is_not_there() -> None:
    table = table_of(f"{ALLOW}\n    mode: shadow")
    assert reason_of(table, person("client"))[0] is Reason.NO_ROUTE
    text = ROUTE.format(verdict=ALLOW)
    files = {"a.yaml": text, "b.yaml": "version: 1\nmode: shadow\nroles: {boss: {includes: [client]}}\n"}
    live, _ = compile_policy(files, upstreams=["portal"], tenants=["acme"], hosts=HOSTS)
    candidate, _ = compile_policy(files, upstreams=["portal"], tenants=["acme"], hosts=HOSTS, candidate=True)
    assert reason_of(live, person("boss"))[0] is Reason.ROLE_MISSING
    assert reason_of(candidate, person("boss"))[0] is Reason.ALLOWED


def test_a_route_of_a_file_in_shadow_may_be_in_force() -> None:
    text = ROUTE.format(verdict=f"{ALLOW}\n    mode: enforce")
    files = {"a.yaml": text.replace("roles:\n  client: {}\n  contractor: {}\n  admin: {includes: [client, contractor]}\n", "mode: shadow\n"),
             "b.yaml": "version: 1\nroles: {client: {}}\n"}  # fmt: skip
    table, _ = compile_policy(files, upstreams=["portal"], tenants=["acme"], hosts=HOSTS)
    assert reason_of(table, person("client"))[0] is Reason.ALLOWED


def test_what_is_wrong_in_shadow_is_an_error_at_once() -> None:
    assert "unknown role 'clint'" in errors_of(f"{ALLOW[:-1]}, {{roles: [clint], mode: shadow}}]")
    assert "unknown name" in errors_of(f"{ALLOW}\n    deny: [{{when: user.nme == 'x', mode: shadow}}]")


def test_what_is_in_force_cannot_lean_on_what_is_in_shadow() -> None:
    files = {
        "a.yaml": ROUTE.format(verdict="allow: [{roles: [boss]}]"),
        "b.yaml": "version: 1\nmode: shadow\nroles: {boss: {}}\n",
    }
    with pytest.raises(DocumentError, match="unknown role 'boss'"):
        compile_policy(files, upstreams=["portal"], tenants=["acme"], hosts=HOSTS)


def test_an_entry_cannot_be_in_force_in_a_route_that_is_not() -> None:
    assert "every entry of it with it" in errors_of("mode: shadow\n    allow: [{roles: [client], mode: enforce}]")


# What must hold for every policy

ROLES = ("client", "contractor", "admin")
CONDITIONS = (
    None, "user.name == 'alice'", "network.is_in('10.0.0.0/8')", "path.account == '1'", "session.mfa_age < duration('1h')",
    "1 / size(path.account) > 5 || session.tenant == 'zeta'",
)  # fmt: skip


@st.composite
def entries(draw: st.DrawFn, *, denies: bool) -> str:
    roles = draw(st.lists(st.sampled_from(ROLES), unique=True, min_size=0 if denies else 1))
    tenants = draw(st.lists(st.sampled_from(("acme", "zeta")), unique=True))
    when = draw(st.sampled_from(CONDITIONS))
    if denies and not roles and not tenants and when is None:
        roles = ["contractor"]
    parts = [f"roles: [{', '.join(roles)}]"] if roles else []
    parts += [f"tenants: [{', '.join(tenants)}]"] if tenants else []
    parts += [f'when: "{when}"'] if when else []
    return "{" + ", ".join(parts) + "}"


people = st.builds(
    lambda roles, tenant, name, age: Person(user=name, tenant=tenant, roles=tuple(roles), auth_age=age, mfa_age=age),
    st.lists(st.sampled_from((*ROLES, "unknown")), unique=True),
    st.sampled_from(("acme", "zeta", "")),
    st.sampled_from(("alice", "bob")),
    st.sampled_from((0.0, 7200.0)),
)
places = st.sampled_from((OFFICE, "192.0.2.1", ""))


def answers(verdict: str, who: Person | None, ip: str) -> tuple[bool, Reason] | None:
    """Answer by a policy; None where it is no policy."""
    try:
        table = table_of(verdict)
    except DocumentError:
        return None
    facts = parse_request("POST", "https://portal.example.com/pay/1", client_ip=ip)
    decision = judge(table, HOSTS, facts, who, NOW).decision
    return decision.allowed, decision.reason


@given(
    st.lists(entries(denies=False), min_size=1, max_size=3, unique=True),
    st.lists(entries(denies=True), max_size=2, unique=True),
    entries(denies=True),
    people,
    places,
)
def test_adding_a_deny_never_widens(allow: list[str], deny: list[str], more: str, who: Person, ip: str) -> None:
    def verdict(denials: list[str]) -> str:
        listed = f"allow: [{', '.join(allow)}]"
        return listed + (f"\n    deny: [{', '.join(denials)}]" if denials else "")

    before, after = answers(verdict(deny), who, ip), answers(verdict([*deny, more]), who, ip)
    if before is not None and after is not None:
        assert before[0] or not after[0]


@given(
    st.lists(entries(denies=False), min_size=1, max_size=3, unique=True),
    st.lists(entries(denies=True), min_size=1, max_size=3, unique=True),
    people,
    places,
    st.randoms(use_true_random=False),
)
def test_the_order_of_entries_changes_no_answer(
    allow: list[str], deny: list[str], who: Person, ip: str, random: object
) -> None:
    first = answers(f"allow: [{', '.join(allow)}]\n    deny: [{', '.join(deny)}]", who, ip)
    random.shuffle(allow)  # type: ignore[attr-defined]  # hypothesis types it as Random
    random.shuffle(deny)  # type: ignore[attr-defined]
    assert answers(f"allow: [{', '.join(allow)}]\n    deny: [{', '.join(deny)}]", who, ip) == first


@given(
    st.lists(entries(denies=False), min_size=1, max_size=2, unique=True),
    entries(denies=False),
    entries(denies=True),
    people,
    places,
)
def test_parts_in_shadow_change_no_answer(allow: list[str], grant: str, denial: str, who: Person, ip: str) -> None:
    plain = answers(f"allow: [{', '.join(allow)}]", who, ip)
    shadows = f"allow: [{', '.join(allow)}, {grant[:-1]}, mode: shadow}}]\n    deny: [{denial[:-1]}, mode: shadow}}]"
    shadowed = answers(shadows, who, ip)
    if shadowed is not None:
        assert shadowed == plain


def test_a_decision_about_people_holds_for_the_table_alone(
    session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    """The edge asks the table with a session; what owes a factor is not denied but asked for it."""
    table = table_of(f"{ALLOW}\n    deny: [{{roles: [contractor]}}]")
    match = table.resolve("portal.example.com", "/pay/1", "POST")
    assert not isinstance(match, Reason)
    for roles, mfa_time, reason in (
        (("client",), now, Reason.ALLOWED),
        (("client", "contractor"), now, Reason.DENIED),
        (("contractor",), 0.0, Reason.MFA_REQUIRED),
    ):
        decision = table.decide(match, session(*roles, mfa_time=mfa_time), facts("POST", "/pay/1"), now)
        assert decision.reason is reason


def test_an_entry_that_asks_for_more_counts_where_it_stands_before_the_broader_one() -> None:
    text = """
version: 1
roles: {client: {}, partner: {includes: [client]}}
routes:
  - name: plan
    match: {path: /plan, methods: [GET]}
    upstream: portal
    allow:
      - {roles: [partner], rate_limit: {rate: 1/s, burst: 1, per: user}}
      - {roles: [client]}
"""
    table, _ = compile_policy({"p.yaml": text}, upstreams=["portal"], tenants=[], hosts=["a"])
    first = table.rules["plan"].grants[0]
    assert first.obligation is not None
    match = table.resolve("a", "/plan", "GET")
    assert isinstance(match, Match)
    who = Person(user="p", tenant="", roles=("partner",)).session(Facts(method="GET", host="a", path="/plan"), 1.0)
    assert table.decide(match, who, Facts(method="GET", host="a", path="/plan"), 1.0).obligation is first.obligation
    after = text.replace("      - {roles: [client]}\n", "").replace(
        "    allow:\n", "    allow:\n      - {roles: [client]}\n"
    )
    with pytest.raises(DocumentError, match="unreachable"):
        compile_policy({"p.yaml": after}, upstreams=["portal"], tenants=[], hosts=["a"])
