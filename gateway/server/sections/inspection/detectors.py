"""`inspection.detectors` and `inspection.spared`: what detectors of abuse answer, from which numbers on, and to whom never."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PlainValidator, model_validator

from gateway.authn.api_key import is_handle
from gateway.document.diagnostic import did_you_mean
from gateway.inspection.abuse.catalogue import read_detectors
from gateway.inspection.abuse.rule import LARGEST_THRESHOLD, LONGEST_WINDOW_S, Answer, Detector
from gateway.inspection.abuse.spared import MOST_EXEMPTIONS, Exemption, Spared
from gateway.inspection.abuse.standing import LONGEST_S
from gateway.inspection.abuse.tuning import RuleTuning, Tuning, TuningError, tuned
from gateway.server.fields import Count, Network, Period, Principal, Rate
from gateway.server.sections.section import Section
from gateway.server.shipped import shipped

FILE: Final = "inspection/detectors.yaml"
MOST_WATCHED: Final = 10_000
_MOST_TEXT: Final = 256

Text = Annotated[str, Field(min_length=1, max_length=_MOST_TEXT, strict=True)]
Threshold = Annotated[int, Field(strict=True, ge=1, le=LARGEST_THRESHOLD)]


def _day(value: Any) -> float | None:
    if value == "never":
        return None
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        day = None
    if day is None:
        raise ValueError("write the last day, such as 2027-01-31, or never")
    return datetime.combine(day + timedelta(days=1), time(), UTC).timestamp()


Day = Annotated[float | None, PlainValidator(_day)]
"""Unix seconds of the end of a day, UTC; None, from `never`, is no end."""


class RuleNumbers(Section):
    """Other numbers of one rule."""

    within: Annotated[Period | None, Field(le=LONGEST_WINDOW_S)] = None
    at_least: dict[str, Threshold] = Field(default_factory=dict)


class DetectorRules(Section):
    """What is asked of one detector; what is absent stays as it ships."""

    action: Literal["off", "alert", "slow_down", "step_up", "block"] | None = None
    """What follows from a finding beside the alert; `off`: nothing is counted."""
    for_: Annotated[Period | None, Field(alias="for", le=LONGEST_S)] = None
    """How long the action stands."""
    rate: Rate | None = None
    """How often whoever is slowed down may ask."""
    burst: Count | None = None
    rules: dict[str, RuleNumbers] = Field(default_factory=dict)
    watched: Annotated[tuple[Text, ...], Field(max_length=MOST_WATCHED)] = ()
    """Owners whose data nobody looks at unnoticed, as `resource.owner` names them."""

    def tuning(self, watched: Sequence[str] = ()) -> Tuning:
        """Return it as detectors take it; `watched` are digests."""
        return Tuning(
            answer=None if self.action is None else Answer(self.action),
            answer_s=self.for_,
            rate_per_s=self.rate,
            burst=self.burst,
            rules={name: RuleTuning(within_s=rule.within, at_least=rule.at_least) for name, rule in self.rules.items()},
            watched=watched,
        )


class Spare(Section):
    """Somebody who is never answered, whatever is found of them; it is told all the same."""

    network: Network | None = None
    person: Principal | None = None
    key: Text | None = None
    """Handle of an API key, as `apikey list` prints it."""
    detectors: tuple[Text, ...] = ()
    """Of which alone; empty = of all."""
    reason: Text
    expires: Day

    @model_validator(mode="after")
    def _is_somebody(self) -> Spare:
        if [self.network, self.person, self.key].count(None) != 2:  # noqa: PLR2004 - exactly one of three
            raise ValueError("name exactly one of network, person and key")
        if self.key is not None and not is_handle(self.key):
            raise ValueError(f"{self.key!r} is no handle of an API key: k_ and 16 hexadecimal digits")
        return self

    def exemption(self) -> Exemption:
        """Return it as the answers are made by."""
        return Exemption(
            network=self.network,
            person=self.person or "",
            key=self.key or "",
            detectors=frozenset(self.detectors),
            reason=self.reason,
            until=self.expires,
        )


Spares = Annotated[tuple[Spare, ...], Field(max_length=MOST_EXEMPTIONS)]


@cache
def shipped_detectors() -> tuple[Detector, ...]:
    """Read the detectors that ship with this program: they change with it alone. Raises DocumentError."""
    path = shipped(FILE)
    return read_detectors(path.read_text("utf-8"), path.name)


def tuned_detectors(asked: Mapping[str, DetectorRules], watched: Mapping[str, Sequence[str]]) -> tuple[Detector, ...]:
    """Return the detectors as gateway.yaml asks for them; `watched` are the digests of owners by detector."""
    return tuned(shipped_detectors(), {each: rules.tuning(watched.get(each, ())) for each, rules in asked.items()})


def spared_of(spares: Sequence[Spare]) -> Spared:
    """Return whom answers leave alone."""
    return Spared(spare.exemption() for spare in spares)


def contradictions(
    asked: Mapping[str, DetectorRules], spares: Sequence[Spare]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find what no detector can be told; places begin below `inspection`."""
    try:
        tuned_detectors(asked, {each: rules.watched for each, rules in asked.items()})
    except TuningError as error:
        yield ("detectors", *error.keys), str(error)
    known = [detector.id for detector in shipped_detectors()]
    for index, spare in enumerate(spares):
        for number, each in enumerate(spare.detectors):
            if each not in known:
                yield (
                    ("spared", index, "detectors", number),
                    f"there is no detector {each}{did_you_mean(each, known)}",
                )
