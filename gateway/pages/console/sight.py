"""What one administrator may see of a policy, in the words of the pages.

An operator sees all of it. An administrator of one organisation sees the routes that their people could reach, without
the hosts, organisations and conditions of others: a condition may name anybody, so its text stays hidden.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from gateway.exchange.administration import Administrator
from gateway.exchange.field_rules import FieldRules
from gateway.exchange.obligation import Obligation
from gateway.exchange.route import LimitSpec, Route
from gateway.policy import PolicyTable
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

    def granted(self, rule: Rule) -> frozenset[str]:
        """Name the roles that the entries of `allow` ask for, as they are written."""
        return frozenset(role for grant in rule.grants if self._concerns(grant) for role in grant.roles)

    def accepts(self, rule: Rule) -> frozenset[str]:
        """Name every role that fits an entry of `allow`, by itself or by what it includes."""
        found = [grant.accepts for grant in rule.grants if self._concerns(grant)]
        return found[0].union(*found[1:]) if found else frozenset()  # of one entry the very set that all its like share

    def refuses(self, rule: Rule) -> int:
        """Count the entries of `deny`."""
        return sum(self._concerns(denial) for denial in rule.denials)

    def asks(self, rule: Rule) -> bool:
        """Tell whether an entry of `allow` or of `deny` has a condition."""
        entries: tuple[Grant | Denial, ...] = (*rule.grants, *rule.denials)
        return any(entry.condition is not None and self._concerns(entry) for entry in entries)

    def roles(self) -> list[str]:
        """List the roles of the policy; for an organisation those that some route of theirs asks for, or that include one."""
        if self.who.is_operator:
            return sorted(self._table.roles)
        asked: set[str] = set()
        asked.update(*{self.accepts(rule) for rule in self.rules})
        return sorted(self._table.closure.held(asked))

    def reach(self, role: str) -> list[Rule]:
        """List the routes that some entry opens to a holder of `role`, whatever its conditions say."""
        return [rule for rule in self.rules if role in self.accepts(rule)]

    def reached(self) -> Counter[str]:
        """Count, for each role, the routes that `reach` lists: all in one pass, for there may be thousands of both."""
        found: Counter[str] = Counter()
        for accepts, count in Counter(self.accepts(rule) for rule in self.rules).items():
            for role in accepts:
                found[role] += count
        return found

    def _concerns(self, entry: Grant | Denial) -> bool:
        return entry.tenants is None or self.who.is_operator or self.who.tenant in entry.tenants

    def _entry(self, entry: Grant | Denial) -> Entry:
        closure = self._table.closure
        accepts = sorted(entry.accepts) if entry.accepts is not None else []
        tenants = sorted(tenant for tenant in entry.tenants or () if self.who.sees(tenant))
        chains = [closure.chain(role, entry.roles) for role in accepts]
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
