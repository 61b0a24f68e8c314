"""The compiled policy: which route a request takes, and whether it is allowed.

Pure functions of the table, the request, the session and the time. The path alone picks the
template, segment by segment: a literal before one wildcard segment before any rest. Nothing here
knows YAML; nothing here can be changed once it is built.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from gateway.exchange.decision import Decision
from gateway.exchange.obligation import Obligation
from gateway.exchange.reason import Reason
from gateway.exchange.route import DELEGATED, OWN_PAGES, Route
from gateway.exchange.session import Owed, Session
from gateway.exchange.step_up import Network
from gateway.policy.condition import NOBODY, Circumstances, Condition, Facts
from gateway.policy.roles import Roles
from gateway.policy.template import Template
from gateway.policy.tenancy import Tenancy
from gateway.wire.names import fold
from gateway.wire.rewriting import PathMapping, below
from gateway.wire.target import aliases, is_canonical, is_clear, is_plain, readings

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NO_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_NETWORKS: Final[Mapping[str, tuple[Network, ...]]] = MappingProxyType({})
_SIGN_IN: Final = Decision(allowed=False, reason=Reason.SIGN_IN_REQUIRED)
_OWED: Final = {
    Owed.MFA: Decision(allowed=False, reason=Reason.MFA_REQUIRED),
    Owed.ENROLMENT: Decision(allowed=False, reason=Reason.MFA_ENROLMENT_REQUIRED),
    Owed.DEVICE: Decision(allowed=False, reason=Reason.DEVICE_UNCONFIRMED),
    Owed.ROOM: Decision(allowed=False, reason=Reason.TOO_MANY_SESSIONS),
}


class Grant:
    """One entry of an `allow` list: who, and under which condition."""

    __slots__ = (
        "accepts", "allowed", "condition", "elsewhere", "failed", "obligation", "roles", "scopes", "source", "tenants",
        "unmet", "unscoped",
    )  # fmt: skip

    def __init__(
        self,
        *,
        roles: tuple[str, ...],
        accepts: frozenset[str],
        tenants: frozenset[str] | None,
        condition: Condition | None,
        source: str,
        scopes: frozenset[str] = frozenset(),
        obligation: Obligation | None = None,
    ) -> None:
        self.roles = roles
        """As written."""
        self.accepts = accepts
        """Every role that satisfies the entry, by itself or by what it includes."""
        self.tenants = tenants
        """None = any tenant."""
        self.scopes = scopes
        """What an API key or a bearer token must have beside the role, all of it; people who are signed in have no scopes."""
        self.condition = condition
        self.source = source
        self.obligation = obligation
        """What the entry asks for beside letting in; None = nothing."""
        self.allowed = Decision(allowed=True, reason=Reason.ALLOWED, rule=source, obligation=obligation)
        self.elsewhere = Decision(allowed=False, reason=Reason.TENANT_MISMATCH, rule=source)
        self.unscoped = Decision(allowed=False, reason=Reason.SCOPE_MISSING, rule=source)
        self.unmet = Decision(allowed=False, reason=Reason.CONDITION_FALSE, rule=source)
        self.failed = Decision(allowed=False, reason=Reason.CONDITION_FAILED, rule=source)

    def fits_like(self, other: Grant) -> bool:
        """Whether both let the same people in, under the same condition."""
        mine, theirs = self.condition, other.condition
        return (self.accepts, self.tenants, self.scopes, mine and mine.text) == (
            other.accepts,
            other.tenants,
            other.scopes,
            theirs and theirs.text,
        )


class Denial:
    """One entry of a `deny` list: whom it refuses whatever is granted, and under which condition."""

    __slots__ = ("accepts", "condition", "denied", "failed", "roles", "source", "tenants")

    def __init__(
        self,
        *,
        roles: tuple[str, ...],
        accepts: frozenset[str] | None,
        tenants: frozenset[str] | None,
        condition: Condition | None,
        source: str,
    ) -> None:
        self.roles = roles
        """As written; empty = everybody."""
        self.accepts = accepts
        """Every role to which the entry applies, by itself or by what it includes; None = everybody."""
        self.tenants = tenants
        """None = any tenant."""
        self.condition = condition
        """None = always."""
        self.source = source
        self.denied = Decision(allowed=False, reason=Reason.DENIED, rule=source)
        self.failed = Decision(allowed=False, reason=Reason.CONDITION_FAILED, rule=source)

    def concerns(self, session: Session | None) -> bool:
        """Whether the entry is about this person; nobody (None) holds no role and belongs to no tenant."""
        if session is None:
            return self.accepts is None and self.tenants is None
        return (self.accepts is None or not self.accepts.isdisjoint(session.roles)) and (
            self.tenants is None or session.tenant in self.tenants
        )

    def covers(self, other: Denial | Grant) -> bool:
        """Whether everybody whom `other` is about is refused by this entry, always."""
        return (
            self.condition is None
            and (self.accepts is None or (other.accepts is not None and other.accepts <= self.accepts))
            and (self.tenants is None or (other.tenants is not None and other.tenants <= self.tenants))
        )

    def fits_like(self, other: Denial) -> bool:
        """Whether both refuse the same people, under the same condition."""
        mine, theirs = self.condition, other.condition
        return (self.accepts, self.tenants, mine and mine.text) == (
            other.accepts,
            other.tenants,
            theirs and theirs.text,
        )


class Rule:
    """A route and who may take it: `public`, a list of grants, or, with neither, nobody. Denials come before all of them."""

    __slots__ = (
        "asks",
        "conditions",
        "denials",
        "grants",
        "mapping",
        "needs_mfa",
        "owner",
        "parameters",
        "public",
        "refused",
        "resource",
        "route",
        "takes_fields",
        "takes_session",
        "template",
        "tenancy",
        "weighed",
        "weighs_path",
    )

    def __init__(
        self,
        *,
        route: Route,
        template: Template,
        grants: tuple[Grant, ...],
        source: str,
        mfa_required: bool,
        mapping: PathMapping | None = None,
        denials: tuple[Denial, ...] = (),
        tenancy: Tenancy | None = None,
    ) -> None:
        """Bind `grants` and `denials` to `route`; `source` is the place of `public`, `allow` or `deny`."""
        self.route = route
        self.template = template
        self.grants = grants
        self.denials = denials
        """Tried before the grants: one that fits refuses, whatever they say."""
        self.parameters = template.parameters
        self.mapping = mapping
        """How the path at the upstream differs from the public one; None = it does not."""
        granting = (grant.condition for grant in grants)
        denying = (denial.condition for denial in denials)
        self.conditions = tuple(condition for condition in (*denying, *granting) if condition is not None)
        self.asks = bool(self.conditions)
        """Some entry has a condition: `decide` looks at the facts."""
        self.tenancy = tenancy
        """What finds the tenant of a request; None = the host alone."""
        bound = tenancy.index if tenancy is not None else -1
        self.weighed = tuple(place for place in template.parameters if self.asks or place[1] == bound)
        """Parameters of the path on which the answer may depend: name and segment."""
        self.weighs_path = any("request.path" in condition.names for condition in self.conditions)
        """The answer may depend on every segment."""
        self.public = Decision(allowed=True, reason=Reason.PUBLIC, rule=source) if route.public else None
        self.needs_mfa = mfa_required and route.mfa
        self.takes_fields = not DELEGATED.isdisjoint(route.credentials)
        """An API key or a bearer token may prove who asks."""
        self.takes_session = "session" in route.credentials
        reason = Reason.ROLE_MISSING if grants else Reason.NO_RULE
        self.refused = Decision(allowed=False, reason=reason, rule=source)
        self.resource = tuple(_PARAMETER.split(route.resource.id)) if route.resource else ()
        """Text and names of parameters in turn."""
        self.owner = tuple(_PARAMETER.split(route.resource.owner)) if route.resource else ()

    @property
    def set_fields(self) -> Iterator[tuple[str, bytes]]:
        """Yield the fields that the route or an entry of it sets for its upstream, each with the place that says so."""
        said = [(self.route.source, self.route.headers)]
        said += [(grant.source, grant.obligation.headers) for grant in self.grants if grant.obligation is not None]
        for source, rules in said:
            if rules is not None:
                yield from ((source, name) for name, _ in rules.request)

    def opens_like(self, other: Rule) -> bool:
        """Whether this rule lets in whom `other` lets in: everybody, or by the same grants, and denies no more."""
        if self.route.requirement not in (None, other.route.requirement):
            return False
        if self.tenancy is not None and self.tenancy != other.tenancy:
            return False
        if not all(any(mine.fits_like(theirs) for theirs in other.denials) for mine in self.denials):
            return False
        certificate, theirs = self.route.client_certificate, other.route.client_certificate
        if certificate != theirs and certificate == "required":
            return False
        if self.public is not None:
            return True
        return (
            other.public is None
            and certificate in (theirs, "optional")
            and self.needs_mfa == other.needs_mfa
            and set(self.route.credentials) == set(other.route.credentials)
            and len(self.grants) == len(other.grants)
            and all(mine.fits_like(theirs) for mine, theirs in zip(self.grants, other.grants, strict=True))
        )

    def takes(self, session: Session) -> bool:
        """Whether what proves this session may prove who asks here."""
        match session.credential:
            case "cookie":
                return self.takes_session
            case "certificate":
                return bool(self.route.client_certificate)
            case _:
                return session.credential in self.route.credentials

    def matched(self, path: str, segments: list[str] | None = None) -> Match:
        """Bind the rule to a path that its template matches; `segments` are what is between its slashes, where that is known."""
        parameters = self.parameters
        if not parameters:
            return Match(self, _NO_PARAMETERS)  # not kept: in a circle, a policy that was replaced would stay in memory
        if segments is None:
            segments = path.split("/")
        if "%" in path:
            # Decoded once, as the upstream will: `path.owner != "root"` must not be passed by `r%6Fot`.
            return Match(self, {name: unquote(segments[index + 1]) for name, index in parameters})
        return Match(self, {name: segments[index + 1] for name, index in parameters})


class Match:
    """A route and the values of its path parameters, percent-decoded."""

    __slots__ = ("parameters", "route", "rule")

    def __init__(self, rule: Rule, parameters: Mapping[str, str]) -> None:
        self.rule = rule
        self.route = rule.route
        self.parameters = parameters

    def is_clear(self, path: str) -> bool:
        """Whether conditions and tenant see each parameter of a canonical path as the upstream will; true when neither asks.

        attack: `/t/acme/..;/zeta/x` is about acme here, and about zeta to an upstream that cuts parameters off.
        """
        weighed, whole = self.rule.weighed, self.rule.weighs_path
        if not weighed and not whole:
            return True
        if is_plain(path):
            return True
        if whole and not _is_one_path(path):
            return False
        return all(is_clear(self.parameters[name]) for name, _ in weighed) and _are_steady(path, weighed)

    def tenant(self, owner: str, host: str, fields: Collection[tuple[str, str]]) -> str | None:
        """Return about which tenant the request is, on a host of `owner`; None where that is not one existing tenant."""
        tenancy = self.rule.tenancy
        if tenancy is None:
            return owner
        return tenancy.settle(owner, host=host, parameters=self.parameters, fields=fields)

    def resource_id(self) -> str:
        """Fill the path parameters into the id of the route's resource; empty when it has none."""
        parameters = self.parameters
        return "".join(parameters[piece] if index % 2 else piece for index, piece in enumerate(self.rule.resource))

    def owner_id(self) -> str:
        """Fill the path parameters into the owner of the resource; empty when it has none. Means nothing where it is `self`."""
        parameters = self.parameters
        return "".join(parameters[piece] if index % 2 else piece for index, piece in enumerate(self.rule.owner))


