"""Whom the rules at one place let in: every set of roles in every tenant, and a situation for each answer.

Sets of roles are tried until a further role changes nothing: alone each role that is declared, and joined those that
come out in another way than their members, which is so where a denial names one of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import islice, product
from typing import Any, Final, NamedTuple

import msgspec

from gateway.exchange.decision import Decision
from gateway.exchange.reason import Reason
from gateway.policy.judgement import answer, route
from gateway.policy.proof.cells import Cell
from gateway.policy.proof.meaning import Meanings
from gateway.policy.proof.space import Place, Side, Situation, Space, World
from gateway.policy.table import Match, Rule

Answers = tuple[bool, ...]
"""Whether each policy allows."""
NOBODY: Final[tuple[str, ...]] = ("",)
"""Stands where roles do: nobody is signed in."""
_MOST_SETS: Final = 64
_ASKED: Final = frozenset(
    {
        Reason.MFA_REQUIRED,
        Reason.MFA_ENROLMENT_REQUIRED,
        Reason.STEP_UP_REQUIRED,
        Reason.SIGN_IN_REQUIRED,
        Reason.CREDENTIAL_REQUIRED,
        Reason.API_KEY_REFUSED,
        Reason.TOKEN_REFUSED,
    }
)
"""Refusals that somebody can lift: by proving once more who they are, or by the credential that the route takes."""


class Subject(NamedTuple):
    """Who asks."""

    roles: tuple[str, ...]
    """What is held together; empty = no role; `NOBODY` = nobody is signed in."""
    tenant: str


class Effect(NamedTuple):
    """What comes out at a place."""

    shown: Mapping[Subject, Mapping[Answers, Situation]]
    """For each subject each way in which the policies answer, and the first situation in which they do."""
    alike: Mapping[tuple[str, ...], Sequence[str]]
    """Roles that alone amount to the same as the set."""
    joined: Mapping[tuple[str, ...], Sequence[tuple[str, ...]]]
    """Sets of other roles that together amount to the same as the set."""
    doubts: tuple[str, ...]
    """Why there may be another answer; empty = there is none."""

    def amounting_to(self, roles: tuple[str, ...]) -> list[tuple[str, ...]]:
        """List the sets of roles that amount to the same at this place, itself among them."""
        if len(roles) < 2:  # noqa: PLR2004 - a role alone, or none
            return [roles, *((role,) for role in self.alike.get(roles, ()) if (role,) != roles)]
        return self._varied(roles)

    def together(self, roles: tuple[str, ...]) -> list[tuple[str, ...]]:
        """List the sets of other roles that only together amount to the same as these."""
        return sorted({varied for other in self.joined.get(roles, ()) for varied in self._varied(other)})

    def _varied(self, roles: tuple[str, ...]) -> list[tuple[str, ...]]:
        groups = [next((group for group in self.alike.values() if role in group), (role,)) for role in roles]
        return sorted({tuple(sorted(set(chosen))) for chosen in islice(product(*groups), _MOST_SETS)} | {roles})


class Judge:
    """Answers as `judge` does, and finds the route of a request once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._found: dict[tuple[str, str, str], Match | Reason] = {}

    def decide(self, situation: Situation) -> Decision:
        """Answer."""
        person, facts, now = situation
        asked = facts.host, facts.method, facts.path
        if asked not in self._found:
            self._found[asked] = route(self._world.table, self._world.hosts, facts)
        match = self._found[asked]
        if isinstance(match, Reason):
            return Decision(allowed=False, reason=match)
        session = person.session(facts, now) if person is not None else None
        return answer(self._world.table, self._world.hosts, match, facts, session=session, now=now).decision

    def allows(self, situation: Situation) -> bool:
        """Whether the policy allows."""
        return self.decide(situation).allowed


