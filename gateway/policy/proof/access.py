"""Who can take a route, and what somebody can take: every answer of one policy, with the lines that give it.

Proven over the table like `difference`; the entries are shown as they are written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from gateway.document.quantity import written_duration
from gateway.exchange.reason import Reason
from gateway.exchange.step_up import Requirement
from gateway.policy.condition import Facts
from gateway.policy.judgement import route
from gateway.policy.proof.cells import cut
from gateway.policy.proof.effect import NOBODY, Answers, Effect, Effects, Judge, effect
from gateway.policy.proof.space import Place, Situation, World
from gateway.policy.table import Denial, Grant, Rule

Standing = Literal["allowed", "depends", "refused", "undecided"]


class Entry(NamedTuple):
    """One entry of `allow` or `deny`, and what it takes to fit it."""

    source: str
    roles: tuple[tuple[str, ...], ...]
    """Each role that fits, as the chain of includes that leads to one that is named; empty = everybody."""
    tenants: tuple[str, ...] | None
    scopes: tuple[str, ...]
    when: str
    """Empty = always."""


class Holders(NamedTuple):
    """People whom a policy lets in alike."""

    roles: tuple[str, ...]
    """Held together; empty = none; `NOBODY` = nobody is signed in."""
    tenants: tuple[str, ...]
    """As members of which tenants; empty = of any."""
    standing: Standing


class Access(NamedTuple):
    """Who can send one request."""

    rule: Rule
    denials: tuple[Entry, ...]
    grants: tuple[Entry, ...]
    credentials: tuple[str, ...]
    needs_mfa: bool
    requirements: tuple[str, ...]
    holders: tuple[Holders, ...]
    doubts: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether somebody can, or it is not proven that nobody can."""
        return bool(self.holders or self.doubts)


class Reach(NamedTuple):
    """What somebody can do at one place."""

    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    template: str
    route: str
    source: str
    tenants: tuple[str, ...]
    """As members of which tenants; empty = of any."""
    standing: Standing
    conditions: tuple[str, ...]


def who_can(world: World, facts: Facts, *, now: float) -> Access | Reason:
    """Find everybody who can send a request; `now` is only where the search begins. A reason where it has no route."""
    match = route(world.table, world.hosts, facts)
    if isinstance(match, Reason):
        return match
    rule = match.rule
    found = effect(place_at(rule, facts), (world,), now=now, fixed={"query": (facts.query,)}, patient=True)
    return Access(
        rule=rule,
        denials=tuple(entry_of(world, denial) for denial in rule.denials),
        grants=tuple(entry_of(world, grant) for grant in rule.grants),
        credentials=() if rule.public else credentials_of(rule),
        needs_mfa=rule.needs_mfa and rule.public is None,
        requirements=tuple(requirement_words(rule.route.requirement)),
        holders=tuple(_holders(world, found, facts.host)),
        doubts=found.doubts,
    )


def place_at(rule: Rule, facts: Facts) -> Place:
    """Name the place of one request."""
    return Place((facts.host,), (facts.method,), rule.template.text, facts.path, is_single=True)


def standing(world: World, place: Place, fixed: Mapping[str, Sequence[Any]], *, now: float) -> Standing:
    """Tell how somebody of whom the `fixed` things are known stands: let in always, sometimes or never."""
    found = effect(place, (world,), now=now, fixed=fixed, patient=True)
    answers = {answers for subject, shown in found.shown.items() if subject.roles != NOBODY for answers in shown}
    return _standing(answers, found)


def _standing(answers: Iterable[tuple[bool, ...]], found: Effect) -> Standing:
    seen = set(answers)
    if (True,) in seen:
        return "allowed" if seen == {(True,)} and not found.doubts else "depends"
    return "undecided" if found.doubts else "refused"


