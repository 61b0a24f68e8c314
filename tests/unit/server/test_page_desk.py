"""What an administrator is shown of the pages of a route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.inspection.csp.tally import Tally
from gateway.server.inspection import InspectedRoute
from gateway.server.page_desk import PageDesk
from gateway.server.sections.inspection import Inspection

NOW = 1_800_000_000.0


class _Counts:
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def read(self, now: float) -> Tally:
        assert now == NOW
        return self._tally


class _AtOnce:
    async def run(self, work: Callable[[], Any]) -> Any:
        return work()


def desk(csp: Any, *scripts: str) -> PageDesk:
    tally = Tally()
    for script in scripts:
        tally.add("r", "script", "", script, enforced=False, now=NOW)
    section = Inspection.model_validate({"csp": csp})
    weighed: Any = None  # how requests are judged is nothing to pages
    routes: Any = {"r": InspectedRoute(section, weighed)}
    counts: Any = _Counts(tally)
    executor: Any = _AtOnce()
    return PageDesk(counts, routes, executor=executor)


async def test_a_script_that_was_approved_since_it_was_seen_is_no_news() -> None:
    shown = await desk({"mode": "enforce", "scripts": ["/static/*"]}, "/static/app.js", "/new.js").of("r", now=NOW)
    assert shown is not None
    assert [told.what for told in shown.told] == ["/new.js"]
    assert "/static/*" in shown.suggestion


async def test_a_route_without_a_policy_shows_nothing() -> None:
    assert await desk("off").of("r", now=NOW) is None
