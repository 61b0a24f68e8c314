"""Code injection: PHP, Node, Python, Perl, Ruby, Java and VBScript that an interpreter behind the gateway would run.

CWE-94, CWE-95, CWE-98; ASVS 5.0 1.3.2. What is evaluated must parse: code counts alone in a value or behind what breaks out of
a string, much less in a sentence, and least in the code that people show in Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.interpreters.calls import Call, calls
from gateway.inspection.interpreters.families import (
    ALL_NAMES,
    CALL_ALONE,
    FAMILIES,
    FUNCTIONS,
    LOOP,
    NEEDLES,
    SPACED,
    STATEMENT,
    Family,
)
from gateway.inspection.lower_case import lower_case
from gateway.inspection.needles import Needles
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, is_running
from gateway.inspection.sign import Sign

CLASS: Final = "code"

SIGNS: Final[Mapping[str, str]] = {
    "code.php_tag": "The value opens PHP.",
    "code.php_call": "PHP would call a function that runs, reads or decodes.",
    "code.php_function": "PHP would call one of its functions.",
    "code.php_variable": "The value names what PHP gets from the request, or a variable of variables.",
    "code.php_dynamic_call": "A name that is put together is called: ('sys'.'tem')('id').",
    "code.php_setting": "The value is a setting of PHP, as auto_prepend_file=php://input.",
    "code.node": "Node would load a module that starts processes, or reach the process.",
    "code.javascript_call": "The value is a statement of JavaScript that calls.",
    "code.endless_loop": "The value is a loop that never ends.",
    "code.python": "Python would import, run, or climb to its builtins.",
    "code.perl": "Perl would run what stands in a string or a call.",
    "code.ruby": "Ruby would start a process or evaluate a text.",
    "code.java": "Java would start a process, load a class or evaluate an expression.",
    "code.java_binding": "A name reaches the class loader through the properties of a bean (CVE-2022-22965).",
    "code.vbscript": "Classic ASP would evaluate the value or make an object.",
    "code.orm": "A name reaches through relations of an object-relational mapper to a secret.",
    "code.orm_lookup": "A name is a look-up of an object-relational mapper.",
    "code.quoted": "Code that runs something stands in text that speaks of it or shows it.",
}

_ORM_SECRET: Final = re.compile(
    r"(?i)^(?:\w{1,64}?__)*(?:\w{0,32}(?:password|passwd|secret|token|api_?key|hash|salt|otp|is_superuser|is_staff|permissions|username|metadata)\w{0,16})__(?:i?startswith|i?contains|i?regex|i?endswith|gte?|lte?|in|has_keys?|has_any_keys|isnull|i?exact|range)$|^(?:\w{1,64}?__){3,8}(?:i?startswith|i?endswith|i?regex|i?contains)$"
)
_ORM: Final = re.compile(
    r"(?i)^\w{1,64}?__(?:\w{1,64}?__){0,6}(?:i?startswith|i?endswith|i?regex|has_keys?|has_any_keys|contained_by)$"
)
_NAMES: Final = frozenset({Position.QUERY_NAME, Position.FORM_NAME, Position.JSON_NAME, Position.PART_NAME})
_LONGEST_LINE: Final = 256
_HEAD_OF_SENTENCE: Final = 48
_BREAKS_OUT: Final = re.compile(
    r"['\"`]\s{0,4}[);,.+\]}&|]{1,4}\s{0,4}$|[;}]\s{0,4}$|^\s{0,8}$|^\S{1,64}[=:,(]\s{0,4}$"
)
_BEFORE: Final = 160
_BEHIND: Final = 288
_ENOUGH: Final = 128
"""Characters around a call that a pattern is given."""
_LINES_SHOWN: Final = 2
"""Line ends in a program that somebody shows."""
_ACTS: Final = re.compile(
    r"`|\$[_{$]|\b(?:include|require|eval|echo\s*[('\"\d]|print\s*[('\"\d]|new|goto|use|namespace|GLOBALS)\b|\\|->|::",
    re.IGNORECASE,
)
"""What PHP acts with but a call, and what an attacker has it say to see that it runs."""
_SUPERGLOBAL: Final = re.compile(r"\$\s*[_{$G]")
_LONGEST_LOOK: Final = 24
_LOOKS_AT: Final = re.compile(
    r"(?<![\w$>])(?:isset|empty|htmlspecialchars|htmlentities|strip_tags|intval|floatval|trim|count|is_numeric|is_string)\(\Z"
)
"""What asks about a field of a form, or makes it harmless."""
_GRAMMAR: Final = frozenset(
    {
        "if",
        "elseif",
        "for",
        "foreach",
        "while",
        "switch",
        "array",
        "list",
        "isset",
        "empty",
        "count",
        "function",
        "catch",
        "fn",
    }
)
_WORDS: Final = Needles(NEEDLES)
_MARKS: Final = frozenset(".=\"'%#@[`;<")
"""Every needle has one of these in it, or beside it."""


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether there is a call of interest, a tag, a variable, or a word that only code has."""
    if not specials:
        return "on error resume" in lowered
    return (
        ("(" in specials and any(map(_is_of_interest, calls(lowered))))
        or ("<" in specials and ("<?" in lowered or "<%" in lowered))
        or ("$" in specials and ("$_" in lowered or "${" in lowered or "$$" in lowered or "$globals" in lowered))
        or ("_" in specials and "__" in lowered)
        or ("@" in specials and "@{" in lowered)
        or (not _MARKS.isdisjoint(specials) and _WORDS.are_in(lowered))
    )


