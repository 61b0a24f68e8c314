"""`gateway policy replay`: what a policy would have answered to the requests that the audit log remembers.

Compares with what was answered then. Changes nothing, and asks neither portal nor store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from gateway.cli.administration import NO
from gateway.cli.invocation import current
from gateway.cli.policy.differences import (
    OUTCOMES,
    Change,
    Extent,
    add_change,
    changes_as_json,
    changes_as_text,
    limit_option,
    requests_of,
)
from gateway.cli.policy.history import Tally, ranked, sift, span_of, span_options, told, warn_of
from gateway.cli.policy.reading import Source, count, load_policies
from gateway.policy.history.recorded import Recorded
from gateway.policy.history.replaying import Replayer


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
        add_change(self._found.changes, change, extent)

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
            add_change(whole.changes, change, extent)
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
@limit_option
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
    return {
        "version": version,
        "read": tally.value(),
        "same": found.same,
        "refused_later": found.later,
        **changes_as_json(found.changes),
    }


def _as_text(found: Replayed, tally: Tally, version: str, limit: int) -> list[str]:
    if not tally.decided:
        return [f"Nothing to replay, which proves nothing: {told(tally)}."]
    lines = [f"Replayed {told(tally)}, with the policy {version}."]
    older = {known: number for known, number in tally.versions.items() if known != version}
    if older:
        lines.append(
            "They were decided by "
            + ", ".join(f"{known or '?'} ({number:,})" for known, number in ranked(tally.versions))
            + "."
        )
    refused, allowed, unknown = (requests_of(found.changes, outcome) for outcome in OUTCOMES)
    sentence = (
        f"{found.same:,} the same, {refused:,} would be refused, {allowed:,} would be allowed, {unknown:,} unknown."
    )
    if found.later:
        sentence += f" {count(found.later, 'request')} refused by something after policy: not decided again."
    return [*lines, *changes_as_text(found.changes, limit), "", sentence]
