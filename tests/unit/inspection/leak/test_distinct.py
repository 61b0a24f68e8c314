"""Different things are counted in bounded memory."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.leak.distinct import PANES, SLOT_BYTES, WAYS, DistinctTable
from gateway.inspection.leak.download import Allowance, DownloadRules

HOUR = 3600.0
NOW = 1_700_000_000.0
ENOUGH = 1 << 62


def table(sets: int = 4) -> DistinctTable:
    return DistinctTable(memoryview(bytearray(sets * WAYS * SLOT_BYTES)))


def things(count: int, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [chance.getrandbits(64) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 10, 200, 2_000, 20_000])
def test_the_count_is_close_to_the_truth(count: int) -> None:
    _, after = table().count(7, things(count), period_s=HOUR, now=NOW, most=ENOUGH)
    assert abs(after - count) <= max(2, count * 0.05)


@given(st.lists(st.integers(0, 50), max_size=80))
def test_the_same_thing_counts_once(taken: list[int]) -> None:
    counting = table()
    pool = things(51)
    after = 0
    for index in taken:
        _, after = counting.count(7, [pool[index]], period_s=HOUR, now=NOW, most=ENOUGH)
    different = len({pool[index] % 8192 for index in taken})
    assert abs(after - different) <= 1


def test_what_is_older_than_the_period_and_a_fifth_is_forgotten() -> None:
    counting = table()
    counting.count(7, things(100), period_s=HOUR, now=NOW, most=ENOUGH)
    before, _ = counting.count(7, [], period_s=HOUR, now=NOW + HOUR * 0.99, most=ENOUGH)
    assert before >= 98
    before, _ = counting.count(7, [], period_s=HOUR, now=NOW + HOUR * 1.21, most=ENOUGH)
    assert before == 0


def test_what_is_taken_bit_by_bit_over_the_period_adds_up() -> None:
    counting = table()
    pool = things(100)
    after = 0
    for n, thing in enumerate(pool):
        _, after = counting.count(7, [thing], period_s=HOUR, now=NOW + n * 36.0, most=ENOUGH)
    assert abs(after - 100) <= 3


def test_what_would_be_too_many_is_not_counted_and_what_was_seen_may_be_seen_again() -> None:
    counting = table()
    pool = things(30)
    assert counting.count(7, pool[:10], period_s=HOUR, now=NOW, most=10) == (0, 10)
    assert counting.count(7, pool[10:11], period_s=HOUR, now=NOW, most=10) == (10, 11)
    assert counting.count(7, pool[3:4], period_s=HOUR, now=NOW, most=10) == (10, 10)
    assert counting.count(7, pool[11:12], period_s=HOUR, now=NOW, most=10) == (10, 11)


def test_people_are_counted_apart() -> None:
    counting = table()
    counting.count(7, things(50), period_s=HOUR, now=NOW, most=ENOUGH)
    assert counting.count(8, things(5, 2), period_s=HOUR, now=NOW, most=ENOUGH) == (0, 5)
    assert counting.count(7, [], period_s=HOUR, now=NOW, most=ENOUGH)[0] >= 49


def test_of_too_many_people_the_one_not_seen_for_the_longest_gives_way() -> None:
    counting = table(sets=1)
    for person in range(1, WAYS + 1):
        counting.count(person, things(5), period_s=HOUR, now=NOW + person, most=ENOUGH)
    counting.count(1, [], period_s=HOUR, now=NOW + 100, most=ENOUGH)
    counting.count(99, things(3), period_s=HOUR, now=NOW + 101, most=ENOUGH)
    assert counting.count(1, [], period_s=HOUR, now=NOW + 102, most=ENOUGH)[0] == 5
    assert counting.count(2, [], period_s=HOUR, now=NOW + 103, most=ENOUGH)[0] == 0


def test_memory_for_no_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="too little"):
        DistinctTable(memoryview(bytearray(SLOT_BYTES)))
    assert PANES == 6


@pytest.mark.parametrize(
    ("roles", "allowance"),
    [
        ((), Allowance(200, HOUR)),
        (("client",), Allowance(200, HOUR)),
        (("billing",), Allowance(2_000, HOUR)),
        (("billing", "support"), Allowance(2_000, HOUR)),
        (("support",), Allowance(50, HOUR)),
        (("billing", "auditor"), None),
    ],
)
def test_of_several_roles_the_one_that_allows_most_counts(roles: tuple[str, ...], allowance: Allowance | None) -> None:
    of_roles = {"billing": Allowance(2_000, HOUR), "support": Allowance(50, HOUR), "auditor": None}
    assert DownloadRules(Allowance(200, HOUR), of_roles=of_roles).allowance_for(roles) == allowance
