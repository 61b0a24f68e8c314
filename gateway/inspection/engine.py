"""The engine: reads every value of a request in every way, asks the mechanisms, and weighs what they saw.

Scores add up within one value, each rule once, however it was read; the request is as hostile as its most hostile value.
So one place with several weak signs is suspicious, and a long form with a weak sign here and there is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from gateway.inspection.bodies import Limits, of_body
from gateway.inspection.body import BodyTooComplexError
from gateway.inspection.finding import Finding, Position, Value
from gateway.inspection.mechanisms import MECHANISMS
from gateway.inspection.padding import without_padding
from gateway.inspection.patch import Patch
from gateway.inspection.readings import AS_SENT, TOO_MANY, Reading, readings
from gateway.inspection.rules import Rule, Rules
from gateway.inspection.sign import BEYOND_ASCII, Mechanism
from gateway.inspection.tuning import Mode, Tuning
from gateway.inspection.values import is_quiet, of_cookies, of_field, of_target
from gateway.inspection.verdict import CLEAN, MAX_FINDINGS, Verdict

WINDOW: Final = 16_384
"""Characters that a mechanism is given at once."""
OVERLAP: Final = 2_048
"""Characters that two windows share, so that nothing hides at their edge."""
PADDED: Final = "without padding"
MAX_WORK: Final = 16 << 20
"""Characters that mechanisms read of one body, each of them and each reading counted: a few seconds at the worst. A
megabyte of prose takes two fifths of it; only what is dense with punctuation in every encoding needs more."""
MAX_HEAD_WORK: Final = 512 << 10
"""The same of a head, which is judged while others wait: a tenth of a second or two. What browsers send takes a tenth of it."""
QUESTION: Final = 64
"""What it costs to ask a mechanism about a text of no length: a body of many short values is no less work than one long."""
MUCH_WORK: Final = 64 << 10
"""After so many, what is certain to be stopped is not read on: whoever sends much of it shall not cost more."""
MAX_KNOWN: Final = 4_096
"""Fields whose content is remembered as harmless."""
MAX_KNOWN_BYTES: Final = 512
_UNREMEMBERED: Final = frozenset((b"authorization", b"x-api-key", b"x-csrf-token", b"x-xsrf-token"))
"""Secrets do not stay in memory, and differ anyway."""
_ORDINARY_NAME: Final = re.compile(r"[\w.:@\[\]$-]{0,64}").fullmatch
"""Letters of every language: forms have a field `Straße`."""
UNUSUAL_NAME: Final = "(unusual)"
"""Stands for a name that may be a payload itself; an exclusion may say it, too, since nobody is told another."""
PATCH_CLASS: Final = "patch"

_WORDS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 "


class RequestLine(NamedTuple):
    """What a request asks for."""

    method: str
    target: bytes
    """As sent, with the query."""
    path: str
    """Canonical, as it goes upstream."""


class Hit(NamedTuple):
    """One sign, or one pattern, in one reading of a value."""

    key: str
    """The sign; of a pattern, its rule."""
    start: int
    end: int
    how: str


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a verdict is what it is: one hit, and what it counted. For the terminal of whoever asked only: it quotes."""

    value: Value
    reading: str
    """The text as it was read."""
    hit: Hit
    rule: Rule | None
    """None: no rule of this tuning goes by it."""
    score: int
    excluded_because: str
    """The reason of the exclusion that left it out; empty = it counts."""


def specials_of(ascii_text: bytes) -> frozenset[str]:
    """List the characters of a text that are neither letters, digits nor space."""
    return frozenset(ascii_text.translate(None, _WORDS).decode("ascii"))


class Work:
    """What mechanisms may still read of one head or body."""

    __slots__ = ("_most", "_spent")

    def __init__(self, most: int = MAX_WORK) -> None:
        self._most = most
        self._spent = 0

    @property
    def is_much(self) -> bool:
        """True if a text that is stopped anyway need not be read on."""
        return self._spent > MUCH_WORK

    def spend(self, characters: int) -> None:
        """Count characters of one question. Raises BodyTooComplexError when there were too many."""
        self._spent += QUESTION + characters
        if self._spent > self._most:
            raise BodyTooComplexError("the request is too dense to be judged in reasonable time")