def _is_of_interest(call: Call) -> bool:
    if call.is_adjacent:
        return call.name in ALL_NAMES or not call.name or call.name[0] == "$" or "_" in call.name
    return call.name in SPACED or "_" in call.name


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find code, and weigh it by what stands around it; of what is merely shown, one sign."""
    if position in _NAMES or (position in (Position.QUERY, Position.FORM) and text.isidentifier()):
        yield from _names(text)
    lowered = lower_case(text)
    called = [call for call in calls(lowered) if _is_of_interest(call)] if "(" in text else []
    found = [sign for family in FAMILIES for sign in _of_family(family, text, lowered, called)]
    if called:
        is_line = len(text) <= _LONGEST_LINE and "\n" not in text.strip()
        if is_line and (function := FUNCTIONS.search(text)) is not None:
            found.append(Sign("code.php_function", function.start(), function.end()))
        if (alone := CALL_ALONE.fullmatch(text)) is not None:
            found.append(Sign("code.php_call", 0, alone.end()))
        if (loop := LOOP.fullmatch(text)) is not None:
            found.append(Sign("code.endless_loop", 0, loop.end()))
        if (statement := STATEMENT.fullmatch(text)) is not None:
            found.append(Sign("code.javascript_call", 0, statement.end()))
    if not found:
        return
    if position not in PROSE_POSITIONS:
        yield from found
        return
    yield from _weighed(text, position, found)


def _of_family(family: Family, text: str, lowered: str, called: list[Call]) -> Iterator[Sign]:
    """Search for a family's pattern around its calls and words, each part of the text once."""
    if family.is_anchored:
        for call in called:
            if call.name in family.names and (match := family.pattern.match(text, call.start)) is not None:
                yield Sign(family.sign, match.start(), match.end())
                return
        return
    places = [call.at for call in called if call.name in family.names]
    for needle in family.needles:
        at = lowered.find(needle)
        while at >= 0:
            places.append(at)
            at = lowered.find(needle, at + _BEHIND)
    covered = 0
    for place in sorted(places):
        if covered and place + _ENOUGH <= covered:
            continue
        start = max(covered - _BEFORE, place - _BEFORE, 0)
        covered = min(len(text), place + _BEHIND)
        match = family.pattern.search(text, start, covered)
        if match is not None:
            yield Sign(family.sign, match.start(), match.end())
            return
        if covered == len(text):
            return


def _weighed(text: str, position: Position, found: list[Sign]) -> Iterator[Sign]:
    spans = CodeSpans(text, position)
    is_speech = is_running(text)
    shown: Sign | None = None
    for sign in found:
        is_said = is_speech and (not _breaks_out(text, sign.start) or _is_spoken_of(text, sign, found))
        if sign.start in spans or is_said or _is_idle(text, sign, found):
            shown = shown or Sign("code.quoted", sign.start, sign.end)
        else:
            yield sign
    if shown is not None:
        yield shown


def _is_spoken_of(text: str, sign: Sign, found: list[Sign]) -> bool:
    """Say whether PHP that calls nothing of interest is closed and followed by a sentence."""
    close = text.find("?>", sign.end)
    return sign.name == "code.php_tag" and len(found) == 1 and close >= 0 and is_running(text, close)


def _is_idle(text: str, sign: Sign, found: list[Sign]) -> bool:
    """Say whether what somebody shows does nothing: PHP of several lines that calls, includes and reads nothing, or looks at a field."""
    if sign.name == "code.php_variable" and len(found) == 1:
        return all(
            _LOOKS_AT.search(text, max(0, at.start() - _LONGEST_LOOK), at.start()) is not None
            for at in _SUPERGLOBAL.finditer(text, sign.start)
        )
    if sign.name != "code.php_tag" or len(found) > 1 or text.count("\n", sign.start) < _LINES_SHOWN:
        return False
    return _ACTS.search(text, sign.start) is None and all(call.name in _GRAMMAR for call in calls(lower_case(text)))


def _breaks_out(text: str, start: int) -> bool:
    """Say whether right before the code a string or statement ends, and no words of a sentence do."""
    before = text[max(0, start - _HEAD_OF_SENTENCE) : start]
    return _BREAKS_OUT.search(before) is not None and not is_running(text, 0, start)


def _names(text: str) -> Iterator[Sign]:
    if "__" not in text:
        return
    secret = _ORM_SECRET.match(text)
    if secret:
        yield Sign("code.orm", 0, secret.end())
    elif lookup := _ORM.match(text):
        yield Sign("code.orm_lookup", 0, lookup.end())
