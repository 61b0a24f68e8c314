"""What the console shows of the pages of a route: what browsers reported, which scripts are not approved, and the policy that follows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from gateway.inspection.csp.scripts import read_approved
from gateway.inspection.csp.suggestion import suggest, write_yaml
from gateway.pages.console.desk import PagePolicy, ToldOfPages
from gateway.server.inspection import InspectedRoute
from gateway.store.executor import BoundedExecutor
from gateway.store.page_counts import PageCounts

MOST_SHOWN = 50


class PageDesk:
    """All of it, for one process. `of` raises `StoreUnavailableError` and `OverloadedError`."""

    __slots__ = ("_counts", "_inspections", "_run")

    def __init__(
        self, counts: PageCounts, inspections: Mapping[str, InspectedRoute], *, executor: BoundedExecutor
    ) -> None:
        self._counts = counts
        self._inspections = inspections
        self._run = executor.run

    async def of(self, route: str, *, now: float) -> PagePolicy | None:
        """Return what is known of the pages of a route; None when it has no policy."""
        found = self._inspections.get(route)
        section = found.section.csp if found is not None else None
        if section is None or section.mode == "off":
            return None
        tally = await self._run(partial(self._counts.read, now))
        counts = tally.of(route)
        approved = read_approved(list(section.scripts))
        # what was seen before it was approved is no news any more
        shown = [count for count in counts if count.kind != "script" or not approved.has(count.what)]
        return PagePolicy(
            mode=section.mode,
            told=tuple(
                ToldOfPages(
                    kind=count.kind,
                    directive=count.directive,
                    what=count.what,
                    enforced=count.enforced,
                    times=count.times,
                    last=float(count.last),
                )
                for count in shown[:MOST_SHOWN]
            ),
            more=max(0, len(shown) - MOST_SHOWN) + tally.left_out_of(route),
            suggestion=write_yaml(suggest(section.policy, section.scripts, counts), mode=section.mode),
        )
