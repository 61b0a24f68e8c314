"""Who gets the next request: shares, spread, and how few keys move."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.balance import Ring, schedule

KEYS = [f"user:{number}" for number in range(5000)]
NAMES = [f"10.0.0.{number}:3000" for number in range(1, 6)]


@pytest.mark.parametrize(
    ("weights", "turns"),
    [
        ([1], (0,)),
        ([1, 1, 1], (0, 1, 2)),
        ([2, 1], (0, 1, 0)),
        ([100, 100], (0, 1)),
        ([5, 1, 1], (0, 0, 1, 0, 2, 0, 0)),
    ],
)
def test_servers_take_turns_by_weight_and_spread(weights: list[int], turns: tuple[int, ...]) -> None:
    assert schedule(weights) == turns


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_each_server_gets_exactly_its_share(weights: list[int]) -> None:
    turns = Counter(schedule(weights))
    assert all(turns[index] * sum(weights) == weight * turns.total() for index, weight in enumerate(weights))


@given(st.lists(st.integers(1, 20), min_size=2, max_size=6))
def test_no_server_gets_all_its_turns_at_once(weights: list[int]) -> None:
    turns = schedule(weights)
    largest = max(weights)
    if largest * 2 <= sum(weights):
        repeats = sum(one == other for one, other in pairwise(turns))
        assert repeats * 2 <= len(turns)


def preferred(names: list[str], weights: list[int] | None = None) -> dict[str, str]:
    ring = Ring(names, weights or [1] * len(names))
    return {key: names[next(ring.order(key))] for key in KEYS}


def test_keys_are_spread_evenly() -> None:
    counts = Counter(preferred(NAMES).values())
    assert all(700 < counts[name] < 1300 for name in NAMES), counts


def test_weights_are_shares_of_the_keys() -> None:
    counts = Counter(preferred(NAMES[:2], [3, 1]).values())
    assert 0.65 < counts[NAMES[0]] / len(KEYS) < 0.85


def test_a_new_server_takes_its_share_and_moves_nobody_else() -> None:
    before, after = preferred(NAMES[:4]), preferred(NAMES)
    moved = [key for key in KEYS if before[key] != after[key]]
    assert all(after[key] == NAMES[4] for key in moved)
    assert len(moved) < len(KEYS) * 0.3


def test_keys_of_a_server_that_is_out_spread_over_the_others_and_the_rest_stay() -> None:
    ring = Ring(NAMES, [1] * 5)
    seconds: Counter[int] = Counter()
    for key in KEYS:
        first, second = list(ring.order(key))[:2]
        if first == 0:
            seconds[second] += 1
    assert len(seconds) == 4


def test_the_order_of_the_list_does_not_matter() -> None:
    """Nodes whose files list the servers in another order must agree about people."""
    assert preferred(NAMES) == preferred(NAMES[::-1])


@given(st.text(max_size=40))
def test_every_key_knows_all_servers_once(key: str) -> None:
    assert sorted(Ring(NAMES, [1, 2, 3, 1, 1]).order(key)) == [0, 1, 2, 3, 4]
