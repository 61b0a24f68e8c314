"""A template stands for its path with and without a slash at the end, unless the other one is declared."""

from __future__ import annotations

import pytest

from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable, compile_policy


def table(*paths: str) -> PolicyTable:
    routes = "".join(
        f"  - {{name: r{number}, match: {{path: '{path}', methods: [GET]}}, upstream: portal, public: true}}\n"
        for number, path in enumerate(paths)
    )
    return compile_policy({"a.yaml": f"version: 1\nroutes:\n{routes}"}, upstreams=["portal"], tenants=[], hosts=["a"])[
        0
    ]


def name(policy: PolicyTable, path: str) -> str:
    match = policy.resolve("a", path, "GET")
    return match.value if isinstance(match, Reason) else match.route.name


@pytest.mark.parametrize("path", ["/admin", "/admin/"])
def test_a_slash_more_does_not_lead_to_a_broader_route(path: str) -> None:
    assert name(table("/admin", "/**"), path) == "r0"
    assert name(table("/admin/", "/**"), path) == "r0"


def test_both_may_be_declared() -> None:
    policy = table("/a", "/a/", "/**")
    assert (name(policy, "/a"), name(policy, "/a/")) == ("r0", "r1")


def test_parameters_are_read_alike() -> None:
    match = table("/invoices/{id}").resolve("a", "/invoices/42/", "GET")
    assert not isinstance(match, Reason)
    assert match.parameters == {"id": "42"}


def test_a_second_slash_is_another_place() -> None:
    assert name(table("/admin", "/**"), "/admin//") == "r1"
    assert table("/admin", "/**").is_ambiguous("a", "/admin//")
