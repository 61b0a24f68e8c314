"""Which routes two versions of a policy do not share."""

from __future__ import annotations

import pytest

from gateway.policy import PolicyTable, compile_policy
from gateway.policy.changes import Changes, changes

POLICY = """version: 1
roles: {client: {}, boss: {}}
routes:
  - name: home
    match: {path: /, methods: [GET]}
    upstream: portal
    allow:
      - roles: [client]
  - name: reports
    match: {path: "/reports/{id}", methods: [GET]}
    upstream: portal
    allow:
      - roles: [boss]
        when: path.id != "7"
  - name: open
    match: {path: "/static/**", methods: [GET]}
    upstream: portal
    public: true
"""


def table(*replaced: tuple[str, str]) -> PolicyTable:
    text = POLICY
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new)
    return compile_policy({"a.yaml": text}, upstreams=["portal"], tenants=["acme"], hosts=["a.example"])[0]


def test_the_same_policy_has_no_changes() -> None:
    assert changes(table(), table()) == Changes((), (), ())


def test_a_route_that_merely_moved_is_no_change() -> None:
    assert changes(table(), table(("version: 1\n", "# a comment\n\nversion: 1\n"))) == Changes((), (), ())


def test_routes_that_come_and_go_are_named() -> None:
    assert changes(table(), table(("name: home", "name: start"))) == Changes(("start",), ("home",), ())


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("roles: [client]", "roles: [client, boss]", "home"),
        ('"7"', '"8"', "reports"),
        ('"/static/**"', '"/assets/**"', "open"),
        ("public: true", "deny: true", "open"),
        ("client: {}, boss: {}", "client: {}, boss: {includes: [client]}", "home"),
        ("    allow:\n      - roles: [client]", "    mfa_age: 5m\n    allow:\n      - roles: [client]", "home"),
        ("    public: true", "    public: true\n    max_body: 1KiB", "open"),
        ("      - roles: [client]\n", "      - roles: [client]\n    deny: [{roles: [boss]}]\n", "home"),
    ],
)
def test_a_route_that_answers_somebody_otherwise_is_named(old: str, new: str, changed: str) -> None:
    before, after = table(), table((old, new))
    assert changes(before, after) == Changes((), (), (changed,))
    assert changes(after, before) == Changes((), (), (changed,))
