"""Least privilege from observed use: what of a policy could be narrower without anybody having noticed.

Each suggestion names the line, the evidence and the change. None of them widens anything: what is not used is closed, not
removed, because the path of a route that is gone falls to a broader one. Rare use may be missing from what was observed;
whoever accepts a suggestion decides that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final, Literal

import msgspec

from gateway.policy.history.amendment import Amendment, Files, Loc
from gateway.policy.history.narrowing import narrower_templates
from gateway.policy.history.usage import Extent, PersonKey, Usage, is_wild
from gateway.policy.roles import Roles
from gateway.policy.table import Grant, PolicyTable, Rule

Kind = Literal[
    "unused-route",
    "unused-entry",
    "unused-role",
    "broad-role",
    "unused-method",
    "unused-host",
    "broad-template",
    "idle-condition",
]
ENOUGH: Final = 20
"""Requests below which a condition or a template is not judged."""
_EXACT: Final = 6
"""Up to so many roles, the smallest set is looked for by trying all."""


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that could be narrower."""

    kind: Kind
    source: str
    """Place of the line."""
    route: str
    text: str
    evidence: str
    requests: int
    """That speak for it; 0 where it is the absence of any."""
    snippet: Any = None
    """What the line, or lines, would say instead; None = nothing would."""
    amendments: tuple[Amendment, ...] = ()
    """Empty = only a person can decide what to do."""


class Narrower(msgspec.Struct, frozen=True, kw_only=True):
    """A person who needs less."""

    person: PersonKey
    roles: tuple[str, ...]
    """Enough for everything they did."""
    requests: int
    first: float
    last: float


