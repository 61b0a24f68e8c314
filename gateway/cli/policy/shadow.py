"""`gateway policy shadow`: which requests a candidate policy would have answered otherwise while it ran beside the live one.

Decides nothing again: it reads what the edge noted at the time (`gateway.edge.shadow`), with every fact of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.administration import NO, read_settings
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
from gateway.cli.policy.history import Tally, moment, sift, span_of, span_options, warn_of
from gateway.cli.policy.reading import count, refuse
from gateway.exchange.reason import Reason
from gateway.policy.history.recorded import Recorded
from gateway.policy.history.replaying import Outcome

_OUTCOMES: Final[dict[str, Outcome]] = {"allow": "would allow", "deny": "would refuse", "unknown": "unknown"}


@dataclass(slots=True)
class Tried:
    """One candidate."""

    extent: Extent
    """Of all requests that it was asked about."""
    limited: int = 0
    """Requests that a limit refused: it was not asked."""
    beside: dict[str, int] = field(default_factory=dict)
    """Version of the live policy -> requests about which it was asked beside that."""
    changes: dict[Change, Extent] = field(default_factory=dict)


Found = dict[str, Tried]
"""By version of the candidate."""


class Reading:
    """Reads what candidates would have answered."""

    def __init__(self) -> None:
        self._found: Found = {}

    def take(self, recorded: Recorded) -> None:
        """Look at one request."""
        if not recorded.candidate:
            return
        other = recorded.otherwise
        is_limited = recorded.reason is Reason.RATE_LIMITED and other is None
        extent = Extent(int(not is_limited), recorded.time_s, recorded.time_s, recorded.request_id)
        tried = self._found.get(recorded.candidate)
        if tried is None:
            tried = self._found[recorded.candidate] = Tried(extent)
        else:
            tried.extent.add(extent)
        tried.limited += is_limited
        if not is_limited:
            tried.beside[recorded.version] = tried.beside.get(recorded.version, 0) + 1
        if other is None:
            return
        change = Change(
            outcome=_OUTCOMES[other.decision],
            person=recorded.witness.name,
            roles=recorded.witness.roles,
            route=recorded.route if recorded.route != "none" else other.route,
            before=recorded.reason.value,
            line_before=recorded.rule,
            after=other.reason,
            line_after=other.rule,
        )
        add_change(tried.changes, change, Extent(1, recorded.time_s, recorded.time_s, recorded.request_id))

    def drain(self) -> Found:
        """Return what was found since the last time."""
        found, self._found = self._found, {}
        return found


@dataclass(frozen=True, slots=True)
class Look:
    """Every candidate of a span."""

    def begin(self) -> Reading:
        """Begin to read; there is nothing to prepare."""
        return Reading()

    def join(self, whole: Found, part: Found) -> Found:
        """Add up."""
        for version, tried in part.items():
            known = whole.get(version)
            if known is None:
                whole[version] = tried
                continue
            known.extent.add(tried.extent)
            known.limited += tried.limited
            for live, number in tried.beside.items():
                known.beside[live] = known.beside.get(live, 0) + number
            for change, extent in tried.changes.items():
                add_change(known.changes, change, extent)
        return whole

    def summary(self, found: Found) -> str:
        """Say how many would have been answered otherwise, or nobody knows how."""
        return f"{sum(_otherwise(tried) for tried in found.values()):,} otherwise"


@click.command()
@span_options("7d")
@click.option("--version", "wanted", help="Of the candidate.  [default: the one that judged a request last]")
@limit_option
def shadow(
    *, since: float, until: float | None, directory: Path | None, purpose: str, wanted: str | None, limit: int
) -> None:
    """Say who would have lost or gained what under the candidate policy; exit 1 when anybody would, or it is not known.

    A candidate is the directory that `candidate:` in gateway.yaml names, or the live policies with what they say in
    `mode: shadow`. It is tried on real requests and has no effect on them.
    """
    settings = read_settings()
    span = span_of(settings, "policy shadow", since=since, until=until, directory=directory, purpose=purpose)
    span = replace(span, is_of_candidates=True)
    found, tally = sift(span, Look(), "reading what the candidate would have answered")
    warn_of(tally)
    version = _version(found, wanted, since)
    tried = found[version]
    others = sorted(found.keys() - {version})
    current().answer(_as_json(version, tried, others, tally), "\n".join(_as_text(version, tried, others, limit)))
    if tried.changes:
        raise click.exceptions.Exit(NO)


def _version(found: Found, wanted: str | None, since: float) -> str:
    """Choose the candidate; ends the verb where there is none, because nothing found would say that nothing changes."""
    found = {version: tried for version, tried in found.items() if tried.extent.requests}
    if not found:
        refuse(
            f"no candidate policy was asked about a request since {moment(since)}; set candidate: in gateway.yaml, "
            "or write mode: shadow in a policy, and reload"
        )
    if wanted is None:
        return max(found, key=lambda version: found[version].extent.last)
    if wanted not in found:
        refuse(
            f"the candidate {wanted} was asked about no request since {moment(since)}; these did: {', '.join(sorted(found))}"
        )
    return wanted


def _otherwise(tried: Tried) -> int:
    return sum(extent.requests for extent in tried.changes.values())


def _as_json(version: str, tried: Tried, others: list[str], tally: Tally) -> dict[str, Any]:
    return {
        "version": version,
        "other_versions": others,
        "beside": dict(sorted(tried.beside.items())),
        "judged": tried.extent.requests,
        "first_time": moment(tried.extent.first),
        "last_time": moment(tried.extent.last),
        "same": tried.extent.requests - _otherwise(tried),
        "limited": tried.limited,
        "read": tally.value(),
        **changes_as_json(tried.changes),
    }


def _as_text(version: str, tried: Tried, others: list[str], limit: int) -> list[str]:
    extent = tried.extent
    span = f"from {moment(extent.first)} to {moment(extent.last)}"
    lines = [f"The candidate {version} was asked about {count(extent.requests, 'request')} {span}."]
    if others:
        lines.append(f"Other candidates ran in that time: {', '.join(others)}; --version shows them.")
    if len(tried.beside) > 1:  # what was different from an earlier one may be the same by now
        told = ", ".join(f"{live} ({number:,})" for live, number in sorted(tried.beside.items()))
        lines.append(
            f"It ran beside several live policies, and this is about all of them: {told}; --since tells them apart."
        )
    refused, allowed, unknown = (requests_of(tried.changes, outcome) for outcome in OUTCOMES)
    same = extent.requests - _otherwise(tried)
    sentence = f"{same:,} the same, {refused:,} would be refused, {allowed:,} would be allowed, {unknown:,} unknown."
    if tried.limited:
        sentence += f" {count(tried.limited, 'request')} refused by a limit: not compared."
    return [
        *lines,
        *changes_as_text(tried.changes, limit),
        "",
        sentence,
    ]
