"""The arithmetic of the tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.statistic import figure, percentile, ratios


def test_a_figure_has_the_median_and_the_range() -> None:
    found = figure([3.0, 1.0, 2.0, 10.0])
    assert (found.median, found.low, found.high) == (2.5, 1.0, 10.0)


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(ValueError, match="no samples"):
        figure([])


def test_ratios_pair_the_rounds_so_that_a_slow_round_cancels() -> None:
    found = ratios({0: 10.0, 1: 20.0, 2: 10.0}, {0: 20.0, 1: 40.0, 2: 20.0})
    assert found is not None
    assert found.samples == (0.5, 0.5, 0.5)


def test_a_round_that_one_of_the_two_missed_is_left_out() -> None:
    found = ratios({0: 10.0, 2: 30.0}, {0: 20.0, 1: 40.0, 2: 30.0})
    assert found is not None
    assert found.samples == (0.5, 1.0)


def test_no_common_round_is_no_ratio() -> None:
    assert ratios({0: 1.0}, {1: 1.0}) is None
    assert ratios({0: 1.0}, {0: 0.0}) is None


def test_percentiles_are_samples_by_nearest_rank() -> None:
    hundred = [float(value) for value in range(1, 101)]
    assert percentile(hundred, 0.5) == 50
    assert percentile(hundred, 0.99) == 99
    assert percentile(hundred, 1.0) == 100
    assert percentile([7.0], 0.5) == 7


@given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted), st.floats(0.01, 1.0))
def test_a_percentile_covers_its_share(ordered: list[float], share: float) -> None:
    value = percentile(ordered, share)
    assert sum(each <= value for each in ordered) >= share * len(ordered) - 1e-9
