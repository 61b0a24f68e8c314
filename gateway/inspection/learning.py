"""Which findings look like honest people, and the exclusion that lets them pass.

What is known of a finding is what the audit trail has: the rule, the place, the route and who was signed in; never the
payload. An attacker is one person, or none, who tries several attacks in several places. A false positive is one rule at
one parameter, again and again, by people who set off nothing else.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

LEAST_PEOPLE: Final = 3
MOST_SUSPICIOUS: Final = 0.2
"""Share of those people who may have set off another class of rules."""
TRIAL: Final = timedelta(days=90)
"""How long a suggested exclusion holds: long enough to ask the portal's makers."""
MAX_OBSERVATIONS: Final = 1_000_000
_PLAIN_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*").fullmatch
_NOT_TEXT: Final = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


@dataclass(frozen=True, slots=True)
class Observation:
    """One finding of one request, as the audit trail has it."""

    rule: str
    attack: str
    position: str
    name: str
    route: str
    person: str
    """Whatever tells one person from another; empty for nobody who was signed in."""
    digest: str
    """Of the value."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A rule that seems to stop honest people at one place."""

    rule: str
    attack: str
    position: str
    name: str
    route: str
    count: int
    people: int
    values: int
    """Different ones: the same text from many people is a link that somebody spreads."""

    def exclusion(self, today: date) -> str:
        """Write the entry of `inspection.exclusions` to paste, for the route."""
        told = (
            f"# {_counted(self.count, 'finding', 'findings')} by {_counted(self.people, 'person', 'people')} "
            f"in {_counted(self.values, 'text', 'different texts')}, on route {self.route}\n"
        )
        reason = "honest input, by the learning report; say here what people write there"
        return told + written_exclusion(self.rule, self.position, self.name, reason, today)


def written_exclusion(rule: str, position: str, name: str, reason: str, today: date) -> str:
    """Write an entry of `inspection.exclusions` to paste; `reason` is of plain words, `name` may be anything."""
    lines = [f"- rule: {rule}", f"  position: {position}"]
    if name:
        lines.append(f"  name: {_written(name)}")
    lines += [f"  reason: {reason}", f'  expires: "{today + TRIAL}"']
    return "\n".join(lines) + "\n"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _written(text: str) -> str:
    if _PLAIN_WORD(text) is not None and text.lower() not in _NOT_TEXT:
        return text
    return "'" + text.replace("'", "''") + "'"


def suspicions(
    observations: Iterable[Observation], *, least_people: int = LEAST_PEOPLE, most_suspicious: float = MOST_SUSPICIOUS
) -> list[Suspicion]:
    """Find what looks like false positives, the most frequent first.

    Only people who are signed in count: nobody knows how many the others are.
    """
    places: dict[tuple[str, str, str, str, str], list[Observation]] = defaultdict(list)
    classes: dict[str, set[str]] = defaultdict(set)
    for number, seen in enumerate(observations):
        if number == MAX_OBSERVATIONS:
            break
        if seen.person:
            places[seen.rule, seen.attack, seen.position, seen.name, seen.route].append(seen)
            classes[seen.person].add(seen.attack)
    found = []
    for (rule, attack, position, name, route), here in places.items():
        by_person = Counter(seen.person for seen in here)
        values = len({seen.digest for seen in here})
        others = sum(1 for person in by_person if classes[person] - {attack})
        if len(by_person) < least_people or others > most_suspicious * len(by_person) or values == 1:
            continue
        found.append(Suspicion(rule, attack, position, name, route, len(here), len(by_person), values))
    return sorted(found, key=lambda suspicion: (-suspicion.people, -suspicion.count, suspicion.rule, suspicion.name))
