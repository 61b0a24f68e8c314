"""Cases of detectors: sightings written short, and whether they amount to a finding.

A line of `seen` stands for `repeat` sightings, `every` so far apart; `{n}` in a value is the number of the repetition from 0,
`{n%5}` the same modulo five. Time goes on from line to line, after `after`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.document.diagnostic import Diagnostic, DocumentError, did_you_mean
from gateway.document.place import Place
from gateway.document.quantity import duration
from gateway.document.source import load
from gateway.inspection.abuse.rule import Answer, Detector
from gateway.inspection.abuse.sighting import Sighting, What
from gateway.inspection.abuse.watch import Finding, Watch

BEGINNING: Final = 1_700_006_400.0
"""Midnight UTC: days of a case are whole days."""
MAX_REPEAT: Final = 20_000
MAX_SEEN: Final = 64
NOTHING: Final = "nothing"
_VALUES: Final = (
    "tenant", "network", "person", "name", "account", "key", "session", "agent", "country", "route", "item", "owner", "group",
)  # fmt: skip
_NUMBER: Final = re.compile(r"\{n(?:%([0-9]{1,5}))?(?:\+([0-9]{1,9}))?\}")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One line."""

    what: What
    repeat: int = 1
    every_s: float = 1.0
    after_s: float = 0.0
    classified: bool = False
    count: int = 1
    values: Mapping[str, str]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One case of one detector."""

    detector: str
    name: str
    finds: frozenset[str]
    """Rules that speak; empty = none does."""
    watched: frozenset[str]
    """Owners whose data the detector is told to watch."""
    seen: tuple[Seen, ...]
    place: str
    """`detector-cases.yaml:12:5`."""


def read_cases(text: str, path: str, detectors: Sequence[Detector]) -> tuple[Case, ...]:
    """Read a file of cases. Raises `DocumentError` with everything that is wrong."""
    findings: list[Diagnostic] = []
    root = Place(load(text, path), findings)
    known = {detector.id: detector for detector in detectors}
    keys = root.fields(("version", "cases"))
    cases = [_case(place, known) for place in (keys["cases"].items() or [])] if keys is not None else []
    if findings:
        raise DocumentError(tuple(sorted(findings)))
    return tuple(case for case in cases if case is not None)


def sightings(case: Case) -> Iterator[Sighting]:
    """Yield what a case stands for, in order."""
    at = BEGINNING
    for line in case.seen:
        at += line.after_s
        for number in range(line.repeat):
            values = {word: _filled(text, number) for word, text in line.values.items()}
            yield Sighting(what=line.what, at=at, count=line.count, classified=line.classified, **values)
            at += line.every_s


def findings_of(case: Case, detector: Detector) -> list[Finding]:
    """Return what the detector of a case finds in it."""
    told = msgspec.structs.replace(detector, answer=Answer.ALERT, watched=case.watched)
    watch = Watch((told,))
    return [finding for seen in sightings(case) for finding in watch.see(seen)]


def _filled(text: str, number: int) -> str:
    def write(found: re.Match[str]) -> str:
        shown = number % int(found[1]) if found[1] and int(found[1]) else number
        return str(shown + int(found[2] or 0))

    return _NUMBER.sub(write, text)


def _case(place: Place, known: Mapping[str, Detector]) -> Case | None:
    keys = place.fields(("detector", "name", "finds", "seen"), ("watched",))
    if keys is None:
        return None
    identifier, name = keys["detector"].one_of(list(known)), keys["name"].text()
    finds = _finds(keys["finds"], known.get(identifier or ""))
    watched = keys["watched"].texts() if "watched" in keys else {}
    lines = keys["seen"].items() or []
    if len(lines) > MAX_SEEN:
        keys["seen"].fail(f"at most {MAX_SEEN} lines", name="too-many")
    seen = [_seen(line) for line in lines[:MAX_SEEN]]
    if identifier is None or name is None or finds is None or watched is None or None in seen:
        return None
    return Case(
        detector=identifier,
        name=name,
        finds=finds,
        watched=frozenset(watched),
        seen=tuple(line for line in seen if line is not None),
        place=str(place),
    )


def _finds(place: Place, detector: Detector | None) -> frozenset[str] | None:
    if place.value == NOTHING:
        return frozenset()
    names = [rule.name for rule in detector.rules] if detector is not None else []
    words = place.texts(lambda each: each.one_of(names))
    return frozenset(words) if words else None


def _seen(place: Place) -> Seen | None:
    entries = place.entries()
    if entries is None:
        return None
    values: dict[str, str] = {}
    found: dict[str, Any] = {}
    for word, each in entries.items():
        value: Any
        if word in _VALUES:
            value = values[word] = str(each.value) if isinstance(each.value, int) else each.text() or ""
        elif word == "what":
            value = each.one_of([str(what) for what in What])
            found["what"] = What(value) if value else None
        elif word in {"repeat", "count"}:
            value = found[word] = each.count(maximum=MAX_REPEAT)
        elif word in {"every", "after"}:
            value = found[f"{word}_s"] = each.quantity(duration)
        elif word == "classified":
            value = found[word] = each.flag()
        else:
            hint = did_you_mean(word, (*_VALUES, "what", "repeat", "count", "every", "after", "classified"))
            each.key().fail(f"unknown key {word!r}{hint}", name="unknown-key")
            return None
        if value is None or value == "":
            return None
    if "what" not in found:
        place.fail("the key 'what' is missing", name="missing-key")
        return None
    return Seen(values=values, **found)
