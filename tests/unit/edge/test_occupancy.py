"""Places for what stays open: exact over processes, given back even by those that die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from multiprocessing import get_context

import pytest

from gateway.edge.occupancy import NO_PLACE, ROWS, WAYS, Occupancy

SECRET = b"k" * 32
OFFSET = 8192


@pytest.fixture
def fd() -> Iterator[int]:
    made = os.memfd_create("occupancy")
    yield made
    os.close(made)


@pytest.fixture
def table(fd: int) -> Iterator[Occupancy]:
    made = Occupancy(fd, OFFSET, secret=SECRET)
    yield made
    made.close()


def hold(fd: int, places: int, ready: int, go: int) -> None:
    """Be another worker: take places, say how many there were, wait."""
    table = Occupancy(fd, OFFSET, secret=SECRET)
    taken = sum(table.take("alice", 5) != NO_PLACE for _ in range(places))
    os.write(ready, bytes([taken]))
    os.read(go, 1)


class Neighbour:
    """Another process with the same memory."""

    def __init__(self, fd: int, places: int) -> None:
        self._ready, ready = os.pipe()
        go, self._go = os.pipe()
        self._process = get_context("fork").Process(target=hold, args=(fd, places, ready, go))
        self._process.start()
        os.close(ready)
        os.close(go)
        self.taken = os.read(self._ready, 1)[0]

    def kill(self) -> None:
        pid = self._process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self._process.join()
        os.close(self._ready)
        os.close(self._go)


def test_there_are_as_many_places_as_the_limit_says_for_each_by_itself(table: Occupancy) -> None:
    places = [table.take("alice", 2) for _ in range(3)]
    assert NO_PLACE not in places[:2]
    assert places[2] == NO_PLACE
    assert table.take("bob", 2) != NO_PLACE
    assert table.held == 3


def test_a_place_that_was_given_back_can_be_taken_again(table: Occupancy) -> None:
    table.give_back(table.take("alice", 1))
    assert table.held == 0
    assert table.take("alice", 1) != NO_PLACE


def test_a_limit_that_was_lowered_holds_for_the_next_place(table: Occupancy) -> None:
    for _ in range(3):
        assert table.take("alice", 3) != NO_PLACE
    assert table.take("alice", 2) == NO_PLACE


def test_places_of_another_worker_count(fd: int, table: Occupancy) -> None:
    assert table.take("alice", 5) != NO_PLACE
    neighbour = Neighbour(fd, 9)
    try:
        assert neighbour.taken == 4
        assert table.take("alice", 5) == NO_PLACE
    finally:
        neighbour.kill()


def test_the_places_of_a_worker_that_was_killed_are_free_when_its_successor_begins(fd: int, table: Occupancy) -> None:
    neighbour = Neighbour(fd, 5)
    neighbour.kill()
    assert neighbour.taken == 5
    assert table.take("alice", 5) == NO_PLACE, "until then they count: too few rather than too many"
    successor = Neighbour(fd, 2)
    try:
        assert successor.taken == 2
        assert table.take("alice", 5) != NO_PLACE
    finally:
        successor.kill()


def test_a_full_set_of_the_table_refuses_instead_of_forgetting_somebody(
    table: Occupancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.edge.occupancy.key_of", lambda _limit, subject, _secret: int(subject) * ROWS)
    for number in range(1, WAYS + 1):
        assert table.take(str(number), 1) != NO_PLACE
    assert table.take("99", 1) == NO_PLACE
    assert table.full == 1
    table.give_back(0)
    assert table.take("99", 1) != NO_PLACE


def test_the_table_uses_memory_only_for_workers_that_there_are(fd: int, table: Occupancy) -> None:
    for number in range(500):
        table.take(f"person {number}", 1)
    assert os.fstat(fd).st_blocks * 512 < 2 << 20