class _Author:
    """Writes the suggestions for one policy."""

    def __init__(self, table: PolicyTable, files: Files, usage: Usage) -> None:
        self._table = table
        self._files = files
        self._usage = usage
        self._by_route: dict[str, dict[tuple[str, str], Extent]] = {}
        for (name, method, host), extent in usage.routes.items():
            self._by_route.setdefault(name, {})[method, host] = extent
        self._by_entry: dict[tuple[str, int], dict[tuple[str, ...], Extent]] = {}
        for (entry, roles), extent in usage.entries.items():
            self._by_entry.setdefault(entry, {})[roles] = extent

    def all(self) -> Iterator[Suggestion]:
        """Look at every route."""
        for name, rule in self._table.rules.items():
            found = self._files.route(rule.route.source)
            if found is None or (rule.public is None and not rule.grants):
                continue
            used = self._by_route.get(name)
            if not used:
                yield self._closed(rule, *found)
            else:
                entries = list(self._entries(rule))
                yield from entries
                # Copies of a route would not have what changes in its entries: one after the other.
                is_settled = not any(suggestion.amendments for suggestion in entries)
                yield from self._shape(rule, used, found, may_split=is_settled)

    def _closed(self, rule: Rule, path: str, loc: Loc) -> Suggestion:
        refused = self._usage.refused.get(rule.route.name, 0)
        written = self._files.at(path, loc)
        closed = {key: written[key] for key in ("name", "match")} | {"upstream": rule.route.upstream, "deny": True}
        return Suggestion(
            kind="unused-route",
            source=rule.route.source,
            route=rule.route.name,
            text="nobody was let through; close it, or remove it if no broader route would take its paths",
            evidence=f"0 requests let through, {refused:,} refused" if refused else "0 requests",
            requests=0,
            snippet=[closed],
            amendments=(Amendment(path=path, loc=loc, value=closed),),
        )

    def _entries(self, rule: Rule) -> Iterator[Suggestion]:
        name = rule.route.name
        for index, grant in enumerate(rule.grants):
            found = self._files.entry(rule.route.source, grant.source)
            if found is None:  # it stands elsewhere
                continue
            path, loc = found
            used = self._by_entry.get((name, index))
            if not used:
                yield Suggestion(
                    kind="unused-entry",
                    source=grant.source,
                    route=name,
                    text=f"the entry for {', '.join(grant.roles)} let nobody through; remove it",
                    evidence=f"0 of {_sum(self._by_route[name]):,} requests that the route let through",
                    requests=0,
                    amendments=(Amendment(path=path, loc=loc),),
                )
                continue
            yield from self._roles(rule, grant, used, path, loc)
            unmet = self._usage.unmet.get((name, index), 0)
            if grant.condition is not None and not unmet and _sum(used) >= ENOUGH:
                yield Suggestion(
                    kind="idle-condition",
                    source=grant.source,
                    route=name,
                    text="the condition was true for everybody it was asked about; a case file can show that it refuses",
                    evidence=f"{_requests(_sum(used))}, not met 0 times",
                    requests=_sum(used),
                    snippet={"when": grant.condition.text},
                )

    def _roles(
        self, rule: Rule, grant: Grant, used: Mapping[tuple[str, ...], Extent], path: str, loc: Loc
    ) -> Iterator[Suggestion]:
        """Compare the roles an entry names with those that were needed."""
        written = self._files.at(path, loc)
        if "roles" not in written:  # they stand in the entry that it uses
            return
        closure = self._table.closure
        needs = [frozenset(closure.held(roles)) for roles in used]
        kept = smallest([need.intersection(grant.roles) for need in needs], closure)
        narrow = tuple(_narrowed(role, [need for need in needs if role in need], closure) for role in sorted(kept))
        narrow = tuple(dict.fromkeys(narrow))
        accepts = closure.holders(narrow)
        if accepts >= grant.accepts:
            return
        kind: Kind = "unused-role" if set(narrow) < set(grant.roles) else "broad-role"
        wider = _wider(rule, grant, accepts)
        if wider is not None:  # two entries for the same people would say one thing twice, which policies refuse
            yield Suggestion(
                kind=kind,
                source=grant.source,
                route=rule.route.name,
                text=f"{', '.join(grant.roles)} may; {', '.join(narrow)} would have been enough, "
                f"whom {wider.source} lets in without a condition: one of the two may be too much",
                evidence=_requests(_sum(used)),
                requests=_sum(used),
            )
            return
        yield Suggestion(
            kind=kind,
            source=grant.source,
            route=rule.route.name,
            text=f"{', '.join(grant.roles)} may; {', '.join(narrow)} would have been enough",
            evidence=f"{_requests(_sum(used))} by holders of "
            + "; ".join(sorted({", ".join(roles) for roles in used if roles})),
            requests=_sum(used),
            snippet=[{**written, "roles": list(narrow)}],
            amendments=(Amendment(path=path, loc=(*loc, "roles"), value=list(narrow)),),
        )

    def _shape(
        self, rule: Rule, used: Mapping[tuple[str, str], Extent], at: tuple[str, Loc], *, may_split: bool
    ) -> Iterator[Suggestion]:
        """Compare hosts, template and methods with what was asked."""
        route, (path, loc) = rule.route, at
        written = self._files.at(path, loc)
        used_on = {host for _, host in used}
        idle = [host for host in route.hosts if host not in used_on]
        if idle:
            yield self._on_hosts(rule, [host for host in route.hosts if host in used_on], idle, at)
        paths = self._usage.paths.get(route.name)
        if may_split and not idle and is_wild(rule) and paths and _sum(used) >= ENOUGH and "rate_limit" not in written:
            templates = narrower_templates(rule.template, paths)
            if templates:
                yield self._on_templates(rule, templates, len(paths), at)
                return
        methods = {method for method, _ in used}
        needed = [
            method
            for method in route.methods
            if method in methods or (method == "GET" and "HEAD" in methods - set(route.methods))
        ]
        if not idle and len(needed) < len(route.methods):
            yield Suggestion(
                kind="unused-method",
                source=route.source,
                route=route.name,
                text=f"only {', '.join(needed)} of {', '.join(route.methods)} was used",
                evidence=_requests(_sum(used)),
                requests=_sum(used),
                snippet={"match": {**written["match"], "methods": needed}},
                amendments=(Amendment(path=path, loc=(*loc, "match", "methods"), value=needed),),
            )

    def _on_hosts(self, rule: Rule, hosts: list[str], idle: list[str], at: tuple[str, Loc]) -> Suggestion:
        path, loc = at
        written = self._files.at(path, loc)
        closed = self._twin(rule, written, {"hosts": idle}, "idle")
        requests = _sum(self._by_route[rule.route.name])
        return Suggestion(
            kind="unused-host",
            source=rule.route.source,
            route=rule.route.name,
            text=f"nobody used it on {', '.join(idle)}; close it there",
            evidence=f"{_requests(requests)} on {', '.join(hosts)}",
            requests=requests,
            snippet=[{**written, "match": {**written["match"], "hosts": hosts}}, closed],
            amendments=(
                Amendment(path=path, loc=(*loc, "match", "hosts"), value=hosts),
                Amendment(path=path, loc=loc[:-1], more=(closed,)),
            ),
        )

    def _on_templates(self, rule: Rule, templates: list[str], paths: int, at: tuple[str, Loc]) -> Suggestion:
        path, loc = at
        written = self._files.at(path, loc)
        name = rule.route.name
        kept = [
            {
                **written,
                "name": name if not index else self._new_name(f"{name}-{index + 1}"),
                "match": {**written["match"], "path": text},
            }
            for index, text in enumerate(templates)
        ]
        closed = self._twin(rule, written, {}, "rest")
        requests = _sum(self._by_route[name])
        return Suggestion(
            kind="broad-template",
            source=rule.route.source,
            route=name,
            text=f"{rule.template.text} was used for {', '.join(templates)} alone; close the rest",
            evidence=f"{_requests(requests)} of {paths:,} paths",
            requests=requests,
            snippet=[*kept, closed],
            amendments=(
                Amendment(path=path, loc=(*loc, "match", "path"), value=templates[0]),
                Amendment(path=path, loc=loc[:-1], more=(*kept[1:], closed)),
            ),
        )

    def _twin(self, rule: Rule, written: dict[str, Any], match: dict[str, Any], word: str) -> dict[str, Any]:
        """Write the route that refuses what another one no longer takes. Its upstream may stand in a default or a profile."""
        return {
            "name": self._new_name(f"{written['name']}-{word}"),
            "match": {**written["match"], **match},
            "upstream": rule.route.upstream,
            "deny": True,
        }

    def _new_name(self, wanted: str) -> str:
        name, number = wanted[:64], 1
        while name in self._table.routes:
            number += 1
            name = f"{wanted[:60]}-{number}"
        return name


