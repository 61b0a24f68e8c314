import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.throttle import (
    ACCOUNT,
    FACTOR,
    NETWORK,
    SP_800_63B_MAX_FAILURES,
    Count,
    Throttle,
    blocked_s,
    charge,
    forgive,
    forgotten_at,
    wait_of,
)

ALL = st.sampled_from([ACCOUNT, FACTOR, NETWORK])


def fail(limits: Throttle, times: int, now: float = 1000.0) -> Count:
    """Fail as fast as the throttle lets."""
    count = Count()
    for _ in range(times):
        now += blocked_s(limits, count, now)
        count = charge(limits, count, now)
    return count


@given(ALL, st.integers(min_value=0, max_value=2000))
def test_the_wait_never_shrinks_with_more_failures(limits: Throttle, failures: int) -> None:
    assert wait_of(limits, failures) <= wait_of(limits, failures + 1)


@given(ALL, st.integers(min_value=1, max_value=99), st.floats(min_value=0, max_value=1e9))
def test_right_after_a_failure_exactly_its_wait_is_left(limits: Throttle, failures: int, now: float) -> None:
    count = charge(limits, Count(failures=failures, last=now, blocked_until=now), now)
    assert blocked_s(limits, count, now) == pytest.approx(wait_of(limits, failures + 1))
    end = count.blocked_until
    assert blocked_s(limits, count, end) == 0


def test_three_mistakes_cost_nothing_then_the_delay_doubles_then_the_account_locks() -> None:
    assert [wait_of(ACCOUNT, failures) for failures in range(1, 12)] == [0, 0, 0, 1, 2, 4, 8, 16, 32, 900, 1800]


def test_five_wrong_codes_lock_the_factor_for_longer_each_time() -> None:
    assert [wait_of(FACTOR, failures) for failures in (4, 5, 6, 7)] == [0, 60, 120, 240]


def test_no_more_than_a_hundred_consecutive_failures_are_ever_possible() -> None:
    """SP 800-63B-4 section 3.2.2."""
    for limits in (ACCOUNT, FACTOR):
        count = fail(limits, SP_800_63B_MAX_FAILURES)
        assert blocked_s(limits, count, count.last + 10 * 365 * 86400) == math.inf
        assert forgotten_at(limits, count) is None


def test_an_attacker_in_no_hurry_gets_few_tries_a_day() -> None:
    now, count, tries = 0.0, Count(), 0
    while now < 86400:
        now += blocked_s(ACCOUNT, count, now)
        count = charge(ACCOUNT, count, now)
        tries += 1
    assert tries < 22


def test_failures_are_forgotten_after_a_day_of_silence() -> None:
    count = fail(ACCOUNT, 3)
    later = count.last + ACCOUNT.forget_s
    assert charge(ACCOUNT, count, later).failures == 1
    assert charge(ACCOUNT, count, later - 1).failures == 4
    assert forgotten_at(ACCOUNT, count) == later


def test_forgiving_takes_back_one_charge_and_not_those_of_others() -> None:
    count = fail(ACCOUNT, 4)
    assert forgive(ACCOUNT, count).failures == 3
    assert blocked_s(ACCOUNT, forgive(ACCOUNT, count), count.last) == 0
    assert forgive(ACCOUNT, Count()).failures == 0


@given(ALL, st.integers(min_value=1, max_value=98), st.floats(min_value=0, max_value=1e9))
def test_a_charge_that_is_forgiven_leaves_no_longer_wait_than_before(
    limits: Throttle, failures: int, now: float
) -> None:
    before = Count(failures=failures, last=now, blocked_until=now + wait_of(limits, failures))
    after = forgive(limits, charge(limits, before, now))
    assert after.failures == before.failures
    assert blocked_s(limits, after, now) <= wait_of(limits, failures)


def test_a_clock_set_back_by_a_year_does_not_lock_for_a_year() -> None:
    count = fail(ACCOUNT, 5, now=1e9)
    assert blocked_s(ACCOUNT, count, 1e9 - 365 * 86400) == wait_of(ACCOUNT, 5)
