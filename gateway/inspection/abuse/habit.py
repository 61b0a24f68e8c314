"""What is usual, for rules that compare: a person with their own days, a person with their peers, a route with its own windows.

Days are those of UTC. What is remembered is bounded; a number that would need more memory counts as large. Nobody has a habit until
enough was seen of them, so that a gateway that starts finds nothing by it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import islice
from math import ceil, sqrt
from typing import Any, Final

from gateway.inspection.abuse.rule import LARGEST_THRESHOLD, OwnHabit, PeerHabit, RouteHabit, Rule
from gateway.inspection.abuse.sighting import Sighting

DAY_S: Final = 86_400
MOST_TODAY: Final = LARGEST_THRESHOLD
"""Different values of one subject on one day."""
MOST_SAMPLES: Final = 512
"""Days of others that peers are compared with."""
MOST_GROUPS: Final = 256
MOST_ROUTES: Final = 1024
QUANTILE: Final = 0.95


class _Days:
    """One subject: what was seen today, and how much on the days before."""

    __slots__ = ("before", "day", "group", "today")

    def __init__(self, day: int) -> None:
        self.day = day
        self.group = ""
        self.today: dict[str, None] = {}
        self.before: deque[tuple[int, int]] = deque()

    def turn(self, day: int, kept: int) -> tuple[int, int] | None:
        """Begin another day; return the one that ended, if anything was on it."""
        ended = (self.day, len(self.today)) if self.today else None
        if ended is not None:
            self.before.append(ended)
        self.today = {}
        self.day = day
        while self.before and self.before[0][0] < day - kept:
            self.before.popleft()
        return ended


class DayHabits:
    """The days of every subject of one rule."""

    __slots__ = ("_attribute", "_day", "_habit", "_peers", "_subjects", "_word", "evicted", "size")

    def __init__(self, rule: Rule) -> None:
        habit = rule.habit
        if not isinstance(habit, OwnHabit | PeerHabit):
            raise TypeError("a rule without days")
        self._habit: OwnHabit | PeerHabit = habit
        (self._word,) = rule.features
        self._attribute = self._word[:-1]
        self._subjects: OrderedDict[str, _Days] = OrderedDict()
        self._peers: dict[str, deque[tuple[int, str, int]]] = {}
        """Days of everybody by group: which, whose, how much."""
        self._day = 0
        self.size = 0
        """Values of today and days before, of all."""
        self.evicted = 0

    def see(self, subject: str, seen: Sighting, budget: int) -> Mapping[str, int] | None:
        """Count one more for a subject; return its number if that is unusual."""
        day = int(seen.at // DAY_S)
        if day > self._day or day < self._day - 1:  # the clock was set back: no day would ever end
            self._turn(day)
        value = getattr(seen, self._attribute)
        if not value:
            return None
        days = self._subjects.get(subject)
        if days is None:
            days = self._subjects[subject] = _Days(self._day)
        else:
            self._subjects.move_to_end(subject)
        if seen.group:
            days.group = seen.group
        if value in days.today or len(days.today) >= MOST_TODAY:
            return None
        days.today[value] = None
        self.size += 1
        while self.size > budget and len(self._subjects) > 1:
            self._forget(next(iter(self._subjects)))
            self.evicted += 1
        number, limit = len(days.today), self._limit(subject, days)
        return {self._word: number} if limit is not None and number >= min(limit, MOST_TODAY) else None

    def forget(self, subject: str) -> None:
        """Begin anew for a subject: what it did today is no more held against it."""
        if subject in self._subjects:
            self._forget(subject)

    def dump(self, most: int) -> dict[str, Any]:
        """Return what `load` takes; of today's values the newest `most`."""
        subjects = []
        for subject, days in reversed(self._subjects.items()):
            if len(days.today) + len(days.before) > most:
                break
            most -= len(days.today) + len(days.before)
            subjects.append([subject, days.day, days.group, list(days.today), [list(each) for each in days.before]])
        return {
            "day": self._day,
            "subjects": subjects[::-1],
            "peers": {g: [list(s) for s in p] for g, p in self._peers.items()},
        }

    def load(self, kept: Mapping[str, Any], now: float) -> None:
        """Go on from what `dump` returned."""
        today = int(now // DAY_S)
        for subject, day, group, values, before in kept["subjects"]:
            if day > today:
                continue
            days = _Days(int(day))
            days.group = str(group)
            days.today = dict.fromkeys(map(str, values[:MOST_TODAY]))
            days.before = deque((int(on), int(number)) for on, number in before[-self._habit.days :])
            self._subjects[str(subject)] = days
            self.size += len(days.today) + len(days.before)
        for group, samples in islice(kept["peers"].items(), MOST_GROUPS):
            found = ((int(on), str(whose), int(number)) for on, whose, number in samples)
            self._peers[str(group)] = deque(found, MOST_SAMPLES)
        self._day = min(int(kept["day"]), today)

    def _limit(self, subject: str, days: _Days) -> int | None:
        """Return from which number on a subject's day is unusual; None = nobody can say."""
        habit = self._habit
        if len(days.today) < habit.least:
            return None
        if isinstance(habit, OwnHabit):
            numbers = [number for _, number in days.before]
            return ceil(habit.times * max(numbers)) + 1 if len(numbers) >= habit.known else None
        others = sorted(number for _, whose, number in self._peers.get(days.group, ()) if whose != subject)
        if len(others) < habit.known:
            return None
        return ceil(habit.times * others[ceil(QUANTILE * len(others)) - 1]) + 1

    def _turn(self, day: int) -> None:
        self._day = day
        self.size = 0
        for subject, days in list(self._subjects.items()):
            ended = days.turn(day, self._habit.days)
            if ended is not None and days.group and isinstance(self._habit, PeerHabit):
                if len(self._peers) >= MOST_GROUPS and days.group not in self._peers:
                    self._peers.pop(next(iter(self._peers)))
                peers = self._peers.setdefault(days.group, deque(maxlen=MOST_SAMPLES))
                peers.append((ended[0], subject, ended[1]))
            if days.before:
                self.size += len(days.before)
            else:
                del self._subjects[subject]
        for peers in self._peers.values():
            while peers and peers[0][0] < day - self._habit.days:
                peers.popleft()

    def _forget(self, subject: str) -> None:
        days = self._subjects.pop(subject)
        self.size -= len(days.today) + len(days.before)


class RouteHabits:
    """How much of something each route has in windows of one length."""

    __slots__ = ("_began", "_habit", "_routes", "_within_s")

    def __init__(self, rule: Rule) -> None:
        habit = rule.habit
        if not isinstance(habit, RouteHabit):
            raise TypeError("a rule without windows")
        self._habit = habit
        self._within_s = rule.within_s
        self._began: int | None = None
        """The first window of all."""
        self._routes: dict[str, dict[int, int]] = {}

    def see(self, seen: Sighting) -> bool:
        """Count one more of a route; true if its present window is unusual."""
        window = int(seen.at // self._within_s)
        if self._began is None or window < self._began:  # the clock was set back
            self._began = window
        known = self._routes.pop(seen.route, {})
        if len(self._routes) >= MOST_ROUTES:
            self._routes.pop(next(iter(self._routes)))
        self._routes[seen.route] = known
        known[window] = known.get(window, 0) + seen.count
        first = max(self._began, window - self._habit.windows)
        for old in [each for each in known if each < first or each > window]:
            del known[old]
        before = [known.get(each, 0) for each in range(first, window)]
        if len(before) < self._habit.known:
            return False
        mean = sum(before) / len(before)
        deviation = sqrt(sum((each - mean) ** 2 for each in before) / len(before))
        return known[window] > mean + self._habit.sigmas * deviation

    def dump(self) -> dict[str, Any]:
        """Return what `load` takes."""
        return {
            "began": self._began,
            "routes": {r: [list(w) for w in known.items()] for r, known in self._routes.items()},
        }

    def load(self, kept: Mapping[str, Any], now: float) -> None:
        """Go on from what `dump` returned."""
        present = int(now // self._within_s)
        began = kept["began"]
        if began is None or began > present:
            return
        self._began = int(began)
        for route, windows in islice(kept["routes"].items(), MOST_ROUTES):
            self._routes[str(route)] = {int(w): int(n) for w, n in _newest(windows, self._habit.windows)}


def _newest(windows: Sequence[Any], most: int) -> Sequence[Any]:
    return windows[-most - 1 :]
