"""`gateway policy diff`: who gains and who loses what between two policies, by solving over both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.administration import NO
from gateway.cli.invocation import current
from gateway.cli.policy import witnesses
from gateway.cli.policy.reading import Policies, count, load_policies
from gateway.cli.policy.who_can import tenants_as_text, world_of
from gateway.policy.proof.difference import Change, Difference, Kind, Where, difference
from gateway.policy.proof.effect import NOBODY

_TITLES: Final[Mapping[Kind, str]] = {
    "loses": "LOSES  allowed before, refused now",
    "gains": "GAINS  refused before, allowed now",
    "conditions": "OTHER CONDITIONS  allowed before and now, but not in the same cases",
}
_NOUNS: Final[Mapping[Kind, tuple[str, str]]] = {
    "loses": ("loss", "losses"),
    "gains": ("gain", "gains"),
    "conditions": ("changed condition", "changed conditions"),
}
_MOST_PLACES: Final = 12
"""Places that one group lists as text; `--json` has them all."""


@click.command()
@click.argument("old", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("new", type=click.Path(path_type=Path, exists=True, file_okay=False))
def diff(*, old: Path, new: Path) -> None:
    """Compare the policies of two directories: who loses, who gains, and a request that shows it; exit 1 when they differ."""
    before, after = load_policies(old), load_policies(new)
    asked = float(int(time.time()))
    found = difference(world_of(before), world_of(after), now=asked)
    value = {
        "same": found.is_empty,
        "old": before.table.version,
        "new": after.table.version,
        **_as_json(found),
    }
    current().answer(value, "\n".join(_as_text(found, before, asked)))
    if not found.is_empty:
        raise click.exceptions.Exit(NO)


def _as_text(found: Difference, policies: Policies, asked: float) -> Iterator[str]:
    if found.is_empty:
        yield "Both policies mean the same."
        return
    kind = None
    for change in found.changes:
        if change.kind != kind:
            kind = change.kind
            yield from (_TITLES[kind], "")
        yield from _change_as_text(change, policies, asked)
        yield ""
    if found.others:
        yield from ("OPTIONS  for those who are let in", "")
        for other in found.others:
            yield from _places_as_text(other.places, policies)
            for option in other.options:
                yield f"      {option.name}: {option.old} -> {option.new}"
            yield ""
    if found.undecided:
        yield from ("NOT DECIDED  no difference, or no other one, was found or ruled out", "")
        for undecided in found.undecided:
            yield from _places_as_text(undecided.places, policies)
            yield f"      {'; '.join(undecided.doubts)}"
            yield ""
    kinds = [change.kind for change in found.changes]
    numbers = [(kinds.count(kind), *words) for kind, words in _NOUNS.items()]
    numbers.append((len(found.others), "changed option", "changed options"))
    numbers.append((len(found.undecided), "undecided", "undecided"))
    words = [f"{number} {one if number == 1 else more}" for number, one, more in numbers if number]
    yield f"The policies differ: {', '.join(words)}."


def _change_as_text(change: Change, policies: Policies, asked: float) -> Iterator[str]:
    tenants = f"  (tenant {tenants_as_text(change.tenants, policies.settings.tenants)})" if change.tenants else ""
    yield f"  {', '.join(map(_held, change.who))}{tenants}"
    yield from _places_as_text(change.places, policies)
    for word, situation in (("allowed now", change.gain), ("refused now", change.loss)):
        if situation is not None:
            yield f"      {word}: {witnesses.as_text(situation, asked=asked)}"


def _held(roles: tuple[str, ...]) -> str:
    if roles == NOBODY:
        return "nobody signed in"
    return " with ".join(roles) or "no role"


def _places_as_text(places: Sequence[Where], policies: Policies) -> Iterator[str]:
    every = set(policies.hosts)
    for where in places[:_MOST_PLACES]:
        hosts = "" if set(where.hosts) >= every else f" on {' '.join(where.hosts)}"
        yield f"    {' '.join(where.methods)} {where.template}{hosts}  {where.old or 'no route'} -> {where.new or 'no route'}"
    if len(places) > _MOST_PLACES:
        yield f"    … and {count(len(places) - _MOST_PLACES, 'place')} more"


def _as_json(found: Difference) -> dict[str, Any]:
    return {
        "changes": [
            {
                "kind": change.kind,
                "who": [None if roles == NOBODY else roles for roles in change.who],
                "tenants": change.tenants or None,
                "places": [where._asdict() for where in change.places],
                "gain": witnesses.as_json(change.gain),
                "loss": witnesses.as_json(change.loss),
            }
            for change in found.changes
        ],
        "options": [
            {
                "options": [option._asdict() for option in other.options],
                "places": [where._asdict() for where in other.places],
            }
            for other in found.others
        ],
        "undecided": [
            {"doubts": undecided.doubts, "places": [where._asdict() for where in undecided.places]}
            for undecided in found.undecided
        ],
    }
