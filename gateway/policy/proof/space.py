"""Everything that could be asked at one place of a policy: persons, requests and times in which each answer shows.

A place is a host, a method and a template. What its rules and conditions look at is cut into atoms, each thing that an
atom looks at gets a finite set of values (`candidates`), and of the values that no atom tells apart one is kept.
`is_whole` says whether what is left shows everything there is, so that what holds for it holds always.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, product
from math import prod
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from gateway.policy.condition import Condition, Facts
from gateway.policy.judgement import Person
from gateway.policy.proof import candidates
from gateway.policy.proof.candidates import Values
from gateway.policy.proof.comparison import UNKNOWN, Comparisons, Wanted
from gateway.policy.table import Denial, Grant, PolicyTable, Rule
from gateway.wire.target import is_canonical

MOST: Final = 20_000
"""Combinations that are tried; beyond them nothing is claimed."""
_MOST_VALUES: Final = 100_000
"""Combinations of values that are looked at together to find those that no condition tells apart."""
_MOST_OUTCOMES: Final = 1_000_000
"""Answers of parts that are asked for at one place, some 10 µs each: what many values and many parts multiply to."""
_MOST_ROLE_SETS: Final = 128
_SPARE: Final = "elsewhere"
"""A tenant beside those that rules name."""
_PERSON: Final = (
    "user", "user_id", "email", "tenant", "roles", "credential", "amr", "mfa_age", "auth_age", "scopes", "known_device",
    "provider", "country",
)  # fmt: skip
_FEW: Final = 8
"""Hosts that are all tried; of more, those that are named, and some that stand for the rest."""
_FEW_TENANTS: Final = 64
_ORDINARY: Final = {"user": "somebody", "user_id": "u-1", "email": "somebody@example.com", "provider": "local"}
_WORDS: Final = {
    "client_ip": "the address",
    "now": "the time",
    "user": "the name of the user",
    "path": "the path",
    "roles": "the roles",
    UNKNOWN: "a name that is not known here",
}
_WAYS: Final = (
    ("pwd", "otp", "mfa"),
    ("hwk", "user", "mfa"),
    ("swk", "user", "mfa"),
    ("pwd", "hwk", "mfa"),
    ("hwk", "mfa"),
    ("swk", "mfa"),
    ("pwd", "otp", "mfa", "hwk"),
    ("mfa",),
    ("swk",),
    ("pwd",),
    (),
)
"""How people sign in (`session.amr`), the ordinary ways in front. A step-up adds a method, and a provider names its own."""
_STRANGER: Final = "another"
_PROOFS: Final = frozenset({"session.amr", "session.acr", "session.mfa_age"})


class World(NamedTuple):
    """A policy and what gateway.yaml says beside it."""

    table: PolicyTable
    hosts: Mapping[str, str]
    """Each host of the gateway and the tenant it belongs to; empty = shared by all."""
    tenants: Collection[str] = ()
    """Every tenant; empty = people's own tenants count."""


class Situation(NamedTuple):
    """One request of one person (None = nobody is signed in) at one time: what `judge` answers."""

    person: Person | None
    facts: Facts
    now: float


class Side(NamedTuple):
    """The rule of one policy that decides at the place."""

    world: World
    rule: Rule


class _Test(NamedTuple):
    """Something that the answer depends on: of what, and how it comes out."""

    dimensions: frozenset[str]
    outcome: Callable[[Situation], object]
    kind: Literal["rule", "steady", "loose"] = "rule"
    """Of the rule; or of a condition: `steady` is always true or false, `loose` may fail."""


class Effort:
    """What may still be tried: answers of parts of conditions, of all questions that share it."""

    __slots__ = ("left",)

    def __init__(self, outcomes: int = _MOST_OUTCOMES) -> None:
        self.left = outcomes


class Place(NamedTuple):
    """Where is asked."""

    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    template: str
    sample: str
    """A path of the template that no narrower one takes."""
    is_single: bool = False
    """`sample` is the one path that is asked for; else every path of the template is."""


