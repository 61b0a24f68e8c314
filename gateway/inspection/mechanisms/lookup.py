"""Lookups that a logging or templating library resolves: Log4Shell (CVE-2021-44228) and Text4Shell (CVE-2022-42889).

The nested lookups that hide the word are resolved as Log4j does: `${lower:J}`, `${::-j}`, `${env:NOTHING:-j}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, is_running
from gateway.inspection.sign import Sign

CLASS: Final = "code"

SIGNS: Final[Mapping[str, str]] = {
    "lookup.jndi": "A lookup makes the server fetch an object by JNDI.",
    "lookup.evaluation": "A lookup runs a script, resolves a name or opens an address.",
    "lookup.disguised": "Lookups within lookups spell a word letter by letter.",
    "lookup.environment": "A lookup gives away the environment or the settings of the server.",
    "lookup.quoted": "A lookup stands in text that speaks of it.",
}

_JNDI: Final = re.compile(
    r"(?i)\$\s{0,4}\{[^{}]{0,64}?jndi\s{0,4}(?::|%3a)(?!\s?(?:(?:ldaps?|rmi|dns)://)?(?:\.\.\.|\u2026|\*|\}))|\bjndi\s{0,4}:\s{0,4}(?:ldaps?|rmi|dns|iiop|corba|nis|nds|https?)\s{0,4}:(?!//(?:\.\.\.|\u2026))"
)
_EVALUATION: Final = re.compile(
    r"(?i)\$\{\s{0,4}(?:script:\s{0,4}(?:javascript|js|groovy|jexl|nashorn|python)|dns(?:address)?:|url:(?:utf-?8|https?)|file:utf-?8|xml:|xpath:|java:(?:os|vm|runtime|version|locale|hw)|base64decoder:|const:java|resourcebundle:)"
)
_ENVIRONMENT: Final = re.compile(
    r"(?i)\$\{\s{0,4}(?:env|sys|main|map|ctx|bundle|log4j|docker|k8s|spring|web|hostname|sd|event|marker|properties):[\w.\-/]{1,128}(?::-[^{}]{0,64})?\}|\$\{hostname\}"
)
_INNERMOST: Final = re.compile(r"\$\{([^${}]{0,256})\}")
_SPELLED: Final = re.compile(
    r"(?i)(?:\$\{(?:lower|upper|[\w:.-]{0,32}:-|::-|date:)['\"]?[\w:/]{0,4}['\"]?\}[^\s$]{0,4}){2}|\$\{[^}]{0,32}:-[^}]{0,32}\$\}\{"
)
_MOST_ROUNDS: Final = 8
_LONGEST: Final = 8192


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether there is a lookup, or the word that makes one worth it."""
    return ("$" in specials and "{" in specials) or (":" in specials and "jndi" in lowered)


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find lookups, also those that only become one when those within them are resolved."""
    at = text.find("${")
    found = _find(text)
    if found is None and at >= 0:
        found = _find_resolved(text[at : at + _LONGEST])
        if found is not None:
            found = (found[0], at, min(len(text), at + _LONGEST))
        elif spelled := _SPELLED.search(text, at):
            found = ("lookup.disguised", spelled.start(), spelled.end())
    if found is None:
        return
    name, start, end = found
    if position in PROSE_POSITIONS and (
        start in CodeSpans(text, position) or (name != "lookup.jndi" and is_running(text))
    ):
        name = "lookup.quoted"
    yield Sign(name, start, end)


def _find(text: str) -> tuple[str, int, int] | None:
    for name, pattern in (
        ("lookup.jndi", _JNDI),
        ("lookup.evaluation", _EVALUATION),
        ("lookup.environment", _ENVIRONMENT),
    ):
        match = pattern.search(text)
        if match:
            return name, match.start(), match.end()
    return None


def _find_resolved(text: str) -> tuple[str, int, int] | None:
    """Resolve from the inside out, as `StrSubstitutor` does, and look after each round; what has no value becomes nothing."""
    for _ in range(_MOST_ROUNDS):
        resolved = _INNERMOST.sub(_value, text)
        if resolved == text:
            break
        text = resolved
        found = _find(text)
        if found is not None:
            return found
    return None


def _value(lookup: re.Match[str]) -> str:
    inside = lookup[1]
    name, mark, default = inside.partition(":-")
    if mark:
        return default
    kind, _, rest = name.partition(":")
    kind = kind.strip().lower()
    if kind in ("lower", "upper"):
        return rest.lower() if kind == "lower" else rest.upper()
    if kind == "date":
        return rest.strip("'")
    return ""
