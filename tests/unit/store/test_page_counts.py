"""What workers counted about pages: added up, kept for a month, forgotten when asked."""

from __future__ import annotations

from gateway.inspection.csp.tally import Tally
from gateway.store.page_counts import KEPT_S, PageCounts
from gateway.store.state import Store
from gateway.store.tables import PAGE_COUNTS

NOW = 1_000_000.0


def told(what: str = "/app.js", *, route: str = "home", now: float = NOW) -> Tally:
    tally = Tally()
    tally.add(route, "script", "", what, enforced=False, now=now)
    return tally


def counts(store: Store) -> PageCounts:
    return PageCounts(store.rows, store.sealer)


def test_what_workers_counted_is_added_up(store: Store) -> None:
    for now in (NOW, NOW + 10):
        counts(store).add(told(now=now), now)
    counts(store).add(told("/other.js"), NOW)
    found = counts(store).read(NOW + 20)
    assert {(count.what, count.times, count.last - count.first) for count in found.of("home")} == {
        ("/app.js", 2, 10), ("/other.js", 1, 0),
    }  # fmt: skip


def test_a_route_of_which_nobody_tells_is_forgotten_after_a_month(store: Store) -> None:
    counts(store).add(told(), NOW)
    assert counts(store).read(NOW + KEPT_S - 1).routes() == ["home"]
    assert counts(store).read(NOW + KEPT_S).routes() == []
    counts(store).add(told(now=NOW + KEPT_S), NOW + KEPT_S)
    (count,) = counts(store).read(NOW + KEPT_S).of("home")
    assert count.times == 1


def test_one_thing_of_which_nobody_tells_is_forgotten_while_others_stay(store: Store) -> None:
    counts(store).add(told("/old.js"), NOW)
    counts(store).add(told("/new.js", now=NOW + KEPT_S / 2), NOW + KEPT_S / 2)
    assert [count.what for count in counts(store).read(NOW + KEPT_S).of("home")] == ["/new.js"]


def test_one_route_is_counted_anew(store: Store) -> None:
    counts(store).add(told(), NOW)
    counts(store).add(told(route="other"), NOW)
    assert counts(store).forget("home")
    assert not counts(store).forget("home")
    assert counts(store).read(NOW).routes() == ["other"]


def test_what_is_kept_is_sealed(store: Store) -> None:
    counts(store).add(told(), NOW)
    (row,) = store.rows.all(PAGE_COUNTS)
    assert b"app.js" not in row.value
    assert row.key > 0