def _are_steady(path: str, places: tuple[tuple[str, int], ...]) -> bool:
    """Whether every plausible reading of a canonical path has the same values at these segments."""
    variants = readings(path)
    if variants is None:
        return False
    segments = path.split("/")
    split = [variant.split("/") for variant in variants]
    for _, at in places:
        meant = readings("/" + segments[at + 1])
        if meant is None:
            return False
        for parts in split:
            if len(parts) <= at + 1 or "/" + parts[at + 1] not in meant:
                return False
    return True


def _is_one_path(path: str) -> bool:
    """Whether every plausible reading of a canonical path has the same segments, for conditions about `request.path`.

    attack: `/docs/x/..;/secret` does not begin with `/docs/secret` here, and does at Tomcat.
    """
    segments = path.split("/")
    variants = readings(path)
    if variants is None or any(variant.count("/") != len(segments) - 1 for variant in variants):
        return False
    unusual = {segment for segment in segments if not segment.isalnum()}
    if not all(is_clear(unquote(segment).removeprefix(".")) for segment in unusual):
        return False
    return _are_steady(path, tuple((segment, at) for at, segment in enumerate(segments[1:]) if "%" in segment))


class Node:
    """All routes of one template on one host. Compare nodes by identity."""

    __slots__ = ("methods", "rules", "template")

    def __init__(self, template: str, rules: Iterable[Rule]) -> None:
        self.template = template
        """As the first of its routes writes it."""
        self.rules: dict[str, Rule] = {}
        for rule in rules:
            for method in rule.route.methods:
                self.rules[method] = rule
        if "GET" in self.rules:
            self.rules.setdefault("HEAD", self.rules["GET"])
        self.methods = tuple(sorted(self.rules))
        """For the `Allow` field of a 405 (RFC 9110 section 10.2.1)."""


