"""`gateway policy coverage`: which lines no case file exercises, and with --traffic which no request of the past did.

Runs the cases as `gateway policy test` does. The log is read, and its keys are needed, for --traffic alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateway.cli.administration import NO, table
from gateway.cli.invocation import current
from gateway.cli.policy.history import Tally, sift, span_of, span_options, told, warn_of
from gateway.cli.policy.reading import Source, case_files, count, load_policies
from gateway.policy.cases import load_cases
from gateway.policy.coverage import Coverage, Point, Side
from gateway.policy.history.recorded import Recorded
from gateway.policy.history.replaying import Replayer
from gateway.policy.judgement import judge

Counts = dict[tuple[Point, Side], int]


class Exercise:
    """Notes which lines requests of the past exercise."""

    def __init__(self, source: Source) -> None:
        compiled, _ = source.compile()
        self._replayer = Replayer(compiled, source.hosts)
        self._coverage = Coverage(compiled)

    def take(self, recorded: Recorded) -> None:
        """Decide one request again."""
        verdict = self._replayer.decide(recorded).verdict
        if verdict is not None:
            self._coverage.take(verdict)

    def drain(self) -> Counts:
        """Return the counts since the last time."""
        found, self._coverage.counts = self._coverage.counts, {}
        return found


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the past exercises of one policy."""

    source: Source

    def begin(self) -> Exercise:
        """Compile the policy in this process."""
        return Exercise(self.source)

    def join(self, whole: Counts, part: Counts) -> Counts:
        """Add up."""
        for key, number in part.items():
            whole[key] = whole.get(key, 0) + number
        return whole

    def summary(self, found: Counts) -> str:
        """Say how much was exercised."""
        return f"{count(len(found), 'side')} of lines"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--traffic", "with_traffic", is_flag=True, help="Look at the audit log, too.")
@span_options("30d")
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), help="Exit 1 when the cases exercise less than so many percent."
)
def coverage(
    *,
    files: tuple[Path, ...],
    with_traffic: bool,
    since: float,
    until: float | None,
    directory: Path | None,
    purpose: str,
    fail_under: float | None,
) -> None:
    """Name routes, entries, denials and requirements that no case of FILES (policies/tests/ without) allows or refuses by."""
    policies = load_policies()
    cases = load_cases(
        case_files(policies, files),
        table=policies.table,
        hosts=policies.hosts,
        tenants=frozenset(policies.settings.tenants),
    )
    by_cases, now = Coverage(policies.table), time.time()
    for case in cases:
        moment = now if case.at is None else case.at
        by_cases.take(judge(policies.table, policies.hosts, case.facts, case.person, moment))
    by_traffic, tally = None, None
    if with_traffic:
        span = span_of(
            policies.settings, "policy coverage", since=since, until=until, directory=directory, purpose=purpose
        )
        by_traffic = Coverage(policies.table)
        by_traffic.counts, tally = sift(span, Traffic(policies.source), "looking through the audit log")
        warn_of(tally)
    current().answer(
        _as_json(by_cases, by_traffic, tally, len(cases)), "\n".join(_as_text(by_cases, by_traffic, tally, len(cases)))
    )
    if fail_under is not None and by_cases.percent < fail_under:
        raise click.exceptions.Exit(NO)


def _as_json(by_cases: Coverage, by_traffic: Coverage | None, tally: Tally | None, cases: int) -> dict[str, Any]:
    points = []
    for point in by_cases.points:
        entry: dict[str, Any] = {
            "source": point.source,
            "route": point.route,
            "kind": point.kind,
            "text": point.text,
            "cases": {side: by_cases.count(point, side) for side in point.sides},
        }
        if by_traffic is not None:
            entry["traffic"] = {side: by_traffic.count(point, side) for side in point.sides}
        points.append(entry)
    value: dict[str, Any] = {
        "cases": cases,
        "percent": round(by_cases.percent, 1),
        "sides": by_cases.total,
        "exercised": len(by_cases.counts),
        "points": points,
    }
    if by_traffic is not None and tally is not None:
        value["traffic"] = {
            "percent": round(by_traffic.percent, 1),
            "exercised": len(by_traffic.counts),
            "read": tally.value(),
        }
    return value


def _as_text(by_cases: Coverage, by_traffic: Coverage | None, tally: Tally | None, cases: int) -> list[str]:
    lines = []
    rows = [
        (point.source, point.route, point.kind, _lacking(point, by_cases), point.text)
        for point in by_cases.points
        if _lacking(point, by_cases)
    ]
    if rows:
        lines += ["Never exercised by a case:", table(("line", "route", "kind", "side", "what it says"), rows), ""]
    if by_traffic is not None and tally is not None:
        rows = [
            (point.source, point.route, point.kind, _lacking(point, by_traffic), point.text)
            for point in by_traffic.points
            if _lacking(point, by_traffic)
        ]
        lines.append(f"Traffic: {told(tally)}.")
        if rows:
            lines += ["Never exercised by it:", table(("line", "route", "kind", "side", "what it says"), rows)]
        lines.append(
            f"Exercised by the traffic: {len(by_traffic.counts)} of {by_traffic.total} sides ({by_traffic.percent:.1f} %)."
        )
        lines.append("")
    lines.append(
        f"Exercised by {count(cases, 'case')}: {len(by_cases.counts)} of {by_cases.total} sides ({by_cases.percent:.1f} %)."
    )
    return lines


def _lacking(point: Point, of: Coverage) -> str:
    return " and ".join(side for side in point.sides if not of.count(point, side))
