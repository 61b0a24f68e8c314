"""The pages that show the policy: what is in force, its routes and its roles. They change nothing: Git owns the files."""

from __future__ import annotations

import asyncio
import csv
from io import StringIO
from typing import Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from gateway.document.quantity import written_duration
from gateway.exchange.built_in import BUILT_IN_ROLES
from gateway.exchange.route import Route
from gateway.pages.console.door import Inside
from gateway.pages.console.paging import SIZE, page_number, paging, words_of
from gateway.pages.console.sight import Sight, fields_of, limit_text
from gateway.pages.visit import Problem
from gateway.policy import PolicyTable
from gateway.policy.declaration import METHODS
from gateway.policy.table import Rule

_SHOWN_WARNINGS: Final = 100
_SHOWN_HOLDERS: Final = 50
_SHOWN_CHANGES: Final = 200


class RouteRow(msgspec.Struct, frozen=True, kw_only=True):
    """A route in the list."""

    name: str
    methods: tuple[str, ...]
    template: str
    hosts: tuple[str, ...]
    who: tuple[str, ...]
    """Roles as written; empty = everybody, or nobody."""
    public: bool
    denies: int
    conditional: bool
    source: str


def sight_of(inside: Inside) -> Sight:
    """Return what the administrator of a request sees of the policy in force."""
    return Sight(inside.console.table, inside.console.hosts, inside.who)