class Inspection:
    """Judges requests by a set of rules. It keeps nothing of them but which fields of a head were harmless."""

    def __init__(self, rules: Rules, *, mechanisms: Sequence[Mechanism] = MECHANISMS, digest_key: bytes = b"") -> None:
        self.rules = rules
        self._mechanisms = [(mechanism.can_occur, mechanism.signs) for mechanism in mechanisms]
        self._digest_key = digest_key
        self._harmless: set[tuple[bytes, bytes]] = set()
        self._patterns = {
            position: [rule for rule in rules.patterns if not rule.positions or position in rule.positions]
            for position in Position
        }

    def judge_head(
        self, line: RequestLine, fields: Iterable[tuple[bytes, bytes]], tuning: Tuning, *, now: float
    ) -> Verdict:
        """Judge everything of a request but its body: `fields` are those that go upstream; `now` is in Unix seconds.

        Raises:
            BodyTooComplexError: to judge it would hold up others.

        """
        patches = _about(tuning, line, now)
        work = Work(MAX_HEAD_WORK)
        if patches:
            return self._judge(_all_of_head(line, fields), tuning, patches, now, work)
        if tuning.mode is Mode.OFF:
            return CLEAN
        values = of_target(line.target, line.path)
        harmless = self._harmless
        for name, value in fields:
            if (name, value) in harmless:
                continue
            folded = name.lower()
            if folded == b"cookie":
                values += of_cookies(value)
            elif not is_quiet(folded):
                here = of_field(folded, value)
                if any(self._hits(said.position, said.text, work) for said in here):
                    values += here
                else:
                    self._remember(name, value, folded)
        return self._judge(values, tuning, (), now, work)

    def judge_body(
        self, line: RequestLine, content_type: bytes, body: bytes, tuning: Tuning, *, limits: Limits, now: float
    ) -> Verdict:
        """Judge a body, without its content coding; of a multipart body everything but its files.

        `content_type` is the field as sent, empty when there is none.

        Raises:
            BodyUnreadableError: it is not what its type says.
            BodyTooComplexError: it holds more than the limits allow.

        """
        patches = _about(tuning, line, now)
        if tuning.mode is Mode.OFF and not patches:
            return CLEAN
        values = of_body(content_type, body, limits, with_plain=bool(patches))
        return self._judge(values, tuning, patches, now, Work())

    def explain(self, values: Iterable[Value], tuning: Tuning, now: float) -> Iterator[Explained]:
        """Tell all that was seen in values, what it counts, and what was left out and why."""
        for value in values:
            found = {reading.how: reading.text for reading in readings(value.text).found}
            counted: set[str] = set()
            for hit in self._hits(value.position, value.text, Work()).values():
                rule, score = tuning.weights.get(hit.key, (None, 0))
                reason = ""
                if rule is not None:
                    reason = _exclusion(tuning, rule, value, now) or ""
                    if reason or rule.id in counted or (rule.positions and value.position not in rule.positions):
                        score = 0
                    else:
                        counted.add(rule.id)
                yield Explained(value, found.get(hit.how, value.text), hit, rule, score, reason)

    def _remember(self, name: bytes, value: bytes, folded: bytes) -> None:
        if len(value) > MAX_KNOWN_BYTES or folded in _UNREMEMBERED:
            return
        if len(self._harmless) >= MAX_KNOWN:
            self._harmless.clear()
        self._harmless.add((name, value))

    def _judge(
        self, values: Iterable[Value], tuning: Tuning, patches: Sequence[Patch], now: float, work: Work
    ) -> Verdict:
        most = 0
        findings: list[Finding] = []
        blocks = detects = False
        harmless: set[tuple[Position, str]] = set()  # lists repeat what they say
        for value in values:
            for patch in patches:
                if (hit := _patched(patch, value)) is not None:
                    blocks, detects = blocks or patch.action == "block", detects or patch.action == "detect"
                    findings.append(self._finding(PATCH_CLASS, tuning.threshold, value, hit))
            if tuning.mode is Mode.OFF:
                continue
            said = (value.position, value.text)
            if said in harmless:
                continue
            hits = self._hits(value.position, value.text, work, tuning.decisive)
            if not hits:
                harmless.add(said)
                continue
            score, here = self._weigh(value, hits.values(), tuning, now)
            findings += here
            most = max(most, score)
            if (
                most >= tuning.threshold
                and tuning.mode is Mode.BLOCK
                and (len(findings) > MAX_FINDINGS or work.is_much)
            ):
                break  # nothing can make it worse
        if not findings:
            return CLEAN
        findings.sort(key=lambda finding: -finding.score)
        reached = most >= tuning.threshold
        return Verdict(
            most,
            tuple(findings[:MAX_FINDINGS]),
            is_blocked=blocks or (reached and tuning.mode is Mode.BLOCK),
            is_detected=detects or (reached and tuning.mode is Mode.DETECT),
            is_truncated=len(findings) > MAX_FINDINGS,
        )

    def _weigh(self, value: Value, hits: Iterable[Hit], tuning: Tuning, now: float) -> tuple[int, list[Finding]]:
        """Add up what counts of the hits in one value, each rule once."""
        total = 0
        counted: set[str] = set()
        findings: list[Finding] = []
        for hit in hits:
            weight = tuning.weights.get(hit.key)
            if weight is None:
                continue
            rule, score = weight
            if rule.id in counted or (rule.positions and value.position not in rule.positions):
                continue
            if tuning.exclusions and _exclusion(tuning, rule, value, now) is not None:
                continue
            counted.add(rule.id)
            total += score
            findings.append(self._finding(rule.attack, score, value, hit._replace(key=rule.id)))
        return total, findings

    def _finding(self, attack: str, score: int, value: Value, hit: Hit) -> Finding:
        name = _shown_name(value)
        digest = blake2b(value.text.encode("utf-8", "surrogatepass"), digest_size=8, key=self._digest_key).hexdigest()
        return Finding(hit.key, attack, score, value.position, name, digest, hit.start, hit.end, hit.how)

    def _hits(
        self, position: Position, text: str, work: Work, decisive: frozenset[str] = frozenset()
    ) -> dict[str, Hit]:
        """Ask every mechanism and pattern about every reading of a text; of each sign the first is kept.

        There is no cap: a flood of faint signs must not hide a grave one. After much work a sign of `decisive` ends it.
        """
        hits: dict[str, Hit] = {}
        found, is_complete = readings(text)
        if not is_complete:
            hits[TOO_MANY] = Hit(TOO_MANY, 0, len(text), found[0].how)
        for reading in found:
            if len(reading.text) <= WINDOW:
                self._look(position, reading, 0, hits, work)
            elif self._look_through(position, reading, hits, work, decisive):
                return hits
            elif len(short := without_padding(reading.text)) < len(reading.text) - OVERLAP // 2:
                # attack: more than a window of blanks or comments between two words that belong together
                how = PADDED if reading.how == AS_SENT else f"{reading.how} > {PADDED}"
                if self._look_through(position, Reading(short, how), hits, work, decisive):
                    return hits
        return hits

    def _look_through(
        self, position: Position, reading: Reading, hits: dict[str, Hit], work: Work, decisive: frozenset[str]
    ) -> bool:
        """Look into a long reading window by window; True: what was seen is enough."""
        for start in range(0, max(len(reading.text) - OVERLAP, 1), WINDOW - OVERLAP):
            window = Reading(reading.text[start : start + WINDOW], reading.how)
            self._look(position, window, start, hits, work)
            if work.is_much and not decisive.isdisjoint(hits):
                return True
        return False

    def _look(self, position: Position, window: Reading, offset: int, hits: dict[str, Hit], work: Work) -> None:
        """Add what is to be seen in one window of one reading."""
        text, how = window
        # All of what a gate looks for is ASCII, and to leave out the rest costs less than to look at it.
        ascii_text = text.encode("ascii", "ignore")
        specials = specials_of(ascii_text)
        if len(ascii_text) < len(text):
            specials |= BEYOND_ASCII
        lowered = ascii_text.lower().decode("ascii")
        for can_occur, signs in self._mechanisms:
            if can_occur(specials, lowered):
                work.spend(len(text))
                for sign in signs(text, position):
                    if sign.name not in hits:
                        hits[sign.name] = Hit(sign.name, offset + sign.start, offset + sign.end, how)
        for rule in self._patterns[position]:
            if rule.pattern is None or rule.id in hits or not any(word in lowered for word in rule.contains):
                continue
            work.spend(len(text))
            found = rule.pattern.search(text)
            if found is not None:
                start, end = found.span()
                hits[rule.id] = Hit(rule.id, offset + start, offset + end, how)


