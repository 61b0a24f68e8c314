"""What two policies answer differently: who gains, who loses, and one request that shows it.

Solves over the tables: every place of either, every method, every role and set of roles, every tenant, and the values that
conditions tell apart. Names of routes, the order of entries and files, and other words for the same are no difference.
Paths that can be read in two ways are left out: those are refused whatever a policy says.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from gateway.policy.proof.cells import Cell, cut
from gateway.policy.proof.effect import NOBODY, Effect, Effects, Judge, Subject, moved
from gateway.policy.proof.meaning import Option, options
from gateway.policy.proof.space import Place, Situation, World
from gateway.policy.table import Rule

Kind = Literal["gains", "loses", "conditions"]
"""Refused before and allowed now; allowed before and refused now; allowed under other conditions."""
_KINDS: Final[tuple[Kind, ...]] = ("loses", "gains", "conditions")
_Key = TypeVar("_Key", bound=Hashable)
_MOST_TENANTS: Final = 200
"""Tenants that one line lists; of more it says which stand for them."""


class Where(NamedTuple):
    """A part of a policy's requests, and the routes that decide on it."""

    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    template: str
    old: str
    """Place of the route in the old policy; empty = no route."""
    new: str


class Change(NamedTuple):
    """What changes for some people, in the same way at some places."""

    kind: Kind
    who: tuple[tuple[str, ...], ...]
    """Each set of roles by itself; an empty one = people without any role, `NOBODY` = nobody is signed in."""
    tenants: tuple[str, ...]
    """Empty = every tenant that the hosts admit."""
    places: tuple[Where, ...]
    gain: Situation | None
    """Is allowed by the new policy alone; that of the first place."""
    loss: Situation | None
    """Is allowed by the old policy alone."""


class Other(NamedTuple):
    """Options that change for those who are let in."""

    options: tuple[Option, ...]
    places: tuple[Where, ...]


class Undecided(NamedTuple):
    """Places where a difference, or one beside those that were found, was neither found nor ruled out."""

    doubts: tuple[str, ...]
    places: tuple[Where, ...]


class Difference(NamedTuple):
    """Everything that differs."""

    changes: tuple[Change, ...]
    others: tuple[Other, ...]
    undecided: tuple[Undecided, ...]

    @property
    def is_empty(self) -> bool:
        """Whether both policies are proven to mean the same."""
        return not (self.changes or self.others or self.undecided)


def difference(old: World, new: World, *, now: float) -> Difference:
    """Compare two policies; `now` is only where the search begins, in unix seconds.

    Raises:
        TooManyCellsError: when the templates multiply.

    """
    comparison = _Comparison((old, new), now)
    for cell in cut([old.table, new.table], [tuple(old.hosts), tuple(new.hosts)]):
        by_rules: dict[tuple[Rule | None, ...], list[str]] = {}
        for method in cell.methods:
            by_rules.setdefault(cell.rules(method), []).append(method)
        for (mine, theirs), methods in by_rules.items():
            comparison.compare(cell, tuple(methods), mine, theirs)
    return comparison.result()


class _Line(NamedTuple):
    """What changes at one place for those to whom it happens alike."""

    kind: Kind
    who: tuple[tuple[str, ...], ...]
    tenants: tuple[str, ...]
    gain: Situation | None
    loss: Situation | None


class _Comparison:
    """Two policies, and what was found to differ so far."""

    def __init__(self, worlds: tuple[World, World], now: float) -> None:
        self._worlds = worlds
        self._are_hosts_alike = worlds[0].hosts == worlds[1].hosts
        self._effects = Effects(worlds, now=now)
        self._judges = [Judge(world) for world in worlds]
        self._read: dict[Place, list[_Line]] = {}
        self._lines: list[tuple[_Line, Where]] = []
        self._options: list[tuple[tuple[Option, ...], Where]] = []
        self._doubts: list[tuple[tuple[str, ...], Where]] = []

    def compare(self, cell: Cell, methods: tuple[str, ...], old: Rule | None, new: Rule | None) -> None:
        """Compare what the two answer in a cell to methods that each of them decides by one rule."""
        mine, theirs = self._effects.meanings[0].of(old), self._effects.meanings[1].of(new)
        found: tuple[Option, ...] = ()
        if old is not None and new is not None and mine is not None and theirs is not None:
            found = tuple(options(old, new))
        is_alike = mine == theirs and (self._are_hosts_alike or self._are_owners_alike(cell))
        if is_alike and not found:
            return
        where = Where(cell.hosts, methods, cell.template, _source(old), _source(new))
        if found:
            self._options.append((found, where))
        for method in () if is_alike else methods:
            self._solve(cell, method, where._replace(methods=(method,)))

    def _are_owners_alike(self, cell: Cell) -> bool:
        return all(self._worlds[0].hosts.get(host) == self._worlds[1].hosts.get(host) for host in cell.hosts)

    def _solve(self, cell: Cell, method: str, where: Where) -> None:
        solved, effect = self._effects.at(cell, method)
        if solved not in self._read:
            self._read[solved] = list(_Lines(effect, solved, self._worlds, self._judges).read())
        for line in self._read[solved]:
            gain, loss = (shown and moved(shown, solved, cell, method) for shown in (line.gain, line.loss))
            self._lines.append((line._replace(gain=gain, loss=loss), where))
        if effect.doubts:
            self._doubts.append((effect.doubts, where))

    def result(self) -> Difference:
        """Gather what is alike."""
        groups: dict[Hashable, tuple[_Line, list[Where]]] = {}
        for line, where in self._lines:
            key = line._replace(gain=None, loss=None), line.gain is None, line.loss is None
            groups.setdefault(key, (line, []))[1].append(where)
        changes = [
            Change(line.kind, line.who, line.tenants, tuple(sorted(_joined(places), key=_order)), line.gain, line.loss)
            for line, places in groups.values()
        ]
        changes.sort(
            key=lambda change: (_KINDS.index(change.kind), change.places[0].template, change.who, change.tenants)
        )
        return Difference(
            tuple(changes),
            tuple(Other(found, tuple(_joined(places))) for found, places in _grouped(self._options)),
            tuple(Undecided(doubts, tuple(_joined(places))) for doubts, places in _grouped(self._doubts)),
        )