class Leaf:
    """The nodes of one template, by host."""

    __slots__ = ("anywhere", "hosts")

    def __init__(self, template: str, rules: list[Rule]) -> None:
        everywhere = [rule for rule in rules if not rule.route.hosts]
        by_host: dict[str, list[Rule]] = {}
        for rule in rules:
            for host in rule.route.hosts:
                by_host.setdefault(host, []).append(rule)
        self.anywhere = Node(template, everywhere) if everywhere else None
        """For every host that is not in `hosts`."""
        self.hosts = {host: Node(template, [*everywhere, *own]) for host, own in sorted(by_host.items())}


class Step:
    """One segment of the trie: where each next segment leads and what ends here."""

    __slots__ = ("end", "literals", "rest", "single")

    def __init__(self) -> None:
        self.literals: dict[str, Step] = {}
        self.single: Step | None = None
        self.end: Leaf | None = None
        self.rest: Leaf | None = None

    def add(self, segments: Iterable[str | None], leaf: Leaf, *, rest: bool) -> None:
        """Grow the branch of one shape."""
        step = self
        for segment in segments:
            if segment is None:
                step.single = step.single or Step()
                step = step.single
            else:
                step = step.literals.setdefault(segment, Step())
        if rest:
            step.rest = leaf
        else:
            step.end = leaf

    def add_readings(self, segments: Iterable[str | None], leaf: Leaf, *, rest: bool) -> None:
        """Grow the branch of one shape under every reading of its literals, in lower case."""
        step = self
        for segment in segments:
            if segment is None:
                step.single = step.single or Step()
                step = step.single
                continue
            names = _readings_of(segment)
            following = next((step.literals[name] for name in names if name in step.literals), None) or Step()
            for name in names:
                step.literals.setdefault(name, following)
            step = following
        if rest:
            step.rest = step.rest or leaf
        else:
            step.end = step.end or leaf