def _all_of_head(line: RequestLine, fields: Iterable[tuple[bytes, bytes]]) -> list[Value]:
    """List every value of a head, words and numbers too: a patch may be about one."""
    values = of_target(line.target, line.path, with_plain=True)
    for name, value in fields:
        folded = name.lower()
        if folded == b"cookie":
            values += of_cookies(value, with_plain=True)
        elif not is_quiet(folded):
            values += of_field(folded, value)
    return values


def _about(tuning: Tuning, line: RequestLine, now: float) -> Sequence[Patch]:
    """List the patches that are about this request."""
    if not tuning.patches:
        return ()
    return [patch for patch in tuning.patches if patch.is_about(line.method, line.path, now)]


def _patched(patch: Patch, value: Value) -> Hit | None:
    """Say where, and in which reading, a patch applies to a value."""
    for reading, how in readings(value.text).found:
        found = patch.find(value.position, value.name, reading)
        if found is not None:
            return Hit(patch.id, *found, how)
    return None


def _shown_name(value: Value) -> str:
    return value.name if _ORDINARY_NAME(value.name) is not None else UNUSUAL_NAME


def _exclusion(tuning: Tuning, rule: Rule, value: Value, now: float) -> str | None:
    """Return the reason of the exclusion that leaves out a rule at a value, None when there is none."""
    for exclusion in tuning.exclusions:
        if exclusion.covers(rule, value.position, value.name, now) or (
            exclusion.name == UNUSUAL_NAME and exclusion.covers(rule, value.position, _shown_name(value), now)
        ):
            return exclusion.reason
    return None
