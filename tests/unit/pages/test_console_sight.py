"""What of a policy an administrator sees, and how a role is shown to include another."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.administration import Administrator
from gateway.pages.console import policy as policy_pages
from gateway.pages.console.paging import SIZE, page_number, paging, words_of
from gateway.pages.console.sight import Entry, Sight
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.roles import Roles
from gateway.policy.table import Rule

HOSTS = {"acme.example": "acme", "globex.example": "globex", "both.example": ""}
ROLES = Roles({"client": (), "clerk": ("client",), "lead": ("clerk",), "boss": ("lead", "audit"), "audit": ()})


def table(routes: str) -> PolicyTable:
    compiled, _ = compile_policy(
        {"p.yaml": f"version: 1\nroles: {{client: {{}}, lead: {{includes: [client]}}}}\nroutes:\n{routes}"},
        upstreams=["portal"],
        tenants=["acme", "globex"],
        hosts=list(HOSTS),
    )
    return compiled


def administrator(*, is_operator: bool = False) -> Administrator:
    return Administrator(user_id="u", user="tina", tenant="acme", handle="s", is_operator=is_operator)


def test_a_chain_names_every_step_between() -> None:
    assert ROLES.chain("boss", ("client",)) == ("boss", "lead", "clerk", "client")
    assert ROLES.chain("boss", ("client", "clerk")) == ("boss", "lead", "clerk")
    assert ROLES.chain("boss", ("audit",)) == ("boss", "audit")
    assert ROLES.chain("client", ("client",)) == ("client",)


@given(
    st.integers(2, 12).flatmap(lambda size: st.lists(st.sets(st.integers(0, size - 1)), min_size=size, max_size=size))
)
def test_each_role_of_a_chain_includes_the_next_directly(includes: list[set[int]]) -> None:
    names = {str(n): tuple(str(other) for other in others if other < n) for n, others in enumerate(includes)}
    roles = Roles(names)
    for granted in names:
        for holder in roles.holders([granted]):
            chain = roles.chain(holder, (granted,))
            assert (chain[0], chain[-1]) == (holder, granted)
            assert all(below in names[above] for above, below in pairwise(chain))


ROUTE = "  - {{name: r, match: {{path: /r, methods: [GET]{match}}}, upstream: portal{more}}}\n"


@pytest.mark.parametrize(
    ("match", "more", "shown"),
    [
        ("", ", allow: [{roles: [client]}]", True),
        ("", ", public: true", True),
        ("", ", deny: true", True),
        ("", ", allow: [{roles: [client], tenants: [globex]}]", False),
        ("", ", allow: [{roles: [client], tenants: [globex]}, {roles: [lead], tenants: [acme]}]", True),
        (", hosts: [globex.example]", ", public: true", False),
        (", hosts: [globex.example, both.example]", ", public: true", True),
        (", hosts: [acme.example]", ", allow: [{roles: [client]}]", True),
        ("", ", tenant: globex, allow: [{roles: [client]}]", False),
        ("", ", tenant: acme, allow: [{roles: [client]}]", True),
    ],
)
def test_a_route_is_shown_to_those_whose_people_could_reach_it(match: str, more: str, shown: bool) -> None:
    compiled = table(ROUTE.format(match=match, more=more))
    assert (Sight(compiled, HOSTS, administrator()).rule("r") is not None) is shown
    assert Sight(compiled, HOSTS, administrator(is_operator=True)).rule("r") is not None


def test_hosts_entries_and_conditions_of_others_are_left_out() -> None:
    entries = (
        ", allow: [{roles: [lead], tenants: [globex]}, {roles: [client], tenants: [acme, globex], "
        "when: 'request.host != \"globex.example\"'}], deny: [{roles: [lead], tenants: [globex], when: request.secure}]"
    )
    compiled = table(ROUTE.format(match=", hosts: [globex.example, acme.example]", more=entries))
    sight = Sight(compiled, HOSTS, administrator())
    rule = compiled.rules["r"]
    assert sight.hosts_of(rule.route) == ("acme.example",)
    (entry,) = sight.allows(rule)
    assert (entry.tenants, entry.has_condition, entry.condition) == (("acme",), True, "")
    assert sight.denies(rule) == []
    everything = Sight(compiled, HOSTS, administrator(is_operator=True))
    assert len(everything.allows(rule)) == 2
    assert len(everything.denies(rule)) == 1
    assert "globex" in everything.allows(rule)[1].condition


def test_what_others_are_asked_for_is_no_condition_of_a_route() -> None:
    """attack: the mark of a condition says that another organisation has an entry."""
    entries = ", allow: [{roles: [lead], tenants: [globex], when: request.secure}, {roles: [client], tenants: [acme]}]"
    compiled = table(ROUTE.format(match="", more=entries))
    rule = compiled.rules["r"]
    sight = Sight(compiled, HOSTS, administrator())
    assert (sight.asks(rule), sight.refuses(rule), sorted(sight.granted(rule))) == (False, 0, ["client"])
    assert sorted(sight.accepts(rule)) == ["client", "lead"]
    everything = Sight(compiled, HOSTS, administrator(is_operator=True))
    assert (everything.asks(rule), sorted(everything.granted(rule))) == (True, ["client", "lead"])


def test_what_a_role_reaches_is_counted_as_it_is_listed() -> None:
    allow = ", allow: [{roles: [%s]}]"
    first = ROUTE.format(match="", more=allow % "client")
    second = ROUTE.format(match="", more=allow % "lead, client").replace("r, match: {path: /r", "s, match: {path: /s")
    third = ROUTE.format(match="", more=allow % "lead").replace("r, match: {path: /r", "t, match: {path: /t")
    sight = Sight(table(first + second + third), HOSTS, administrator())
    assert {role: len(sight.reach(role)) for role in ("client", "lead")} == {"client": 2, "lead": 3}
    assert sight.reached() == {"client": 2, "lead": 3}


def test_many_routes_for_many_roles_do_not_stop_the_pages() -> None:
    """attack: one administrator narrows the routes by a role, and nobody can sign in for seconds.

    Each route is open to every role here: what a route costs must not grow with the roles that include another.
    """
    roles = "".join(f", r{number}: {{includes: [client]}}" for number in range(200))
    routes = "".join(
        f"  - {{name: p{number}, match: {{path: /p{number}, methods: [GET]}}, upstream: portal, allow: [{{roles: [client]}}]}}\n"
        for number in range(500)
    )
    compiled, _ = compile_policy(
        {"p.yaml": f"version: 1\nroles: {{client: {{}}{roles}}}\nroutes:\n{routes}"},
        upstreams=["portal"],
        tenants=["acme", "globex"],
        hosts=list(HOSTS),
    )

    class Sightings(Sight):
        """Counts how often a route is taken apart into who comes by which role."""

        taken_apart = 0

        def allows(self, rule: Rule) -> list[Entry]:
            self.taken_apart += 1
            return super().allows(rule)

    sight = Sightings(compiled, HOSTS, administrator())
    narrowed = dict.fromkeys(("q", "host", "tenant", "method", "who"), "") | {"role": "r7"}
    found = [rule for rule in sight.rules if policy_pages._fits(rule, sight, narrowed)]
    assert len([policy_pages._row(rule, sight) for rule in found]) == 500
    assert sight.reached()["r7"] == 500
    assert sight.taken_apart == 0


def test_roles_are_those_that_some_visible_route_asks_for() -> None:
    compiled = table(ROUTE.format(match=", hosts: [globex.example]", more=", allow: [{roles: [lead]}]"))
    assert Sight(compiled, HOSTS, administrator()).roles() == []
    assert Sight(compiled, HOSTS, administrator(is_operator=True)).roles() == ["client", "lead"]


@pytest.mark.parametrize("said", ["", "0", "-1", "1e3", "٣", "9" * 30, "1000000", "two"])
def test_what_is_no_number_of_a_page_is_the_first(said: str) -> None:
    assert page_number({"page": said}) == 1


@given(total=st.integers(0, 10_000), number=st.integers(1, 100_000))
def test_pages_lead_to_pages_that_there_are(total: int, number: int) -> None:
    around = paging(total, number, {"q": "a&b", "role": ""})
    assert (around.last - 1) * SIZE < max(total, 1) <= around.last * SIZE
    assert bool(around.next) is (number < around.last)
    assert "role" not in around.previous
    if around.next:
        assert around.next == f"?q=a%26b&page={number + 1}"


def test_long_words_are_cut() -> None:
    assert len(words_of({"q": "  " + "x" * 10_000}, "q")) == 100
