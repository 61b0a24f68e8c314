"""From the text of all policy files to one table, or to every error in them.

Checks what only shows when the files are together: names that are declared twice or nowhere, cycles
of roles, conditions against the parameters of their route, entries that cannot matter.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Collection, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import NamedTuple

from gateway.document.diagnostic import illustrated
from gateway.document.place import Place
from gateway.document.source import Diagnostic, DocumentError, did_you_mean, load
from gateway.exchange.built_in import RESERVED_SENTENCE, is_reserved
from gateway.exchange.obligation import Obligation
from gateway.exchange.route import DELEGATED, Route
from gateway.policy.condition import Condition, ConditionCompiler, ConditionError
from gateway.policy.conflicts import report_conflicts
from gateway.policy.declaration import Declarations, RouteDeclaration, read_declarations, read_routes
from gateway.policy.entries import DenialDeclaration, GrantDeclaration
from gateway.policy.obligations import NOBODY_COUNTED, counts_nobody, merged
from gateway.policy.reuse import warn_about_idle_networks
from gateway.policy.roles import Roles, find_cycles
from gateway.policy.table import Denial, Grant, PolicyTable, Rule
from gateway.policy.tenancy import Tenancy, check_tenant
from gateway.wire.rewriting import PathMapping


def compile_policy(
    files: Mapping[str, str],
    *,
    upstreams: Collection[str],
    tenants: Collection[str],
    hosts: Collection[str],
    mfa_required: bool = True,
    paths: Mapping[str, PathMapping] | None = None,
    candidate: bool = False,
) -> tuple[PolicyTable, list[Diagnostic]]:
    """Compile the policy files (name for messages -> text) into a table; the order of the files changes nothing.

    `upstreams`, `tenants` and `hosts` are what gateway.yaml configures; where `hosts` is a mapping it names the tenant of each
    host (empty = shared). `mfa_required` says whether
    everybody needs a second factor; `paths` how upstreams that other paths than the public ones know rewrite them.
    What says `mode: shadow` is left out, or, for a `candidate`, taken in as if it were enforced; either way it is checked
    both ways, so that a typing error does not wait, and `PolicyTable.has_shadow` tells whether there is any.
    Returns the table and the warnings.

    Raises:
        DocumentError: with every error of every file.

    """
    collects = gc.isenabled()
    gc.disable()  # nothing made here is in a circle, and to look for circles in all of it again and again is half the time
    try:
        return _compile(files, _Surroundings(upstreams, tenants, hosts, mfa_required, paths or {}), candidate=candidate)
    finally:
        if collects:
            gc.enable()


def _compile(
    files: Mapping[str, str], around: _Surroundings, *, candidate: bool
) -> tuple[PolicyTable, list[Diagnostic]]:
    findings: list[Diagnostic] = []
    declared = Declarations()
    readable = _read_files(files, declared, findings)
    around = around._replace(all_files=readable)
    has_shadow = declared.has_shadow
    wanted = declared.enforced() if has_shadow and not candidate else declared
    if has_shadow:
        other = declared.enforced() if candidate else declared
        already = len(findings)
        _Compiler(other, around).compile()
        findings[already:] = [finding for finding in findings[already:] if finding.severity == "error"]
    compiler = _Compiler(wanted, around)
    rules = compiler.compile()
    if readable:
        warn_about_idle_networks(declared.reuse)
    errors = {finding for finding in findings if finding.severity == "error"}
    if errors:
        raise DocumentError(tuple(sorted(illustrated(errors, files))))
    version = policy_version(files, candidate=candidate and has_shadow)
    table = PolicyTable(
        rules,
        compiler.roles,
        version,
        networks=MappingProxyType(wanted.reuse.networks),
        has_shadow=has_shadow,
        tenants=around.tenants,
    )
    return table, sorted(set(illustrated(findings, files)))


def policy_version(files: Mapping[str, str], *, candidate: bool = False) -> str:
    """Hash names (without directory) and texts of the files: 16 hex digits of SHA-256.

    `candidate`: for the policy that takes in what the files say in shadow, which is another one.
    """
    digest = hashlib.sha256(b"candidate" if candidate else b"")
    for name, text in sorted((PurePath(path).name, text) for path, text in files.items()):
        for part in (name.encode(), text.encode("utf-8", "surrogatepass")):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def _read_files(files: Mapping[str, str], into: Declarations, findings: list[Diagnostic]) -> bool:
    """Read all files; False when one of them could not be read at all."""
    readable = True
    for path in sorted(files):
        try:
            document = load(files[path], path)
        except DocumentError as error:
            findings.extend(error.findings)
            readable = False
            continue
        read_declarations(Place(document, findings), into)
    read_routes(into, all_files=readable)
    if not findings and not into.names:
        path = min(files, default="policies")
        findings.append(
            Diagnostic(
                path=path,
                line=1,
                column=1,
                message="no file declares a route; without one every request is refused",
                name="no-route",
            )
        )
    return readable


class _Surroundings(NamedTuple):
    """What the policy files may refer to, as gateway.yaml says it."""

    upstreams: Collection[str]
    tenants: Collection[str]
    hosts: Collection[str]
    mfa_required: bool
    paths: Mapping[str, PathMapping]
    all_files: bool = True
    """Every file could be read: a name that nobody declares is an error."""


class _Compiler:
    """Joins the declarations of all files."""

    def __init__(self, declared: Declarations, around: _Surroundings) -> None:
        self._declared = declared
        self._upstreams = around.upstreams
        self._tenants = around.tenants
        self._hosts = around.hosts
        self._owners = around.hosts if isinstance(around.hosts, Mapping) else dict.fromkeys(around.hosts, "")
        self._mfa_required = around.mfa_required
        self._paths = around.paths
        self._all_files = around.all_files
        self._conditions = ConditionCompiler(declared.reuse.networks)
        self.roles = Roles({})

    def compile(self) -> list[Rule]:
        """Check everything and build the rules."""
        all_files = self._all_files
        self._refuse_repeated_names()
        self.roles = self._close_roles(all_files=all_files)
        known_roles = self.roles.names if all_files else None
        rules = [self._rule(route, known_roles) for route in self._declared.routes]
        report_conflicts(self._declared.routes, self._hosts)
        self._declared.reuse.networks_used.update(self._conditions.called)
        if all_files:
            self._warn_about_idle_roles(rules)
        return rules

    def _refuse_repeated_names(self) -> None:
        for what, named in (
            ("role", [(role.name, role.place) for role in self._declared.roles]),
            ("route", self._declared.names),
        ):
            first: dict[str, Place] = {}
            for name, place in named:
                if name in first:
                    place.fail(
                        f"the {what} {name!r} is declared a second time; the first is at {first[name]}",
                        name="declared-twice",
                    )
                first.setdefault(name, place)

    def _close_roles(self, *, all_files: bool) -> Roles:
        places: dict[str, Place] = {}
        for role in self._declared.roles:
            places.setdefault(role.name, role.place)
        includes: dict[str, list[str]] = {name: [] for name in places}
        for role in self._declared.roles:
            for name, place in role.includes.items():
                if name == role.name:
                    place.fail(f"the role {name!r} includes itself", name="role-circle")
                elif name in places:
                    includes[role.name].append(name)
                elif all_files:
                    _refuse_role(place, name, places)
        cycles = find_cycles(includes)
        for cycle in cycles:
            places[cycle[0]].fail(
                f"the roles include each other in a circle: {' -> '.join((*cycle, cycle[0]))}", name="role-circle"
            )
        return Roles(dict.fromkeys(includes, ()) if cycles else includes)

    def _rule(self, declared: RouteDeclaration, known_roles: Collection[str] | None) -> Rule:
        upstream = declared.route.upstream
        if upstream not in self._upstreams:
            declared.upstream.fail(
                f"unknown upstream {upstream!r}{did_you_mean(upstream, self._upstreams)}", name="unknown-upstream"
            )
        for host, place in declared.hosts.items():
            if host not in self._hosts:
                lower = host.lower() if host.lower() in self._hosts else ""
                place.fail(
                    f"unknown host {host!r}" + (f"; write {lower!r}" if lower else did_you_mean(host, self._hosts)),
                    name="unknown-host",
                )
        if not declared.route.mfa:
            declared.place.warn(
                f"the route {declared.name!r} is open without a second factor (unsafe_without_mfa)",
                name="without-second-factor",
            )
        grants = [self._grant(grant, declared, known_roles) for grant in declared.grants]
        denying = [denial for denial in declared.denials if not self._is_idle(denial, declared)]
        denials = [self._denial(denial, declared, known_roles) for denial in denying]
        _refuse_idle_grants(declared.grants, grants)
        _refuse_idle_denials(declared.grants, grants, denying, denials)
        return Rule(
            route=declared.route,
            template=declared.template,
            grants=tuple(grants),
            source=str(declared.verdict),
            mfa_required=self._mfa_required,
            mapping=self._mapping(declared),
            denials=tuple(denials),
            tenancy=self._tenancy(declared),
        )

    def _tenancy(self, declared: RouteDeclaration) -> Tenancy | None:
        """Say how the tenant of a request is found, and report what would find none."""
        binding, place = declared.route.tenant, declared.tenant
        if binding is None or place is None:
            return None
        check_tenant(place, binding, tenants=self._tenants, owners=self._owners, hosts=declared.hosts)
        if binding.by == "name":
            for grant in declared.grants:
                if grant.tenants and binding.value not in grant.tenants:
                    next(iter(grant.tenants.values())).fail(
                        f"no request of this route is about another tenant than {binding.value}", name="crossing-tenant"
                    )
        return Tenancy(binding, template=declared.template, tenants=self._tenants, source=str(place))

    def _mapping(self, declared: RouteDeclaration) -> PathMapping | None:
        """Say how the path is rewritten: as the route says, else as its upstream does."""
        route = declared.route
        mapping = self._paths.get(route.upstream)
        if route.strip_prefix is not None or route.add_prefix is not None:
            mapping = PathMapping(route.strip_prefix or "", route.add_prefix or "")
        if mapping is not None and not _reaches_below(route.template, mapping.strip):
            declared.template_place.fail(
                f"no path of this template is at or under the strip_prefix {mapping.strip}",
                name="prefix-outside-template",
            )
        return mapping

    def _grant(self, declared: GrantDeclaration, route: RouteDeclaration, known_roles: Collection[str] | None) -> Grant:
        self._look_up(declared.roles, declared.tenants, known_roles)
        if counts_nobody(declared.limit, route.route.credentials):
            declared.place.fail(NOBODY_COUNTED, name="no-effect")
        return Grant(
            roles=tuple(declared.roles),
            accepts=self.roles.holders(declared.roles),
            tenants=None if declared.tenants is None else frozenset(declared.tenants),
            condition=self._condition(declared.when, route) if declared.when else None,
            source=str(declared.place),
            scopes=self._scopes(declared, route),
            obligation=_obligation(declared, route.route),
        )

    def _is_idle(self, declared: DenialDeclaration, route: RouteDeclaration) -> bool:
        """Whether an entry is a default of the file that asks about people, and the route asks nobody who they are."""
        if not declared.is_default or not route.route.public or declared.when is None:
            return False
        text = declared.when.value
        return isinstance(text, str) and self._conditions.asks_about_people(text, route.template.names)

    def _denial(
        self, declared: DenialDeclaration, route: RouteDeclaration, known_roles: Collection[str] | None
    ) -> Denial:
        self._look_up(declared.roles or {}, declared.tenants, known_roles)
        return Denial(
            roles=tuple(declared.roles or ()),
            accepts=None if declared.roles is None else self.roles.holders(declared.roles),
            tenants=None if declared.tenants is None else frozenset(declared.tenants),
            condition=self._condition(declared.when, route) if declared.when else None,
            source=str(declared.place),
        )

    def _look_up(
        self, roles: Mapping[str, Place], tenants: Mapping[str, Place] | None, known_roles: Collection[str] | None
    ) -> None:
        """Report the roles and tenants of an entry that nothing declares."""
        for role, place in roles.items():
            if known_roles is not None and role not in known_roles:
                _refuse_role(place, role, known_roles)
        for tenant, place in (tenants or {}).items():
            if self._tenants and tenant not in self._tenants:  # without a list, people's own tenants count
                place.fail(f"unknown tenant {tenant!r}{did_you_mean(tenant, self._tenants)}", name="unknown-tenant")

    @staticmethod
    def _scopes(declared: GrantDeclaration, route: RouteDeclaration) -> frozenset[str]:
        if declared.scopes and DELEGATED.isdisjoint(route.route.credentials):
            place = next(iter(declared.scopes.values()))
            place.fail(
                "scopes are those of API keys and bearer tokens; this route takes neither (credentials)",
                name="no-effect",
            )
        return frozenset(declared.scopes or ())

    def _condition(self, place: Place, route: RouteDeclaration) -> Condition | None:
        if not isinstance(place.value, str):  # reported when it was read
            return None
        try:
            return self._conditions.compile(place.value, route.template.names, anonymous=route.route.public)
        except ConditionError as error:
            for problem in error.problems:
                place.fail_inside(problem.line, problem.column, problem.sentence, name=problem.name)
            return None

    def _warn_about_idle_roles(self, rules: list[Rule]) -> None:
        useful = {role for rule in rules for grant in rule.grants for role in grant.accepts}
        useful |= {role for rule in rules for denial in rule.denials for role in denial.accepts or ()}
        for role in self._declared.roles:
            if role.name not in useful:
                role.place.warn(
                    f"the role {role.name!r} is never granted anything: no route allows it or a role it includes",
                    name="role-never-granted",
                )


def _refuse_role(place: Place, role: str, known: Collection[str]) -> None:
    """Refuse a role that no file declares; the gateway's own are nothing a rule may ask for."""
    if is_reserved(role):
        place.fail(f"{role!r} is no role of a policy: {RESERVED_SENTENCE}", name="reserved-role")
    else:
        place.fail(f"unknown role {role!r}{did_you_mean(role, known)}", name="unknown-role")


