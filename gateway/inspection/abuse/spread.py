"""Counts events of one subject in a sliding window: how many, of how many kinds, and how they spread.

Each event costs the same, however many there were: what leaves the window is taken off again. What is remembered is bounded; of
more events than that the oldest are forgotten early, so that a flood makes the window shorter and never the memory larger.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final

from gateway.inspection.abuse.rule import EVENTS, FEATURES, Rule
from gateway.inspection.abuse.sighting import Sighting

LEAST_KEPT: Final = 64
_ROOM: Final = 4
"""Events that are kept for each that a threshold asks for: noise between them does not push them out at once."""


class Spread:
    """The events of one subject of one rule."""

    __slots__ = ("_attributes", "_band", "_counts", "_events", "_rule", "_size", "total")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._attributes = tuple(FEATURES[word] for word in rule.features)
        self._counts: dict[str, dict[str, int]] = {word: {} for word in rule.features}
        self._events: deque[tuple[float, int, tuple[str, ...]]] = deque()
        self._size = max(LEAST_KEPT, _ROOM * max((*rule.at_least.values(), *rule.any_of.values()), default=0))
        self._band = 0
        """Values whose number of events lies between the bounds of `each`."""
        self.total = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def last(self) -> float:
        """When the newest of them was."""
        return self._events[-1][0] if self._events else 0.0

    def add(self, seen: Sighting) -> None:
        """Take one more."""
        events = self._events
        if events and events[-1][0] > seen.at + self._rule.within_s:  # the clock was set back by more than a window
            self.clear()
        values = tuple(getattr(seen, attribute) for attribute in self._attributes)
        events.append((seen.at, seen.count, values))
        self._change(values, seen.count)
        self.slide(seen.at)
        while len(events) > self._size:
            self._drop()

    def slide(self, now: float) -> None:
        """Forget what is older than the window."""
        oldest = now - self._rule.within_s
        events = self._events
        while events and events[0][0] <= oldest:
            self._drop()

    def clear(self) -> None:
        """Begin anew."""
        self._events.clear()
        for counted in self._counts.values():
            counted.clear()
        self.total = self._band = 0

    def reached(self) -> Mapping[str, int] | None:
        """Return the numbers, if every condition of the rule holds for them."""
        rule = self._rule
        if any(self._number(word) < least for word, least in rule.at_least.items()):
            return None
        if rule.any_of and all(self._number(word) < least for word, least in rule.any_of.items()):
            return None
        events = self._events
        if rule.lasting_s and (not events or events[-1][0] - events[0][0] < rule.lasting_s):
            return None
        each = rule.each
        if each is not None and self._band < each.share * len(self._counts[each.of]):
            return None
        return {EVENTS: self.total, **{word: len(counted) for word, counted in self._counts.items()}}

    def dump(self) -> list[Any]:
        """Return what `load` takes."""
        return [[at, count, list(values)] for at, count, values in self._events]

    def load(self, kept: Sequence[Any], now: float) -> None:
        """Go on from what `dump` returned; what has left the window, or does not fit, is left out."""
        for at, count, values in kept:
            if len(values) == len(self._attributes) and 0 < at <= now and len(self._events) < self._size:
                self._events.append((float(at), int(count), tuple(map(str, values))))
                self._change(tuple(map(str, values)), int(count))
        self.slide(now)

    def _number(self, word: str) -> int:
        return self.total if word == EVENTS else len(self._counts[word])

    def _drop(self) -> None:
        _, count, values = self._events.popleft()
        self._change(values, -count)

    def _change(self, values: tuple[str, ...], by: int) -> None:
        self.total += by
        each = self._rule.each
        for word, value in zip(self._counts, values, strict=True):
            if not value:  # not known: one more of what nobody can tell apart is no other one
                continue
            counted = self._counts[word]
            before = counted.get(value, 0)
            after = before + by
            if after > 0:
                counted[value] = after
            else:
                counted.pop(value, None)
            if each is not None and word == each.of:
                self._band += (each.least <= after <= each.most) - (each.least <= before <= each.most)


class Different:
    """The different values of one feature, where nothing else is asked: repeating one of them costs no memory."""

    __slots__ = ("_attribute", "_last", "_least", "_rule", "_word")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        ((self._word, self._least),) = rule.at_least.items()
        self._attribute = FEATURES[self._word]
        self._last: OrderedDict[str, float] = OrderedDict()
        """When each was seen last, the longest ago first."""

    def __len__(self) -> int:
        return len(self._last)

    @property
    def last(self) -> float:
        """When the newest of them was."""
        return next(reversed(self._last.values()), 0.0)

    def add(self, seen: Sighting) -> None:
        """Take one more."""
        value = getattr(seen, self._attribute)
        if not value:  # nothing new, but time goes on
            self.slide(seen.at)
            return
        if self.last > seen.at + self._rule.within_s:
            self._last.clear()
        self._last[value] = seen.at
        self._last.move_to_end(value)
        self.slide(seen.at)
        while len(self._last) > self._least:  # as many as decide
            self._last.popitem(last=False)

    def slide(self, now: float) -> None:
        """Forget what is older than the window."""
        oldest = now - self._rule.within_s
        while self._last:
            value = next(iter(self._last))
            if self._last[value] > oldest:
                return
            del self._last[value]

    def clear(self) -> None:
        """Begin anew."""
        self._last.clear()

    def reached(self) -> Mapping[str, int] | None:
        """Return the number, if it is reached."""
        return {self._word: len(self._last)} if len(self._last) >= self._least else None

    def dump(self) -> list[Any]:
        """Return what `load` takes."""
        return [[value, at] for value, at in self._last.items()]

    def load(self, kept: Sequence[Any], now: float) -> None:
        """Go on from what `dump` returned."""
        for value, at in kept:
            if 0 < at <= now:
                self._last[str(value)] = float(at)
        self.slide(now)


Counted = Spread | Different


def counter(rule: Rule) -> Counted:
    """Begin to count for one subject of a rule."""
    is_plain = len(rule.at_least) == 1 and EVENTS not in rule.at_least and not rule.any_of
    if is_plain and rule.each is None and not rule.lasting_s and rule.within_s < inf:
        return Different(rule)
    return Spread(rule)
