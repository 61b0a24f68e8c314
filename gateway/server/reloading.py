"""What is known and said of reloads: how they ended, how long they took, what the last one brought.

Does not reload: that is the supervisor's. Reads the files once for whoever watches them, to tell one content from another.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Sample
from gateway.policy.changes import changes
from gateway.server.bundle import Bundle, read_bundle
from gateway.server.telemetry import Outcomes
from gateway.server.validate import Validated

AskedBy = Literal["signal", "command", "watch"]
"""SIGHUP, `gateway reload`, or a change of the files."""
_NAMED: Final = 50
"""Routes that a record names of each kind; more of them are counted."""


class Reloads:
    """All reloads of this gateway."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        """Go on from `counts`."""
        self._outcomes = Outcomes(counts)
        self.has_succeeded = True
        """The last one, or there was none: what runs is what the files say, as far as anybody looked."""
        self._seconds = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """How often, by result."""
        return self._outcomes.counts

    def count(self, *, success: bool, seconds: float) -> None:
        """Note one, now."""
        self._outcomes.count(success=success)
        self.has_succeeded, self._seconds = success, seconds

    def samples(self) -> list[Sample]:
        """Give all that is counted."""
        return [
            Sample(
                name="gateway_policy_reloads_total",
                kind="counter",
                help="Reloads of the configuration.",
                labels=("result",),
                values=self._outcomes.totals(),
            ),
            Sample(
                name="gateway_policy_reload_timestamp_seconds",
                kind="gauge",
                help="When the configuration was last reloaded, or could not be, unix seconds.",
                labels=("result",),
                values=self._outcomes.times(),
            ),
            Sample(
                name="gateway_policy_last_reload_success",
                kind="gauge",
                help="0 while the files on disk were refused and an earlier configuration is in force.",
                labels=(),
                values=[((), float(self.has_succeeded))],
            ),
            Sample(
                name="gateway_policy_last_reload_duration_seconds",
                kind="gauge",
                help="How long the last reload took, from the asking to the last process; 0 before the first.",
                labels=(),
                values=[((), self._seconds)],
            ),
        ]


def policy_samples(validated: Validated) -> list[Sample]:
    """Name the policies that run: the one in force, and the one that is tried beside it."""
    candidate = validated.candidate
    return [
        Sample(
            name="gateway_policy_info",
            kind="gauge",
            help="Version of the policy in force.",
            labels=("policy",),
            values=[((validated.table.version,), 1.0)],
        ),
        Sample(
            name="gateway_policy_candidate_info",
            kind="gauge",
            help="Version of the policy that is tried beside it without effect.",
            labels=("policy",),
            values=[] if candidate is None else [((candidate.version,), 1.0)],
        ),
    ]


def policy_facts(validated: Validated) -> dict[str, Any]:
    """Say which policies run and how large the one in force is, for records and the log."""
    candidate = validated.candidate
    return {
        "policy": validated.table.version,
        "routes": len(validated.table.routes),
        "roles": len(validated.table.roles),
        "cases": validated.cases,
    } | ({} if candidate is None else {"candidate": candidate.version})


def reload_facts(before: Validated, after: Validated, asked_by: AskedBy, began: float) -> dict[str, Any]:
    """Say what a reload changed; `began` is monotonic."""
    found = changes(before.table, after.table)
    named = {"added": found.added, "removed": found.removed, "changed": found.changed}
    return {
        "asked_by": asked_by,
        "duration_ms": int((time.monotonic() - began) * 1000),
        "configuration_before": before.bundle.digest,
        "policy_before": before.table.version,
        "files_changed": _files_changed(before.bundle, after.bundle)[:_NAMED],
        "keys_changed": keys_changed(before.settings.model_dump(), after.settings.model_dump())[:_NAMED],
        "routes_changed": {word: {"count": len(names), "names": list(names[:_NAMED])} for word, names in named.items()},
    }


def _files_changed(before: Bundle, after: Bundle) -> list[str]:
    """Name the files of policies, cases and secrets that are not what they were; never what they hold."""
    found: set[str] = {"gateway.yaml"} if before.settings != after.settings else set()
    for old, new in (
        (before.policies, after.policies),
        (before.cases, after.cases),
        (before.candidate, after.candidate),
        (before.candidate_cases, after.candidate_cases),
    ):
        found |= {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    secrets = before.secrets.keys() | after.secrets.keys()
    found |= {f"the file of {key}" for key in secrets if before.secrets.get(key) != after.secrets.get(key)}
    return sorted(found)


def keys_changed(before: object, after: object, place: str = "") -> list[str]:
    """Name the keys of gateway.yaml whose values differ, dotted; never a value."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted({*before, *after}, key=str)
        return [
            key
            for name in names
            for key in keys_changed(before.get(name), after.get(name), f"{place}.{name}" if place else str(name))
        ]
    return [] if before == after else [place]


def content(path: Path) -> tuple[str, ...]:
    """Read the configuration at `path` and name its content: equal for equal files, whether or not they are sound."""
    try:
        bundle, problems = read_bundle(path)
    except ConfigurationError as error:
        return error.diagnostics
    return (bundle.digest, *problems)
