"""Sessions that were tried elsewhere: each is told of once, whichever process noticed."""

from __future__ import annotations

import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.session import Owed, Session
from gateway.session.binding import Bond
from gateway.session.life import Lifetimes, start
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from gateway.store.strays import MAX_NOTED, REPEAT_S, Strays
from tests.contract.conftest import NOW


class Entry:
    def __init__(self, number: int = 1) -> None:
        self.session: Session = start(
            handle=f"s_{number:032x}", user_id=f"u_{number}", user="alice", tenant="acme", roles=["client"], email="",
            owes=Owed.NOTHING, lifetimes=Lifetimes(), host="h", secure=True, client_ip="", user_agent="", now=NOW,
        )  # fmt: skip


def test_what_one_process_noticed_another_tells_once(rows: Backend, sealer: Sealer) -> None:
    edge, pages = Strays(rows, sealer), Strays(rows, sealer)
    assert pages.take(NOW) == []
    edge.note(Entry(), Bond.DEVICE, "198.51.100.7", NOW)
    assert pages.take(NOW) == [], "not written yet"
    edge.flush(NOW)
    (told,) = pages.take(NOW)
    assert (told.user_id, told.bond, told.address, told.noticed) == ("u_1", Bond.DEVICE, "198.51.100.7", NOW)
    assert pages.take(NOW + 1) == []


def test_a_cookie_that_is_tried_again_and_again_is_told_of_once_an_hour(rows: Backend, sealer: Sealer) -> None:
    workers, pages = [Strays(rows, sealer) for _ in range(2)], Strays(rows, sealer)
    told = 0
    for second in range(20):
        for worker in workers:
            worker.note(Entry(), Bond.NETWORK, "198.51.100.7", NOW + second)
            worker.flush(NOW + second)
        told += len(pages.take(NOW + second))
    assert told == 1
    assert [worker.counts for worker in workers] == [{"network": 20}, {"network": 20}]
    later = NOW + REPEAT_S + 20
    workers[0].note(Entry(), Bond.NETWORK, "198.51.100.7", later)
    workers[0].flush(later)
    assert len(pages.take(later)) == 1


def test_many_stolen_cookies_fill_no_memory(rows: Backend, sealer: Sealer) -> None:
    edge = Strays(rows, sealer)
    for number in range(MAX_NOTED + 50):
        edge.note(Entry(number), Bond.DEVICE, "198.51.100.7", NOW)
    assert len(edge._noted) == MAX_NOTED


class Away:
    def __init__(self, rows: Backend) -> None:
        self.rows = rows
        self.is_away = True

    def __getattr__(self, name: str) -> object:
        if self.is_away and name == "transact":
            raise StoreUnavailableError("away")
        return getattr(self.rows, name)


def test_what_cannot_be_written_is_written_later(rows: Backend, sealer: Sealer) -> None:
    away = Away(rows)
    edge = Strays(away, sealer)  # type: ignore[arg-type]  # the rows of a store that comes back
    edge.note(Entry(), Bond.DEVICE, "198.51.100.7", NOW)
    with pytest.raises(StoreUnavailableError):
        edge.flush(NOW)
    away.is_away = False
    edge.flush(NOW + 1)
    assert len(Strays(rows, sealer).take(NOW + 2)) == 1
