"""`gateway policy replay`: what a policy would have answered to the requests that the audit log remembers.

Compares with what was answered then. Changes nothing, and asks neither portal nor store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from gateway.cli.administration import NO, table
from gateway.cli.invocation import current
from gateway.cli.policy.history import Tally, moment, ranked, sift, span_of, span_options, told, warn_of
from gateway.cli.policy.reading import Source, count, load_policies
from gateway.policy.recorded import Recorded
from gateway.policy.replaying import Outcome, Replayer

SHOWN: Final = 20
_OUTCOMES: Final[tuple[Outcome, ...]] = ("would refuse", "would allow", "unknown")
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


@dataclass(slots=True)
class Replayed:
    """What came out."""

    same: int = 0
    later: int = 0
    """Refused by something after policy, a limit or a portal that was down: they would be again."""
    changes: dict[Change, Extent] = field(default_factory=dict)


class Comparison:
    """Answers requests again and keeps those whose answer differs."""

    def __init__(self, source: Source) -> None:
        compiled, _ = source.compile()
        self._replayer = Replayer(compiled, source.hosts)
        self._found = Replayed()

    def take(self, recorded: Recorded) -> None:
        """Compare one request."""
        if recorded.is_later:
            self._found.later += 1
            return
        redecision = self._replayer.decide(recorded)
        outcome = redecision.beside(recorded)
        if outcome == "same":
            self._found.same += 1
            return
        verdict = redecision.verdict
        change = Change(
            outcome=outcome,
            person=recorded.witness.name,
            roles=recorded.witness.roles,
            route=verdict.route if verdict is not None and verdict.match is not None else recorded.route,
            before=recorded.reason.value,
            line_before=recorded.rule,
            after=verdict.decision.reason.value if verdict is not None else redecision.why,
            line_after=verdict.decision.rule if verdict is not None else "",
        )
        extent = Extent(1, recorded.time_s, recorded.time_s, recorded.request_id)
        known = self._found.changes.setdefault(change, extent)
        if known is not extent:
            known.add(extent)

    def drain(self) -> Replayed:
        """Return what was found since the last time."""
        found, self._found = self._found, Replayed()
        return found


@dataclass(frozen=True, slots=True)
class Replay:
    """The comparison with one policy."""

    source: Source

    def begin(self) -> Comparison:
        """Compile the policy in this process."""
        return Comparison(self.source)

    def join(self, whole: Replayed, part: Replayed) -> Replayed:
        """Add up."""
        whole.same += part.same
        whole.later += part.later
        for change, extent in part.changes.items():
            known = whole.changes.setdefault(change, extent)
            if known is not extent:
                known.add(extent)
        return whole

    def summary(self, found: Replayed) -> str:
        """Say how many would change."""
        return f"{sum(extent.requests for extent in found.changes.values()):,} otherwise"


@click.command()
@span_options("7d")
@click.option(
    "--candidate",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A directory of policy files.  [default: those of gateway.yaml]",
)
@click.option(
    "--limit", type=click.IntRange(1), default=SHOWN, show_default=True, help="Show so many changes of each kind."
)
def replay(
    *,
    since: float,
    until: float | None,
    directory: Path | None,
    purpose: str,
    candidate: Path | None,
    limit: int,
) -> None:
    """Decide the requests in the audit log again; exit 1 when an answer would change.

    Without --candidate the policy files of gateway.yaml are asked, which shows what changed since the requests were made.
    """
    policies = load_policies(candidate)
    span = span_of(policies.settings, "policy replay", since=since, until=until, directory=directory, purpose=purpose)
    found, tally = sift(span, Replay(policies.source), "replaying the audit log")
    warn_of(tally)
    version = policies.table.version
    current().answer(_as_json(found, tally, version), "\n".join(_as_text(found, tally, version, limit)))
    if any(change.outcome != "unknown" for change in found.changes):
        raise click.exceptions.Exit(NO)


def _as_json(found: Replayed, tally: Tally, version: str) -> dict[str, Any]:
    sums = {outcome: _sum(found, outcome) for outcome in _OUTCOMES}
    changes = {
        outcome: [(change, extent) for change, extent in _ordered(found) if change.outcome == outcome]
        for outcome in _OUTCOMES
    }
    return {
        "version": version,
        "read": tally.value(),
        "same": found.same,
        "refused_later": found.later,
        **{outcome.replace(" ", "_"): sums[outcome] for outcome in _OUTCOMES},
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
            for outcome in _OUTCOMES
            for change, extent in changes[outcome]
        ],
        "by": {
            outcome.replace(" ", "_"): {
                name: dict(ranked(_counted(changes[outcome], name))) for name in ("route", "role", "person")
            }
            for outcome in _OUTCOMES
            if changes[outcome]
        },
    }


def _as_text(found: Replayed, tally: Tally, version: str, limit: int) -> list[str]:
    lines = [f"Replayed {told(tally)}, with the policy {version}."]
    older = {known: number for known, number in tally.versions.items() if known != version}
    if older:
        lines.append(
            "They were decided by "
            + ", ".join(f"{known or '?'} ({number:,})" for known, number in ranked(tally.versions))
            + "."
        )
    for outcome in _OUTCOMES:
        changes = [(change, extent) for change, extent in _ordered(found) if change.outcome == outcome]
        if not changes:
            continue
        people = len({change.person for change, _ in changes})
        lines += ["", f"{_HEADINGS[outcome]}: {count(_sum(found, outcome), 'request')} of {count(people, 'person')}"]
        for name in ("route", "role"):
            totals = ranked(_counted(changes, name))
            lines.append(f"  by {name}: " + ", ".join(f"{key} {number:,}" for key, number in totals[:limit]))
        lines += [f"  {line}" for line in _table(changes[:limit]).splitlines()]
        if len(changes) > limit:
            lines.append(f"  and {len(changes) - limit} more kinds of change; --limit shows more, --json all")
    refused, allowed, unknown = (_sum(found, outcome) for outcome in _OUTCOMES)
    sentence = (
        f"{found.same:,} the same, {refused:,} would be refused, {allowed:,} would be allowed, {unknown:,} unknown."
    )
    return [*lines, "", sentence]


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


def _ordered(found: Replayed) -> list[tuple[Change, Extent]]:
    return sorted(found.changes.items(), key=lambda item: (-item[1].requests, item[0]))


def _sum(found: Replayed, outcome: Outcome) -> int:
    return sum(extent.requests for change, extent in found.changes.items() if change.outcome == outcome)


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
