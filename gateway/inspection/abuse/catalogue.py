"""Reads detectors.yaml: which detectors there are, what their rules count, and at which numbers they speak.

Everything unknown, empty, doubled or without effect is an error with its place. Of a file with errors nothing is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from math import inf
from typing import Any, Final

from gateway.document.diagnostic import Diagnostic, DocumentError
from gateway.document.place import Place
from gateway.document.quantity import duration
from gateway.document.source import load
from gateway.inspection.abuse.rule import (
    ANSWERABLE,
    EVENTS,
    FEATURES,
    LARGEST_THRESHOLD,
    LONGEST_WINDOW_S,
    SEVERITIES,
    Answer,
    By,
    Detector,
    Each,
    Habit,
    OwnHabit,
    PeerHabit,
    RouteHabit,
    Rule,
)
from gateway.inspection.abuse.sighting import What

MAX_DETECTORS: Final = 100
MAX_RULES: Final = 8
LIFETIME: Final = "lifetime"
"""`within:` of what is counted for good."""
_ID: Final = re.compile(r"D-[0-9]{2}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,40}")
_TECHNIQUE: Final = re.compile(r"T[0-9]{4}(?:\.[0-9]{3})?")
_COUNTED: Final = (EVENTS, *FEATURES)
_RULE_KEYS: Final = (
    "any_of", "each", "lasting", "when", "until", "classified", "watched", "habit", "severity",
)  # fmt: skip


def read_detectors(text: str, path: str) -> tuple[Detector, ...]:
    """Read the file of detectors; `path` is its name for messages. Raises `DocumentError` with everything that is wrong."""
    findings: list[Diagnostic] = []
    root = Place(load(text, path), findings)
    detectors = _file(root)
    if findings:
        raise DocumentError(tuple(sorted(findings)))
    return detectors


def _file(root: Place) -> tuple[Detector, ...]:
    keys = root.fields(("version", "detectors"))
    if keys is None:
        return ()
    if keys["version"].value != 1:
        keys["version"].fail("this gateway reads version 1", name="unknown-version")
    found: dict[str, Detector] = {}
    names: set[str] = set()
    for place in _bounded(keys["detectors"], MAX_DETECTORS):
        detector = _detector(place)
        if detector is None:
            continue
        if detector.id in found or detector.name in names:
            place.fail(f"{detector.id} or its name is there twice", name="listed-twice")
        found[detector.id] = detector
        names.add(detector.name)
    return tuple(found.values())


def _bounded(place: Place, most: int) -> list[Place]:
    items = place.items() or []
    if len(items) > most:
        place.fail(f"at most {most} of them", name="too-many")
    return items[:most]


def _detector(place: Place) -> Detector | None:
    keys = place.fields(
        ("id", "name", "title", "counts", "severity", "answers", "rules"), ("technique", "spares_signed_in")
    )
    if keys is None:
        return None
    identifier = keys["id"].text(_ID, "write D- and two digits")
    name = keys["name"].text(_NAME, "write lower case words joined by _")
    title, counts = keys["title"].text(), keys["counts"].text()
    severity = keys["severity"].one_of(SEVERITIES)
    answers = keys["answers"].texts(
        lambda each: each.one_of([str(answer) for answer in Answer if answer != Answer.OFF])
    )
    technique = keys["technique"].text(_TECHNIQUE, "write T and the number of ATT&CK") if "technique" in keys else ""
    spares = keys["spares_signed_in"].flag() if "spares_signed_in" in keys else False
    rules = _rules(keys["rules"])
    if None in (identifier, name, title, counts, severity, answers, technique, spares) or not rules:
        return None
    given = frozenset(map(Answer, answers or ()))
    if Answer.ALERT not in given:
        keys["answers"].fail(
            "alert is always among them: it is what a detector does until it is told more", name="no-alert"
        )
    for rule in rules:
        beyond = given - ANSWERABLE[rule.by]
        if beyond:
            keys["answers"].fail(
                f"{min(beyond)} cannot be answered by {rule.by} (rule {rule.name})", name="unanswerable"
            )
    return Detector(
        id=identifier or "",
        name=name or "",
        title=title or "",
        counts=counts or "",
        technique=technique or "",
        severity=severity or "",
        answers=given,
        rules=rules,
        spares_signed_in=bool(spares),
    )


def _rules(place: Place) -> tuple[Rule, ...]:
    found: dict[str, Rule] = {}
    for each in _bounded(place, MAX_RULES):
        rule = _rule(each)
        if rule is None:
            continue
        if rule.name in found:
            each.fail(f"the rule {rule.name} is there twice", name="listed-twice")
        found[rule.name] = rule
    return tuple(found.values())


def _rule(place: Place) -> Rule | None:
    keys = place.fields(("name", "of", "by", "within"), ("at_least", *_RULE_KEYS))
    if keys is None:
        return None
    name = keys["name"].text(_NAME, "write lower case words joined by _")
    by = keys["by"].one_of([str(each) for each in By])
    within = _window(keys["within"])
    happened = {key: _happened(keys[key]) for key in ("of", "when", "until") if key in keys}
    numbers = {key: thresholds(keys[key]) for key in ("at_least", "any_of") if key in keys}
    each = _each(keys["each"]) if "each" in keys else None
    lasting = keys["lasting"].quantity(duration) if "lasting" in keys else 0.0
    flags = {key: keys[key].flag() for key in ("classified", "watched") if key in keys}
    severity = keys["severity"].one_of(SEVERITIES) if "severity" in keys else ""
    habit = _habit(keys["habit"]) if "habit" in keys else None
    parts = (name, by, within, lasting, severity, *happened.values(), *numbers.values(), *flags.values())
    if None in parts or ("each" in keys and each is None) or ("habit" in keys and habit is None):
        return None
    rule = Rule(
        name=name or "",
        of=happened["of"] or frozenset(),
        by=By(by or ""),
        within_s=within or 0.0,
        at_least=numbers.get("at_least") or {},
        any_of=numbers.get("any_of") or {},
        each=each,
        lasting_s=lasting or 0.0,
        when=happened.get("when") or frozenset(),
        until=happened.get("until") or frozenset(),
        classified=bool(flags.get("classified")),
        watched=bool(flags.get("watched")),
        habit=habit,
        severity=severity or "",
    )
    return rule if _is_sound(rule, place, keys) else None


def _is_sound(rule: Rule, place: Place, keys: Mapping[str, Place]) -> bool:
    """Report conditions that contradict each other or have no effect."""
    before = len(place.findings)
    both = (rule.of & rule.when) | (rule.of & rule.until)
    if both:
        place.fail(f"{min(both)} is counted, so it cannot end or trigger the count", name="contradiction")
    is_of_days = isinstance(rule.habit, OwnHabit | PeerHabit)
    if is_of_days and (
        len(rule.features) != 1 or EVENTS in rule.at_least or rule.any_of or rule.each or rule.when or rule.until
    ):
        place.fail("a habit of days compares the number of one feature, and nothing else", name="contradiction")
    if not rule.at_least:
        place.fail("the key 'at_least' is missing", name="missing-key")
    if rule.lasting_s >= rule.within_s:
        keys["lasting"].fail("nothing lasts longer than the window", name="contradiction")
    if isinstance(rule.habit, RouteHabit) != (rule.by is By.SOURCE):
        place.fail("a habit of routes goes with `by: source`, and nothing else does", name="contradiction")
    return len(place.findings) == before


def _window(place: Place) -> float | None:
    if place.value == LIFETIME:
        return inf
    seconds = place.quantity(duration)
    if seconds is not None and not 0 < seconds <= LONGEST_WINDOW_S:
        place.fail(f"a window is longer than nothing and not longer than 30d, or {LIFETIME}", name="out-of-range")
        return None
    return seconds


def _happened(place: Place) -> frozenset[What] | None:
    words = place.texts(lambda each: each.one_of([str(what) for what in What]))
    return frozenset(map(What, words)) if words else None


def thresholds(place: Place) -> dict[str, int] | None:
    """Read `{events: 25, accounts: 15}`."""
    entries = place.entries()
    if entries is None:
        return None
    if not entries:
        place.fail("name at least one number", name="empty-value")
        return None
    found = {}
    for word, each in entries.items():
        if word not in _COUNTED:
            each.key().fail(f"{word!r} is not one of {', '.join(_COUNTED)}", name="unknown-word")
            continue
        number = each.count(maximum=LARGEST_THRESHOLD)
        if number is not None:
            found[word] = number
    return found if len(found) == len(entries) else None


def _each(place: Place) -> Each | None:
    keys = place.fields(("of", "most"), ("least", "share"))
    if keys is None:
        return None
    of = keys["of"].one_of(list(FEATURES))
    most = keys["most"].count(maximum=LARGEST_THRESHOLD)
    least = keys["least"].count(maximum=LARGEST_THRESHOLD) if "least" in keys else 1
    share = _number(keys["share"], least=0.0, most=1.0) if "share" in keys else 1.0
    if of is None or most is None or least is None or share is None:
        return None
    if least > most:
        keys["most"].fail("is less than `least`", name="contradiction")
        return None
    return Each(of=of, least=least, most=most, share=share)


def _habit(place: Place) -> Habit | None:
    kinds: Mapping[str, tuple[type[OwnHabit | PeerHabit | RouteHabit], Collection[str]]] = {
        "own": (OwnHabit, ("times", "days", "known", "least")),
        "peers": (PeerHabit, ("times", "days", "known", "least")),
        "route": (RouteHabit, ("sigmas", "windows", "known")),
    }
    entries = place.fields((), tuple(kinds))
    if entries is None:
        return None
    if len(entries) != 1:
        place.fail("a habit is one of own, peers and route", name="contradiction")
        return None
    ((kind, inner),) = entries.items()
    made, words = kinds[kind]
    keys = inner.fields(words)
    if keys is None:
        return None
    found: dict[str, Any] = {}
    for word, each in keys.items():
        number = _number(each, least=1.0, most=100.0) if word in {"times", "sigmas"} else each.count(maximum=1000)
        if number is None:
            return None
        found[word] = number
    return made(**found)


def _number(place: Place, *, least: float, most: float) -> float | None:
    value = place.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        place.fail(f"expected a number from {least:g} to {most:g}", name="wrong-kind")
        return None
    return float(value)
