"""What a detector is made of: rules that count sightings for somebody, and the numbers at which they speak.

A rule speaks when *all* of its conditions hold for one subject within its window. Decides nothing; `watch` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from gateway.inspection.abuse.sighting import Sighting, What


class By(StrEnum):
    """For whom a rule counts."""

    ACCOUNT = "account"
    NETWORK = "network"
    PERSON = "person"
    KEY = "key"
    SESSION = "session"
    TENANT = "tenant"
    WHO = "who"
    """The person who is signed in, else the key, else the network: whoever it is, as exactly as is known."""
    SOURCE = "source"
    """A network on one route."""


class Scope(StrEnum):
    """Whom an answer is about."""

    ACCOUNT = "account"
    NETWORK = "network"
    PERSON = "person"
    KEY = "key"
    SESSION = "session"
    TENANT = "tenant"


class Answer(StrEnum):
    """What is done about a finding; the later ones are the harder ones."""

    OFF = "off"
    """Nothing is counted."""
    ALERT = "alert"
    SLOW_DOWN = "slow_down"
    STEP_UP = "step_up"
    BLOCK = "block"


HARDNESS: Final[Mapping[Answer, int]] = MappingProxyType({answer: number for number, answer in enumerate(Answer)})

ANSWERABLE: Final[Mapping[By, frozenset[Answer]]] = MappingProxyType(
    {
        By.ACCOUNT: frozenset((Answer.ALERT, Answer.SLOW_DOWN, Answer.BLOCK)),
        By.NETWORK: frozenset((Answer.ALERT, Answer.SLOW_DOWN, Answer.BLOCK)),
        By.SOURCE: frozenset((Answer.ALERT, Answer.SLOW_DOWN, Answer.BLOCK)),
        By.KEY: frozenset((Answer.ALERT, Answer.SLOW_DOWN, Answer.BLOCK)),
        By.WHO: frozenset((Answer.ALERT, Answer.SLOW_DOWN, Answer.BLOCK)),
        By.PERSON: frozenset((Answer.ALERT, Answer.SLOW_DOWN, Answer.STEP_UP, Answer.BLOCK)),
        By.SESSION: frozenset((Answer.ALERT, Answer.SLOW_DOWN, Answer.STEP_UP, Answer.BLOCK)),
        By.TENANT: frozenset((Answer.ALERT, Answer.SLOW_DOWN)),
    }
)
"""What can be answered to whom: a program proves no second factor, and an organisation is never blocked for what a stranger does."""

FEATURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accounts": "account",
        "networks": "network",
        "persons": "person",
        "sessions": "session",
        "agents": "agent",
        "countries": "country",
        "routes": "route",
        "items": "item",
        "owners": "owner",
    }
)
"""What is counted by how many different ones there are: word of the YAML -> attribute of a sighting. `events` counts all."""
EVENTS: Final = "events"
LARGEST_THRESHOLD: Final = 10_000
LONGEST_WINDOW_S: Final = 30 * 86_400.0


class Each(msgspec.Struct, frozen=True, kw_only=True):
    """How the events spread: at least `share` of the different `of` have from `least` to `most` events each."""

    of: str
    least: int = 1
    most: int
    share: float = 1.0


class OwnHabit(msgspec.Struct, frozen=True, kw_only=True):
    """More different items today than `times` the most on any of the days before."""

    times: float
    days: int
    """How far back one looks."""
    known: int
    """Days with anything on them, without which nobody has a habit."""
    least: int
    """Today, however small the habit is."""


class PeerHabit(msgspec.Struct, frozen=True, kw_only=True):
    """Data of more different people today than `times` what 95 of 100 days of people with the same roles stay under."""

    times: float
    days: int
    known: int
    """Days of others, without which there are no peers."""
    least: int


class RouteHabit(msgspec.Struct, frozen=True, kw_only=True):
    """The route has more of it than its mean and `sigmas` standard deviations of the windows before."""

    sigmas: float
    windows: int
    known: int
    """Windows that must have passed since it was watched."""


Habit = OwnHabit | PeerHabit | RouteHabit


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One way for a detector to speak."""

    name: str
    of: frozenset[What]
    by: By
    within_s: float
    """Length of the sliding window; infinite = for good, until `until` happens."""
    at_least: Mapping[str, int]
    """`events` or one of `FEATURES` -> how many."""
    any_of: Mapping[str, int] = MappingProxyType({})
    """Of these one is enough, and one there must be."""
    each: Each | None = None
    lasting_s: float = 0.0
    """Between the first and the last of them."""
    when: frozenset[What] = frozenset()
    """What has to happen then for it to speak; empty = one more of what it counts. Never counted itself."""
    until: frozenset[What] = frozenset()
    """What makes it begin anew: an account whose owner came in was not guessed."""
    classified: bool = False
    """Only what is classified counts."""
    watched: bool = False
    """Only what the detector's `watched` owners are named by counts."""
    habit: Habit | None = None
    severity: str = ""
    """Where it is another than the detector's."""

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature that a condition asks for, but `events`."""
        words = {*self.at_least, *self.any_of, *((self.each.of,) if self.each is not None else ())}
        return tuple(sorted(words - {EVENTS}))

    @property
    def listens(self) -> frozenset[What]:
        """Everything that it has to be told of."""
        return self.of | self.when | self.until


class Detector(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for, and what is done when it is found."""

    id: str
    """`D-03`."""
    name: str
    """For logs and metrics: `credential_stuffing`."""
    title: str
    counts: str
    """One sentence for the operator."""
    technique: str
    """MITRE ATT&CK, `T1110.004`; empty where there is none."""
    severity: str
    answers: frozenset[Answer]
    """What can be answered."""
    rules: tuple[Rule, ...]
    spares_signed_in: bool = False
    """An answer to a network does not concern who is signed in there: an office behind one address goes on working."""
    answer: Answer = Answer.ALERT
    answer_s: float = 900.0
    """How long the answer stands."""
    rate_per_s: float = 0.1
    """How often whoever is slowed down may ask."""
    burst: int = 5
    watched: frozenset[str] = frozenset()
    """Owners (digests) whose data nobody looks at unnoticed."""


EVERYBODY: Final = "*"
"""The tenant of a gateway that has none."""
SEVERITIES: Final = ("low", "medium", "high", "critical")


def subject_of(by: By, seen: Sighting) -> tuple[Scope, str]:
    """Tell whom a sighting is counted for; an empty text = nobody whom this rule could name."""
    match by:
        case By.ACCOUNT:
            return Scope.ACCOUNT, seen.account
        case By.NETWORK:
            return Scope.NETWORK, seen.network
        case By.SOURCE:
            return Scope.NETWORK, seen.network
        case By.PERSON:
            return Scope.PERSON, seen.person
        case By.KEY:
            return Scope.KEY, seen.key
        case By.SESSION:
            return Scope.SESSION, seen.session
        case By.TENANT:
            return Scope.TENANT, seen.tenant or EVERYBODY
        case By.WHO:
            # a key is somebody's, and its owner's browser is not what the program does
            if seen.key:
                return Scope.KEY, seen.key
            return (Scope.PERSON, seen.person) if seen.person else (Scope.NETWORK, seen.network)
