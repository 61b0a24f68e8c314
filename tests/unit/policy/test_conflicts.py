from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.policy import PolicyTable

HEAD = "version: 1\nroles: {client: {}}\nroutes:\n"
PROTECTED = "allow: [{roles: [client]}]"


def policy(*routes: tuple[str, ...]) -> str:
    """Write one line a route: path, methods, hosts, verdict."""
    lines = []
    for number, (path, methods, *more) in enumerate(routes):
        hosts = f", hosts: [{more[0]}]" if more and more[0] else ""
        verdict = more[1] if len(more) > 1 else PROTECTED
        lines.append(
            f'  - {{name: r{number}, match: {{path: "{path}", methods: [{methods}]{hosts}}}, upstream: portal, {verdict}}}\n'
        )
    return HEAD + "".join(lines)


@pytest.mark.parametrize(
    "routes",
    [
        [("/a", "GET"), ("/a", "GET")],
        [("/a/{x}", "GET"), ("/a/{y}", "GET, POST")],
        [("/a/{x}", "GET"), ("/a/*", "GET")],
        [("/a/**", "POST"), ("/a/**", "POST")],
        [("/a", "GET"), ("/a", "HEAD")],
        [("/a", "GET", "acme.example.com"), ("/a", "GET", "acme.example.com, zeta.example.com")],
        [("/a", "GET"), ("/a", "GET", "acme.example.com")],
        [("/a", "GET", "acme.example.com"), ("/a", "GET")],
    ],
)
def test_two_routes_for_the_same_requests_are_ambiguous(
    errors_of: Callable[..., list[str]], routes: list[tuple[str, str]]
) -> None:
    found = errors_of(policy(*routes))
    assert len(found) == 1
    assert found[0].startswith("p.yaml:5:30: ambiguous: the route 'r0' (p.yaml:4:30) matches the same paths, ")


@pytest.mark.parametrize(
    "routes",
    [
        [("/a", "GET"), ("/a", "POST")],
        [("/a/{x}", "GET"), ("/a/{y}", "POST, PUT"), ("/a/*", "DELETE")],
        [("/a", "GET", "acme.example.com"), ("/a", "GET", "zeta.example.com")],
        [("/a", "GET"), ("/a", "POST", "acme.example.com")],
        [("/a/{x}/c", "GET"), ("/a/b/**", "GET"), ("/a/**", "GET"), ("/**", "GET")],
        [("/a", "GET"), ("/a/", "GET")],
        [("/a", "POST"), ("/a", "HEAD")],
    ],
)
def test_routes_that_never_meet_or_differ_in_specificity_are_not(
    compiled: Callable[..., PolicyTable], routes: list[tuple[str, str]]
) -> None:
    assert len(compiled(policy(*routes)).routes) == len(routes)


def test_templates_that_differ_in_case_only_are_ambiguous(errors_of: Callable[..., list[str]]) -> None:
    assert errors_of(policy(("/Admin/{x}", "GET"), ("/admin/{y}", "POST"))) == [
        "p.yaml:5:30: ambiguous: '/admin/{y}' differs from '/Admin/{x}' (p.yaml:4:30) in case or escapes only"
    ]


def test_templates_that_differ_in_escapes_only_are_ambiguous(errors_of: Callable[..., list[str]]) -> None:
    assert len(errors_of(policy(("/a%40b", "GET"), ("/a@b", "POST")))) == 1


def test_a_rest_that_narrower_templates_leave_nothing_is_unreachable(errors_of: Callable[..., list[str]]) -> None:
    routes = [("/a", "GET"), ("/a/", "GET"), ("/a/{x}/**", "GET"), ("/a/**", "GET, POST")]
    assert errors_of(policy(*routes)) == [
        "p.yaml:7:30: unreachable: narrower templates take every path of this one ('r0', 'r1', 'r2')"
    ]


def test_a_rest_is_unreachable_through_several_levels(errors_of: Callable[..., list[str]]) -> None:
    routes = [
        ("/a", "GET"),
        ("/a/", "GET"),
        ("/a/{x}", "GET"),
        ("/a/{x}/", "GET"),
        ("/a/{x}/{y}/**", "GET"),
        ("/a/**", "POST"),
    ]
    assert len(errors_of(policy(*routes))) == 1


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_rest_with_one_path_left_is_reachable(compiled: Callable[..., PolicyTable], missing: int) -> None:
    routes = [("/a", "GET"), ("/a/", "GET"), ("/a/{x}/**", "GET"), ("/a/**", "GET")]
    del routes[missing]
    assert len(compiled(policy(*routes)).routes) == 3


def test_a_rest_covered_on_one_host_only_is_reachable_on_the_others(
    compiled: Callable[..., PolicyTable], errors_of: Callable[..., list[str]]
) -> None:
    host = "acme.example.com"
    narrow = [("/a", "GET", host), ("/a/", "GET", host), ("/a/{x}/**", "GET", host)]
    assert len(compiled(policy(*narrow, ("/a/**", "GET"))).routes) == 4
    assert len(errors_of(policy(*narrow, ("/a/**", "GET", host)))) == 1
    every = "portal.example.com, acme.example.com, zeta.example.com"
    assert len(errors_of(policy(*[(path, methods, every) for path, methods, _ in narrow], ("/a/**", "GET")))) == 1


def test_a_public_route_under_a_protected_one_is_a_warning_that_names_the_nearest(
    warnings_of: Callable[[str], list[str]],
) -> None:
    routes = [("/**", "GET"), ("/a/**", "GET"), ("/a/{x}/c", "GET", "", "public: true")]
    assert warnings_of(policy(*routes)) == [
        "p.yaml:6:77: warning: the public route 'r2' lies under the protected route 'r1' (/a/**, p.yaml:5:5)"
    ]


@pytest.mark.parametrize(
    "routes",
    [
        [("/b/**", "GET"), ("/a/**", "GET", "", "public: true")],
        [("/a/{x}", "GET"), ("/a/b/c", "GET", "", "public: true")],
        [("/a/b", "GET"), ("/a/{x}", "GET", "", "public: true")],
        [("/**", "GET", "acme.example.com"), ("/a", "GET", "zeta.example.com", "public: true")],
        [("/**", "POST"), ("/a", "GET", "", "public: true")],
        [("/**", "GET", "", "public: true"), ("/a", "GET", "", "public: true")],
        [("/a/{x}", "GET"), ("/a/", "GET", "", "public: true")],
    ],
)
def test_a_public_route_beside_protected_ones_is_not(
    warnings_of: Callable[[str], list[str]], routes: list[tuple[str, str]]
) -> None:
    assert not [line for line in warnings_of(policy(*routes)) if "public route" in line]


def test_many_tenants_may_have_a_route_of_one_template_each(compiled: Callable[..., PolicyTable]) -> None:
    text = policy(*[("/a/{x}", method, "acme.example.com") for method in ("GET", "POST", "PUT", "PATCH", "DELETE")])
    assert len(compiled(text).routes) == 5