def _obligation(declared: GrantDeclaration, route: Route) -> Obligation | None:
    """Say what an entry asks for beside letting in; None when it asks for nothing."""
    if declared.limit is None and declared.headers is None and declared.durability is None:
        return None
    headers = None if declared.headers is None else merged(route.headers, declared.headers)
    return Obligation(limit=declared.limit, headers=headers, durability=declared.durability)


def _reaches_below(template: str, prefix: str) -> bool:
    """Tell whether some path of the template is at or under the prefix."""
    segments = template.split("/")[1:]
    for index, literal in enumerate(prefix.split("/")[1:]):
        if index >= len(segments):
            return False
        segment = segments[index]
        if segment == "**":
            return True
        if segment not in (literal, "*") and not segment.startswith("{"):
            return False
    return True


def _refuse_idle_grants(declared: list[GrantDeclaration], grants: list[Grant]) -> None:
    """Report entries that cannot matter: another one allows at least the same people without a condition."""
    for index, grant in enumerate(grants):
        for other_index, other in enumerate(grants):
            same = (
                grant.accepts == other.accepts
                and grant.tenants == other.tenants
                and grant.scopes == other.scopes
                and not declared[index].when
            )
            if (
                other_index != index
                and not declared[other_index].when
                and grant.accepts
                and grant.accepts <= other.accepts
                and other.scopes <= grant.scopes
                and (other.tenants is None or (grant.tenants is not None and grant.tenants <= other.tenants))
                and not (same and other_index > index)
                # the first that fits lets in: what a narrower one asks for counts, where it stands before the broader
                and (other_index < index or grant.obligation == other.obligation)
            ):
                declared[index].place.fail(
                    f"unreachable: the entry at {other.source} allows the same roles without a condition",
                    name="shadowed-entry",
                )
                break


def _refuse_idle_denials(
    granting: list[GrantDeclaration], grants: list[Grant], denying: list[DenialDeclaration], denials: list[Denial]
) -> None:
    """Report entries that cannot matter: whoever they are about is refused by an entry of `deny` without a condition.

    A default of the file need not matter on every route.
    """
    if any(
        declared.when is not None and denial.condition is None
        for declared, denial in zip(denying, denials, strict=True)
    ):
        return  # a condition that does not compile was reported
    for index, denial in enumerate(denials):
        for other_index, other in enumerate(denials):
            if other_index == index or (other_index > index and denial.covers(other)) or not other.covers(denial):
                continue
            if not denying[index].is_default and not denying[other_index].is_default:
                denying[index].place.fail(
                    f"unreachable: the entry at {other.source} refuses the same people without a condition",
                    name="unreachable-entry",
                )
            break
    for index, grant in enumerate(grants):
        found = next((denial for denial in denials if grant.accepts and denial.covers(grant)), None)
        if found is not None:
            granting[index].place.fail(
                f"unreachable: the entry of deny at {found.source} refuses everybody whom this one allows",
                name="unreachable-entry",
            )
