"""The rules: how much each sign of a mechanism counts, and from which paranoia on.

A file of rules holds one class of attack. A rule goes by a sign of a mechanism, or by a pattern of RE2; the mechanism knows
what a parser would do, the rule says what that is worth.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.document.place import Place
from gateway.document.source import Diagnostic, DocumentError, did_you_mean, load
from gateway.inspection.finding import Position
from gateway.inspection.patterns import Pattern, read_pattern
from gateway.inspection.sign import Mechanism

CLASSES: Final = (
    "sqli", "nosqli", "ldap", "xpath", "xss", "template", "code", "command", "path_traversal", "ssrf", "xxe", "crlf",
    "deserialisation", "protocol",
)  # fmt: skip
ID: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+){1,7}")
LEAST_SCORE: Final = 2
MOST_SCORE: Final = 5
MOST_PARANOID: Final = 4
MAX_RULES: Final = 2_000
MAX_WORDS: Final = 64


@dataclass(frozen=True, slots=True)
class Rule:
    """What one sign, or one pattern, is worth."""

    id: str
    attack: str
    title: str
    score: int
    paranoia: int
    sign: str = ""
    """Empty for a rule with a pattern."""
    pattern: Pattern | None = None
    contains: tuple[str, ...] = ()
    """In lower case; only texts with one of these are searched for the pattern."""
    positions: frozenset[Position] = frozenset()
    """Empty = everywhere."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Every rule that is known, whichever of them a tuning uses."""

    by_id: Mapping[str, Rule]
    by_sign: Mapping[str, Rule]
    patterns: tuple[Rule, ...] = field(default=())


NO_RULES: Final = Rules({}, {})


def known_signs(mechanisms: Iterable[Mechanism]) -> dict[str, str]:
    """List what the mechanisms can see: name and sentence."""
    return {name: sentence for mechanism in mechanisms for name, sentence in mechanism.SIGNS.items()}


def read_rules(files: Mapping[str, str], signs: Collection[str]) -> Rules:
    """Read files of rules (path to text); `signs` are those that there are.

    Raises:
        DocumentError: with every error of every file.

    """
    findings: list[Diagnostic] = []
    rules: list[tuple[Rule, Place]] = []
    for path in sorted(files):
        try:
            place = Place(load(files[path], path), findings)
        except DocumentError as error:
            findings.extend(error.findings)
            continue
        rules += _read_file(place, signs)
    by_id: dict[str, Rule] = {}
    by_sign: dict[str, Rule] = {}
    for rule, place in rules:
        if rule.id in by_id:
            place.fail(f"the rule {rule.id!r} stands here a second time", name="duplicate-rule")
        by_id[rule.id] = rule
        if not rule.sign:
            continue
        if rule.sign in by_sign:
            place.fail(f"the sign {rule.sign!r} counts already, by {by_sign[rule.sign].id!r}", name="duplicate-rule")
        by_sign[rule.sign] = rule
    if findings:
        raise DocumentError(tuple(sorted(findings)))
    return Rules(by_id, by_sign, tuple(rule for rule, _ in rules if rule.pattern is not None))


def _read_file(place: Place, signs: Collection[str]) -> list[tuple[Rule, Place]]:
    fields = place.fields(("version", "class", "rules"))
    if fields is None:
        return []
    if fields["version"].value != 1:
        fields["version"].fail("expected version 1", name="unknown-version")
    attack = fields["class"].one_of(CLASSES)
    items = fields["rules"].items() or []
    if len(items) > MAX_RULES:
        fields["rules"].fail(f"a file has {MAX_RULES} rules at most", name="too-many")
        return []
    found = []
    for item in items:
        rule = _read_rule(item, attack or "", signs)
        if rule is not None:
            found.append((rule, item))
    return found


def _read_rule(place: Place, attack: str, signs: Collection[str]) -> Rule | None:
    fields = place.fields(("id", "title", "score", "paranoia"), ("sign", "pattern", "contains", "positions"))
    if fields is None:
        return None
    known = len(place.findings)
    name = fields["id"].text(ID, "expected a name such as sqli-tautology")
    title = fields["title"].text()
    score = read_score(fields["score"])
    paranoia = fields["paranoia"].count(maximum=MOST_PARANOID)
    sign, pattern = "", None
    words: tuple[str, ...] = ()
    if ("sign" in fields) == ("pattern" in fields):
        place.fail("a rule has a sign or a pattern", name="missing-key")
    elif "sign" in fields:
        sign = fields["sign"].text() or ""
        if sign and sign not in signs:
            fields["sign"].fail(f"there is no sign {sign!r}{did_you_mean(sign, signs)}", name="unknown-sign")
    else:
        pattern = read_pattern(fields["pattern"])
    if "contains" in fields:
        if "sign" in fields:
            fields["contains"].key().fail("only a rule with a pattern has it", name="unknown-key")
        words = tuple(fields["contains"].texts(_lower_case) or ())[:MAX_WORDS]
    elif pattern is not None:
        place.fail("a rule with a pattern says what a text contains that is searched for it", name="missing-key")
    positions = read_positions(fields["positions"]) if "positions" in fields else frozenset()
    if name is None or title is None or score is None or paranoia is None or len(place.findings) > known:
        return None
    return Rule(name, attack, title, score, paranoia, sign, pattern, words, positions)


def _lower_case(place: Place) -> str | None:
    text = place.text()
    if text is not None and (text != text.lower() or not text.isascii()):
        place.fail("expected ASCII in lower case: a text is compared in it", name="malformed-value")
        return None
    return text


def read_score(place: Place) -> int | None:
    """Read a score; None when it was reported."""
    score = place.count(maximum=MOST_SCORE)
    if score is not None and score < LEAST_SCORE:
        place.fail(f"a rule counts {LEAST_SCORE} to {MOST_SCORE}", name="wrong-kind")
        return None
    return score


def read_positions(place: Place) -> frozenset[Position]:
    """Read a list of positions; what is none was reported."""
    words = place.texts(lambda item: item.one_of(tuple(Position))) or {}
    return frozenset(Position(word) for word in words)