def _readings_of(segment: str) -> list[str]:
    """List how an upstream may read one literal segment, in lower case; its own reading first."""
    found = {reading[1:].lower() for reading in readings("/" + segment) or () if "/" not in reading[1:]}
    return [segment.lower(), *sorted(found - {segment.lower()})]


def find(step: Step, segments: list[str], host: str) -> Node | None:
    """Walk to the most specific template that matches, going back where a branch ends.

    The work grows with the number of segments and of branches that fit them, not with the number
    of routes. `segments[0]` is the empty text before the first slash.
    """
    end = len(segments)
    index = 1
    retreats: list[tuple[Step, int] | Leaf] = []
    while True:
        if index == end:
            leaf = step.end
            if leaf is not None:
                node = leaf.hosts.get(host, leaf.anywhere)
                if node is not None:
                    return node
            following = None
            if step.rest is not None:
                retreats.append(step.rest)
        else:
            segment = segments[index]
            following = step.literals.get(segment)
            if step.rest is not None:
                retreats.append(step.rest)
            single = step.single
            if single is not None and segment:
                if following is None:
                    following = single
                else:
                    retreats.append((single, index + 1))
        while following is None:
            if not retreats:
                return None
            retreat = retreats.pop()
            if isinstance(retreat, Leaf):
                node = retreat.hosts.get(host, retreat.anywhere)
                if node is not None:
                    return node
            else:
                following, index = retreat
                index -= 1
        step = following
        index += 1