class Space:
    """The situations at one place. Say first what matters (`weigh`, `ask`, `fit`), then look at `situations`."""

    def __init__(
        self,
        place: Place,
        worlds: Sequence[World],
        *,
        now: float,
        anonymous: bool = False,
        fixed: Mapping[str, Sequence[Any]] | None = None,
        effort: Effort | None = None,
    ) -> None:
        """Begin with one situation; `fixed` names the only values of some things, `anonymous`: nobody is signed in."""
        self._effort = Effort() if effort is None else effort
        self._place = place
        self._worlds = worlds
        self._now = now
        self._anonymous = anonymous
        self._fixed = dict(fixed or {})
        self._comparisons = Comparisons()
        self._tests: list[_Test] = []
        self._segments = place.template.split("/")
        self._sides: list[Side] = []
        self.role_groups: dict[tuple[str, ...], list[str]] = {}
        """Each set of roles that is tried, and the roles that by themselves amount to the same at this place."""
        self.joined_roles: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        """Of sets of roles that are tried, those of other roles that together amount to the same."""
        self.is_whole = True
        """The situations show every answer there is; False also where there would be too many."""
        self.doubts: list[str] = []
        """Why not."""

    # What matters

    def weigh(self, side: Side) -> None:
        """Look at everything that the rule of `side` decides by."""
        rule = side.rule
        self._join(side)
        for denial in rule.denials:
            self.fit(denial)
        for grant in rule.grants:
            self.fit(grant)
        for condition in rule.conditions:
            self.ask(side, condition)
        requirement = rule.route.requirement
        if not self._anonymous:
            self._tests.append(_Test(frozenset(("credential",)), lambda of: of.person and of.person.credential))
            self._tests.append(_Test(frozenset(("tenant",)), lambda of: of.person and of.person.tenant))
            self._weigh_session(side)
        if requirement is not None:
            self._comparisons.of("client_ip").networks.update(requirement.networks)
            if requirement.networks:
                self._tests.append(
                    _Test(frozenset(("client_ip",)), lambda of: requirement.refuses_address(of.facts.client_ip))
                )
            if requirement.known_device:
                self._tests.append(
                    _Test(frozenset(("known_device",)), lambda of: of.person is not None and of.person.known_device)
                )
        self._weigh_tenant(side)

    def _join(self, side: Side) -> None:
        if side not in self._sides:
            self._sides.append(side)

    def _weigh_session(self, side: Side) -> None:
        rule = side.rule
        requirement = rule.route.requirement
        parts = {"credential", "mfa_age"}
        if requirement is not None:
            parts |= {"amr"} if requirement.acr is not None or requirement.factor is not None else set()
            for name, bound in (("mfa_age", requirement.mfa_age_s), ("auth_age", requirement.auth_age_s)):
                if bound is not None:
                    parts.add(name)
                    self._comparisons.of(name).bounds.add(bound)
        if not (rule.needs_mfa or requirement):
            return

        def outcome(of: Situation) -> object:
            if of.person is None:
                return None
            session = of.person.session(of.facts, of.now)
            return bool(session.mfa_time), requirement and requirement.lack(session, of.now)

        self._tests.append(_Test(frozenset(parts), outcome))

    def _weigh_tenant(self, side: Side) -> None:
        """Look at whether the request is about the tenant of the person."""
        tenancy, hosts = side.rule.tenancy, side.world.hosts
        of_what = {"host", "tenant"}
        if tenancy is not None and tenancy.index >= 0:
            segment = self._segment(tenancy.index)
            of_what |= {segment} if segment else set()
        if tenancy is not None and tenancy.field:
            of_what.add("fields")

        def outcome(of: Situation) -> object:
            match = side.rule.matched(of.facts.path)
            tenant = match.tenant(hosts.get(of.facts.host, ""), of.facts.host, of.facts.fields)
            return tenant if of.person is None or not tenant else tenant == of.person.tenant

        self._tests.append(_Test(frozenset(of_what), outcome))

    def fit(self, entry: Grant | Denial) -> None:
        """Look at whom an entry is about."""
        if self._anonymous:
            return
        accepts, tenants = entry.accepts, entry.tenants
        if accepts is not None:
            self._tests.append(
                _Test(
                    frozenset(("roles",)),
                    lambda of: of.person is not None and not accepts.isdisjoint(of.person.roles),
                )
            )
        if tenants is not None:
            self._comparisons.of("tenant").equals |= tenants
            self._tests.append(
                _Test(frozenset(("tenant",)), lambda of: of.person is not None and of.person.tenant in tenants)
            )
        if isinstance(entry, Grant) and entry.scopes:
            scopes = entry.scopes
            self._comparisons.of("scopes").members |= scopes
            self._tests.append(
                _Test(
                    frozenset(("scopes", "credential")),
                    lambda of: of.person is not None and scopes.issubset(of.person.scopes),
                )
            )

    def ask(self, side: Side, condition: Condition) -> None:
        """Look at everything that a condition of the rule asks about."""
        self._join(side)
        places: dict[str, tuple[str, ...]] = {}
        for name, index in side.rule.parameters:
            segment = self._segment(index)
            places[f"path.{name}"] = (segment,) if segment else ()
        every = tuple(filter(None, (self._segment(index) for index in range(len(self._segments) - 1))))
        places["request.path"] = places["request.resource.id"] = ("path", *every)
        places["request.tenant"] = ("host", "fields", *every)
        for atom in self._comparisons.read(condition, places):
            self._tests.append(
                _Test(atom.dimensions, _outcome(side, atom.condition), "steady" if atom.is_steady else "loose")
            )

    def _segment(self, index: int) -> str:
        """Name the dimension of a segment; empty when the template has a literal there."""
        if self._place.is_single or index + 1 >= len(self._segments):
            return ""
        text = self._segments[index + 1]
        return f"segment {index}" if text == "*" or text.startswith("{") else ""

    # What there is

    def situations(self) -> Iterator[Situation]:
        """Yield situations such that every combination of outcomes that can be is among them, if `is_whole` stays true."""
        groups = [self._distinct(group) for group in self._groups()]
        number, most = prod(len(choices) for choices in groups), max(1, min(MOST, self._effort.left))
        if number > most:
            self._doubt("there are too many combinations to try")
        self._effort.left -= min(number, most)
        for chosen in islice(product(*groups), most):
            values = {name: value for part in chosen for name, value in part.items()}
            situation = self._situation(values)
            if situation is not None:
                yield situation

    def _doubt(self, why: str) -> None:
        self.is_whole = False
        if why not in self.doubts:
            self.doubts.append(why)

    def _groups(self) -> list[frozenset[str]]:
        """Join the dimensions that some test looks at together; host and path are looked at first, the person last."""
        groups: list[set[str]] = []
        for test in self._tests:
            joined = set(test.dimensions)
            apart = []
            for group in groups:
                if joined.isdisjoint(group):
                    apart.append(group)
                else:
                    joined |= group
            groups = [*apart, joined]
        return [frozenset(group) for group in groups if group]

    def _distinct(self, group: frozenset[str]) -> list[dict[str, Any]]:
        """Choose one combination of values for each way in which the tests of a group come out."""
        names = sorted(group)
        choices = [self._values(name) for name in names]
        tests = [test for test in self._tests if test.dimensions and test.dimensions <= group]
        kept: dict[tuple[object, ...], dict[str, Any]] = {}
        number = prod(len(choice.found) for choice in choices)
        # attack: a condition of a hundred parts about two ages keeps a check of the policy busy for minutes.
        most = max(1, min(_MOST_VALUES, min(_MOST_OUTCOMES, self._effort.left) // max(1, len(tests))))
        self._effort.left -= min(number, most) * len(tests)
        for values in islice(product(*(choice.found for choice in choices)), most):
            named = dict(zip(names, values, strict=True))
            situation = self._situation(named)
            if situation is not None:
                kept.setdefault(tuple(test.outcome(situation) for test in tests), named)
        if number > most:
            self._doubt("there are too many values to try")
        if any(
            test.kind == "steady" and None in column
            for test, column in zip(tests, zip(*kept, strict=True), strict=True)
        ):
            self._doubt("a part of a condition cannot be evaluated")
        if number <= most and not all(choice.is_whole for choice in choices):
            seen = sum(all(outcome is True or outcome is False for outcome in outcomes) for outcomes in kept)
            if seen != 2 ** len(tests) or any(test.kind == "loose" for test in tests):
                vague = [name for name, choice in zip(names, choices, strict=True) if not choice.is_whole]
                self._doubt("not every value of " + ", ".join(_word(name) for name in vague) + " can be tried")
        return list(kept.values())

    def _situation(self, values: Mapping[str, Any]) -> Situation | None:
        """Put values together; None for a path that another place takes."""
        now = values.get("now", self._fixed.get("now", (self._now,))[0])
        host = values.get("host", self._ordinary_host)
        path = self._path(values, host)
        if path is None:
            return None
        facts = Facts(
            method=values.get("method", self._place.methods[0]),
            host=host,
            path=path,
            query=self._one(values, "query", ""),
            client_ip=self._one(values, "client_ip", candidates.ORDINARY_ADDRESS),
            fields=values.get("fields", ()),
            secure=values.get("secure", True),
            user_agent=self._one(values, "user_agent", ""),
        )
        if self._anonymous:
            return Situation(None, facts, now)
        tenant = self._one(values, "tenant", self._owner(host) or self._tenants[0])
        given = {name: values[name] for name in _PERSON if name in values}
        given |= {name: self._fixed[name][0] for name in _PERSON if name in self._fixed and name not in given}
        given = {"user": "somebody", "roles": (), **given, "tenant": tenant}
        if given.get("credential", "cookie") == "cookie":
            given.pop("scopes", None)  # people who are signed in have none
        return Situation(Person(**given), facts, now)

    def _one(self, values: Mapping[str, Any], name: str, ordinary: str) -> str:
        return str(values.get(name, self._fixed.get(name, (ordinary,))[0]))

    def _path(self, values: Mapping[str, Any], host: str) -> str | None:
        """Put a path together; None for one that is written otherwise, or that another template takes."""
        path = self._place.sample
        if values.get("path"):
            path = values["path"]
        else:
            parts = path.split("/")
            for index in range(len(self._segments) - 1):
                value = values.get(f"segment {index}")
                if value is not None:
                    parts[index + 1] = quote(value, safe="!$&'()*+,;=:@")
            path = "/".join(parts)
        if path == self._place.sample:
            return path
        tables = [world.table for world in self._worlds]
        known = is_canonical(path) and all(
            table.match(host, path) is table.match(host, self._place.sample) for table in tables
        )
        return path if known else None

    # Values of each thing

    def _values(self, name: str) -> Values:
        """List what is tried of one thing."""
        if name in self._fixed:
            return Values(tuple(self._fixed[name]), is_whole=True)
        wanted = self._comparisons.of(name)
        if name.startswith("segment "):
            return self._segment_values(name)
        match name:
            case "host":
                return Values(self._hosts, is_whole=True)
            case "method":
                return Values(self._place.methods, is_whole=True)
            case "path":
                return self._path_values()
            case "secure" | "known_device":
                return Values((True, False), is_whole=True)
            case "tenant":
                return Values(self._tenants, is_whole=self._are_tenants_whole)
            case "fields":
                return Values(tuple(self._field_values()), is_whole=True)
            case "roles":
                return self._role_values()
            case "credential":
                # Nobody here comes with a certificate, which takes the place of a session and differs in its name alone.
                named = bool(wanted.equals) and any(side.rule.route.client_certificate for side in self._sides)
                is_whole = not (wanted.loose or named or "certificate" in wanted.equals or self._may_vouch())
                return Values(("cookie", "api_key", "bearer"), is_whole)
            case "amr":
                return candidates.subsets(_members(wanted), _WAYS, loose=wanted.loose)
            case "scopes":
                return candidates.subsets(_members(wanted), loose=wanted.loose)
            case "mfa_age" | "auth_age":
                # A sign-in is never younger than its factor: only with all bounds on both is there a pair in each gap.
                bounds = self._comparisons.of("mfa_age").bounds | self._comparisons.of("auth_age").bounds
                found, is_whole = candidates.ages(bounds)
                return Values((*found, None) if name == "mfa_age" else found, is_whole and not wanted.loose)
            case "now":
                return candidates.moments(wanted, self._now)
            case "client_ip":
                return candidates.addresses(wanted)
            case "user" | "user_id" | "email" | "provider" | "country" | "query" | "user_agent":
                return self._texts(name, _ORDINARY.get(name, ""))
            case _:
                return Values((None,), is_whole=False)

    def _may_vouch(self) -> bool:
        """Tell whether a bearer token may answer what is asked: its issuer can vouch for a second factor, nobody's here does."""
        return any(
            "bearer" in side.rule.route.credentials
            and (
                (side.rule.route.requirement is not None and side.rule.route.requirement.asks_proof)
                or any(not condition.names.isdisjoint(_PROOFS) for condition in side.rule.conditions)
            )
            for side in self._sides
        )

    def _texts(self, name: str, ordinary: str, known: Iterable[str] = ()) -> Values:
        """List texts of one thing, and those of everything that it is compared with."""
        peers = self._peers(name)
        shared = {text for peer in peers for text in self._comparisons.of(peer).texts()} | set(known)
        if "tenant" in peers:
            shared.update(self._tenants)
        if "host" in peers:
            shared.update(self._hosts)
        return candidates.texts(self._comparisons.of(name), ordinary, shared, peers=len(peers) - 1)

    def _peers(self, name: str) -> set[str]:
        """List everything that a thing is compared with for equality, over any number of steps, itself among it."""
        peers = {name}
        pending = [name]
        while pending:
            for other in self._comparisons.of(pending.pop()).peers - peers:
                peers.add(other)
                pending.append(other)
        return peers

    def _segment_values(self, name: str) -> Values:
        parts = self._place.sample.split("/")
        at = int(name.partition(" ")[2]) + 1
        bound = any(side.rule.tenancy is not None and side.rule.tenancy.index == at - 1 for side in self._sides)
        values = self._texts(name, unquote(parts[at]), self._tenants if bound else ())
        # No path has an empty segment here, and the sample's own must be among what is tried.
        return Values((unquote(parts[at]), *filter(None, values.found)), values.is_whole)

    def _path_values(self) -> Values:
        wanted = self._comparisons.of("path")
        base = self._place.sample.rstrip("/")
        # attack: `/a` takes `/a/` too where that is no template of its own, so a path of literals alone is two.
        ends = (base or "/", f"{base}/")
        if self._place.is_single:
            return Values((None,), is_whole=True)
        if not any(text in {"*", "**"} or text.startswith("{") for text in self._segments):
            return Values((None, *ends), is_whole=True)
        texts = sorted(wanted.texts())
        found = [text + more for text in texts if text.startswith("/") for more in ("", "any", "/any")]
        found += [f"{base}/any{text}" for text in sorted(wanted.suffixes | wanted.parts) if "/" not in text]
        return Values((None, *ends, *dict.fromkeys(found)), is_whole=False)

    def _field_values(self) -> Iterator[tuple[tuple[str, str], ...]]:
        yield ()
        for field in sorted({side.rule.tenancy.field for side in self._sides if side.rule.tenancy is not None} - {""}):
            for tenant in self._tenants:
                yield ((field, tenant),)

    def _role_values(self) -> Values:
        """List sets of roles: none, each declared role, and joined ones as long as they come out in yet another way."""
        declared = sorted({role for world in self._worlds for role in world.table.roles})
        tests = [test for test in self._tests if test.dimensions == {"roles"}]
        is_joined = any("roles" in test.dimensions and len(test.dimensions) > 1 for test in self._tests)
        found: dict[object, tuple[str, ...]] = {}
        for roles in ((), *((role,) for role in declared)):
            outcome = roles if is_joined else self._role_outcome(tests, roles)
            found.setdefault(outcome, roles)
            self.role_groups.setdefault(found[outcome], []).extend(roles)
        pending = list(found.values())
        while pending and not is_joined:
            roles = pending.pop(0)
            for other in list(found.values()):
                joined = tuple(sorted({*roles, *other}))
                outcome = self._role_outcome(tests, joined)
                if outcome not in found and len(found) < _MOST_ROLE_SETS:
                    found[outcome] = joined
                    pending.append(joined)
                elif outcome in found and not set(found[outcome]) <= set(joined):
                    others = self.joined_roles.setdefault(found[outcome], [])
                    if len(others) < _MOST_ROLE_SETS and not any(set(known) <= set(joined) for known in others):
                        others.append(joined)
        is_whole = not self._comparisons.of("roles").loose and len(found) < _MOST_ROLE_SETS
        return Values(tuple(found.values()), is_whole)

    def _role_outcome(self, tests: Sequence[_Test], roles: tuple[str, ...]) -> tuple[object, ...]:
        situation = self._situation({"roles": roles})
        return () if situation is None else tuple(test.outcome(situation) for test in tests)

    @property
    def _ordinary_host(self) -> str:
        return str(self._fixed.get("host", self._place.hosts)[0])

    @cached_property
    def _hosts(self) -> tuple[str, ...]:
        """Choose hosts: all of few; of many those that are named or whose tenant is, and some that stand for the rest."""
        hosts, wanted = self._place.hosts, self._comparisons.of("host")
        if (
            len(hosts) <= _FEW
            or wanted.loose
            or wanted.prefixes
            or wanted.suffixes
            or wanted.parts
            or wanted.sizes
            or wanted.peers
        ):
            return hosts
        named = wanted.equals | self._comparisons.of("tenant").texts() | self._bound_tenants()
        chosen = dict.fromkeys(host for host in hosts if host in named or self._owner(host) in named)
        for stand_in in (True, False):
            rest = [host for host in hosts if host not in chosen and bool(self._owner(host)) is stand_in]
            chosen |= dict.fromkeys(rest[:2])
        return tuple(chosen)

    @cached_property
    def _tenants(self) -> tuple[str, ...]:
        """Choose tenants: all of few; of many those that are named, those of the hosts, and one that stands for the rest."""
        wanted = self._comparisons.of("tenant")
        owners = dict.fromkeys(filter(None, map(self._owner, self._hosts)))
        every = dict.fromkeys(tenant for world in self._worlds for tenant in world.tenants)
        if not all(world.tenants for world in self._worlds):
            known = {*owners, *every, *self._bound_tenants()}
            known |= {text for peer in self._peers("tenant") for text in self._comparisons.of(peer).texts()}
            known.update(self._hosts if "host" in self._peers("tenant") else ())
            return tuple(dict.fromkeys((*owners, *candidates.texts(wanted, _SPARE, known).found)))
        if (
            len(every) <= _FEW_TENANTS
            or wanted.loose
            or wanted.prefixes
            or wanted.suffixes
            or wanted.parts
            or wanted.sizes
            or wanted.peers
        ):
            return tuple(dict.fromkeys((*owners, *every)))
        named = [
            tenant
            for tenant in every
            if tenant in wanted.equals | self._comparisons.of("host").equals | self._bound_tenants()
        ]
        rest = [tenant for tenant in every if tenant not in owners and tenant not in named]
        return tuple(dict.fromkeys((*owners, *named, *rest[:1])))

    @property
    def _are_tenants_whole(self) -> bool:
        if all(world.tenants for world in self._worlds):
            return True
        return candidates.texts(self._comparisons.of("tenant"), _SPARE).is_whole

    def _bound_tenants(self) -> set[str]:
        bindings = (side.rule.route.tenant for side in self._sides)
        return {binding.value for binding in bindings if binding is not None and binding.by == "name"}

    def _owner(self, host: str) -> str:
        return next((world.hosts[host] for world in self._worlds if host in world.hosts), "")


def holds(side: Side, condition: Condition, situation: Situation) -> bool | None:
    """Evaluate a condition of a rule; None where it cannot be."""
    person, facts, now = situation
    match = side.rule.matched(facts.path)
    tenant = match.tenant(side.world.hosts.get(facts.host, ""), facts.host, facts.fields)
    if tenant:
        facts = msgspec.structs.replace(facts, tenant=tenant)
    session = person.session(facts, now) if person is not None else None
    return condition.evaluate(side.world.table.circumstances(match, session, facts, now))


def _outcome(side: Side, condition: Condition) -> Callable[[Situation], object]:
    return lambda of: holds(side, condition, of)


def sample_path(table: PolicyTable, host: str, template: str) -> str | None:
    """Find a path of a template that no narrower one takes on a host; None when there is none that is easily found."""
    *parts, last = template.split("/")
    for word in ("any", "any-1", "any-2"):
        filled = [word if part == "*" or part.startswith("{") else part for part in parts]
        ends = (
            ((), (word,), (word, word)) if last == "**" else ((word if last == "*" or last.startswith("{") else last,),)
        )
        for end in ends:
            path = "/".join((*filled, *end)) or "/"
            node = table.match(host, path)
            if node is not None and node.template == template:
                return path
    return None


def _members(wanted: Wanted) -> set[str]:
    """List what a list may hold that matters: what it is asked for, and one that stands for all others."""
    stranger = _STRANGER
    while stranger in wanted.members:
        stranger += "-"
    return wanted.members | ({stranger} if wanted.strangers else set())


def _word(dimension: str) -> str:
    """Name a dimension for a person."""
    return _WORDS.get(dimension, dimension.replace("_", " ") if " " not in dimension else "a path parameter")
