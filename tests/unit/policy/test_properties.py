"""What holds for every policy: a denial only takes away, order says nothing, and no spelling of a path undoes a refusal."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.exchange.route import Route
from gateway.policy import Facts, PolicyTable
from gateway.policy.judgement import Person, Verdict, judge, parse_request
from gateway.policy.roles import Roles
from gateway.policy.table import Rule
from gateway.policy.template import parse_template
from gateway.wire.target import aliases, readings
from tests.unit.policy.strategies import (
    HOSTS,
    Asked,
    Policy,
    compiled,
    denials,
    files_of,
    people,
    policies,
    requests,
    templates,
)

NOW = 1_800_000_000.0
ANYTHING = settings(
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large]
)


def facts_of(asked: Asked) -> Facts:
    """Read a request, or give the example up."""
    try:
        facts = parse_request(asked.method, asked.url, client_ip="127.0.0.1", user_agent="Browser/1")
    except ValueError:
        assume(condition=False)
        raise
    return msgspec.structs.replace(facts, fields=asked.fields)


def judged(table: PolicyTable, facts: Facts, person: Person | None) -> Verdict:
    return judge(table, HOSTS, facts, person, NOW)


def require_no_wider(old: PolicyTable, new: PolicyTable, facts: Facts, person: Person | None) -> None:
    """Whoever may now could before: there, or at the narrower address that a framework would take the path for."""
    if not judged(new, facts, person).decision.allowed:
        return
    before = judged(old, facts, person).decision
    if before.allowed:
        return
    assert before.reason is Reason.AMBIGUOUS_PATH
    elsewhere = [
        msgspec.structs.replace(facts, path=alias)
        for reading in readings(facts.path) or ()
        for alias in aliases(reading)
    ]
    assert any(judged(old, there, person).decision.allowed for there in elsewhere)


@ANYTHING
@given(policy=policies(), data=st.data())
def test_an_entry_that_denies_never_widens(policy: Policy, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(policy.routes) - 1))
    route = policy.routes[index]
    assume(route.get("deny") is not True)
    entry = data.draw(denials(route["match"]["path"], public="public" in route))
    more = route | {"deny": [*route.get("deny", []), entry]}
    table = compiled(files_of((*policy.routes[:index], more, *policy.routes[index + 1 :])))
    for _ in range(6):
        facts, person = facts_of(data.draw(requests(policy.routes))), data.draw(st.one_of(st.none(), people()))
        require_no_wider(policy.table, table, facts, person)


@ANYTHING
@given(policy=policies(), other=policies(max_routes=2), data=st.data())
def test_a_route_that_denies_never_widens(policy: Policy, other: Policy, data: st.DataObject) -> None:
    taken = {parse_template(route["match"]["path"]).folded for route in policy.routes}
    more: list[dict[str, Any]] = [
        {"name": f"more-{route['name']}", "match": route["match"], "upstream": "portal", "deny": True}
        for route in other.routes
        if parse_template(route["match"]["path"]).folded not in taken
    ]
    assume(more)
    routes = (*policy.routes, *more)
    table = compiled(files_of(routes))
    for _ in range(6):
        facts, person = facts_of(data.draw(requests(routes))), data.draw(st.one_of(st.none(), people()))
        if judged(table, facts, person).decision.allowed:
            assert judged(policy.table, facts, person).decision.allowed


@ANYTHING
@given(policy=policies(), data=st.data())
def test_the_order_of_files_routes_and_entries_says_nothing(policy: Policy, data: st.DataObject) -> None:
    def shuffled(entries: list[Any]) -> list[Any]:
        return data.draw(st.permutations(entries))

    routes = tuple(
        route | {key: shuffled(route[key]) for key in ("allow", "deny") if isinstance(route.get(key), list)}
        for route in shuffled(list(policy.routes))
    )
    files = files_of(routes, parts=data.draw(st.integers(1, 3)))
    names = shuffled(list(files))
    table = compiled({name: files[name] for name in names})
    for _ in range(6):
        facts, person = facts_of(data.draw(requests(policy.routes))), data.draw(st.one_of(st.none(), people()))
        first, second = judged(policy.table, facts, person), judged(table, facts, person)
        assert (first.route, first.decision.reason) == (second.route, second.decision.reason)


def _encoded(path: str, choose: random.Random) -> str:
    at = choose.randrange(1, len(path)) if len(path) > 1 else 0
    return path if not at or path[at] in "/%" else f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}"


def _encoded_again(path: str, choose: random.Random) -> str:
    return _encoded(path, choose).replace("%", "%25", 1)


def _in_other_case(path: str, choose: random.Random) -> str:
    return "".join(letter.swapcase() if choose.random() < 0.3 else letter for letter in path)


def _at_a_slash(insert: str) -> Callable[[str, random.Random], str]:
    def spell(path: str, choose: random.Random) -> str:
        at = choose.choice([index for index, letter in enumerate(path) if letter == "/"])
        return path[:at] + insert + path[at + 1 :]

    return spell


SPELLINGS: dict[str, Callable[[str, random.Random], str]] = {
    "a letter escaped": _encoded,
    "a letter escaped twice": _encoded_again,
    "letters in the other case": _in_other_case,
    "two slashes": _at_a_slash("//"),
    "a dot": _at_a_slash("/./"),
    "up and down": _at_a_slash("/zz/../"),
    "up and down, escaped": _at_a_slash("/zz/%2e%2e/"),
    "up and down behind a parameter": _at_a_slash("/zz/..;x/"),
    "an escaped slash": _at_a_slash("%2F"),
    "a slash escaped twice": _at_a_slash("%252f"),
    "a backslash": _at_a_slash("%5C"),
    "a slash of another script": _at_a_slash("%E2%88%95"),
    "an overlong slash": _at_a_slash("%c0%af"),
    "a parameter": lambda path, _: path + ";x=y",
    "a parameter in between": _at_a_slash(";x/"),
    "a space": lambda path, _: path + "%20",
    "a dot at the end": lambda path, _: path + ".",
    "what is cut off": lambda path, _: path + "%23x",
    "what is asked": lambda path, _: path + "%3Fx",
    "an invisible letter": lambda path, _: path + "%E2%80%8B",
}


def _closed_or_public(opened: dict[str, bool]) -> PolicyTable:
    """Make a table of routes that refuse everybody, or (True) let everybody in."""
    rules = [
        Rule(
            route=Route(name=text, template=text, methods=("GET",), upstream="portal", public=is_public),
            template=parse_template(text),
            grants=(),
            source="p:1:1",
            mfa_required=True,
        )
        for text, is_public in opened.items()
    ]
    return PolicyTable(rules, Roles({}), "v")


_open_or_not = st.dictionaries(templates, st.booleans(), min_size=1, max_size=6).filter(
    lambda drawn: len({parse_template(text).folded for text in drawn}) == len(drawn)
)


@settings(max_examples=300)
@given(drawn=_open_or_not, data=st.data(), seed=st.integers(0, 2**32))
def test_a_denied_path_stays_denied_in_every_spelling(drawn: dict[str, bool], data: st.DataObject, seed: int) -> None:
    """Whoever finds a way to write the path of a route that refuses everybody so that another route answers has found a hole."""
    table = _closed_or_public(drawn)
    names = {"{p}": "v", "{q}": "v", "*": "v", "**": "w/x"}
    path = "/".join(names.get(part, part) for part in data.draw(st.sampled_from(tuple(drawn))).split("/"))
    plain = facts_of(Asked("127.0.0.1", "GET", path, ()))
    assume(judged(table, plain, None).decision.reason is Reason.SIGN_IN_REQUIRED)
    for spell in SPELLINGS.values():
        spelled = spell(path, random.Random(seed))
        try:
            facts = parse_request("GET", f"http://127.0.0.1{spelled}")
        except ValueError:
            continue
        found = judged(table, facts, None)
        assert not found.decision.allowed, (path, spelled, found.route)
