"""Watches sightings as they come and says what they amount to: one finding for each rule and subject, then silence for a while.

The memory is bounded for each rule; whoever was not seen for longest is forgotten first, and counted. It holds pseudonyms in
place of ids and addresses; a finding names whoever the last sighting named. The same sightings in the same order make the same
findings. It knows no clock, stores nothing and answers nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.inspection.abuse.habit import DayHabits, RouteHabits
from gateway.inspection.abuse.rule import Answer, Detector, PeerHabit, RouteHabit, Rule, Scope, subject_of
from gateway.inspection.abuse.rule import OwnHabit as _OwnHabit
from gateway.inspection.abuse.sighting import Sighting, What
from gateway.inspection.abuse.spread import Counted, counter

MOST_REMEMBERED: Final = 16_384
"""Events, values or days that one rule remembers, of everybody together."""
MOST_SUBJECTS: Final = 8_192
_OF_MANY: Final = frozenset((Scope.TENANT, Scope.NETWORK))
LEAST_SILENCE_S: Final = 60.0
LONGEST_SILENCE_S: Final = 3_600.0
DUMPED: Final = 2_048
"""What one rule keeps over a restart of what it remembers."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A rule spoke."""

    detector: str
    rule: str
    severity: str
    scope: Scope
    subject: str
    """Whom it is about: an address, an id, a handle, an account as sightings name it."""
    name: str
    """Of the person whom it is about, where one is known."""
    person: str
    """Their stable id."""
    tenant: str
    route: str
    at: float
    within_s: float
    numbers: Mapping[str, int]
    """What was counted when it spoke."""
    answer: Answer
    """As the detector is set; whether it is given is `answering`'s to say."""


class _Entry:
    """What one rule knows of one subject."""

    __slots__ = ("counted", "quiet_until")

    def __init__(self, counted: Counted) -> None:
        self.counted = counted
        self.quiet_until = 0.0


class _Memory:
    """What one rule knows of everybody."""

    __slots__ = ("_budget", "_entries", "_routes", "_rule", "_size", "days", "detector", "evicted")

    def __init__(self, detector: Detector, rule: Rule, budget: int) -> None:
        self.detector = detector
        self._rule = rule
        self._budget = budget
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        """Who was seen longest ago comes first; a plain dictionary is slow to say who that is."""
        self._size = 0
        self.days = DayHabits(rule) if isinstance(rule.habit, _OwnHabit | PeerHabit) else None
        self._routes = RouteHabits(rule) if isinstance(rule.habit, RouteHabit) else None
        self.evicted = 0

    @property
    def key(self) -> str:
        """Name what is remembered, so that other conditions do not go on from it."""
        rule = self._rule
        return f"{self.detector.id}/{rule.name}/{rule.by}/{','.join(rule.features)}/{rule.within_s:g}"

    def see(self, named: Sighting, seen: Sighting) -> Finding | None:
        """Take one more, `seen` with pseudonyms; return what it amounts to for whom it names."""
        rule = self._rule
        _, subject = subject_of(rule.by, seen)
        if not subject:
            return None
        key = f"{subject} {seen.route}" if self._routes is not None else subject
        if self.days is not None:
            return self._compare(subject, named, seen)
        if seen.what in rule.of:
            if (rule.classified and not seen.classified) or (rule.watched and seen.owner not in self.detector.watched):
                return None
            entry = self._touch(key)
            before = len(entry.counted)
            entry.counted.add(seen)
            self._size += len(entry.counted) - before
            self._make_room(seen.at)
            is_unusual = self._routes is None or self._routes.see(seen)
            finding = None if rule.when or not is_unusual else self._judge(entry, named)
        else:
            known = self._entries.get(key)
            if known is None:
                return None
            before = len(known.counted)
            known.counted.slide(seen.at)
            finding = self._judge(known, named) if seen.what in rule.when else None
            if seen.what in rule.until:
                known.counted.clear()
            self._size += len(known.counted) - before
        return finding

    def forget(self, subject: str) -> None:
        """Begin anew for a subject."""
        if self.days is not None:
            self.days.forget(subject)
        for key in [key for key in self._entries if key == subject or key.startswith(f"{subject} ")]:
            self._size -= len(self._entries.pop(key).counted)

    def dump(self) -> dict[str, Any]:
        """Return what `load` takes: of everybody that there is room for, who was seen last before others."""
        if self.days is not None:
            return {"days": self.days.dump(DUMPED)}
        room, entries = DUMPED, []
        for subject, entry in reversed(self._entries.items()):
            room -= len(entry.counted)
            if room < 0:
                break
            entries.append([subject, entry.quiet_until, entry.counted.dump()])
        return {"entries": entries[::-1], **({"routes": self._routes.dump()} if self._routes is not None else {})}

    def load(self, kept: Mapping[str, Any], now: float) -> None:
        """Go on from what `dump` returned."""
        if self.days is not None:
            self.days.load(kept["days"], now)
            return
        for subject, quiet_until, counted in kept["entries"]:
            entry = self._touch(str(subject))
            entry.quiet_until = min(float(quiet_until), now + LONGEST_SILENCE_S)
            entry.counted.load(counted, now)
            self._size += len(entry.counted)
        if self._routes is not None and "routes" in kept:
            self._routes.load(kept["routes"], now)
        self._make_room(now)

    def _touch(self, key: str) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(counter(self._rule))
        else:
            self._entries.move_to_end(key)
        return entry

    def _make_room(self, now: float) -> None:
        entries = self._entries
        while len(entries) > 1:
            oldest = next(iter(entries))
            is_over = entries[oldest].counted.last <= now - self._rule.within_s and entries[oldest].quiet_until <= now
            if not is_over and self._size <= self._budget and len(entries) <= MOST_SUBJECTS:
                return
            self._size -= len(entries.pop(oldest).counted)
            self.evicted += not is_over

    def _compare(self, subject: str, named: Sighting, seen: Sighting) -> Finding | None:
        days = self.days
        if days is None or seen.what not in self._rule.of or (self._rule.classified and not seen.classified):
            return None
        numbers = days.see(subject, seen, self._budget)
        if numbers is None:
            return None
        entry = self._touch(subject)
        self._make_room(seen.at)
        return self._spoken(entry, named, numbers)

    def _judge(self, entry: _Entry, seen: Sighting) -> Finding | None:
        if seen.at < entry.quiet_until <= seen.at + max(LONGEST_SILENCE_S, self.detector.answer_s):
            return None
        numbers = entry.counted.reached()
        return None if numbers is None else self._spoken(entry, seen, numbers)

    def _spoken(self, entry: _Entry, seen: Sighting, numbers: Mapping[str, int]) -> Finding | None:
        detector, rule = self.detector, self._rule
        scope, subject = subject_of(rule.by, seen)
        if seen.at < entry.quiet_until <= seen.at + max(LONGEST_SILENCE_S, detector.answer_s):
            return None
        silence = detector.answer_s if detector.answer is not Answer.ALERT else min(rule.within_s, LONGEST_SILENCE_S)
        entry.quiet_until = seen.at + max(LEAST_SILENCE_S, silence)
        return Finding(
            detector=detector.id,
            rule=rule.name,
            severity=rule.severity or detector.severity,
            scope=scope,
            subject=subject,
            name="" if scope in _OF_MANY else seen.name,
            person="" if scope in _OF_MANY else seen.person,
            tenant=seen.tenant,
            route=seen.route if rule.habit is not None else "",
            at=seen.at,
            within_s=rule.within_s,
            numbers=dict(numbers),
            answer=detector.answer,
        )