def _grouped(found: Sequence[tuple[_Key, Where]]) -> Iterator[tuple[_Key, list[Where]]]:
    groups: dict[_Key, list[Where]] = {}
    for key, where in found:
        groups.setdefault(key, []).append(where)
    yield from groups.items()


def _joined(places: Sequence[Where]) -> list[Where]:
    """Join places that differ in their method alone."""
    methods: dict[Where, list[str]] = {}
    for where in places:
        methods.setdefault(where._replace(methods=()), []).extend(where.methods)
    return [where._replace(methods=tuple(dict.fromkeys(found))) for where, found in methods.items()]


def _order(where: Where) -> tuple[str, tuple[str, ...]]:
    return where.template, where.methods


def _source(rule: Rule | None) -> str:
    return "" if rule is None else rule.route.source


def _outdoes(one: _Line, other: _Line) -> bool:
    """Tell whether the change of one is as far-reaching as that of the other."""
    return other.kind in ("conditions", one.kind)


class _Lines:
    """Reads from an effect what changes for whom."""

    def __init__(self, found: Effect, place: Place, worlds: Sequence[World], judges: Sequence[Judge]) -> None:
        self._found = found
        self._place = place
        self._judges = judges
        self._hosts = {host: owner for world in reversed(worlds) for host, owner in world.hosts.items()}
        self._tenants = {tenant for world in worlds for tenant in world.tenants}
        if not all(world.tenants for world in worlds):
            self._tenants |= {subject.tenant for subject in found.shown if subject.roles != NOBODY}

    def read(self) -> Iterator[_Line]:
        """Yield each change once, for everybody to whom it happens."""
        changed = {subject: line for subject in self._found.shown if (line := self._line(subject)) is not None}
        by_roles: dict[Hashable, tuple[_Line, set[str]]] = {}
        for subject, line in changed.items():
            if not self._is_explained(subject, line, changed):
                key = line.kind, subject.roles, line.gain is None, line.loss is None
                by_roles.setdefault(key, (line, set()))[1].update(self._tenants_like(subject, line))
        by_tenants: dict[Hashable, tuple[_Line, dict[tuple[str, ...], None]]] = {}
        for line, tenants in by_roles.values():
            listed = () if self._admitted() <= tenants else tuple(sorted(tenants))
            key = line.kind, listed, line.gain is None, line.loss is None
            who = by_tenants.setdefault(key, (line._replace(tenants=listed), {}))[1]
            who |= dict.fromkeys(line.who)
        for line, who in by_tenants.values():
            yield line._replace(who=tuple(sorted(who)))

    def _line(self, subject: Subject) -> _Line | None:
        shown = self._found.shown[subject]
        gain, loss = shown.get((False, True)), shown.get((True, False))
        if gain is None and loss is None:
            return None
        kind: Kind = "conditions"
        # What is not whole may hide a case in which both allow.
        if (True, True) not in shown and (gain is None or loss is None) and not self._found.doubts:
            kind = "loses" if gain is None else "gains"
        return _Line(kind, tuple(self._found.amounting_to(subject.roles)), (), gain, loss)

    @staticmethod
    def _is_explained(subject: Subject, line: _Line, changed: Mapping[Subject, _Line]) -> bool:
        """Tell whether the change is that of some of the roles already."""
        fewer = [
            other
            for known, other in changed.items()
            if known.tenant == subject.tenant
            and NOBODY not in (known.roles, subject.roles)
            and set(known.roles) < set(subject.roles)
        ]
        return (
            len(subject.roles) > 1
            and (line.gain is None or any(_outdoes(other, line) for other in fewer if other.gain is not None))
            and (line.loss is None or any(_outdoes(other, line) for other in fewer if other.loss is not None))
        )

    def _admitted(self) -> set[str]:
        """List the tenants whose people the hosts of the place let through."""
        owners = {self._hosts[host] for host in self._place.hosts}
        return self._tenants if "" in owners else self._tenants & owners

    def _tenants_like(self, subject: Subject, line: _Line) -> Iterator[str]:
        """Yield every tenant to whose people the same happens."""
        yield subject.tenant
        if subject.roles == NOBODY:
            yield from self._admitted()
            return
        for tenant in sorted(self._admitted() - {subject.tenant})[:_MOST_TENANTS]:
            host = next((host for host in self._place.hosts if self._hosts[host] in ("", tenant)), None)
            if host is not None and all(
                self._still(situation, host, tenant, expected)
                for situation, expected in ((line.gain, (False, True)), (line.loss, (True, False)))
            ):
                yield tenant

    def _still(self, situation: Situation | None, host: str, tenant: str, expected: tuple[bool, bool]) -> bool:
        if situation is None or situation.person is None:
            return situation is None
        moved = situation._replace(
            person=msgspec.structs.replace(situation.person, tenant=tenant),
            facts=msgspec.structs.replace(situation.facts, host=host),
        )
        return tuple(judge.allows(moved) for judge in self._judges) == expected
