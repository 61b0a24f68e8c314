from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.route import Route
from gateway.policy import PolicyTable
from gateway.policy.proof import cells
from gateway.policy.proof.cells import Cell, TooManyCellsError, cut, meet
from gateway.policy.roles import Roles
from gateway.policy.table import Rule
from gateway.policy.template import parse_template

HOSTS = ("a.example.com", "b.example.com", "c.example.com", "d.example.com")


def rule(template: str, hosts: tuple[str, ...] = (), methods: tuple[str, ...] = ("GET",)) -> Rule:
    name = f"{template} {hosts} {methods}"
    route = Route(name=name, template=template, methods=methods, hosts=hosts, upstream="portal", public=True)
    return Rule(route=route, template=parse_template(template), grants=(), source="p:1:1", mfa_required=True)


def table(rules: Iterable[Rule]) -> PolicyTable:
    return PolicyTable(rules, Roles({}), "v")


def of(*templates: str) -> PolicyTable:
    return table(rule(template) for template in templates)


def found(cut_cells: list[Cell]) -> dict[str, str]:
    return {cell.template: cell.path for cell in cut_cells if cell.nodes[0] is not None}


def test_each_template_is_one_cell_and_the_rest_is_another() -> None:
    assert found(cut([of("/", "/a/{x}", "/b/**")], [HOSTS])) == {"/": "/", "/a/{x}": "/a/any", "/b/**": "/b"}
    nowhere = [cell for cell in cut([of("/a")], [HOSTS]) if cell.nodes == (None,)]
    assert [cell.hosts for cell in nowhere] == [HOSTS]


def test_a_fresh_segment_is_none_that_a_template_has_in_any_spelling() -> None:
    paths = found(cut([of("/ANY/{x}", "/{x}", "/Any1")], [HOSTS]))
    assert paths["/{x}"] == "/any2"


def test_a_rest_that_narrower_ones_cover_has_but_the_paths_that_no_segment_takes() -> None:
    covered = found(cut([of("/a/**", "/a", "/a/{x}/**", "/a/")], [HOSTS]))
    assert covered == {"/a": "/a", "/a/": "/a/", "/a/{x}/**": "/a/any", "/a/**": "/a//any"}


def test_hosts_that_no_route_names_stay_together() -> None:
    named = table([rule("/**", hosts=("b.example.com",)), rule("/a")])
    cut_cells = cut([named], [HOSTS])
    assert {(cell.hosts, cell.template) for cell in cut_cells} == {
        (HOSTS, "/a"),
        (("b.example.com",), "/**"),
        (("a.example.com", "c.example.com", "d.example.com"), ""),
    }


def test_two_tables_are_cut_where_either_is() -> None:
    cut_cells = cut([of("/**"), of("/a/{x}", "/{y}/b")], [HOSTS, HOSTS])
    assert {(cell.template, tuple(node and node.template for node in cell.nodes)) for cell in cut_cells} == {
        ("/a/{x}", ("/**", "/a/{x}")),
        ("/{y}/b", ("/**", "/{y}/b")),
        ("/**", ("/**", None)),
    }


def test_a_host_that_only_one_table_is_in_force_for_has_cells_of_its_own() -> None:
    cut_cells = cut([of("/a"), of("/a")], [HOSTS[:2], HOSTS[1:2]])
    assert {(cell.hosts, tuple(node is not None for node in cell.nodes)) for cell in cut_cells} == {
        (HOSTS[1:2], (True, True)),
        (HOSTS[:1], (True, False)),
        (HOSTS[:2], (False, False)),
    }


def test_a_method_that_no_table_lists_has_no_rule() -> None:
    [cell] = [cell for cell in cut([of("/a"), table([rule("/a", methods=("POST",))])], [HOSTS, HOSTS]) if cell.template]
    assert cell.methods == ("GET", "HEAD", "POST")
    assert [taken is not None for taken in cell.rules("HEAD")] == [True, False]
    assert cell.rules("DELETE") == (None, None)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("/**", "/a/{x}", "/a/{x}"),
        ("/{x}/b", "/a/{y}", "/a/b"),
        ("/{x}/*", "/*/{y}", "/{x}/{y}"),
        ("/a/**", "/{x}/b/c", "/a/b/c"),
        ("/**", "/**", "/**"),
        ("/", "/**", "/"),
        ("/a", "/a/**", "/a"),
        ("/a/", "/a", "/a"),
    ],
)
def test_what_two_templates_have_in_common_is_the_narrower_of_each_segment(one: str, other: str, both: str) -> None:
    assert meet(one, other) == both


def test_prefixes_beside_a_wildcard_are_not_multiplied() -> None:
    many = of(*(f"/a{number}/b" for number in range(2000)), *(f"/{{t}}/x{number}" for number in range(2000)), "/**")
    assert len(cut([many, many], [HOSTS, HOSTS])) == 4001


def test_templates_that_multiply_are_refused_instead_of_searched_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MAX_STEPS", 2000)
    many = of(*(f"/a{number}/{{b}}/c" for number in range(60)), *(f"/{{t}}/x{number}/d" for number in range(60)))
    with pytest.raises(TooManyCellsError):
        cut([many], [HOSTS])


SEGMENTS = st.sampled_from(("a", "b", "c", "{x}", "{y}", "*"))
TEMPLATES = st.builds(
    lambda parts, end: "/" + "/".join((*dict.fromkeys(parts), *end)),
    st.lists(SEGMENTS, max_size=3),
    st.sampled_from(((), (), ("",), ("**",))),
)
RULES = st.lists(
    st.builds(
        rule,
        TEMPLATES,
        st.sampled_from(((), (), HOSTS[:1], HOSTS[1:3])),
        st.sampled_from((("GET",), ("POST",))),
    ),
    max_size=9,
    unique_by=lambda made: made.route.name,
)
PATHS = st.lists(st.sampled_from(("a", "b", "c", "any", "zz", "")), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


@settings(max_examples=200)
@given(rules=RULES, others=RULES, paths=st.lists(PATHS, min_size=8, max_size=8))
def test_every_path_is_in_exactly_one_cell_and_decided_as_its_path(
    rules: list[Rule], others: list[Rule], paths: list[str]
) -> None:
    tables = [table(rules), table(others)]
    served = [HOSTS[:3], HOSTS]
    by_nodes: dict[tuple[object, ...], Cell] = {}
    for cell in cut(tables, served):
        for host in cell.hosts:
            assert (host, *cell.nodes) not in by_nodes
            by_nodes[host, *cell.nodes] = cell
            assert cell.nodes == tuple(
                each.match(host, cell.path) if host in of_table else None
                for each, of_table in zip(tables, served, strict=True)
            )
    for host in HOSTS:
        for path in paths:
            nodes = tuple(
                each.match(host, path) if host in of_table else None
                for each, of_table in zip(tables, served, strict=True)
            )
            assert (host, *nodes) in by_nodes
