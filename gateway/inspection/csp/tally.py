"""What was reported about policies and seen of scripts, counted by route: bounded, mergeable, without a word about anybody.

Two things are counted: violations that browsers report, and the scripts that the rewriting of pages met and did not find
approved. A report proves nothing, for anybody may send one: it is a hint for whoever writes the next policy.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

MAX_OF_ROUTE: Final = 256
MAX_ROUTES: Final = 512
MAX_PLACE_CHARS: Final = 512

Kind = Literal["reported", "script"]


class Count(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How often one thing was told of one route. Times are unix seconds."""

    kind: Kind
    directive: str
    """Of a report; empty for a script."""
    what: str
    """An origin or keyword; of a script `sha256-…` or its address without query."""
    enforced: bool
    times: int
    first: int
    last: int


class OfRoute(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that was counted of a route."""

    counts: list[Count]
    left_out: int = 0
    """What was one thing too many."""


class Tally:
    """Counts of all routes. Owned by one worker, or made of what several wrote."""

    __slots__ = ("_routes", "left_out")

    def __init__(self) -> None:
        self._routes: dict[str, tuple[OfRoute, dict[tuple[str, str, str, bool], Count]]] = {}
        self.left_out = 0
        """What was told of one route too many."""

    def add(
        self, route: str, kind: Kind, directive: str, what: str, *, enforced: bool, now: float, times: int = 1
    ) -> None:
        """Count one thing of a route; beyond `MAX_OF_ROUTE` different things, only how many were left out."""
        counted = self._counted(route)
        if counted is None:
            self.left_out += times
            return
        of_route, known = counted
        key = (kind, directive, what[:MAX_PLACE_CHARS], enforced)
        count = known.get(key)
        if count is not None:
            count.times += times
            count.last = max(count.last, int(now))
        elif len(known) >= MAX_OF_ROUTE:
            of_route.left_out += times
        else:
            count = known[key] = Count(
                kind=kind,
                directive=directive,
                what=key[2],
                enforced=enforced,
                times=times,
                first=int(now),
                last=int(now),
            )
            of_route.counts.append(count)

    def _counted(self, route: str) -> tuple[OfRoute, dict[tuple[str, str, str, bool], Count]] | None:
        counted = self._routes.get(route)
        if counted is None:
            if len(self._routes) >= MAX_ROUTES:
                return None
            counted = self._routes[route] = (OfRoute(counts=[]), {})
        return counted

    def __bool__(self) -> bool:
        return bool(self._routes)

    def of(self, route: str) -> list[Count]:
        """List what was counted of a route, most often first."""
        counted = self._routes.get(route)
        return sorted(counted[0].counts, key=lambda count: (-count.times, count.what)) if counted else []

    def routes(self) -> list[str]:
        """List the routes of which anything was counted."""
        return sorted(self._routes)

    def left_out_of(self, route: str) -> int:
        """Return how much was told of a route beyond what is listed."""
        counted = self._routes.get(route)
        return counted[0].left_out if counted else 0

    def take_over(self, route: str, told: OfRoute) -> None:
        """Add what another process counted of a route."""
        for count in told.counts:
            for now, times in ((count.first, 0), (count.last, count.times)):
                self.add(
                    route, count.kind, count.directive, count.what,
                    enforced=count.enforced, now=float(now), times=times,
                )  # fmt: skip
        counted = self._counted(route)
        if counted is not None:
            counted[0].left_out += told.left_out

    def of_route(self, route: str) -> OfRoute:
        """Return everything that was counted of a route, for `take_over`."""
        counted = self._routes.get(route)
        return counted[0] if counted else OfRoute(counts=[])
