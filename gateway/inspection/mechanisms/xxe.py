"""XML external entities: markup in a value that makes an XML parser open a file or an address, or grow without end.

CWE-611 and CWE-776, ASVS 5.0 1.5.1. The public identifiers of (X)HTML are no entities, and pasted pages begin with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans
from gateway.inspection.sign import Sign

CLASS: Final = "xxe"

SIGNS: Final[Mapping[str, str]] = {
    "xxe.entity": "A document type declares an entity, which a parser may fetch or expand without end.",
    "xxe.external_subset": "A document type is fetched from a file or an address.",
    "xxe.inclusion": "A parser would include another document: XInclude, an imported schema or a style sheet.",
    "xxe.quoted": "A declaration of an entity stands in code that somebody shows.",
}

_ENTITY: Final = re.compile(
    r"(?i)<!ENTITY\s+(?:%\s+|&#37;\s+)?[\w:.-]{1,128}\s+(?:SYSTEM|PUBLIC|[\"'])|<!DOCTYPE\s[^<>\[]{0,256}\[[^\]]{0,512}(?:<!ENTITY|%[\w.-]{1,64};)"
)
_SUBSET: Final = re.compile(
    r"(?i)<!DOCTYPE\s+[\w:.-]{1,128}\s+(?:SYSTEM\s*[\"'](?:(?!urn:)[a-z][a-z0-9+.-]{1,16}:|/|\\\\)|PUBLIC\s*[\"'](?!-//(?:W3C|IETF|WAPFORUM|OASIS|APPLE|APPLE COMPUTER|SPRING|MYBATIS\.ORG|HIBERNATE)//))"
)
_HARMLESS_SUBSET: Final = re.compile(r"(?i)<!DOCTYPE\s+html\s+SYSTEM\s*[\"']about:legacy-compat[\"']")
_INCLUSION: Final = re.compile(
    r"(?i)<(?:[\w-]{1,32}:)?(?:include|import|redefine)\s[^<>]{0,512}(?:href|schemaLocation)\s*=\s*[\"']?(?:[a-z][a-z0-9+.-]*:|/|\\\\)"
    r"|=\s*[\"']http://www\.w3\.org/200[13]/XInclude[\"']|<\?xml-stylesheet\s[^<>]{0,256}href\s*=\s*[\"'](?:https?|file|ftp):"
)
_ELEMENT: Final = re.compile(
    r"(?i)\s*http://www\.w3\.org/200[13]/XInclude\s*|(?:xi|xs|xsd):(?:include|redefine|import)"
)
"""The values of a document that was read: its namespaces and the names of its elements."""


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether there is markup of a declaration or of an inclusion."""
    if "<" in specials:
        return (
            "<!" in lowered
            or "include" in lowered
            or "import" in lowered
            or "xml-stylesheet" in lowered
            or "redefine" in lowered
        )
    return ":" in specials and ("include" in lowered or "redefine" in lowered or "import" in lowered)


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find declarations that a parser would act upon."""
    if position is Position.XML and _ELEMENT.fullmatch(text):
        yield Sign("xxe.inclusion", 0, len(text))
    found = [
        (name, match)
        for name, pattern in (("xxe.entity", _ENTITY), ("xxe.external_subset", _SUBSET), ("xxe.inclusion", _INCLUSION))
        if (match := pattern.search(text))
    ]
    if not found:
        return
    spans = CodeSpans(text, position)
    for name, match in found:
        if name == "xxe.external_subset" and _HARMLESS_SUBSET.match(text, match.start()):
            continue
        shown = position in PROSE_POSITIONS and match.start() in spans
        yield Sign("xxe.quoted" if shown else name, match.start(), match.end())