async def show_overview(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Show which policy is in force, what came of the last reload, and what is strange about it."""
    inside.note("view overview")
    console, sight = inside.console, sight_of(inside)
    rules = list(sight.rules)
    is_operator = inside.who.is_operator
    changes: list[tuple[str, str]] = []
    if is_operator and console.candidate is not None:  # of 10,000 routes it takes a second
        changes = await asyncio.to_thread(_changes, console.table, console.candidate)
    return inside.page(
        "console_overview.html",
        here="overview",
        version=console.table.version,
        since=console.since,
        last=console.last_reload() if is_operator else None,
        routes=len(rules),
        public=sum(rule.public is not None for rule in rules),
        closed=sum(rule.public is None and not rule.grants for rule in rules),
        conditional=sum(sight.asks(rule) for rule in rules),
        roles=len(sight.roles()),
        hosts=len(sight.hosts),
        warnings=console.warnings[:_SHOWN_WARNINGS] if is_operator else (),
        more_warnings=max(0, len(console.warnings) - _SHOWN_WARNINGS) if is_operator else 0,
        candidate=console.candidate if is_operator else None,
        changes=changes[:_SHOWN_CHANGES],
    )


def _changes(live: PolicyTable, candidate: PolicyTable) -> list[tuple[str, str]]:
    """Name the routes of which the candidate says something else: `added`, `removed` or `changed`, and the name."""
    found = [("added", name) for name in candidate.rules if name not in live.rules]
    found += [("removed", name) for name in live.rules if name not in candidate.rules]
    for name, rule in live.rules.items():
        other = candidate.rules.get(name)
        if other is not None and not (_is_like(rule, other) and _is_like(other, rule)):
            found.append(("changed", name))
    return sorted(found, key=lambda change: (change[1], change[0]))


def _is_like(rule: Rule, other: Rule) -> bool:
    mine, theirs = rule.route, other.route
    return (mine.template, set(mine.methods), set(mine.hosts)) == (
        theirs.template,
        set(theirs.methods),
        set(theirs.hosts),
    ) and rule.opens_like(other)


async def show_routes(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """List the routes, narrowed by what the address says."""
    inside.note("view routes")
    query, sight = inside.visit.request.query, sight_of(inside)
    narrowed, found = _found(inside, sight)
    number = page_number(query)
    start = (number - 1) * SIZE
    return inside.page(
        "console_routes.html",
        here="routes",
        rows=[_row(rule, sight) for rule in found[start : start + SIZE]],
        paging=paging(len(found), number, narrowed),
        narrowed=narrowed,
        hosts=sorted(sight.hosts),
        tenants=sorted({tenant for tenant in sight.hosts.values() if tenant}),
        methods=METHODS,
        roles=sight.roles(),
        export="?" + urlencode({name: value for name, value in narrowed.items() if value}),
    )


def _found(inside: Inside, sight: Sight) -> tuple[dict[str, str], list[Rule]]:
    """Return what the address narrows the routes by, and those that are left."""
    query = inside.visit.request.query
    narrowed = {name: words_of(query, name) for name in ("q", "host", "tenant", "method", "role", "who")}
    return narrowed, [rule for rule in sight.rules if _fits(rule, sight, narrowed)]


async def export_routes(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Hand out the routes that the list shows, all pages of them, as a table (RFC 4180)."""
    inside.note("export routes")
    sight = sight_of(inside)
    _, found = _found(inside, sight)
    written = StringIO()
    table = csv.writer(written)
    table.writerow(("route", "methods", "path", "hosts", "open to", "condition", "denies", "source"))
    for row in (_row(rule, sight) for rule in found):
        who = "everybody" if row.public else " ".join(row.who) or "nobody"
        said = (row.name, " ".join(row.methods), row.template, " ".join(row.hosts), who)
        table.writerow([*map(_inert, said), "yes" if row.conditional else "", row.denies or "", _inert(row.source)])
    response = web.Response(body=written.getvalue().encode(), content_type="text/csv", charset="utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="routes.csv"'
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    return response


def _inert(cell: str) -> str:
    """Keep a spreadsheet from computing a cell."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def _row(rule: Rule, sight: Sight) -> RouteRow:
    return RouteRow(
        name=rule.route.name,
        methods=rule.route.methods,
        template=rule.route.template,
        hosts=sight.hosts_of(rule.route),
        who=tuple(sorted(sight.granted(rule))),
        public=rule.public is not None,
        denies=sight.refuses(rule),
        conditional=sight.asks(rule),
        source=rule.route.source,
    )


def _fits(rule: Rule, sight: Sight, narrowed: dict[str, str]) -> bool:
    """Tell whether a route is among those that were asked for."""
    route = rule.route
    words, host, tenant = narrowed["q"].casefold(), narrowed["host"].lower(), narrowed["tenant"]
    method, role, who = narrowed["method"].upper(), narrowed["role"], narrowed["who"]
    if words and not any(
        words in text.casefold() for text in (route.name, route.template, route.upstream, route.source)
    ):
        return False
    if host and route.hosts and host not in sight.hosts_of(route):
        return False
    if tenant and not _is_for(rule, sight, tenant):
        return False
    if method and method not in route.methods and not (method == "HEAD" and "GET" in route.methods):
        return False
    if role and role not in sight.accepts(rule):
        return False
    match who:
        case "public":
            return rule.public is not None
        case "nobody":
            return rule.public is None and not rule.grants
        case "condition":
            return sight.asks(rule)
        case _:
            return True


def _is_for(rule: Rule, sight: Sight, tenant: str) -> bool:
    """Tell whether people of a tenant could come to a route: by its hosts, its own tenant and its entries."""
    route = rule.route
    if not sight.who.sees(tenant):
        return False
    if route.hosts and not any(sight.hosts.get(host) in {"", tenant} for host in sight.hosts_of(route)):
        return False
    if route.tenant is not None and route.tenant.by == "name" and route.tenant.value != tenant:
        return False
    return not rule.grants or any(grant.tenants is None or tenant in grant.tenants for grant in rule.grants)


async def show_route(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Show one route: who can take it, under which conditions and limits, and where that is written."""
    name = inside.visit.request.match_info["name"]
    inside.note("view route")
    sight = sight_of(inside)
    rule = sight.rule(name)
    if rule is None:
        raise web.HTTPNotFound
    allows, denies = sight.allows(rule), sight.denies(rule)
    fitting = frozenset(chain[0] for entry in allows for chain in entry.chains)
    holders = await inside.console.people.holders(inside.who, fitting, size=_SHOWN_HOLDERS) if fitting else None
    route = rule.route
    asks = inside.console.pages if inside.who.is_operator else None
    return inside.page(
        "console_route.html",
        pages=await asks.of(name, now=inside.now) if asks is not None else None,
        here="routes",
        route=route,
        rule=rule,
        hosts=sight.hosts_of(route),
        allows=allows,
        denies=denies,
        needs=_needs(route),
        limit=limit_text(route.limit) if route.limit is not None else "",
        holders=holders,
        attempt=urlencode({"method": route.methods[0], "url": _address(inside, sight, route)}),
    )


def _address(inside: Inside, sight: Sight, route: Route) -> str:
    """Write an address of a route to begin with: its parameters are the asker's to fill in."""
    envelope = inside.visit.envelope
    return f"{envelope.scheme}://{next(iter(sight.hosts_of(route)), envelope.host)}{route.template}"


def _needs(route: Route) -> list[tuple[str, str]]:
    """List what a route requires of a session beyond being signed in, in the words of its YAML."""
    needs: list[tuple[str, str]] = []
    wanted = route.requirement
    if wanted is not None:
        for key, value in (("mfa_age", wanted.mfa_age_s), ("auth_age", wanted.auth_age_s)):
            if value is not None:
                needs.append((key, written_duration(value)))
        if wanted.acr is not None:
            needs.append(("acr", wanted.acr.value))
        if wanted.factor is not None:
            needs.append(("factor", wanted.factor.value))
        if wanted.known_device:
            needs.append(("device", "known"))
        if wanted.networks:
            needs.append(("network", ", ".join(map(str, wanted.networks))))
    if route.client_certificate:
        needs.append(("client_certificate", route.client_certificate))
    if route.headers is not None:
        needs += fields_of(route.headers)
    if not route.mfa:
        needs.append(("unsafe_without_mfa", "true"))
    return needs


async def show_roles(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """List the roles of the policy, and the gateway's own."""
    inside.note("view roles")
    sight, closure = sight_of(inside), inside.console.table.closure
    seen = set(sight.roles())
    reached = sight.reached()
    rows = [(role, sorted((closure.held([role]) - {role}) & seen), reached[role]) for role in sorted(seen)]
    return inside.page("console_roles.html", here="roles", rows=rows, own=BUILT_IN_ROLES)


async def show_role(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Show one role: what it includes, what includes it, what it reaches, and who holds it."""
    name = inside.visit.request.match_info["name"]
    inside.note("view role")
    sight, closure = sight_of(inside), inside.console.table.closure
    seen = frozenset(sight.roles())
    if name not in seen and name not in BUILT_IN_ROLES:
        raise web.HTTPNotFound
    query = inside.visit.request.query
    number = page_number(query)
    reached = sight.reach(name) if name in seen else []
    start = (number - 1) * SIZE
    above = closure.holders([name]) & seen
    holders = await inside.console.people.holders(inside.who, above | {name}, size=_SHOWN_HOLDERS)
    return inside.page(
        "console_role.html",
        here="roles",
        name=name,
        is_own=name in BUILT_IN_ROLES,
        includes=sorted((closure.held([name]) - {name}) & seen),
        above=sorted(above - {name}),
        rows=[_row(rule, sight) for rule in reached[start : start + SIZE]],
        paging=paging(len(reached), number, {}),
        holders=holders,
    )
