"""A lease is used up, ends, and is as large as what was used of the one before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ratelimit.lease import HOLD_S, LEASE_S, LEASED_BURST, SHARE, Lease, wanted_size


def test_a_lease_admits_as_many_as_it_has_and_tells_how_many_were_used() -> None:
    lease = Lease(2, until=10.0)
    assert [lease.take(9.0), lease.take(9.9), lease.take(9.9)] == [True, True, False]
    assert lease.used == 2


def test_a_lease_that_is_over_admits_nobody() -> None:
    lease = Lease(2, until=10.0)
    assert lease.take(9.0)
    assert not lease.take(10.0)
    assert lease.used == 1


def test_a_worker_stops_before_the_store_thinks_so() -> None:
    assert HOLD_S < LEASE_S


@pytest.mark.parametrize(
    ("burst", "used", "left", "waiting", "size"),
    [
        (LEASED_BURST - 1, None, 0, 5, 0),  # small: counted one by one
        (800, None, 0, 5, 5),  # the first: as many again as wait
        (800, 10, 0, 1, 20),  # it did not suffice
        (800, 10, 3, 1, 10),  # it did
        (800, 0, 7, 1, 0),  # nobody came
        (800, 90, 0, 1, 100),  # never more than its share
    ],
)
def test_the_next_lease_follows_the_use_of_the_last(
    burst: int, used: int | None, left: int, waiting: int, size: int
) -> None:
    before = None
    if used is not None:
        before = Lease(used + left, until=1.0)
        before.left = left
    assert wanted_size(burst, before, waiting) == size


@given(
    burst=st.integers(1, 10**6), size=st.integers(0, 10**6), left=st.integers(0, 10**6), waiting=st.integers(1, 10**4)
)
def test_no_lease_is_larger_than_its_share(burst: int, size: int, left: int, waiting: int) -> None:
    before = Lease(size, until=1.0)
    before.left = min(left, size)
    assert 0 <= wanted_size(burst, before, waiting) <= burst // SHARE
