"""Requests that two policies answer differently: put together by what they have in common, and shown.

Which requests those are, a verb says: because it decided them again, or because a candidate policy was asked at the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import click

from gateway.cli.administration import table
from gateway.cli.audit.showing import plain
from gateway.cli.policy.history import moment, ranked
from gateway.cli.policy.reading import count
from gateway.policy.history.replaying import Outcome

limit_option: Final = click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Show so many changes of each kind."
)
OUTCOMES: Final[tuple[Outcome, ...]] = ("would refuse", "would allow", "unknown")
_HEADINGS: Final[dict[Outcome, str]] = {
    "would refuse": "WOULD BE REFUSED",
    "would allow": "WOULD BE ALLOWED",
    "unknown": "UNKNOWN",
}


class Change(NamedTuple):
    """What requests have in common whose answer would change in the same way."""

    outcome: Outcome
    person: str
    """`alice@acme`; empty for nobody."""
    roles: tuple[str, ...]
    route: str
    """By the candidate, or the recorded one where the candidate has none."""
    before: str
    """Reason and line of then."""
    line_before: str
    after: str
    """Reason of the candidate, or what is unknown."""
    line_after: str


@dataclass(slots=True)
class Extent:
    """How many requests, when, and one of them."""

    requests: int
    first: float
    last: float
    example: str
    """Id of the first."""

    def add(self, other: Extent) -> None:
        """Add others of the same kind."""
        if other.first < self.first:
            self.first, self.example = other.first, other.example
        self.last = max(self.last, other.last)
        self.requests += other.requests


def add_change(changes: dict[Change, Extent], change: Change, extent: Extent) -> None:
    """Put requests with those that changed in the same way."""
    known = changes.setdefault(change, extent)
    if known is not extent:
        known.add(extent)


def changes_as_json(changes: Mapping[Change, Extent]) -> dict[str, Any]:
    """Write sums, every change, and the sums by route, role and person."""
    of = {outcome: [pair for pair in ordered(changes) if pair[0].outcome == outcome] for outcome in OUTCOMES}
    return {
        **{outcome.replace(" ", "_"): requests_of(changes, outcome) for outcome in OUTCOMES},
        "changes": [
            {
                "outcome": change.outcome.replace(" ", "_"),
                "person": change.person or None,
                "roles": list(change.roles),
                "route": change.route,
                "requests": extent.requests,
                "first_time": moment(extent.first),
                "last_time": moment(extent.last),
                "example": extent.example,
                "before": {"reason": change.before, "rule": change.line_before or None},
                "after": {"reason": change.after, "rule": change.line_after or None}
                if change.outcome != "unknown"
                else {"unknown": change.after},
            }
            for outcome in OUTCOMES
            for change, extent in of[outcome]
        ],
        "by": {
            outcome.replace(" ", "_"): {
                name: dict(ranked(_counted(of[outcome], name))) for name in ("route", "role", "person")
            }
            for outcome in OUTCOMES
            if of[outcome]
        },
    }


def changes_as_text(changes: Mapping[Change, Extent], limit: int) -> list[str]:
    """Write at most `limit` changes of each kind, the most frequent first, in lines."""
    lines: list[str] = []
    for outcome in OUTCOMES:
        found = [(change, extent) for change, extent in ordered(changes) if change.outcome == outcome]
        if not found:
            continue
        people = len({change.person for change, _ in found})
        lines += [
            "",
            f"{_HEADINGS[outcome]}: {count(requests_of(changes, outcome), 'request')} of {count(people, 'person')}",
        ]
        for name in ("route", "role"):
            totals = ranked(_counted(found, name))
            lines.append(f"  by {name}: " + ", ".join(f"{key} {number:,}" for key, number in totals[:limit]))
        lines += [f"  {line}" for line in _table(found[:limit]).splitlines()]
        if len(found) > limit:
            lines.append(f"  and {len(found) - limit} more kinds of change; --limit shows more, --json all")
    return [plain(line) for line in lines]


def _table(changes: Iterable[tuple[Change, Extent]]) -> str:
    heads = ("requests", "person", "roles", "route", "then", "now", "first", "last", "example")
    rows = [
        (
            f"{extent.requests:,}",
            change.person or "(nobody)",
            ",".join(change.roles) or "-",
            change.route,
            _said(change.before, change.line_before),
            _said(change.after, change.line_after),
            moment(extent.first),
            moment(extent.last),
            extent.example,
        )
        for change, extent in changes
    ]
    return table(heads, rows)


def _said(reason: str, line: str) -> str:
    return f"{reason} ({line})" if line else reason


def ordered(changes: Mapping[Change, Extent]) -> list[tuple[Change, Extent]]:
    """Order by number of requests, the most first."""
    return sorted(changes.items(), key=lambda item: (-item[1].requests, item[0]))


def requests_of(changes: Mapping[Change, Extent], outcome: Outcome) -> int:
    """Count the requests of one outcome."""
    return sum(extent.requests for change, extent in changes.items() if change.outcome == outcome)


def _counted(changes: Iterable[tuple[Change, Extent]], name: str) -> dict[str, int]:
    """Count requests by route, person or role; one of a person with two roles counts for both."""
    counts: dict[str, int] = {}
    for change, extent in changes:
        match name:
            case "route":
                keys: tuple[str, ...] = (change.route,)
            case "person":
                keys = (change.person or "(nobody)",)
            case _:
                keys = change.roles or ("(none)",)
        for key in keys:
            counts[key] = counts.get(key, 0) + extent.requests
    return counts
