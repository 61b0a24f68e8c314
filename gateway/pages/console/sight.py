"""What one administrator may see of a policy, in the words of the pages.

An operator sees all of it. An administrator of one organisation sees the routes that their people could reach, without
the hosts, organisations and conditions of others: a condition may name anybody, so its text stays hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

from gateway.exchange.administration import Administrator
from gateway.exchange.field_rules import FieldRules
from gateway.exchange.obligation import Obligation
from gateway.exchange.route import LimitSpec, Route
from gateway.policy import PolicyTable
from gateway.policy.roles import Roles
from gateway.policy.table import Denial, Grant, Rule


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `allow` or of `deny`."""

    chains: tuple[tuple[str, ...], ...]
    """Each role that fits, as it comes to fit: `(lead, clerk, client)` holds clerk, which includes client."""
    everybody: bool
    tenants: tuple[str, ...]
    """Empty = those of every organisation."""
    scopes: tuple[str, ...]
    obligations: tuple[tuple[str, str], ...]
    """What it asks for beside letting in, in the words of its YAML."""
    has_condition: bool
    condition: str
    """Empty where there is none, or it is not the asker's to read."""
    source: str


class Sight:
    """The part of a policy that `who` sees."""

    __slots__ = ("_table", "hosts", "who")

    def __init__(self, table: PolicyTable, hosts: Mapping[str, str], who: Administrator) -> None:
        self._table = table
        self.who = who
        self.hosts = {host: tenant for host, tenant in hosts.items() if not tenant or who.sees(tenant)}
        """Hosts that the asker's people could use."""

    @property
    def rules(self) -> Iterator[Rule]:
        """Every route that is theirs to see, by name."""
        return (rule for name, rule in sorted(self._table.rules.items()) if self.shows(rule))

    def rule(self, name: str) -> Rule | None:
        """Find one route; None when there is none that the asker may see."""
        rule = self._table.rules.get(name)
        return rule if rule is not None and self.shows(rule) else None

    def shows(self, rule: Rule) -> bool:
        """Tell whether a route is theirs to see."""
        if self.who.is_operator:
            return True
        route = rule.route
        if not (self.hosts if not route.hosts else set(route.hosts) & self.hosts.keys()):
            return False
        if route.tenant is not None and route.tenant.by == "name" and route.tenant.value != self.who.tenant:
            return False
        return not rule.grants or any(self._concerns(grant) for grant in rule.grants)

    def hosts_of(self, route: Route) -> tuple[str, ...]:
        """List the hosts a route is limited to, as far as they are theirs to see; empty = every host."""
        return tuple(host for host in route.hosts if host in self.hosts)

    def allows(self, rule: Rule) -> list[Entry]:
        """List the entries of `allow`."""
        return [self._entry(grant) for grant in rule.grants if self._concerns(grant)]

    def denies(self, rule: Rule) -> list[Entry]:
        """List the entries of `deny`."""
        return [self._entry(denial) for denial in rule.denials if self._concerns(denial)]

    def roles(self) -> list[str]:
        """List the roles of the policy; for an organisation those that some route of theirs asks for, or that include one."""
        if self.who.is_operator:
            return sorted(self._table.roles)
        asked = {
            role for rule in self.rules for grant in rule.grants if self._concerns(grant) for role in grant.accepts
        }
        return sorted(self._table.closure.held(asked))

    def reach(self, roles: Collection[str]) -> list[Rule]:
        """List the routes that some entry opens to a holder of `roles`, whatever its conditions say."""
        held = set(roles)
        return [
            rule
            for rule in self.rules
            if any(not grant.accepts.isdisjoint(held) for grant in rule.grants if self._concerns(grant))
        ]

    def _concerns(self, entry: Grant | Denial) -> bool:
        return entry.tenants is None or self.who.is_operator or self.who.tenant in entry.tenants

    def _entry(self, entry: Grant | Denial) -> Entry:
        closure = self._table.closure
        accepts = sorted(entry.accepts) if entry.accepts is not None else []
        tenants = sorted(tenant for tenant in entry.tenants or () if self.who.sees(tenant))
        chains = [chain_of(closure, role, entry.roles) for role in accepts]
        return Entry(
            chains=tuple(sorted(chains, key=lambda chain: (len(chain), chain))),
            everybody=entry.accepts is None,
            tenants=tuple(tenants),
            scopes=tuple(sorted(entry.scopes)) if isinstance(entry, Grant) else (),
            obligations=obligations_of(entry.obligation) if isinstance(entry, Grant) else (),
            has_condition=entry.condition is not None,
            condition=entry.condition.text if entry.condition is not None and self.who.is_operator else "",
            source=entry.source,
        )


def obligations_of(obligation: Obligation | None) -> tuple[tuple[str, str], ...]:
    """List what an entry binds the gateway to; of fields their names alone, for a value may be a secret of two servers."""
    if obligation is None:
        return ()
    found: list[tuple[str, str]] = []
    if obligation.limit is not None:
        found.append(("rate_limit", limit_text(obligation.limit)))
    if obligation.headers is not None:
        found += fields_of(obligation.headers)
    if obligation.durability is not None:
        found.append(("audit.durability", obligation.durability.value))
    return tuple(found)


def fields_of(rules: FieldRules) -> list[tuple[str, str]]:
    """Name the header fields that policy sets, by the side they are for."""
    return [
        (f"headers.{side}", ", ".join(name.decode("ascii") for name, _ in pairs))
        for side, pairs in (("request", rules.request), ("response", rules.response))
        if pairs
    ]


def limit_text(limit: LimitSpec) -> str:
    """Write a rate limit on one line."""
    return f"{limit.rate_per_s * 60:g}/m, burst {limit.burst}, per {limit.per}"


def chain_of(closure: Roles, role: str, granted: Collection[str]) -> tuple[str, ...]:
    """Show how `role` comes to include one of `granted`: each includes the next directly.

    Of all that a role includes the one that itself includes most stands directly under it: nothing can be between.
    """
    chain = [role]
    while chain[-1] not in granted:
        below = [
            other for other in closure.held([chain[-1]]) - {chain[-1]} if not closure.held([other]).isdisjoint(granted)
        ]
        if not below:
            break
        chain.append(max(below, key=lambda other: (len(closure.held([other])), other)))
    return tuple(chain)
