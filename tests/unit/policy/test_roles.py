from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.roles import Roles, find_cycles


def test_a_role_holds_what_it_includes_at_any_depth() -> None:
    roles = Roles({"client": (), "billing": ("client",), "admin": ("billing",)})
    assert roles.held(["admin"]) == {"admin", "billing", "client"}
    assert roles.held(["client"]) == {"client"}
    assert roles.names == {"client", "billing", "admin"}


def test_a_grant_is_satisfied_by_every_role_that_includes_it() -> None:
    roles = Roles({"client": (), "billing": ("client",), "admin": ("billing",), "guest": ()})
    assert roles.holders(["client"]) == {"client", "billing", "admin"}
    assert roles.holders(["guest", "admin"]) == {"guest", "admin"}


def test_an_undeclared_role_holds_nothing_and_satisfies_nothing() -> None:
    roles = Roles({"client": ()})
    assert roles.held(["root", "*", ""]) == frozenset()
    assert roles.holders(["root"]) == frozenset()


def test_a_cycle_is_found_once_with_its_roles() -> None:
    assert find_cycles({"a": ("b",), "b": ("c",), "c": ("a",)}) == [("a", "b", "c")]


def test_a_cycle_behind_a_tail_is_found_without_the_tail() -> None:
    assert find_cycles({"t": ("a",), "a": ("b",), "b": ("a",)}) == [("a", "b")]


def test_a_diamond_is_no_cycle() -> None:
    diamond = {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}
    assert find_cycles(diamond) == []
    assert Roles(diamond).held(["a"]) == {"a", "b", "c", "d"}


def test_two_cycles_are_both_found() -> None:
    assert len(find_cycles({"a": ("b",), "b": ("a",), "c": ("d",), "d": ("c",)})) == 2


def test_a_long_chain_does_not_exhaust_the_stack() -> None:
    chain = {f"r{number}": (f"r{number + 1}",) for number in range(3000)}
    assert find_cycles({**chain, "r3000": ()}) == []
    assert find_cycles({**chain, "r3000": ("r0",)}) == [tuple(f"r{number}" for number in range(3001))]


_GRAPHS = st.dictionaries(
    st.sampled_from("abcde"), st.lists(st.sampled_from("abcde"), max_size=3, unique=True), max_size=5
)


def _reaches(graph: dict[str, list[str]], start: str, end: str) -> bool:
    seen: set[str] = set()
    pending = [other for other in graph[start] if other in graph]
    while pending:
        role = pending.pop()
        if role == end:
            return True
        if role not in seen:
            seen.add(role)
            pending += [other for other in graph[role] if other in graph]
    return False


@given(_GRAPHS)
def test_a_cycle_is_reported_exactly_when_a_role_reaches_itself(graph: dict[str, list[str]]) -> None:
    cycles = find_cycles(graph)
    assert bool(cycles) == any(_reaches(graph, role, role) for role in graph)
    for cycle in cycles:
        assert all(_reaches(graph, role, role) for role in cycle)


@given(_GRAPHS, st.sets(st.sampled_from("abcdexyz")), st.sets(st.sampled_from("abcdexyz")))
def test_holders_and_held_are_two_sides_of_one_relation(
    graph: dict[str, list[str]], granted: set[str], person: set[str]
) -> None:
    graph = {role: [other for other in others if other in graph and other > role] for role, others in graph.items()}
    roles = Roles(graph)
    assert bool(roles.holders(granted) & person) == bool(roles.held(person) & granted)
