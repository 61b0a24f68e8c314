"""What a rule amounts to, whatever it is called, wherever it stands and in whichever order it says it.

Two rules of one meaning answer alike; two of another meaning may still, which `difference` finds out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from gateway.exchange.route import LimitSpec, Route
from gateway.policy.condition import Condition
from gateway.policy.table import PolicyTable, Rule

_DECIDES: Final = frozenset(
    {
        "name", "template", "methods", "hosts", "source", "public", "mfa", "requirement", "tenant", "credentials",
        "client_certificate", "strip_prefix", "add_prefix",
    }
)  # fmt: skip
"""Fields of a route that name it, place it, take part in the decision, or stand in its rule; every other one is an option."""
_KEYS: Final = {
    "limit": "rate_limit",
    "durability": "audit.durability",
    "purpose": "audit.purpose",
    "legal_basis": "audit.legal_basis",
    "classification": "audit.classification",
    "require_resource": "audit.require_resource",
    "stream": "audit.stream",
    "vault": "cookies.vault",
    "max_body_bytes": "max_body",
    "response_timeout_s": "timeout.response",
    "idle_timeout_s": "timeout.idle",
}


class Option(NamedTuple):
    """Something beside the decision that two rules do otherwise, as policy files call it."""

    name: str
    old: str
    new: str


class Meanings:
    """The meanings of the rules of one policy."""

    def __init__(self, table: PolicyTable) -> None:
        self._table = table
        self._shapes: dict[Condition, Hashable] = {}
        self._known: dict[Rule, Hashable] = {}

    def of(self, rule: Rule | None) -> Hashable:
        """Return what decides on the answers of a rule; None where it refuses everybody, as no rule does."""
        if rule is None or not (rule.public or rule.grants):
            return None
        if rule not in self._known:
            self._known[rule] = self._meaning(rule)
        return self._known[rule]

    def _meaning(self, rule: Rule) -> Hashable:
        route = rule.route
        grants = frozenset(
            (grant.accepts, grant.tenants, grant.scopes, self._condition(rule, grant.condition))
            for grant in rule.grants
        )
        denials = frozenset(
            (denial.accepts, denial.tenants, self._condition(rule, denial.condition)) for denial in rule.denials
        )
        if route.public:
            return "public", rule.tenancy, denials, _requirement(rule)
        taken = frozenset(route.credentials), route.client_certificate
        return rule.needs_mfa, route.mfa, taken, _requirement(rule), rule.tenancy, grants, denials

    def _condition(self, rule: Rule, condition: Condition | None) -> Hashable:
        """Return what a condition compares, with what its names stand for where that is not the same everywhere."""
        if condition is None:
            return None
        names = condition.names
        beside: list[Hashable] = [(name, index) for name, index in rule.parameters if f"path.{name}" in names]
        if "session.roles" in names:
            closure = self._table.closure
            beside.append(frozenset((role, closure.held((role,))) for role in self._table.roles))
        if "request.action" in names:
            beside.append(rule.route.action)
        if any(name.startswith("request.resource") for name in names):
            beside.append(rule.resource)
            beside.append(rule.route.resource)
        if condition not in self._shapes:
            self._shapes[condition] = condition.tree().shape()
        return self._shapes[condition], tuple(beside)


def _requirement(rule: Rule) -> Hashable:
    requirement = rule.route.requirement
    return requirement and tuple(getattr(requirement, name) for name in requirement.__struct_fields__)


def options(old: Rule, new: Rule) -> Iterator[Option]:
    """Yield what the two do otherwise for those whom they let in."""
    for name in Route.__struct_fields__:
        if name in _DECIDES:
            continue
        mine, theirs = getattr(old.route, name), getattr(new.route, name)
        if _plain(mine) != _plain(theirs):
            yield Option(_KEYS.get(name, name), _words(mine), _words(theirs))
    if old.mapping != new.mapping:
        yield Option("path", _words(old.mapping), _words(new.mapping))
    mine, theirs = (frozenset(_obligations(rule)) for rule in (old, new))
    if mine != theirs:
        yield Option("entries", _listed(mine - theirs), _listed(theirs - mine))


def _plain(value: Any) -> Any:
    """Take from a limit the name, which is the route's."""
    return msgspec.structs.replace(value, name="") if isinstance(value, LimitSpec) else value


def _words(value: object) -> str:
    """Write the value of an option for a person."""
    match value:
        case None | "" | ():
            return "none"
        case bool():
            return "true" if value else "false"
        case LimitSpec():
            return f"{value.rate_per_s:g}/s, burst {value.burst}, per {value.per}"
        case bytes():
            return value.decode("utf-8", "replace")
        case tuple():
            return " ".join(map(_words, value))
        case msgspec.Struct():
            stated = ((name, getattr(value, name)) for name in value.__struct_fields__)
            return ", ".join(f"{name} {_words(part)}" for name, part in stated if part not in (None, "", ()))
        case float():
            return f"{value:g} s"
        case _:
            return str(value)


def _obligations(rule: Rule) -> Iterator[str]:
    """Write what each entry asks for, and of whom."""
    for grant in rule.grants:
        if grant.obligation is None:
            continue
        parts = ", ".join(
            f"{_KEYS.get(name, name)} {_words(part)}"
            for name in grant.obligation.__struct_fields__
            if (part := getattr(grant.obligation, name)) is not None
        )
        yield f"{' or '.join(sorted(grant.roles))}: {parts}"


def _listed(sentences: frozenset[str]) -> str:
    return "; ".join(sorted(sentences)) or "none"
