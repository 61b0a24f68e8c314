"""Prototype pollution: names that, merged into an object, change every object of a JavaScript process.

As a *name* (of a parameter, a member, a cookie) there is no honest use. In a value it counts only as the path of
an assignment (`__proto__[x]`, `constructor.prototype.x`) or as a member of JSON; sentences may speak of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.prose import CodeSpans
from gateway.inspection.sign import Sign

CLASS: Final = "code"

SIGNS: Final[Mapping[str, str]] = {
    "prototype.name": "The name of a parameter or member is, or leads through, __proto__ or constructor.prototype.",
    "prototype.path": "The value is a path through __proto__ or constructor.prototype.",
    "prototype.member": "A JSON text in the value has a member __proto__, or a member constructor with a member prototype.",
    "prototype.assignment": "Somewhere in the value something is assigned through __proto__ or constructor.prototype.",
}

_NAMES: Final = frozenset(
    {Position.QUERY_NAME, Position.FORM_NAME, Position.JSON_NAME, Position.COOKIE_NAME, Position.PART_NAME}
)
_STEP: Final = r"(?:\s*(?:\.|\]?\s*\[\s*[\"']?|\]\s*\.)\s*)"
_PROTO: Final = r"(?:__\s*proto\s*__|(?<![\w$])constructor[\"'\]\s]{0,4}\s*(?:\.|\[)\s*[\"'\[]{0,2}\s*prototype)"
_NAME: Final = re.compile(rf"(?:^|[.\[\]\"'/&?;:\s$]){_PROTO}(?:$|[.\[\]\"'=/&;:\s])")
_PATH: Final = re.compile(
    rf"\s*[\"'?&;,\[(.]{{0,4}}(?:\w{{1,64}}[.\[])?[\"']?{_PROTO}[\"']?\]?\s*(?:\.|\[)\s*[\"']?[\w$-]"
)
_MEMBER: Final = re.compile(r"[\"']\s*__proto__\s*[\"']\s*:|[\"']constructor[\"']\s*:\s*\{\s*[\"']prototype[\"']\s*:")
_ASSIGNMENT: Final = re.compile(
    rf"{_PROTO}[\"']?\]?(?:\s{{0,8}}(?:\.\s{{0,8}}[\w$-]{{1,64}}+|\[[^\]\n]{{1,64}}+\])){{1,8}}\s{{0,8}}=(?!=)"
)
_SENTENCE: Final = re.compile(r"[^\W\d_]{2,}[,;:]?\s+[^\W\d_]{2,}")


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether one of the two names may stand here."""
    return ("_" in specials and "proto" in lowered and "__" in lowered) or (
        "constructor" in lowered and "prototype" in lowered
    )


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Yield how `text` would lead a merge into the prototype of all objects."""
    if position in _NAMES:
        match = _NAME.search(text)
        if match is not None:
            yield Sign("prototype.name", match.start(), match.end())
        return
    spans = CodeSpans(text, position)
    match = _MEMBER.search(text)
    if match is not None and match.start() not in spans:
        yield Sign("prototype.member", match.start(), match.end())
    match = _PATH.match(text)
    if match is not None and _SENTENCE.search(text) is None:
        yield Sign("prototype.path", match.start(), match.end())
    match = _ASSIGNMENT.search(text)
    if match is not None and match.start() not in spans:
        yield Sign("prototype.assignment", match.start(), match.end())
