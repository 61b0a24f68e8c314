"""What conditions amount to: proven over every value that can matter, or shown by one situation.

Exact for conditions whose parts compare one thing each with constants (texts, lists, ages, times, hours and days of the
week, networks, roles) or two texts with each other; also for what depends on hosts, tenants and methods in any way, because
those are all known. About every other condition only what was found is said, and what was not found is undecided.
Answers are the CEL engine's own; nothing is proven from the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.policy.condition import Condition
from gateway.policy.proof.space import Effort, Place, Side, Situation, Space, World, holds, sample_path
from gateway.policy.table import Denial, Grant, Rule


class Finding(NamedTuple):
    """An answer."""

    holds: bool | None
    """Proven, refuted, or not decided."""
    witness: Situation | None = None
    """The situation that refutes; for `same`, in which the two differ."""
    doubt: str = ""
    """Why it is not decided."""


def always_false(
    world: World,
    rule: Rule,
    condition: Condition,
    *,
    now: float,
    within: Grant | Denial | None = None,
    effort: Effort | None = None,
) -> Finding:
    """Find out whether a condition of a rule is never true; the witness is when it is.

    `within` asks only about those whom the entry is about. `now` is only where the search begins. `effort` is what may be
    tried, shared by questions that are asked together.
    """
    return _seek(world, rule, (condition,), lambda answers: answers[0] is True, now=now, within=within, effort=effort)


def always_true(
    world: World,
    rule: Rule,
    condition: Condition,
    *,
    now: float,
    within: Grant | Denial | None = None,
    effort: Effort | None = None,
) -> Finding:
    """Find out whether a condition of a rule is true always; the witness is when it is not."""
    return _seek(
        world, rule, (condition,), lambda answers: answers[0] is not True, now=now, within=within, effort=effort
    )


def implies(
    world: World, rule: Rule, one: Condition, other: Condition, *, now: float, effort: Effort | None = None
) -> Finding:
    """Find out whether `other` is true whenever `one` is; the witness is when only `one` is."""
    return _seek(
        world, rule, (one, other), lambda answers: answers[0] is True and answers[1] is not True, now=now, effort=effort
    )


def disjoint(
    world: World, rule: Rule, one: Condition, other: Condition, *, now: float, effort: Effort | None = None
) -> Finding:
    """Find out whether `other` is false whenever `one` is true; the witness is when it is not."""
    return _seek(
        world,
        rule,
        (one, other),
        lambda answers: answers[0] is True and answers[1] is not False,
        now=now,
        effort=effort,
    )


def same(world: World, rule: Rule, one: Condition, other: Condition, *, now: float) -> Finding:
    """Find out whether two conditions of a rule are true at the same time; the witness is when only one of them is."""
    return _seek(world, rule, (one, other), lambda answers: (answers[0] is True) != (answers[1] is True), now=now)


def _seek(
    world: World,
    rule: Rule,
    conditions: tuple[Condition, ...],
    refutes: Callable[[list[bool | None]], bool],
    *,
    now: float,
    within: Grant | Denial | None = None,
    effort: Effort | None = None,
) -> Finding:
    """Look for a situation that refutes; proven where all that matter were looked at and none does."""
    place = place_of(world, rule)
    if place is None:
        return Finding(holds=None, doubt="no path of the route was found that narrower ones leave to it")
    side = Side(world, rule)
    space = Space(place, (world,), now=now, anonymous=rule.route.public, effort=effort)
    for condition in conditions:
        space.ask(side, condition)
    if within is not None:
        space.fit(within)
    for situation in space.situations():
        if within is not None and not _fits(within, situation):
            continue
        if refutes([holds(side, condition, situation) for condition in conditions]):
            return Finding(holds=False, witness=situation)
    return Finding(holds=True) if space.is_whole else Finding(holds=None, doubt="; ".join(space.doubts))


def place_of(world: World, rule: Rule) -> Place | None:
    """Name the place of a rule; None when it is not found to decide anything."""
    hosts = rule.route.hosts or tuple(world.hosts)
    methods = dict.fromkeys((*rule.route.methods, *(("HEAD",) if "GET" in rule.route.methods else ())))
    for host in hosts:
        sample = sample_path(world.table, host, rule.template.text)
        if sample is not None:
            return Place(hosts, tuple(methods), rule.template.text, sample)
    return None


def _fits(entry: Grant | Denial, situation: Situation) -> bool:
    person = situation.person
    if person is None:
        return isinstance(entry, Denial) and entry.concerns(None)
    return (
        (entry.accepts is None or not entry.accepts.isdisjoint(person.roles))
        and (entry.tenants is None or person.tenant in entry.tenants)
        and (not isinstance(entry, Grant) or person.credential == "cookie" or entry.scopes.issubset(person.scopes))
    )
