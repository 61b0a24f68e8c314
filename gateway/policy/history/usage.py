"""What of a policy was used: by whom, through which entry, with which method, on which host, at which paths.

Counts requests that a policy lets through, and conditions that were not met. What follows from it is `suggestion`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.exchange.reason import Reason
from gateway.exchange.route import DELEGATED
from gateway.exchange.session import Session
from gateway.policy.history.recorded import Recorded
from gateway.policy.judgement import Verdict
from gateway.policy.table import Grant, PolicyTable, Rule

MAX_PATHS: Final = 1000
"""Paths below a wildcard that are kept; a route with more is used broadly."""
MAX_PEOPLE: Final = 100_000
_WEIGHED: Final = frozenset(
    (Reason.CONDITION_FALSE, Reason.CONDITION_FAILED, Reason.SCOPE_MISSING, Reason.TENANT_MISMATCH, Reason.ROLE_MISSING)
)
"""Refusals for which every entry was looked at."""


@dataclass(slots=True)
class Extent:
    """How many requests, and when."""

    requests: int = 0
    first: float = 0.0
    last: float = 0.0

    def count(self, time_s: float) -> None:
        """Count one request."""
        self.requests += 1
        if not self.first or time_s < self.first:
            self.first = time_s
        self.last = max(self.last, time_s)

    def add(self, other: Extent) -> None:
        """Add others."""
        self.requests += other.requests
        self.first = min((time_s for time_s in (self.first, other.first) if time_s), default=0.0)
        self.last = max(self.last, other.last)


EntryKey = tuple[str, int]
"""Name of the route and index of the entry in its `allow` list, from 0."""
RouteKey = tuple[str, str, str]
"""Name of the route, method and host."""
PersonKey = tuple[str, str, tuple[str, ...]]
"""Name, tenant and roles of a person who signed in."""


@dataclass(slots=True)
class Usage:
    """Everything that is counted; plain values."""

    all: Extent = field(default_factory=Extent)
    """Every request that was looked at."""
    routes: dict[RouteKey, Extent] = field(default_factory=dict)
    """Requests let through."""
    entries: dict[tuple[EntryKey, tuple[str, ...]], Extent] = field(default_factory=dict)
    """Requests that an entry let through, by the roles of their senders."""
    unmet: dict[EntryKey, int] = field(default_factory=dict)
    """Requests whose sender an entry is about, but for its condition."""
    paths: dict[str, set[str] | None] = field(default_factory=dict)
    """Paths of routes with a wildcard; None = too many."""
    people: dict[PersonKey, dict[EntryKey, Extent]] = field(default_factory=dict)
    has_all_people: bool = True
    """False: there were more than are kept."""
    refused: dict[str, int] = field(default_factory=dict)
    """Requests that a route refused."""

    def add(self, other: Usage) -> None:
        """Add what was counted elsewhere."""
        self.all.add(other.all)
        self.has_all_people = self.has_all_people and other.has_all_people
        for key, extent in other.routes.items():
            self.routes.setdefault(key, Extent()).add(extent)
        for used, extent in other.entries.items():
            self.entries.setdefault(used, Extent()).add(extent)
        for entry, number in other.unmet.items():
            self.unmet[entry] = self.unmet.get(entry, 0) + number
        for name, number in other.refused.items():
            self.refused[name] = self.refused.get(name, 0) + number
        for name, paths in other.paths.items():
            known = self.paths.setdefault(name, set())
            joined = known | paths if known is not None and paths is not None else None
            self.paths[name] = joined if joined is not None and len(joined) <= MAX_PATHS else None
        for person, entries in other.people.items():
            mine = self.people.setdefault(person, {})
            for entry, extent in entries.items():
                mine.setdefault(entry, Extent()).add(extent)


class Observer:
    """Counts answers of one policy."""

    def __init__(self, table: PolicyTable) -> None:
        self._entries = {
            (name, grant.source): index for name, rule in table.rules.items() for index, grant in enumerate(rule.grants)
        }
        self._wild = frozenset(name for name, rule in table.rules.items() if is_wild(rule))
        self.usage = Usage()

    def take(self, recorded: Recorded, verdict: Verdict) -> None:
        """Count one."""
        usage = self.usage
        usage.all.count(recorded.time_s)
        if verdict.match is None:
            return
        rule, decision, session = verdict.match.rule, verdict.decision, recorded.witness.session
        name = rule.route.name
        at = self._entries.get((name, decision.rule)) if decision.allowed else None
        if session is not None and (decision.allowed or decision.reason in _WEIGHED):
            for index, grant in enumerate(rule.grants[:at]):
                if grant.condition is not None and _is_about(grant, session):
                    usage.unmet[name, index] = usage.unmet.get((name, index), 0) + 1
        if not decision.allowed:
            usage.refused[name] = usage.refused.get(name, 0) + 1
            return
        usage.routes.setdefault((name, recorded.method, recorded.host), Extent()).count(recorded.time_s)
        if name in self._wild:
            paths = usage.paths.setdefault(name, set())
            if paths is not None:
                paths.add(recorded.path)
                if len(paths) > MAX_PATHS:
                    usage.paths[name] = None
        if at is not None and session is not None:
            usage.entries.setdefault(((name, at), session.roles), Extent()).count(recorded.time_s)
            person = session.user, session.tenant, session.roles
            if session.credential == "cookie":
                usage.people.setdefault(person, {}).setdefault((name, at), Extent()).count(recorded.time_s)
                if len(usage.people) > MAX_PEOPLE:
                    usage.people, usage.has_all_people = {}, False


def is_wild(rule: Rule) -> bool:
    """Whether the template of a route stands for paths without naming what differs."""
    return "*" in rule.template.text


def _is_about(grant: Grant, session: Session) -> bool:
    """Whether everything but the condition of an entry fits."""
    return (
        not grant.accepts.isdisjoint(session.roles)
        and (grant.tenants is None or session.tenant in grant.tenants)
        and not (grant.scopes and session.credential in DELEGATED and not grant.scopes.issubset(session.scopes))
    )
