"""Which lines were exercised, on which side."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Facts, compile_policy
from gateway.policy.coverage import Coverage, Point, Side
from gateway.policy.judgement import Person, judge

HOSTS = {"portal.example.com": "", "acme.example.com": "acme"}
NOW = 1_800_000_000.0
POLICY = """
version: 1
roles: {client: {}, guest: {}}
routes:
  - {name: assets, match: {path: "/static/**", methods: [GET]}, upstream: portal, public: true}
  - name: home
    match: {path: "/{t}/home", methods: [GET]}
    upstream: portal
    tenant: {path: t}
    require: {mfa_age: 10m, network: [10.0.0.0/8], device: known}
    deny: [{roles: [guest]}]
    allow: [{roles: [client]}, {roles: [guest, client], when: 'request.path != "/"'}]
  - {name: closed, match: {path: /closed, methods: [GET]}, upstream: portal, deny: true}
"""
TABLE = compile_policy({"p.yaml": POLICY}, upstreams=["portal"], tenants=["acme"], hosts=HOSTS)[0]


def ask(path: str, who: Person | None, **changes: Any) -> tuple[Facts, Person | None]:
    values = {"method": "GET", "host": "portal.example.com", "client_ip": "10.1.2.3"}
    return Facts(**{**values, **changes}, path=path), who


def person(*roles: str, **changes: Any) -> Person:
    return Person(**{"user": "alice", "tenant": "acme", "roles": roles, "known_device": True, **changes})


def covered(*asked: tuple[Facts, Person | None]) -> Coverage:
    coverage = Coverage(TABLE)
    for facts, who in asked:
        coverage.take(judge(TABLE, HOSTS, facts, who, NOW))
    return coverage


def sides(coverage: Coverage) -> set[tuple[str, str, Side]]:
    return {(point.route, f"{point.kind} {point.text}", side) for point, side in coverage.counts}


def test_each_line_stands_with_its_place_and_the_sides_it_has() -> None:
    points = [(point.source, point.kind, point.sides) for point in Coverage(TABLE).points if point.route != "home"]
    assert points == [("p.yaml:5:83", "route", ("allow",)), ("p.yaml:13:78", "route", ("refuse",))]
    assert [point.kind for point in Coverage(TABLE).points if point.route == "home"] == [
        "device", "network", "route", "step_up", "tenant", "deny", "allow", "allow",
    ]  # fmt: skip


def test_a_public_route_is_exercised_by_whoever_asks_and_a_closed_one_by_nobody_too() -> None:
    assert sides(covered(ask("/static/a", None), ask("/closed", None))) == {
        ("assets", "route public", "allow"),
        ("closed", "route closed to everybody", "refuse"),
    }


def test_that_nobody_gets_in_says_nothing_about_who_does() -> None:
    assert sides(covered(ask("/acme/home", None))) == set()
    assert ("home", "route GET /{t}/home", "refuse") in sides(covered(ask("/acme/home", person())))


@pytest.mark.parametrize(
    ("who", "changes", "kind"),
    [
        (person("client", mfa_age=3600), {}, "step_up a fresh or stronger proof"),
        (person("client"), {"client_ip": "192.0.2.1"}, "network 10.0.0.0/8"),
        (person("client", known_device=False), {}, "device a known device"),
        (person("client", tenant="other"), {}, "tenant path t"),
        (person("guest"), {}, "deny roles guest"),
    ],
)
def test_what_refuses_is_exercised_by_the_refusal_alone(who: Person, changes: dict[str, Any], kind: str) -> None:
    found = sides(covered(ask("/acme/home", who, **changes)))
    assert found == {("home", kind, "refuse"), ("home", "route GET /{t}/home", "refuse")}


def test_whoever_is_let_through_exercises_everything_that_could_have_refused() -> None:
    found = sides(covered(ask("/acme/home", person("client"))))
    assert {kind.split()[0] for _, kind, side in found if side == "allow"} == {
        "route", "step_up", "network", "device", "tenant", "deny", "allow",
    }  # fmt: skip
    assert ("home", "allow roles client", "allow") in found
    assert not [kind for _, kind, side in found if kind.startswith("allow roles guest")]


def test_a_request_without_a_route_exercises_nothing() -> None:
    assert covered(ask("/nowhere", person("client"))).counts == {}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/static/a", "/acme/home", "/zeta/home", "/closed", "/x"]),
            st.sampled_from(["client", "guest", ""]),
        ),
        max_size=12,
    )
)
def test_more_cases_never_cover_less(asked: list[tuple[str, str]]) -> None:
    before = 0.0
    coverage = Coverage(TABLE)
    points: set[tuple[Point, Side]] = {(point, side) for point in coverage.points for side in point.sides}
    for path, role in asked:
        coverage.take(judge(TABLE, HOSTS, *ask(path, person(role) if role else None), NOW))
        assert before <= coverage.percent <= 100
        assert set(coverage.counts) <= points
        before = coverage.percent


def test_a_policy_without_a_line_is_covered() -> None:
    coverage = Coverage(TABLE)
    coverage.points = []
    assert coverage.percent == 100
