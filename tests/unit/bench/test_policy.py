"""What the bench of decisions decides about: policies that compile, and requests that mean all of their routes."""

from __future__ import annotations

import random

import pytest

from gateway.edge.resolve import Resolver
from gateway.policy import compile_policy
from tests.bench import large_policy
from tests.bench.policy import arguments, asked, decide, decide_alone, measure


@pytest.mark.parametrize("conditions", [False, True])
def test_requests_reach_routes_of_every_kind_and_are_answered_both_ways(*, conditions: bool) -> None:
    files = large_policy.policy(large_policy.ROUTES_PER_FILE + 50, conditions=conditions)
    assert len(files) == 2
    table, _ = compile_policy(files, upstreams=("portal",), tenants=large_policy.TENANTS, hosts=large_policy.HOSTS)
    assert len(table.rules) == large_policy.ROUTES_PER_FILE + 50
    resolver = Resolver(table)
    reached, answers = set(), set()
    for request in asked(len(table.rules), seed=7):
        match = resolver.resolve(request.authority, request.target, request.method).match
        assert match is not None, request
        reached.add(int(match.route.name.removeprefix("route-")) % len(large_policy.KINDS))
        answers.add(decide(table, resolver, request))
        assert decide_alone(table, resolver, request) == decide(table, resolver, request)
        assert match.rule.asks is (conditions and not match.route.public)
    assert reached == set(range(len(large_policy.KINDS)))
    assert answers == {True, False}
    assert list(measure(table, asked(40, seed=8)[:50])) == ["policy", "cold", "warm"]


def test_the_same_seed_draws_the_same_requests() -> None:
    first, again = (large_policy.requests(100, 50, random.Random(3)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("words", ["--sizes 0", "--sizes 100,10", "--sizes 10,10", "--rounds 0"])
def test_sizes_must_ascend_and_there_must_be_a_round(words: str) -> None:
    with pytest.raises(SystemExit):
        arguments(words.split())
