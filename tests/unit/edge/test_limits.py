"""The table of limits: exact over processes, never over-admitting, never forgetting early."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge.limits import LimitTable
from gateway.exchange.route import LimitSpec
from gateway.ratelimit.gcra import Bucket

SIZE = 1 << 14


def bucket(burst: int, rate: float = 0.001, name: str = "x") -> Bucket:
    return Bucket(LimitSpec(name=name, rate_per_s=rate, burst=burst, per="ip"))


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("limits")
    os.ftruncate(fd, SIZE)
    yield fd
    os.close(fd)


def test_each_subject_and_each_limit_counts_alone(memory: int) -> None:
    table = LimitTable(memory, SIZE, shared=False, secret=b"k")
    one, two = bucket(2), bucket(2, name="y")
    assert [bool(table.take(one, "a", 1e9)) for _ in range(3)] == [False, False, True]
    assert not table.take(one, "b", 1e9)
    assert not table.take(two, "a", 1e9)


def _take(fd: int, count: int, queue: multiprocessing.Queue[int]) -> None:
    table = LimitTable(fd, SIZE, shared=True, secret=b"k")
    queue.put(sum(table.take(bucket(500), "a", 1e9) == 0.0 for _ in range(count)))


def test_processes_together_admit_exactly_the_burst(memory: int) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=_take, args=(memory, 400, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    total = sum(queue.get(timeout=30) for _ in workers)
    for worker in workers:
        worker.join()
    assert total == 500


def test_a_full_set_refuses_rather_than_forgets(memory: int) -> None:
    table = LimitTable(memory, SIZE, shared=False, secret=b"k")
    limit = bucket(1)
    refused = sum(table.take(limit, str(n), 1e9) > 0 for n in range(5000))
    assert refused >= 5000 - SIZE // 16
    assert table.full == refused
    assert not table.take(limit, "later", 1e9 + 1e6), "slots whose time has passed are free"


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 3)), max_size=100))
def test_the_table_agrees_with_the_arithmetic(steps: list[tuple[str, float]]) -> None:
    fd = os.memfd_create("limits")
    os.ftruncate(fd, SIZE)
    table = LimitTable(fd, SIZE, shared=False, secret=b"k")
    limit = bucket(3, rate=1.0)
    tats: dict[str, float] = {}
    now = 1e9
    for subject, gap in steps:
        now += gap
        expected = limit.admit(tats.get(subject, 0.0), now)
        assert (table.take(limit, subject, now) == 0.0) is (expected > 0)
        if expected:
            tats[subject] = expected
    os.close(fd)
