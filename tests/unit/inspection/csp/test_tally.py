from __future__ import annotations

from gateway.inspection.csp.tally import MAX_OF_ROUTE, MAX_ROUTES, Tally


def test_the_same_thing_told_again_is_counted_once_more() -> None:
    tally = Tally()
    assert not tally
    for now in (20.0, 10.9, 30.0):
        tally.add("invoice", "reported", "img-src", "https://x.example", enforced=False, now=now)
    (count,) = tally.of("invoice")
    assert (count.times, count.first, count.last) == (3, 20, 30)
    assert tally.routes() == ["invoice"]
    assert tally.of("other") == []


def test_a_flood_of_different_things_is_bounded_and_said() -> None:
    tally = Tally()
    for number in range(MAX_OF_ROUTE + 5):
        tally.add("a", "reported", "img-src", f"https://h{number}.example", enforced=False, now=1.0)
    tally.add("a", "reported", "img-src", "https://h0.example", enforced=False, now=1.0)
    assert len(tally.of("a")) == MAX_OF_ROUTE
    assert tally.left_out_of("a") == 5
    assert tally.of("a")[0].what == "https://h0.example"
    for number in range(MAX_ROUTES + 1):
        tally.add(f"r{number}", "script", "", "sha256-x", enforced=False, now=1.0)
    assert len(tally.routes()) == MAX_ROUTES
    assert tally.left_out == 2
    assert tally.left_out_of("r9999") == 0


def test_what_workers_wrote_is_added_up() -> None:
    both = Tally()
    for now in (5.0, 3.0):
        one = Tally()
        one.add("a", "script", "", "/app.js", enforced=False, now=now, times=2)
        one.add("a", "script", "", "/app.js", enforced=False, now=now + 10)
        both.take_over("a", one.of_route("a"))
    (count,) = both.of("a")
    assert (count.times, count.first, count.last) == (6, 5, 15)
    assert both.of_route("b").counts == []
