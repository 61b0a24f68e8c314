"""Which lines of a policy were ever exercised, on both sides: somebody was let through, somebody was refused.

A line that never refused anybody may be open to everybody, and nobody would know. Counts what it is given; where the
requests come from, case files or the past, is not its concern.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from gateway.exchange.reason import Reason
from gateway.policy.condition import Condition
from gateway.policy.judgement import Verdict
from gateway.policy.table import PolicyTable, Rule

Side = Literal["allow", "refuse"]
Kind = Literal["route", "allow", "deny", "step_up", "device", "network", "tenant"]
_BOTH: Final[tuple[Side, ...]] = ("allow", "refuse")
_REFUSED_BY: Final[dict[Reason, Kind]] = {
    Reason.STEP_UP_REQUIRED: "step_up",
    Reason.DEVICE_UNKNOWN: "device",
    Reason.NETWORK_REFUSED: "network",
}
_NOBODY: Final = frozenset((Reason.SIGN_IN_REQUIRED, Reason.CREDENTIAL_REQUIRED))
"""That nobody gets in says nothing about who does."""
_LONGEST: Final = 60


class Point(msgspec.Struct, frozen=True):
    """One line that can let through or refuse."""

    source: str
    """`policies/portal.yaml:15:9`"""
    route: str
    kind: Kind
    text: str
    """What it says, in short."""
    sides: tuple[Side, ...]
    """On which it can be exercised."""


class Coverage:
    """The lines of one policy, and how often each was exercised."""

    def __init__(self, table: PolicyTable) -> None:
        """List every line of `table`, in the order of its files."""
        self._of_route = {name: tuple(_points(rule)) for name, rule in table.rules.items()}
        self.points = sorted((point for points in self._of_route.values() for point in points), key=_place)
        self.counts: dict[tuple[Point, Side], int] = {}

    def take(self, verdict: Verdict) -> None:
        """Count one answer."""
        if verdict.match is None:
            return
        for point in self._of_route[verdict.route]:
            side = _side(point, verdict)
            if side is not None and side in point.sides:
                self.counts[point, side] = self.counts.get((point, side), 0) + 1

    def count(self, point: Point, side: Side) -> int:
        """Tell how often a side of a line was exercised."""
        return self.counts.get((point, side), 0)

    @property
    def total(self) -> int:
        """How many sides there are."""
        return sum(len(point.sides) for point in self.points)

    @property
    def percent(self) -> float:
        """How many of them were exercised; 100 for a policy without a line."""
        return 100.0 * len(self.counts) / self.total if self.total else 100.0


def _side(point: Point, verdict: Verdict) -> Side | None:
    """Say on which side an answer of the route of a line exercises the line."""
    decision = verdict.decision
    match point.kind:
        case "route":
            if decision.allowed:
                return "allow"
            return None if len(point.sides) > 1 and decision.reason in _NOBODY else "refuse"
        case "allow":
            return None if decision.rule != point.source else "allow" if decision.allowed else "refuse"
        case "deny" | "tenant":
            if decision.allowed:
                return "allow"
            return "refuse" if decision.rule == point.source else None
        case _:
            if decision.allowed:
                return "allow"
            return "refuse" if _REFUSED_BY.get(decision.reason) == point.kind else None


def _points(rule: Rule) -> Iterator[Point]:
    route = rule.route
    if rule.public is not None:
        sides: tuple[Side, ...] = _BOTH if rule.denials or rule.tenancy is not None else ("allow",)
        yield Point(rule.public.rule, route.name, "route", "public", sides)
    elif rule.grants:
        yield Point(route.source, route.name, "route", " ".join((*route.methods, route.template)), _BOTH)
    else:
        yield Point(rule.refused.rule, route.name, "route", "closed to everybody", ("refuse",))
    for denial in rule.denials:
        text = _text(denial.roles, denial.tenants, denial.condition)
        yield Point(denial.source, route.name, "deny", text, _BOTH if rule.grants or rule.public else ("refuse",))
    for grant in rule.grants:
        text = _text(grant.roles, grant.tenants, grant.condition, grant.scopes)
        restricted = grant.tenants is not None or grant.condition is not None or bool(grant.scopes)
        yield Point(grant.source, route.name, "allow", text, _BOTH if restricted else ("allow",))
    requirement = route.requirement
    if requirement is not None:
        if requirement.asks_proof:
            yield Point(route.source, route.name, "step_up", "a fresh or stronger proof", _BOTH)
        if requirement.known_device:
            yield Point(route.source, route.name, "device", "a known device", _BOTH)
        if requirement.networks:
            yield Point(route.source, route.name, "network", ", ".join(map(str, requirement.networks)), _BOTH)
    if rule.tenancy is not None:
        binding = rule.tenancy.binding
        yield Point(rule.tenancy.mismatch.rule, route.name, "tenant", f"{binding.by} {binding.value}", _BOTH)


def _text(
    roles: tuple[str, ...],
    tenants: frozenset[str] | None,
    condition: Condition | None,
    scopes: frozenset[str] = frozenset(),
) -> str:
    words = [f"roles {', '.join(roles)}" if roles else "everybody"]
    words += [f"tenants {', '.join(sorted(tenants))}"] if tenants is not None else []
    words += [f"scopes {', '.join(sorted(scopes))}"] if scopes else []
    words += ["when " + " ".join(condition.text.split())] if condition is not None else []
    text = "; ".join(words)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _place(point: Point) -> tuple[str, int, int, str, str]:
    path, line, column = point.source.rsplit(":", 2)
    return path, int(line), int(column), point.route, point.kind