def _wider(rule: Rule, grant: Grant, accepts: frozenset[str]) -> Grant | None:
    """Find another entry of the route that lets everybody of `accepts` in, and asks for nothing."""
    for other in rule.grants:
        if (
            other is not grant
            and other.condition is None
            and accepts <= other.accepts
            and other.scopes <= grant.scopes
            and (other.tenants is None or (grant.tenants is not None and grant.tenants <= other.tenants))
        ):
            return other
    return None


def suggestions(table: PolicyTable, files: Files, usage: Usage) -> list[Suggestion]:
    """Propose what `usage` of the policy `table` speaks for; in the order of the files."""
    return sorted(_Author(table, files, usage).all(), key=_place)


def people(table: PolicyTable, usage: Usage) -> list[Narrower]:
    """Find people for whom fewer or smaller roles would have been enough for what they did under `table`.

    Nobody, where a condition asks which roles somebody has: what it then says cannot be told from use. Roles that a denial
    is about are kept: without them it would not be.
    """
    if not usage.has_all_people or "session.roles" in table.inputs:
        return []
    closure, found = table.closure, []
    denied = [denial.accepts for rule in table.rules.values() for denial in rule.denials if denial.accepts is not None]
    for (user, tenant, roles), entries in usage.people.items():
        held = closure.held(roles)
        used: list[frozenset[str]] = []
        for name, index in entries:
            rule = table.rules.get(name)
            if rule is None or index >= len(rule.grants):
                break
            used.append(held & rule.grants[index].accepts)
        else:
            kept = frozenset(role for role in roles if any(role in accepts for accepts in denied))
            enough = kept | smallest([need for need in used if kept.isdisjoint(need)], closure)
            if closure.held(enough) < held and all(used):
                found.append(
                    Narrower(
                        person=(user, tenant, roles),
                        roles=tuple(sorted(enough)),
                        requests=sum(extent.requests for extent in entries.values()),
                        first=min(extent.first for extent in entries.values()),
                        last=max(extent.last for extent in entries.values()),
                    )
                )
    return sorted(found, key=lambda one: one.person)


def smallest(needs: list[frozenset[str]], closure: Roles) -> frozenset[str]:
    """Choose roles such that each need is met by one of them, and together they contain as little as can be found.

    Exact for few roles; otherwise one after the other, the one that meets most first.
    """
    open_needs = {need for need in needs if need}
    candidates = sorted(frozenset().union(*open_needs)) if open_needs else []
    if len(candidates) <= _EXACT:
        fitting = (
            frozenset(chosen)
            for number in range(len(candidates) + 1)
            for chosen in combinations(candidates, number)
            if all(not need.isdisjoint(chosen) for need in open_needs)
        )
        return min(fitting, key=lambda chosen: (len(closure.held(chosen)), len(chosen), sorted(chosen)))
    chosen: set[str] = set()
    while open_needs:
        best = min(
            candidates, key=lambda role: (-sum(role in need for need in open_needs), len(closure.held([role])), role)
        )
        chosen.add(best)
        open_needs = {need for need in open_needs if best not in need}
    return frozenset(chosen)


def _narrowed(role: str, needs: list[frozenset[str]], closure: Roles) -> str:
    """Find the role that the fewest others contain and that everybody held who was let in by `role`."""
    common = frozenset.intersection(*needs) if needs else frozenset((role,))
    narrower = [other for other in common if role in closure.held([other])]
    return min(narrower, key=lambda other: (len(closure.holders([other])), other != role, other), default=role)


def _sum(extents: Mapping[Any, Extent]) -> int:
    return sum(extent.requests for extent in extents.values())


def _requests(number: int) -> str:
    return f"{number:,} request" + ("" if number == 1 else "s")


def _place(suggestion: Suggestion) -> tuple[str, int, int, str]:
    path, line, column = suggestion.source.rsplit(":", 2)
    return path, int(line), int(column), suggestion.kind