class Watch:
    """Everything that is being counted."""

    __slots__ = ("_known", "_listening", "_memories", "_pseudonym", "detectors", "seen")

    def __init__(
        self,
        detectors: Sequence[Detector],
        *,
        pseudonym: Callable[[str], str] = str,
        budget: int = MOST_REMEMBERED,
    ) -> None:
        """Watch with those `detectors` that are not off.

        `pseudonym` is what is remembered in place of an id or an address; each rule remembers at most `budget` of what it counts.
        """
        self._pseudonym = pseudonym
        self._known: dict[str, str] = {"": ""}
        self.detectors = tuple(detector for detector in detectors if detector.answer is not Answer.OFF)
        self._memories = [_Memory(detector, rule, budget) for detector in self.detectors for rule in detector.rules]
        self._listening: dict[What, list[_Memory]] = {what: [] for what in What}
        for memory, rule in zip(self._memories, self._rules(), strict=True):
            for what in rule.listens:
                self._listening[what].append(memory)
        self.seen = 0

    def see(self, seen: Sighting) -> list[Finding]:
        """Take one more sighting; return what it amounts to."""
        self.seen += 1
        hidden = Sighting(
            what=seen.what,
            at=seen.at,
            count=seen.count,
            tenant=seen.tenant,
            network=self._hide(seen.network),
            person=self._hide(seen.person),
            account=seen.account,
            key=self._hide(seen.key),
            session=self._hide(seen.session),
            agent=seen.agent,
            country=seen.country,
            route=seen.route,
            item=seen.item,
            owner=seen.owner,
            group=seen.group,
            classified=seen.classified,
        )
        found = (memory.see(seen, hidden) for memory in self._listening[seen.what])
        return [finding for finding in found if finding is not None]

    def forget(self, detector: str, subject: str) -> None:
        """Begin anew for whom an operator let go: what they did is not held against them again."""
        for memory in self._memories:
            if memory.detector.id == detector:
                memory.forget(subject)  # a name that was tried, or an organisation
                memory.forget(self._hide(subject))

    @property
    def evicted(self) -> dict[str, int]:
        """How many subjects were forgotten early, for want of memory, by detector."""
        found: dict[str, int] = {}
        for memory in self._memories:
            number = memory.evicted + (memory.days.evicted if memory.days is not None else 0)
            found[memory.detector.id] = found.get(memory.detector.id, 0) + number
        return found

    def dump(self) -> dict[str, Any]:
        """Return what `load` takes, for a restart or a reload; bounded, of plain values."""
        return {memory.key: memory.dump() for memory in self._memories}

    def load(self, kept: Mapping[str, Any], now: float) -> None:
        """Go on from what `dump` returned. What was counted under other conditions, or cannot be read, is left out."""
        for memory in self._memories:
            found = kept.get(memory.key)
            if found is None:
                continue
            try:
                memory.load(found, now)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue

    def _hide(self, text: str) -> str:
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= MOST_SUBJECTS:
                self._known = {"": ""}
            known = self._known[text] = self._pseudonym(text)
        return known

    def _rules(self) -> Iterator[Rule]:
        for detector in self.detectors:
            yield from detector.rules
