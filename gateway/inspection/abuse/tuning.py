"""Sets detectors as `inspection.detectors` of gateway.yaml asks: what is answered, for how long, from which numbers on.

What cannot be answered, or is said of something that there is not, is an error at its key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

import msgspec

from gateway.document.diagnostic import did_you_mean
from gateway.inspection.abuse.rule import EVENTS, Answer, Detector, Rule


class TuningError(ValueError):
    """Something that a detector cannot be told; `keys` lead to it below `inspection.detectors`."""

    def __init__(self, keys: tuple[str, ...], sentence: str) -> None:
        super().__init__(sentence)
        self.keys = keys


class RuleTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Other numbers for one rule."""

    within_s: float | None = None
    at_least: Mapping[str, int] = MappingProxyType({})


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one detector; None = as it is."""

    answer: Answer | None = None
    answer_s: float | None = None
    rate_per_s: float | None = None
    burst: int | None = None
    rules: Mapping[str, RuleTuning] = MappingProxyType({})
    watched: Collection[str] = ()
    """Digests of the owners."""


def tuned(detectors: Iterable[Detector], asked: Mapping[str, Tuning]) -> tuple[Detector, ...]:
    """Return the detectors as they are asked for. Raises `TuningError` at the first that cannot be."""
    known = {detector.id: detector for detector in detectors}
    for identifier in asked:
        if identifier not in known:
            raise TuningError((identifier,), f"there is no detector {identifier}{did_you_mean(identifier, known)}")
    return tuple(_tuned(detector, asked[each]) if each in asked else detector for each, detector in known.items())


def _tuned(detector: Detector, asked: Tuning) -> Detector:
    answer = asked.answer if asked.answer is not None else detector.answer
    if answer not in detector.answers | {Answer.OFF}:
        given = ", ".join(sorted(detector.answers))
        raise TuningError((detector.id, "action"), f"{detector.id} answers with one of {given}, not with {answer}")
    if asked.answer_s is not None and answer in {Answer.ALERT, Answer.OFF}:
        raise TuningError((detector.id, "for"), f"nothing stands for a while where the action is {answer}")
    if answer is not Answer.SLOW_DOWN and (asked.rate_per_s is not None or asked.burst is not None):
        key = "rate" if asked.rate_per_s is not None else "burst"
        raise TuningError((detector.id, key), "is for `action: slow_down` alone")
    if asked.watched and not any(rule.watched for rule in detector.rules):
        raise TuningError((detector.id, "watched"), f"{detector.id} watches nobody's data")
    names = {rule.name: rule for rule in detector.rules}
    for name in asked.rules:
        if name not in names:
            raise TuningError((detector.id, "rules", name), f"there is no rule {name}{did_you_mean(name, names)}")
    rules = tuple(_ruled(detector.id, rule, asked.rules.get(name)) for name, rule in names.items())
    changes: dict[str, object] = {"answer": answer, "rules": rules, "watched": frozenset(asked.watched)}
    for field in ("answer_s", "rate_per_s", "burst"):
        value = getattr(asked, field)
        if value is not None:
            changes[field] = value
    return msgspec.structs.replace(detector, **changes)


def _ruled(detector: str, rule: Rule, asked: RuleTuning | None) -> Rule:
    if asked is None:
        return rule
    beyond = asked.at_least.keys() - rule.at_least.keys()
    if beyond:
        word = min(beyond)
        keys = (detector, "rules", rule.name, "at_least", word)
        raise TuningError(keys, f"{rule.name} counts {' and '.join(rule.at_least)}, not {word}")
    within = rule.within_s if asked.within_s is None else asked.within_s
    if rule.lasting_s >= within:
        raise TuningError((detector, "rules", rule.name, "within"), "is shorter than what has to last within it")
    at_least = {**rule.at_least, **asked.at_least}
    each = rule.each
    if each is not None and EVENTS in at_least and each.of in at_least and at_least[EVENTS] < at_least[each.of]:
        keys = (detector, "rules", rule.name, "at_least", EVENTS)
        raise TuningError(keys, f"there are never fewer events than {each.of}")
    return msgspec.structs.replace(rule, within_s=within, at_least=at_least)
