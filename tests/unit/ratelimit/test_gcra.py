"""GCRA: never more than the burst at once, never more than the rate for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.route import LimitSpec
from gateway.ratelimit.gcra import Bucket


def bucket(rate: float, burst: int) -> Bucket:
    return Bucket(LimitSpec(name="x", rate_per_s=rate, burst=burst, per="ip"))


@given(st.floats(0.01, 1000), st.integers(1, 200), st.lists(st.floats(0, 5), max_size=300))
def test_no_window_ever_holds_more_than_burst_plus_rate(rate: float, burst: int, gaps: list[float]) -> None:
    limit = bucket(rate, burst)
    now, tat, admitted = 1e9, 0.0, []
    for gap in gaps:
        now += gap / rate / 3
        new = limit.admit(tat, now)
        if new:
            tat = new
            admitted.append(now)
    for index, start in enumerate(admitted):
        for later in range(index, len(admitted)):
            allowed = burst + rate * (admitted[later] - start)
            assert later - index + 1 <= allowed + 1e-3 * burst + 1


def test_the_burst_passes_at_once_and_not_one_more() -> None:
    limit = bucket(1, 10)
    tat = 0.0
    for _ in range(10):
        tat = limit.admit(tat, 1000.0)
        assert tat
    assert limit.admit(tat, 1000.0) == 0.0
    assert abs(limit.retry_after(tat, 1000.0) - 1.0) < 1e-6
    assert limit.admit(tat, 1001.01)


def test_a_clock_that_steps_back_locks_nobody_out_for_long() -> None:
    limit = bucket(1, 10)
    tat = 0.0
    for _ in range(10):
        tat = limit.admit(tat, 1_000_000.0)
    assert limit.retry_after(tat, 1000.0) <= 1.0
    assert limit.admit(tat, 1000.0) == 0.0


def test_a_forgotten_key_loses_nothing() -> None:
    limit = bucket(2, 3)
    assert limit.admit(0.0, 500.0) == limit.admit(499.0, 500.0)
