"""Least privilege from use: what is suggested takes nothing from anybody, and gives nothing to anybody."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.session import Session
from gateway.policy import Facts, PolicyTable, compile_policy
from gateway.policy.history.amendment import Amendment, Files
from gateway.policy.history.narrowing import narrower_templates
from gateway.policy.history.recorded import Recall, Recorded
from gateway.policy.history.replaying import Replayer
from gateway.policy.history.suggestion import Suggestion, people, smallest, suggestions
from gateway.policy.history.usage import Observer, Usage
from gateway.policy.roles import Roles
from gateway.policy.template import parse_template
from tests.fakes.past import Past, Recorder, judged, signed_in

HOSTS = {"portal.example.com": "", "acme.example.com": "acme"}
NOW = 1_800_000_000.0
POLICY = """
version: 1
roles: {client: {}, billing: {includes: [client]}, admin: {includes: [billing]}, guest: {}, auditor: {}}
routes:
  - {name: assets, match: {path: "/static/**", methods: [GET, HEAD]}, upstream: portal, public: true}
  - name: home
    match: {path: /, methods: [GET, POST]}
    upstream: portal
    allow: [{roles: [client, auditor]}, {roles: [guest], tenants: [acme]}]
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET, POST, DELETE], hosts: [portal.example.com, acme.example.com]}
    upstream: portal
    deny: [{roles: [guest]}]
    allow:
      - roles: [client]
        when: session.mfa_age < duration("1h") || path.id == "7"
      - roles: [admin]
  - {name: reports, match: {path: "/reports/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - {name: files, match: {path: "/files/*/{kind}/*", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - {name: everything, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [admin]}]}
"""


def compiled(files: dict[str, str]) -> PolicyTable:
    return compile_policy(files, upstreams=["portal"], tenants=["acme"], hosts=HOSTS)[0]


LIVE = {"policies/p.yaml": POLICY}
TABLE = compiled(LIVE)


def recorded(pasts: Iterable[Past], table: PolicyTable = TABLE) -> list[Recorded]:
    recorder, recall = Recorder(table, HOSTS), Recall()
    found = [recall.read(recorder.record(past), 0, 1 << 62) for past in pasts]
    return [one for one in found if isinstance(one, Recorded)]


def used(past: Iterable[Recorded], table: PolicyTable = TABLE) -> Usage:
    observer, replayer = Observer(table), Replayer(table, HOSTS)
    for one in past:
        verdict = replayer.decide(one).verdict
        if verdict is not None:
            observer.take(one, verdict)
    return observer.usage


def suggested(past: list[Recorded], files: dict[str, str] = LIVE) -> list[Suggestion]:
    table = compiled(files)
    return suggestions(table, Files(files), used(past, table))


def applied(kept: Iterable[Suggestion], files: dict[str, str] = LIVE) -> PolicyTable:
    return compiled(Files(files).amended([amendment for one in kept for amendment in one.amendments]))


def kinds(found: Iterable[Suggestion]) -> set[tuple[str, str]]:
    return {(one.route, one.kind) for one in found}


def visit(who: Session | None, path: str, method: str = "GET", host: str = "acme.example.com") -> Past:
    return Past(facts=Facts(method=method, host=host, path=path, client_ip="10.1.2.3"), session=who, now=NOW)


def person(name: str, *roles: str, **changes: Any) -> Session:
    return signed_in(name, roles, NOW, **changes)


visits = st.lists(
    st.builds(
        lambda name, roles, age, path, method, host: visit(
            person(name, *roles, mfa_time=NOW - age, auth_time=NOW - age) if roles is not None else None, path, method, host
        ),
        st.sampled_from(["alice", "bob", "carol"]),
        st.none() | st.lists(st.sampled_from(["client", "billing", "admin", "guest", "auditor"]), max_size=2, unique=True),
        st.sampled_from([10.0, 1000.0, 7200.0]),
        st.sampled_from(
            [
                "/", "/static/a", "/static/b/c", "/static", "/invoices/7", "/invoices/8", "/reports/2026", "/reports/2026/q1",
                "/reports/2025/", "/files/a/pdf/1", "/files/b/pdf/2", "/elsewhere", "/invoices/7/lines",
            ]
        ),
        st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
        st.sampled_from(sorted(HOSTS)),
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip


@given(visits)
def test_what_is_suggested_takes_nothing_from_anybody_and_gives_nothing_to_anybody(pasts: list[Past]) -> None:
    past = recorded(pasts * 3)
    narrower = Replayer(applied(suggested(past)), HOSTS)
    for one in past:
        assert narrower.decide(one).beside(one) in ("same", "unknown")


def test_an_entry_that_would_say_what_another_says_is_left_to_a_person() -> None:
    late = {"mfa_time": NOW - 7200.0, "auth_time": NOW - 7200.0}
    past = recorded(
        [visit(person("ada", "admin"), "/invoices/7"), visit(person("ada", "admin", **late), "/invoices/8")]
    )
    (found,) = [one for one in suggested(past) if one.route == "invoice" and one.kind == "broad-role"]
    assert not found.amendments
    assert found.text.endswith(
        "admin would have been enough, whom policies/p.yaml:17:9 lets in without a condition: one of the two may be too much"
    )
    assert "invoice" in applied(suggested(past)).rules


@given(visits)
def test_nobody_who_gets_the_roles_that_are_enough_loses_a_request(pasts: list[Past]) -> None:
    enough = {one.person: one.roles for one in people(TABLE, used(recorded(pasts)))}
    for past in pasts:
        session = past.session
        if session is None or (session.user, session.tenant, session.roles) not in enough:
            continue
        roles = enough[session.user, session.tenant, session.roles]
        less = Past(
            facts=past.facts,
            session=person(session.user, *roles, mfa_time=session.mfa_time, auth_time=session.auth_time),
            now=NOW,
        )
        assert judged(TABLE, HOSTS, less).decision.allowed == judged(TABLE, HOSTS, past).decision.allowed


def test_a_route_that_let_nobody_through_is_closed_and_not_removed() -> None:
    found = suggested(recorded([visit(person("alice", "client"), "/")]))
    assert ("reports", "unused-route") in kinds(found)
    table = applied(found)
    of_admin = judged(table, HOSTS, visit(person("root", "admin"), "/reports/2026"))
    assert (of_admin.route, of_admin.decision.allowed) == ("reports", False), "/** must not take it over"


def test_entries_roles_and_methods_that_nobody_needed_are_named_with_their_lines() -> None:
    found = {
        one.kind: one for one in suggested(recorded([visit(person("alice", "billing"), "/")])) if one.route == "home"
    }
    assert found["unused-entry"].source == "policies/p.yaml:9:41"
    assert found["broad-role"].text == "client, auditor may; billing would have been enough"
    assert found["unused-method"].snippet == {"match": {"path": "/", "methods": ["GET"]}}


def test_a_role_is_no_narrower_than_those_who_used_it() -> None:
    past = recorded([visit(person("alice", "billing"), "/reports/1"), visit(person("root", "admin"), "/reports/1")])
    (found,) = [one for one in suggested(past) if one.route == "reports" and one.kind == "broad-role"]
    assert found.snippet == [{"roles": ["billing"]}]


def test_head_keeps_get() -> None:
    past = recorded([visit(person("alice", "client"), "/", "HEAD")])
    (found,) = [one for one in suggested(past) if one.route == "home" and one.kind == "unused-method"]
    assert found.snippet["match"]["methods"] == ["GET"]


def test_a_host_that_nobody_used_is_closed_there() -> None:
    past = recorded([visit(person("alice", "client"), "/invoices/7")])
    found = [one for one in suggested(past) if one.route == "invoice"]
    assert "unused-host" in {one.kind for one in found}
    table = applied(found)
    elsewhere = visit(person("root", "admin", host="portal.example.com"), "/invoices/7", host="portal.example.com")
    assert judged(table, HOSTS, elsewhere).route == "invoice-idle"


def test_a_wildcard_of_which_little_was_used_is_written_out_and_the_rest_closed() -> None:
    alice = person("alice", "client")
    past = recorded(
        [visit(alice, path) for path in ("/reports/2026", "/reports/2026/q1", "/reports/2026/q2") for _ in range(10)]
    )
    (found,) = [one for one in suggested(past) if one.kind == "broad-template"]
    assert found.text.startswith("/reports/** was used for /reports/2026, /reports/2026/q1, /reports/2026/q2 alone")
    table = applied([found])
    assert judged(table, HOSTS, visit(alice, "/reports/2026/q1")).decision.allowed
    closed = judged(table, HOSTS, visit(person("root", "admin"), "/reports/2027"))
    assert (closed.route, closed.decision.allowed) == ("reports-rest", False)


def test_a_condition_that_never_refused_is_named_and_kept() -> None:
    past = recorded([visit(person("alice", "client"), "/invoices/7")] * 25)
    (found,) = [one for one in suggested(past) if one.kind == "idle-condition"]
    assert (found.source, found.amendments, found.requests) == ("policies/p.yaml:15:9", (), 25)
    unmet = recorded([visit(person("bob", "client", mfa_time=NOW - 7200), "/invoices/8")])
    assert not [one for one in suggested(past + unmet) if one.kind == "idle-condition"]


def test_people_keep_roles_that_a_denial_is_about() -> None:
    past = recorded([visit(person("alice", "client", "guest"), "/")])
    assert people(TABLE, used(past)) == []
    (found,) = people(TABLE, used(recorded([visit(person("bob", "admin"), "/")])))
    assert (found.person, found.roles) == (("bob", "acme", ("admin",)), ("client",))


def test_nobody_is_looked_at_where_a_condition_asks_about_roles() -> None:
    files = {"p.yaml": POLICY.replace('path.id == "7"', '"admin" in session.roles')}
    table = compiled(files)
    assert people(table, used(recorded([visit(person("bob", "admin"), "/")], table), table)) == []


def test_an_entry_that_others_use_is_taken_out_but_not_narrowed() -> None:
    files = {
        "p.yaml": "version: 1\nroles: {client: {}, other: {}, more: {includes: [client]}}\n"
        "entries: {staff: {roles: [client]}, others: {roles: [other]}}\nroutes:\n"
        "  - {name: home, match: {path: /, methods: [GET]}, upstream: portal, allow: [{use: staff}, {use: others}]}\n"
        "  - {name: more, match: {path: /more, methods: [GET]}, upstream: portal, allow: [{use: others}]}\n"
    }
    table = compiled(files)
    past = recorded([visit(person("alice", "more"), "/"), visit(person("bob", "other"), "/more")], table)
    found = suggested(past, files)
    assert kinds(found) == {("home", "unused-entry")}
    assert len(applied(found, files).rules["home"].grants) == 1


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefgh"), min_size=1, max_size=4), max_size=6),
)
def test_the_smallest_set_of_roles_meets_every_need(needs: list[frozenset[str]]) -> None:
    roles = Roles({name: [] for name in "abcdefgh"})
    found = smallest(needs, roles)
    assert all(not need.isdisjoint(found) for need in needs)
    assert found <= frozenset().union(*needs)


@given(st.sampled_from(["/a/**", "/**", "/a/*/b/*", "/{x}/**", "/*"]), st.integers(0, 2**32), st.integers(1, 12))
def test_narrower_templates_match_every_path_and_nothing_that_the_template_does_not(
    text: str, seed: int, number: int
) -> None:
    choose = random.Random(seed)
    template = parse_template(text)
    words = ["a", "b", "c", "d", "e", "f", "7"]
    paths = set()
    for _ in range(number):
        parts = [choose.choice(words) if segment is None else segment for segment in template.segments]
        parts += [choose.choice(words) for _ in range(choose.randrange(3))] if template.rest else []
        paths.add("/" + "/".join(parts))
    found = [parse_template(one) for one in narrower_templates(template, paths)]
    assert all(any(one.covers(path) for one in found) for path in paths) or not found
    assert all(one.shape != template.shape for one in found)
    assert len(found) <= 6


@pytest.mark.parametrize("path", ["/a/{b}", "/a/*", "/a/b}"])
def test_paths_that_no_template_can_spell_are_left(path: str) -> None:
    assert narrower_templates(parse_template("/a/**"), [path]) == []


def test_amendments_are_made_from_the_end_so_that_no_place_moves() -> None:
    files = Files(
        {
            "p.yaml": "version: 1\nroles: {a: {}, b: {}, c: {}}\nroutes:\n  - {name: x, match: {path: /, methods: [GET]}, upstream: u, allow: [{roles: [a]}, {roles: [b]}, {roles: [c]}]}\n"
        }
    )
    changed = files.amended(
        [
            Amendment(path="p.yaml", loc=("routes", 0, "allow", 0)),
            Amendment(path="p.yaml", loc=("routes", 0, "allow", 1)),
            Amendment(path="p.yaml", loc=("routes", 0, "allow", 2, "roles"), value=["a", "c"]),
            Amendment(path="p.yaml", loc=("routes",), more=({"name": "y"},)),
        ]
    )
    assert '"allow": [{"roles": ["a", "c"]}]' in changed["p.yaml"]
    assert changed["p.yaml"].endswith('{"name": "y"}]}')


@pytest.mark.parametrize("where", ["defaults: {upstream: portal}", "profiles: {plain: {upstream: portal}}"])
def test_a_route_whose_upstream_stands_elsewhere_can_be_closed(where: str) -> None:
    """`suggest` ended with a KeyError at the first of them that nobody used."""
    use = "profile: plain, " if "profiles" in where else ""
    text = (
        f"version: 1\n{where}\nroles: {{client: {{}}}}\nroutes:\n"
        f"  - {{name: a, match: {{path: /a, methods: [GET]}}, {use}allow: [{{roles: [client]}}]}}\n"
    )
    files = Files({"p.yaml": text})
    [found] = suggestions(compiled({"p.yaml": text}), files, Usage())
    assert found.kind == "unused-route"
    assert compiled(files.amended(found.amendments)).rules["a"].grants == ()
