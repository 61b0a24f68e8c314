"""`gateway inspection report`: what was found in a span of time, and which of it looks like honest people."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import click

from gateway.cli.administration import read_settings
from gateway.cli.audit.asked import watch
from gateway.cli.audit.showing import plain
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.span import when
from gateway.cli.audit.use import record_use
from gateway.cli.inspection.recorded import Inspected, findings_of, inspected, observations_of
from gateway.cli.invocation import current
from gateway.inspection.learning import LEAST_PEOPLE, Suspicion, suspicions
from gateway.ledger.keys import AuditKeys
from gateway.ledger.search import FOR_EVER, Filters, Search
from gateway.server.progress import Progress

_MOST: Final = 40
"""Lines of the list; the most frequent first."""


@click.command(name="report")
@click.option("--since", callback=when, default="7d", show_default=True, help="A time, or a length of time before now.")
@click.option("--until", callback=when, help="A time, or a length of time before now.")
@click.option("--route", help="Only this route.")
@click.option(
    "--people",
    type=click.IntRange(1),
    default=LEAST_PEOPLE,
    show_default=True,
    help="So many different people make a rule at one place look wrong.",
)
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def report_verb(*, since: float, until: float | None, route: str | None, people: int, purpose: str) -> None:
    """Count what rules found, and show which of it looks like honest people, with the exclusion to paste.

    Only people who are signed in count. The log has no payloads: ask the people what they wrote.
    """
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    asked = {"since": datetime.fromtimestamp(since, UTC).isoformat()} | ({"route": route} if route else {})
    record_use(settings, "inspection report", asked, purpose)
    damages: list[str] = []
    filters = Filters(since=since, until=until if until is not None else FOR_EVER, route=route)
    with Sight(settings) as sight, Progress("reading the audit log") as progress:
        search = Search(settings.state_dir, keys, subject_keys=sight.keys, on_damage=damages.append)
        requests = list(inspected(search.find(filters, progress=watch(progress, "reading the audit log"))))
    for damage in damages:
        click.echo(f"warning: {plain(damage)}; run gateway audit verify", err=True)
    honest = suspicions(observations_of(requests), least_people=people)
    current().answer(_as_json(requests, honest), _as_text(requests, honest))


def _counts(requests: list[Inspected]) -> Counter[tuple[str, str, str]]:
    return Counter(
        (request.route, str(finding.get("rule", "")), request.outcome)
        for request in requests
        for finding in findings_of(request.told)
    )


def _as_json(requests: list[Inspected], honest: list[Suspicion]) -> dict[str, Any]:
    today = datetime.fromtimestamp(time.time(), UTC).date()
    return {
        "requests": len(requests),
        "rules": [
            {"route": route, "rule": rule, "outcome": outcome, "count": count}
            for (route, rule, outcome), count in _counts(requests).most_common()
        ],
        "honest": [
            {
                "rule": found.rule,
                "class": found.attack,
                "route": found.route,
                "position": found.position,
                "name": found.name,
                "count": found.count,
                "people": found.people,
                "values": found.values,
                "exclusion": found.exclusion(today),
            }
            for found in honest
        ],
    }


def _as_text(requests: list[Inspected], honest: list[Suspicion]) -> str:
    if not requests:
        return "inspection found nothing in that time"
    today = datetime.fromtimestamp(time.time(), UTC).date()
    counts = _counts(requests)
    with_rules = sum(1 for request in requests if any(True for _ in findings_of(request.told)))
    lines = [
        f"{len(requests):,} requests of which inspection said something, {with_rules:,} of them by rules about attacks:",
        "",
        f"{'FOUND':>8}  {'OUTCOME':<8} {'ROUTE':<24} RULE",
    ]
    lines += [
        f"{count:>8,}  {outcome:<8} {route:<24} {rule}" for (route, rule, outcome), count in counts.most_common(_MOST)
    ]
    if len(counts) > _MOST:
        lines.append(f"{'':>8}  and {len(counts) - _MOST:,} more; --json lists them all")
    if honest:
        lines += [
            "",
            "These look like honest people. Where they are, paste into `inspection.exclusions` of the route:",
            "",
        ]
        lines += [line for found in honest for line in found.exclusion(today).splitlines()]
    else:
        lines += ["", "Nothing of it looks like honest people."]
    return "\n".join(map(plain, lines))
