"""Who gets in when there is no room, and who goes for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import pytest

from gateway.edge.admission import FOUND, GRACE_S, HANDSHAKES_SHARE, LOOK_AGAIN_S, REPORT_S, Admission
from gateway.edge.metrics import EdgeMetrics
from gateway.edge.peer import Peer
from tests.unit.edge.conftest import WIRE

BOUNDS = replace(WIRE, max_connections=8, max_connections_per_client=4)
WIDE = replace(WIRE, max_connections=1024, max_connections_per_client=768)


def peer(key: str) -> Peer:
    return Peer(ip="192.0.2.1", port=1, limiter_key=key, trusted=not key, redirects=False, secure=True, tls="")


class Client:
    """A connection as the door sees it."""

    def __init__(self, door: Door, key: str, owes_since: float) -> None:
        self.peer = peer(key)
        self.owes_since = owes_since
        self.is_cut = False
        self._door = door
        door.connections[self] = None
        door.admission.add(self.peer)

    def cut(self) -> None:
        self.is_cut = True
        self.owes_since = inf
        self.leave()

    def leave(self) -> None:
        del self._door.connections[self]
        self._door.admission.remove(self.peer)


class Door:
    def __init__(self) -> None:
        self.metrics = EdgeMetrics()
        self.connections: dict[Client, None] = {}
        self.admission = Admission(self.connections.keys(), self.metrics)

    def fill(
        self, count: int, key: Callable[[int], str] = str, owes_since: Callable[[int], float] = lambda _: inf
    ) -> list[Client]:
        return [Client(self, key(number), owes_since(number)) for number in range(count)]

    def admits(self, key: str, now: float = 100.0) -> bool:
        return self.admission.admit(peer(key), BOUNDS, now)

    def begins(self, token: Any, key: str, now: float = 100.0, abort: Callable[[], object] = lambda: None) -> bool:
        return self.admission.begin(token, key, BOUNDS, now, abort)

    def refused(self, reason: str) -> float:
        return self.metrics.connections_refused.values.get((reason,), 0)


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_full_worker_refuses_when_everybody_is_served(door: Door) -> None:
    door.fill(8)
    assert not door.admits("new")
    assert door.refused("full") == 1


def test_the_client_that_owes_a_request_longest_gives_way(door: Door) -> None:
    clients = door.fill(8, owes_since=lambda number: 90.0 - number)
    assert door.admits("new")
    assert [client.is_cut for client in clients] == [False] * 7 + [True]
    assert door.metrics.connections_cut.values == {("full",): 1}


def test_a_client_that_has_just_come_does_not_give_way(door: Door) -> None:
    door.fill(8, owes_since=lambda _: 100.0 - GRACE_S / 2)
    assert not door.admits("new", 100.0)
    assert door.admits("new", 101.0)


def test_who_has_become_busy_since_the_search_is_left_alone(door: Door) -> None:
    clients = door.fill(8, owes_since=float)
    assert door.admits("new")
    Client(door, "new", inf)
    clients[1].owes_since = inf
    assert door.admits("other")
    assert [client.is_cut for client in clients[:3]] == [True, False, True]


def test_searching_is_not_what_a_flood_pays_with(door: Door) -> None:
    """Attack: each refused connection makes a full worker look at all its connections."""
    looked = 0

    class Counted(Client):
        @property
        def owes_since(self) -> float:
            nonlocal looked
            looked += 1
            return inf

        @owes_since.setter
        def owes_since(self, value: float) -> None:
            pass

    for number in range(8):
        Counted(door, str(number), inf)
    for attempt in range(1000):
        assert not door.admits("new", 100.0 + LOOK_AGAIN_S * attempt / 1000)
    assert looked <= 8 * 3


def test_one_client_cannot_take_every_connection(door: Door) -> None:
    door.fill(4, key=lambda _: "one")
    assert not door.admits("one")
    assert door.refused("client") == 1
    assert door.admits("other")


def test_a_client_at_its_bound_loses_its_own_idle_connection_first(door: Door) -> None:
    other = Client(door, "other", 1.0)
    mine = door.fill(4, key=lambda _: "one", owes_since=lambda number: 50.0 + number)
    assert door.admits("one")
    assert mine[0].is_cut
    assert not other.is_cut
    assert door.metrics.connections_cut.values == {("client",): 1}


def test_the_proxies_of_the_operator_are_no_client(door: Door) -> None:
    door.fill(7, key=lambda _: "")
    assert door.admits("")
    Client(door, "", inf)
    assert not door.admits("")
    assert door.refused("full") == 1


def test_who_left_is_not_counted(door: Door) -> None:
    for client in door.fill(4, key=lambda _: "one"):
        client.leave()
    assert door.admits("one")
    assert door.admission._open == {}


def test_handshakes_count_as_what_they_may_become(door: Door) -> None:
    bounds = replace(WIDE, max_connections_per_client=4)
    door.fill(2, key=lambda _: "one")
    assert [door.admission.begin(number, "one", bounds, 100.0, lambda: None) for number in range(3)] == [
        True,
        True,
        False,
    ]
    assert door.refused("client") == 1
    door.admission.end(0)
    door.admission.end(0)
    assert door.admission.begin(3, "one", bounds, 100.0, lambda: None)
    assert door.admission._shaking == {"one": 2}


def test_stalled_handshakes_never_fill_the_worker(door: Door) -> None:
    """Attack: TCP connections of many addresses that never shake hands (CVE-2026-26999)."""
    aborted: list[int] = []
    most = WIDE.max_connections // HANDSHAKES_SHARE
    for number in range(most):
        assert door.admission.begin(number, str(number), WIDE, 100.0, partial(aborted.append, number))
    assert not door.admission.begin("new", "new", WIDE, 100.0, lambda: None)
    assert door.refused("handshakes") == 1
    assert door.admission.begin("new", "new", WIDE, 100.0 + GRACE_S, lambda: None)
    assert aborted == [0]
    assert door.admission.admit(peer("other"), WIDE, 100.0)


def test_the_handshakes_of_one_client_never_fill_the_worker(door: Door) -> None:
    """Attack: one address that begins handshakes faster than they time out."""
    most = WIDE.max_connections // HANDSHAKES_SHARE
    for number in range(most):
        door.admission.begin(number, "one", WIDE, 100.0, lambda: None)
    assert len(door.admission._handshakes) == most // HANDSHAKES_SHARE
    assert door.refused("client_handshakes") == most - most // HANDSHAKES_SHARE
    assert door.admission.begin("other", "other", WIDE, 100.0, lambda: None)


def test_a_browser_gets_in_however_few_connections_there_are(door: Door) -> None:
    bounds = replace(WIRE, max_connections=16, max_connections_per_client=12)
    assert all(door.admission.begin(number, "one", bounds, 100.0, lambda: None) for number in range(6))


def test_handshakes_and_connections_together_stay_within_the_bound(door: Door) -> None:
    door.fill(7)
    assert door.begins(1, "a")
    assert not door.begins(2, "b")
    assert door.refused("full") == 1


def test_refusals_are_told_once_a_minute(door: Door) -> None:
    assert door.admission.summary(100.0) == ""
    for _ in range(3):
        door.admission.refuse("full")
    door.admission.refuse("client")
    assert door.admission.summary(100.0) == "client: 1, full: 3"
    door.admission.refuse("full")
    assert door.admission.summary(101.0) == ""
    assert door.admission.summary(100.0 + REPORT_S) == "full: 1"
    assert door.admission.summary(100.0 + 3 * REPORT_S) == ""


def test_more_victims_are_found_at_once_than_one(door: Door) -> None:
    bounds = replace(BOUNDS, max_connections=FOUND * 2, max_connections_per_client=FOUND * 2)
    clients = door.fill(FOUND * 2, owes_since=float)
    for number in range(FOUND):
        assert door.admission.admit(peer("new"), bounds, 1000.0)
        Client(door, f"new{number}", inf)
    assert [client.is_cut for client in clients] == [True] * FOUND + [False] * FOUND