def effect(
    place: Place,
    worlds: Sequence[World],
    *,
    now: float,
    fixed: Mapping[str, Sequence[Any]] | None = None,
    patient: bool = False,
) -> Effect:
    """Find every answer of each policy at a place: of people, and of nobody where some rule asks nobody.

    `fixed` names the only values of some things (`roles`, `tenant`, `user`, …). People of another tenant than the host's
    are left out: they are refused, or let in where nobody is asked. `patient` leaves out those who are only asked for
    another proof before they go on: a second factor, a fresh one, another credential.
    """
    host = place.hosts[0]
    sides: list[Side] = []
    for world in worlds:
        node = world.table.match(host, place.sample) if host in world.hosts else None
        rule = node.rules.get(place.methods[0]) if node is not None else None
        if rule is not None:
            sides.append(Side(world, rule))
    judges = [Judge(world) for world in worlds]
    shown: dict[Subject, dict[Answers, Situation]] = {}
    alike: dict[tuple[str, ...], Sequence[str]] = {}
    joined: dict[tuple[str, ...], Sequence[tuple[str, ...]]] = {}
    doubts: list[str] = []
    for anonymous in (False, True) if any(side.rule.route.public for side in sides) else (False,):
        space = Space(place, worlds, now=now, anonymous=anonymous, fixed=fixed)
        for side in sides:
            if not anonymous or side.rule.route.public:
                space.weigh(side)
        for situation in space.situations():
            person, facts, _ = situation
            if person is not None and not any(world.hosts.get(facts.host) in ("", person.tenant) for world in worlds):
                continue
            decisions = [judge.decide(situation) for judge in judges]
            if patient and all(decision.reason in _ASKED for decision in decisions):
                continue
            answers = tuple(decision.allowed for decision in decisions)
            subject = Subject(person.roles, person.tenant) if person is not None else Subject(NOBODY, "")
            shown.setdefault(subject, {}).setdefault(answers, situation)
        alike |= space.role_groups
        joined |= space.joined_roles
        doubts += space.doubts
    return Effect(shown, alike, joined, tuple(dict.fromkeys(doubts)))


class Effects:
    """The effects at all places of some policies; places that are decided alike are solved once."""

    def __init__(
        self,
        worlds: Sequence[World],
        *,
        now: float,
        fixed: Mapping[str, Sequence[Any]] | None = None,
        patient: bool = False,
    ) -> None:
        self.worlds = worlds
        self.meanings = [Meanings(world.table) for world in worlds]
        self._now = now
        self._fixed = fixed
        self._patient = patient
        self._solved: dict[Hashable, tuple[Place, Effect]] = {}

    def at(self, cell: Cell, method: str) -> tuple[Place, Effect]:
        """Return the effect of a method in a cell, and the place for which it was found."""
        rules = cell.rules(method)
        means = tuple(meanings.of(rule) for meanings, rule in zip(self.meanings, rules, strict=True))
        owners = tuple(tuple(world.hosts.get(host) for host in cell.hosts) for world in self.worlds)
        key = means, owners, _asked(cell, method, rules)
        if key not in self._solved:
            place = Place(cell.hosts, (method,), cell.template, cell.path)
            self._solved[key] = (
                place,
                effect(place, self.worlds, now=self._now, fixed=self._fixed, patient=self._patient),
            )
        return self._solved[key]


def _asked(cell: Cell, method: str, rules: Sequence[Rule | None]) -> Hashable:
    """Return what of the place itself the answers may depend on."""
    names = {name for rule in rules if rule is not None for condition in rule.conditions for name in condition.names}
    bound = any(rule is not None and rule.tenancy is not None for rule in rules)
    if bound or any(name.startswith(("path.", "request.")) for name in names):
        return cell.hosts, cell.template, method
    return None


def moved(situation: Situation, solved: Place, cell: Cell, method: str) -> Situation:
    """Ask the same in another cell that is decided like the one for which it was found."""
    if (solved.sample, solved.hosts, solved.methods) == (cell.path, cell.hosts, (method,)):
        return situation
    host = cell.hosts[solved.hosts.index(situation.facts.host)]
    return situation._replace(facts=msgspec.structs.replace(situation.facts, host=host, method=method, path=cell.path))