class _Untried:
    """The tenants that others stood for, because there are many."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._judge = Judge(world)

    def spread(
        self, open_to: dict[str, Mapping[Answers, Situation]], tried: Collection[str], hosts: Sequence[str]
    ) -> None:
        """Add to the tenants whose people are let in those to whom the same is answered."""
        shown = list(open_to.values())
        for tenant in self._world.tenants:
            host = next((host for host in hosts if self._world.hosts[host] in ("", tenant)), None)
            if tenant in tried or host is None:
                continue
            for answers in shown:
                if self._is_let_in(answers[(True,)], tenant, host):
                    open_to[tenant] = answers
                    break

    def _is_let_in(self, situation: Situation, tenant: str, host: str) -> bool:
        if situation.person is None:
            return True
        return self._judge.allows(
            situation._replace(
                person=msgspec.structs.replace(situation.person, tenant=tenant),
                facts=msgspec.structs.replace(situation.facts, host=host),
            )
        )


def _holders(world: World, found: Effect, host: str) -> Iterator[Holders]:
    """Yield who is let in; sets of roles only where none of them is let in by less."""
    untried = _Untried(world)
    tenants: dict[tuple[tuple[str, ...], Standing], set[str]] = {}
    open_to = {subject for subject, shown in found.shown.items() if (True,) in shown}
    open_to = {subject for subject in open_to if subject.roles == NOBODY} or open_to
    for subject in open_to:
        roles = subject.roles
        less = any(other.tenant == subject.tenant and set(other.roles) < set(roles) for other in open_to)
        if len(roles) > 1 and less:
            continue
        how = _standing(found.shown[subject], found)
        within = {subject.tenant: found.shown[subject]}
        if roles != NOBODY:
            untried.spread(within, {other.tenant for other in found.shown}, (host,))
        for held in found.amounting_to(roles):
            tenants.setdefault((held, how), set()).update(within)
        # attack: where `admin` includes two roles that only together are let in, whoever holds just these two was not listed.
        alone = [other.roles for other in open_to if other.tenant == subject.tenant and len(other.roles) == 1]
        singly = {role for other in alone for [role] in found.amounting_to(other)}
        for held in found.together(roles):
            if singly.isdisjoint(held):
                tenants.setdefault((held, how), set()).update(within)
    tried = {subject.tenant for subject in found.shown if subject.roles != NOBODY}
    for (held, how), members in sorted(tenants.items()):
        yield Holders(held, _listed(world, members - {""}, tried), how)


def what_can(
    world: World, fixed: Mapping[str, Sequence[Any]], held: Sequence[str], *, now: float
) -> tuple[list[Reach], list[str]]:
    """List everything that somebody can do who holds the roles `held`, and what could not be decided.

    `fixed` says what is known of them: `roles`, and perhaps `tenant`, `user`, …

    Raises:
        TooManyCellsError: when the templates multiply.

    """
    effects = Effects((world,), now=now, fixed=fixed, patient=True)
    untried = _Untried(world)
    found: dict[Reach, list[str]] = {}
    doubts: dict[str, None] = {}
    for cell in cut([world.table], [tuple(world.hosts)]):
        for method in cell.methods:
            [rule] = cell.rules(method)
            if rule is None or not (rule.public or rule.grants):
                continue
            _, there = effects.at(cell, method)
            open_to = _open_tenants(rule, there)
            if not open_to:
                if all(grant.accepts.isdisjoint(held) for grant in rule.grants):
                    continue
                doubts |= dict.fromkeys(f"{method} {cell.template} ({rule.route.name}): {why}" for why in there.doubts)
                continue
            if "tenant" not in fixed and not rule.public:
                untried.spread(open_to, {subject.tenant for subject in there.shown}, cell.hosts)
            hosts = tuple(host for host in cell.hosts if rule.public or world.hosts[host] in ("", *open_to))
            reach = Reach(
                hosts=hosts,
                methods=(),
                template=cell.template,
                route=rule.route.name,
                source=rule.route.source,
                tenants=() if rule.public else _listed(world, open_to, {subject.tenant for subject in there.shown}),
                standing=_standing({answers for shown in open_to.values() for answers in shown}, there),
                conditions=tuple(_conditions(rule, held)),
            )
            found.setdefault(reach, []).append(method)
    reaches = [reach._replace(methods=tuple(methods)) for reach, methods in found.items()]
    return sorted(reaches, key=lambda reach: (reach.template, reach.methods)), list(doubts)


def _listed(world: World, tenants: Collection[str], tried: Collection[str]) -> tuple[str, ...]:
    """Name tenants; none where gateway.yaml has none and each that was tried, made up for it, is let in alike."""
    return () if not world.tenants and set(tenants) >= set(tried) else tuple(sorted(tenants))


def _open_tenants(rule: Rule, found: Effect) -> dict[str, Mapping[Answers, Situation]]:
    """List the tenants whose people are let in, with the answers they get; a public route knows none."""
    if rule.public:
        nobody = [shown for subject, shown in found.shown.items() if subject.roles == NOBODY and (True,) in shown]
        return {"": nobody[0]} if nobody else {}
    return {subject.tenant: shown for subject, shown in found.shown.items() if (True,) in shown}


def _conditions(rule: Rule, held: Sequence[str]) -> Iterator[str]:
    """Write what it still takes, for somebody with these roles."""
    if rule.public is None:
        fitting = [grant for grant in rule.grants if not grant.accepts.isdisjoint(held)]
        if all(grant.condition is not None for grant in fitting):
            whens = dict.fromkeys(grant.condition.text for grant in fitting if grant.condition is not None)
            yield "when " + " or ".join(" ".join(text.split()) for text in whens)
    for denial in rule.denials:
        if denial.condition is not None and (denial.accepts is None or not denial.accepts.isdisjoint(held)):
            yield "unless " + " ".join(denial.condition.text.split())
    yield from requirement_words(rule.route.requirement)


def entry_of(world: World, entry: Grant | Denial) -> Entry:
    """Take an entry apart."""
    accepts = entry.accepts
    chains = () if accepts is None else tuple(world.table.closure.chain(role, entry.roles) for role in sorted(accepts))
    return Entry(
        source=entry.source,
        roles=tuple(sorted(chains, key=lambda chain: (len(chain), chain))),
        tenants=None if entry.tenants is None else tuple(sorted(entry.tenants)),
        scopes=tuple(sorted(entry.scopes)) if isinstance(entry, Grant) else (),
        when="" if entry.condition is None else " ".join(entry.condition.text.split()),
    )


def credentials_of(rule: Rule) -> tuple[str, ...]:
    """List what may prove who asks."""
    taken: list[str] = list(rule.route.credentials)
    return (*taken, "certificate") if rule.route.client_certificate else tuple(taken)


def requirement_words(requirement: Requirement | None) -> Iterator[str]:
    """Write what a route requires, as policy files call it."""
    if requirement is None:
        return
    if requirement.factor is not None:
        yield f"factor: {requirement.factor}"
    if requirement.acr is not None:
        yield f"acr: {requirement.acr}"
    for name, seconds in (("mfa_age", requirement.mfa_age_s), ("auth_age", requirement.auth_age_s)):
        if seconds is not None:
            yield f"{name}: {written_duration(seconds)}"
    if requirement.known_device:
        yield "device: known"
    if requirement.networks:
        yield "network: " + ", ".join(map(str, requirement.networks))
