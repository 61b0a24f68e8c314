"""What of a compiled policy decides nothing: conditions that are never or always true, entries that others make idle.

Everything said here is proven over every situation that can matter (`witness`), or not said. It takes longer than
compiling, so it is asked when people check their policy, and not when a process loads one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from gateway.document.diagnostic import Diagnostic, illustrated
from gateway.document.place import Place
from gateway.document.source import load
from gateway.policy.condition import Condition
from gateway.policy.proof.space import Effort, World
from gateway.policy.proof.witness import always_false, always_true, disjoint, implies
from gateway.policy.table import Denial, Grant, Rule

MOST_QUESTIONS: Final = 2_000
"""What is solved for one policy, about 20 ms each; of conditions beyond it nothing is said."""
FEW_QUESTIONS: Final = 200
"""For whoever asks about more than the policy."""

_OUTCOMES: Final = 2_000
"""What a question may cost, so that many do not take minutes: one that costs more takes it from others."""
_OF_PATH: Final = ("path.", "request.path", "request.resource", "request.tenant")


class _Idle(NamedTuple):
    """An entry, and why it, or its condition, decides nothing."""

    entry: Grant | Denial
    sentence: str
    name: str
    in_condition: bool


def find_idle(world: World, files: Mapping[str, str], *, now: float, most: int = MOST_QUESTIONS) -> list[Diagnostic]:
    """Report what decides nothing, as warnings at the places in `files` (path of a finding -> text).

    `now` is where the search for times begins; no answer depends on it. `most` bounds the questions that are solved.
    """
    solver = _Solver(world, now, most)
    places = _Places(files)
    for rule in world.table.rules.values():
        for idle in (*_of_grants(solver, rule), *_of_denials(solver, rule), *_of_hosts(world, rule)):
            place = places.find(idle.entry.source, in_condition=idle.in_condition)
            if place is not None:
                place.warn(idle.sentence, name=idle.name)
    return sorted(illustrated(set(places.findings), files))


class _Solver:
    """Asks each question once: many routes have the same condition."""

    def __init__(self, world: World, now: float, most: int) -> None:
        self._world = world
        self._now = now
        self._most = most
        self._effort = Effort(most * _OUTCOMES)
        self._answers: dict[tuple[object, ...], bool] = {}

    def is_never(self, rule: Rule, entry: Grant | Denial, condition: Condition) -> bool:
        """Whether a condition is proven to be true for nobody whom its entry is about."""
        key = ("never", *_key(rule, condition), *_whom(entry))
        return self._ask(
            key,
            lambda: (
                always_false(self._world, rule, condition, now=self._now, within=entry, effort=self._effort).holds
                is True
            ),
        )

    def is_always(self, rule: Rule, entry: Grant | Denial, condition: Condition) -> bool:
        """Whether a condition is proven to be true for everybody whom its entry is about."""
        key = ("always", *_key(rule, condition), *_whom(entry))
        return self._ask(
            key,
            lambda: (
                always_true(self._world, rule, condition, now=self._now, within=entry, effort=self._effort).holds
                is True
            ),
        )

    def implies(self, rule: Rule, one: Condition, other: Condition) -> bool:
        """Whether `other` is proven to be true whenever `one` is."""
        if one.text == other.text:
            return True
        key = ("implies", *_key(rule, one), *_key(rule, other))
        return self._ask(
            key, lambda: implies(self._world, rule, one, other, now=self._now, effort=self._effort).holds is True
        )

    def is_apart(self, rule: Rule, one: Condition, other: Condition) -> bool:
        """Whether `other` is proven to be false whenever `one` is true."""
        key = ("apart", *_key(rule, one), *_key(rule, other))
        return self._ask(
            key, lambda: disjoint(self._world, rule, one, other, now=self._now, effort=self._effort).holds is True
        )

    def _ask(self, key: tuple[object, ...], question: Callable[[], bool]) -> bool:
        if key not in self._answers:
            self._answers[key] = len(self._answers) < self._most and self._effort.left > 0 and question()
        return self._answers[key]


def _key(rule: Rule, condition: Condition) -> tuple[object, ...]:
    """Tell conditions apart that may come out differently: also by the template, where they ask about the path."""
    is_local = any(name.startswith(_OF_PATH) for name in condition.names)
    route = rule.route
    place = route.template if is_local else "", route.hosts, route.methods, route.public, route.tenant
    return condition.text, *place, route.action if "request.action" in condition.names else ""


def _whom(entry: Grant | Denial) -> tuple[object, ...]:
    return entry.accepts, entry.tenants, entry.scopes if isinstance(entry, Grant) else frozenset()


def _of_grants(solver: _Solver, rule: Rule) -> Iterator[_Idle]:
    for grant in rule.grants:
        condition = grant.condition
        if condition is not None and solver.is_never(rule, grant, condition):
            yield _Idle(
                grant, "the condition is never true, so that the entry allows nobody", "always-false", in_condition=True
            )
            continue
        if condition is not None and solver.is_always(rule, grant, condition):
            yield _Idle(
                grant, "the condition is always true; remove it, or correct it", "always-true", in_condition=True
            )
        denial = next((denial for denial in rule.denials if _is_denied(solver, rule, grant, denial)), None)
        if denial is not None:
            sentence = f"idle: the entry of deny at {denial.source} refuses everybody whom this one allows"
            yield _Idle(grant, sentence, "denied-entry", in_condition=False)
            continue
        other = next((other for other in rule.grants if _is_shadowed(solver, rule, grant, other)), None)
        if other is not None:
            sentence = f"idle: the entry at {other.source} allows everybody whom this one allows"
            yield _Idle(grant, sentence, "shadowed-entry", in_condition=False)


def _is_denied(solver: _Solver, rule: Rule, grant: Grant, denial: Denial) -> bool:
    """Whether a denial with a condition refuses everybody whom the grant allows; without one, the compiler has said so."""
    if grant.condition is None or denial.condition is None or not _is_about(denial, grant):
        return False
    return solver.implies(rule, grant.condition, denial.condition)


def _is_about(denial: Denial, grant: Grant) -> bool:
    return (denial.accepts is None or grant.accepts <= denial.accepts) and (
        denial.tenants is None or (grant.tenants is not None and grant.tenants <= denial.tenants)
    )


def _is_shadowed(solver: _Solver, rule: Rule, grant: Grant, other: Grant) -> bool:
    """Whether another grant, also with a condition, allows everybody whom this one allows."""
    if other is grant or grant.condition is None or other.condition is None or not _is_within(grant, other):
        return False
    if not solver.implies(rule, grant.condition, other.condition):
        return False
    is_mutual = _is_within(other, grant) and solver.implies(rule, other.condition, grant.condition)
    return not is_mutual or rule.grants.index(other) < rule.grants.index(grant)


def _is_within(grant: Grant, other: Grant) -> bool:
    return (
        grant.accepts <= other.accepts
        and other.scopes <= grant.scopes
        and (other.tenants is None or (grant.tenants is not None and grant.tenants <= other.tenants))
        and grant.obligation == other.obligation
    )


def _of_denials(solver: _Solver, rule: Rule) -> Iterator[_Idle]:
    for denial in rule.denials:
        condition = denial.condition
        if condition is not None and solver.is_never(rule, denial, condition):
            yield _Idle(
                denial,
                "the condition is never true, so that the entry refuses nobody",
                "always-false",
                in_condition=True,
            )
            continue
        if condition is not None and solver.is_always(rule, denial, condition):
            yield _Idle(
                denial, "the condition is always true; remove it, or correct it", "always-true", in_condition=True
            )
        if rule.grants and all(_is_missed(solver, rule, denial, grant) for grant in rule.grants):
            sentence = "idle: no entry of allow lets in anybody whom this one refuses"
            yield _Idle(denial, sentence, "idle-denial", in_condition=False)


def _is_missed(solver: _Solver, rule: Rule, denial: Denial, grant: Grant) -> bool:
    """Whether a denial is about nobody whom the grant allows. Roles tell nobody apart: a person may hold any of them."""
    if denial.tenants is not None and grant.tenants is not None and denial.tenants.isdisjoint(grant.tenants):
        return True
    if grant.condition is None or denial.condition is None:
        return False
    return solver.is_apart(rule, grant.condition, denial.condition)


def _of_hosts(world: World, rule: Rule) -> Iterator[_Idle]:
    """Find entries about tenants to none of which a host of the route belongs: nobody of them gets there."""
    owners = {world.hosts.get(host, "") for host in rule.route.hosts or world.hosts}
    if "" in owners or not owners or rule.tenancy is not None:
        return
    entries: tuple[Grant | Denial, ...] = (*rule.grants, *rule.denials)
    for entry in entries:
        for tenant in sorted((entry.tenants or frozenset()) - owners):
            sentence = f"no host of the route belongs to the tenant {tenant!r}, so that nobody of it gets here"
            yield _Idle(entry, sentence, "unreachable-tenant", in_condition=False)


class _Places:
    """Finds the place of an entry in the files; each file is read when it is needed."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.findings: list[Diagnostic] = []
        self._files = files
        self._known: dict[str, dict[str, Place]] = {}

    def find(self, source: str, *, in_condition: bool) -> Place | None:
        """Find an entry, or its condition, where that stands in the entry itself."""
        path = source.rsplit(":", 2)[0]
        if path not in self._known:
            text = self._files.get(path)
            root = None if text is None else Place(load(text, path), self.findings)
            self._known[path] = {} if root is None else {str(place): place for place in _mappings(root)}
        entry = self._known[path].get(source)
        if entry is None or not in_condition:
            return entry
        return (entry.entries() or {}).get("when", entry)


def _mappings(place: Place) -> Iterator[Place]:
    """Yield every mapping in a list, at any depth."""
    if isinstance(place.value, dict):
        inner = list((place.entries() or {}).values())
    elif isinstance(place.value, list) and place.value:
        inner = place.items() or []
        yield from (item for item in inner if isinstance(item.value, dict))
    else:
        return
    for item in inner:
        yield from _mappings(item)