def is_own(path: str) -> bool:
    """Whether a path is the gateway's own, which no route ever answers. `/.gateway-notes` is a portal's."""
    return path.startswith(OWN_PAGES) and path[len(OWN_PAGES) : len(OWN_PAGES) + 1] in {"", "/"}


class PolicyTable:
    """A whole policy, ready to decide."""

    def __init__(
        self,
        rules: Iterable[Rule],
        roles: Roles,
        version: str,
        *,
        networks: Mapping[str, tuple[Network, ...]] = _NO_NETWORKS,
        has_shadow: bool = False,
        tenants: Collection[str] = (),
    ) -> None:
        """Index `rules`, whose templates and hosts must not be ambiguous (`conflicts` sees to that)."""
        self.version = version
        """First 16 hex digits of the SHA-256 over the files; a candidate made of the same files has its own."""
        self.tenants = frozenset(tenants)
        """Every tenant that there is; empty = whatever people belong to."""
        self.has_shadow = has_shadow
        """Something in the files says `mode: shadow`, whether or not this table takes it in."""
        self.networks = networks
        """The named networks, as conditions may call them."""
        self.rules: Mapping[str, Rule] = MappingProxyType({rule.route.name: rule for rule in rules})
        self.routes: Mapping[str, Route] = MappingProxyType({name: rule.route for name, rule in self.rules.items()})
        self.inputs = frozenset(
            name for rule in self.rules.values() for condition in rule.conditions for name in condition.names
        )
        """Every name that some condition asks about."""
        obligations = [
            grant.obligation for rule in self.rules.values() for grant in rule.grants if grant.obligation is not None
        ]
        self.durabilities = frozenset(
            durability
            for durability in (
                *(rule.route.durability for rule in self.rules.values()),
                *(obligation.durability for obligation in obligations),
            )
            if durability is not None
        )
        """What routes and entries ask of their records, beyond the default."""
        self.entry_limits = tuple(obligation.limit for obligation in obligations if obligation.limit is not None)
        """The limits of single entries, beside those of routes."""
        self.set_fields = frozenset(fold(name) for rule in self.rules.values() for _, name in rule.set_fields)
        """Folded names of the fields that some route or entry sets for its upstream: no client's copy may pass anywhere."""
        self.bound_fields = frozenset(
            rule.tenancy.field.encode("ascii")
            for rule in self.rules.values()
            if rule.tenancy is not None and rule.tenancy.field
        )
        """Names of the fields that name the tenant on some route."""
        self.closure = roles
        self.roles = roles.names
        by_shape: dict[tuple[tuple[str | None, ...], bool], list[Rule]] = {}
        for rule in self.rules.values():
            by_shape.setdefault(rule.template.shape, []).append(rule)
        self.root = Step()
        """Where each path begins; it is not to be changed."""
        self._folded = Step()
        self._exact: dict[str, Node] = {}
        self.has_capitals = any(
            unquote(part or "") != unquote(part or "").lower() for segments, _ in by_shape for part in segments
        )
        """Some template has a capital letter, so that even a plain lower-case path has two readings."""
        for (segments, rest), group in by_shape.items():
            leaf = Leaf(group[0].template.text, group)
            self.root.add(segments, leaf, rest=rest)
            self._folded.add_readings(segments, leaf, rest=rest)
            # Most portals take `/x/` for `/x`: a template stands for both, unless the other one is declared.
            twin = segments[:-1] if segments[-1:] == ("",) else (*segments, "")
            if twin and not rest and (twin, False) not in by_shape:
                self.root.add(twin, leaf, rest=False)
                self._folded.add_readings(twin, leaf, rest=False)
            if not rest and None not in segments and not leaf.hosts and leaf.anywhere is not None:
                self._exact[group[0].template.text] = leaf.anywhere

    def match(self, host: str, path: str) -> Node | None:
        """Pick the template for a canonical path on a host (lower case, without port); None when no template matches."""
        node = self._exact.get(path)
        if node is not None:
            return node
        if not path.startswith("/"):
            return None
        return find(self.root, path.split("/"), host)

    def match_folded(self, host: str, path: str) -> Node | None:
        """Pick the template for one reading of a path (`gateway.wire.target.readings`) as an upstream would that ignores case.

        For comparison with `match` only: a path on which they differ is ambiguous.
        """
        if not path.startswith("/"):
            return None
        return find(self._folded, path.lower().split("/"), host)

    def is_ambiguous(self, host: str, path: str) -> bool:
        """Whether some upstream could read a canonical path as another route's, or as one of the gateway's own pages.

        Every plausible reading must select what the path itself selects, compared without case.
        """
        if not self.has_capitals and is_plain(path):
            return False
        variants = readings(path)
        if variants is None:
            return True
        if is_own(path):
            return not all(is_own(variant.lower()) for variant in variants)
        node = self.match(host, path)
        return any(is_own(variant.lower()) or self.match_folded(host, variant) is not node for variant in variants)

    def is_disguised(self, host: str, path: str, method: str, match: Match) -> bool:
        """Whether some framework would answer this path as a narrower route that lets other people in.

        `/admin.json` is `/admin` to Rails and Spring: below a broad template it passes only where
        `/admin` lets in the same people, or where its own route says `allow_suffix`.
        """
        rule = match.rule
        if rule.route.allow_suffix or ("." not in path and "%" not in path):
            return False
        node = self.match(host, path)
        for variant in (path,) if is_plain(path) else readings(path) or ():
            for alias in aliases(variant):
                other = self.match_folded(host, alias)
                if other is None or other is node or not rule.template.covers(alias):
                    continue
                narrower = other.rules.get(method)
                if narrower is None or not narrower.opens_like(rule):
                    return True
        return False

    def rewrite(self, host: str, path: str, mapping: PathMapping) -> str | Reason:
        """Rewrite a canonical path for its upstream, and judge it again: what the upstream may make of it must be what was judged.

        Returns NO_ROUTE for a path that is not under the prefix which is stripped, AMBIGUOUS_PATH for one that could
        be read as a path outside the prefix that is added, or as the path of another route.

        attack: `/app/..;/admin` stays on its route, and means `/admin` once `/app` is gone.
        """
        rewritten = mapping.upstream(path)
        if rewritten is None:
            return Reason.NO_ROUTE
        if rewritten.startswith("//") or not is_canonical(rewritten):
            return Reason.AMBIGUOUS_PATH
        if is_plain(rewritten):
            return rewritten
        variants = readings(rewritten)
        if variants is None:
            return Reason.AMBIGUOUS_PATH
        node = self.match(host, path)
        for variant in variants:
            rest = below(mapping.add.lower(), variant.lower())
            public = mapping.strip + rest if rest is not None else ""
            if is_own(public.lower()) or self.match_folded(host, public) is not node:
                return Reason.AMBIGUOUS_PATH
        return rewritten

    def is_foreign(self, session: Session, tenant: str) -> bool:
        """Whether a person does not belong to the tenant a request is about; about none, whether theirs is gone."""
        if tenant:
            return session.tenant != tenant
        return session.tenant not in self.tenants if self.tenants else False

    def resolve(self, host: str, path: str, method: str) -> Match | Reason:
        """Find the route of a request: NO_ROUTE, METHOD_NOT_ALLOWED, or the route and its path parameters."""
        segments = None
        node = self._exact.get(path)
        if node is None:
            if not path.startswith("/"):
                return Reason.NO_ROUTE
            segments = path.split("/")
            node = find(self.root, segments, host)
            if node is None:
                return Reason.NO_ROUTE
        rule = node.rules.get(method)
        return Reason.METHOD_NOT_ALLOWED if rule is None else rule.matched(path, segments)

    def decide(self, match: Match, session: Session | None, facts: Facts, now: float) -> Decision:
        """Allow or refuse. The only source of an allowing decision.

        A denial that fits refuses before any grant is looked at; so does one whose condition fails. Grants are tried in the order of the file; the first that fits allows. A refusal names the
        grant that came nearest: a condition that failed, then one that was false, then scopes that
        are missing, then another tenant, then the whole `allow` list.
        """
        rule = match.rule
        if rule.public is not None:
            return (self._denied(match, None, facts, now) if rule.denials else None) or rule.public
        if session is None:
            return _SIGN_IN
        if rule.needs_mfa and not session.mfa_time and session.credential not in DELEGATED:
            return _OWED[session.owes or Owed.MFA]
        if session.owes and rule.route.mfa:
            return _OWED[session.owes]
        if rule.denials:
            denied = self._denied(match, session, facts, now)
            if denied is not None:
                return denied
        nearest = 0
        refusal = rule.refused
        circumstances: Circumstances | None = None
        for grant in rule.grants:
            if grant.accepts.isdisjoint(session.roles):
                continue
            if grant.tenants is not None and session.tenant not in grant.tenants:
                near, decision = 1, grant.elsewhere
            elif grant.scopes and session.credential in DELEGATED and not grant.scopes.issubset(session.scopes):
                near, decision = 2, grant.unscoped
            elif grant.condition is None:
                return grant.allowed
            else:
                if circumstances is None:
                    circumstances = self.circumstances(match, session, facts, now)
                answer = grant.condition.evaluate(circumstances)
                if answer is True:
                    return grant.allowed
                near, decision = (3, grant.unmet) if answer is False else (4, grant.failed)
            if near > nearest:
                nearest, refusal = near, decision
        return refusal

    def _denied(self, match: Match, session: Session | None, facts: Facts, now: float) -> Decision | None:
        """Find the denial that refuses; one that fits before one whose condition could not be found out, in any order."""
        failed: Decision | None = None
        circumstances: Circumstances | None = None
        for denial in match.rule.denials:
            if not denial.concerns(session):
                continue
            if denial.condition is None:
                return denial.denied
            if circumstances is None:
                circumstances = self.circumstances(match, session, facts, now)
            answer = denial.condition.evaluate(circumstances)
            if answer is True:
                return denial.denied
            if answer is not False:
                failed = failed or denial.failed
        return failed

    def circumstances(self, match: Match, session: Session | None, facts: Facts, now: float) -> Circumstances:
        """Gather what a condition may ask about; on a public route nobody (None) asks."""
        return Circumstances(session or NOBODY, facts, match.parameters, self.closure, now, match)
