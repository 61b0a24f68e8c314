"""XPath injection: a value that leaves its string, or its predicate, and selects other nodes (CWE-643, ASVS 5.0 1.2.8).

Conditions that compare constants are the same in SQL and are judged there. Here is what only XPath has: axes, node tests,
paths from the root, functions on nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.sign import Sign
from gateway.inspection.sql.places import exits

CLASS: Final = "xpath"
SIGNS: Final[Mapping[str, str]] = {
    "xpath.condition": "The value leaves its string and joins a condition on nodes.",
    "xpath.path": "The value leaves its predicate and adds a path.",
    "xpath.document": "The value has the processor fetch another document.",
    "xpath.expression": "The value is an expression on nodes of its own.",
}

_AXIS: Final = r"(?:ancestor(?:-or-self)?|attribute|child|descendant(?:-or-self)?|following(?:-sibling)?|namespace|parent|preceding(?:-sibling)?|self)::"
_NODE: Final = r"(?:text|node|comment|processing-instruction)\(\s{0,4}\)"
_PATH: Final = (
    r"(?://(?:\*|@\*|\.\.|[a-z_][\w.-]{0,63}(?:[/\[\]|)=<>!]|\s|\Z))|/\*|\.\./[a-z@*]|"
    r"(?:/[a-z_][\w.-]{0,63}){1,16}\s{0,8}(?:\[|[!<>]?=|\bor\b|\band\b))"
)
_FUNCTION: Final = (
    r"(?:(?:local-name|name|namespace-uri|position|last)\(\s{0,4}(?:\)|[/.@*a-z])|(?:count|string-length|normalize-space|sum|boolean|string|number)"
    r"\(\s{0,4}(?:/|\.|@|\*|[a-z-]{1,32}\()|(?:substring|starts-with|contains|ends-with|matches|translate|substring-before|substring-after|concat)"
    r"\(\s{0,4}(?:/|\.|@|\*|[a-z][\w.-]{0,63}(?:[,/\[]|\(\s{0,4}[)./*])))"
)
_ONLY_XPATH: Final = re.compile(rf"{_AXIS}|(?<![\w]){_NODE}|(?<![\w-]){_FUNCTION}|(?<![:\w/]){_PATH}", re.IGNORECASE)
_JOINED: Final = re.compile(
    r"\s{0,8}[)\]]{0,8}\s{0,8}(?:(?:or|and)\b|\|)(?:\s|\(|not\(|boolean\(|string\(|number\()*+", re.IGNORECASE
)
_LEFT: Final = re.compile(
    rf"\s{{0,8}}\)?\s{{0,8}}\]\s{{0,8}}(?:[)\]]\s{{0,4}}){{0,8}}(?:\|\s{{0,8}}(?:/|{_AXIS}|\w)|/{{1,2}}(?:{_AXIS}|\*|@|\.\.|[a-z_][\w.-]{{1,63}}(?:[/\[|]|\s{{0,8}}(?:=|\bor\b|\band\b|\Z))))",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\s*-?\d{1,18}\s{0,8}[)\]]{0,8}\s{0,8}(?:(?:or|and)\b|\|)", re.IGNORECASE)
_BARE_LEFT: Final = re.compile(
    rf"[\w.@ -]{{0,64}}\]\s{{0,8}}(?:\|\s{{0,8}}/|/{{1,2}}(?:{_AXIS}|\*|\.\.|[a-z_]\w{{0,63}}\[))", re.IGNORECASE
)
_ADDED: Final = re.compile(rf"\s*\|\s{{0,8}}(?:/{{1,2}}(?:\*|[a-z_])|{_AXIS})", re.IGNORECASE)
_DOCUMENT: Final = re.compile(
    r"(?<![\w.$])(?:fn:)?(?:doc|document|unparsed-text|doc-available|collection)\(\s{0,8}(?:concat\(\s{0,8})?['\"](?:[a-z]{2,8}:)?//?",
    re.IGNORECASE,
)
_DOCUMENTS: Final = ("doc", "unparsed", "collection")
_WHOLE: Final = re.compile(
    rf"\s*(?:/{{1,2}}(?:\*(?:[/\[|\])]|\Z)|{_AXIS}|[a-z_][\w.:-]{{0,63}}\[)|(?:count|name|local-name|string-length|substring)\(\s{{0,4}}(?:/|{_AXIS})|{_AXIS})",
    re.IGNORECASE,
)
_REACH: Final = 512
"""Characters behind the place that was left in which XPath must show."""


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a path, an axis or a call stands in the text, and what leaves a string, a predicate or a number."""
    del lowered
    return not specials.isdisjoint("/(:") and not specials.isdisjoint("'\"]|(:*[")


def signs(text: str, position: Position) -> Iterable[Sign]:
    """Find what selects other nodes; the first sign is enough."""
    del position
    for sign in _found(text):
        return [sign]
    return []


def _found(text: str) -> Iterator[Sign]:
    """Find XPath behind the end of a string, of a predicate, of a number, and by itself."""
    for quote in "'\"":
        if quote not in text:
            continue
        for start, _, first in exits(text, quote):
            if not first:
                break
            left = _LEFT.match(text, start)
            if left:
                yield Sign("xpath.path", start - 1, left.end())
            joined = _JOINED.match(text, start)
            only = _ONLY_XPATH.match(text, joined.end(), joined.end() + _REACH) if joined else None
            if only:
                yield Sign("xpath.condition", start - 1, only.end())
    number = _NUMBER.match(text)
    only = _ONLY_XPATH.search(text, number.end(), number.end() + _REACH) if number else None
    if only:
        yield Sign("xpath.condition", 0, only.end())
    for pattern in (_BARE_LEFT, _ADDED):
        found = pattern.match(text)
        if found:
            yield Sign("xpath.path", *found.span())
    document = _DOCUMENT.search(text) if "(" in text and any(word in text for word in _DOCUMENTS) else None
    if document:
        yield Sign("xpath.document", *document.span())
    whole = _WHOLE.match(text)
    if whole:
        yield Sign("xpath.expression", *whole.span())
