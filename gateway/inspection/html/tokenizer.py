"""The tags in a value, after the tokeniser of WHATWG HTML (section 13.2.5).

A value stands somewhere in a page that the gateway does not know, so nothing may hide a tag here that some page
would show: comments, CDATA and raw text are read on as content, and the inside of a tag is read once more when
it holds another `<` (an attribute of one page is the content of another: mutation XSS).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SPACE: Final = r"[\t\n\x0b\f\r ]"
_OPENING: Final = re.compile(r"<(/?)([A-Za-z][^\t\n\x0b\f\r />]*)")
# Names may begin with `=` (WHATWG: unexpected-equals-sign-before-attribute-name). No two parts overlap: linear.
_ATTRIBUTE: Final = re.compile(
    r"[\t\n\x0b\f\r /]*"
    r"(?P<name>[^\t\n\x0b\f\r />][^\t\n\x0b\f\r />=]*)"
    rf"(?:{_SPACE}*(?P<equals>=){_SPACE}*(?P<value>\"[^\"]*\"?|'[^']*'?|[^\t\n\x0b\f\r >\"'][^\t\n\x0b\f\r >]*)?)?"
)
_GAP: Final = re.compile(r"[\t\n\x0b\f\r /]*")
_DEPTH: Final = 4
"""How often the inside of a tag is read again."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute as the browser keeps it: name in lower case, value without quotes and character references."""

    name: str
    value: str
    has_value: bool
    """An equals sign followed the name."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tag:
    """One start or end tag."""

    name: str
    """In lower case, without a namespace's prefix."""
    is_end: bool
    is_complete: bool
    """A `>` ended it inside the value; else the page goes on writing it."""
    attributes: tuple[Attribute, ...]
    start: int
    end: int

    def value(self, *names: str) -> str | None:
        """Return the value of the first attribute so named, None without one."""
        for attribute in self.attributes:
            if attribute.name in names:
                return attribute.value
        return None


def attributes(text: str, start: int) -> tuple[tuple[Attribute, ...], int, bool]:
    """Read attributes from `start` on: them, where the tag ends, and whether a `>` ended it."""
    found: list[Attribute] = []
    at, length = start, len(text)
    while at < length:
        match = _ATTRIBUTE.match(text, at)
        if match is None:
            break
        found.append(_attribute(match))
        at = match.end()
    gap = _GAP.match(text, at)
    at = gap.end() if gap else at
    complete = text.startswith(">", at)
    return tuple(found), at + complete, complete


def _attribute(match: re.Match[str]) -> Attribute:
    value = match["value"] or ""
    if value[:1] in {'"', "'"}:
        quote = value[0]
        value = value[1:-1] if len(value) > 1 and value.endswith(quote) else value[1:]
    if "&" in value:
        value = html.unescape(value)
    name = match["name"].lower().replace("\0", "")
    return Attribute(name, value, match["equals"] is not None, match.start("name"), match.end())


def tags(text: str) -> Iterator[Tag]:
    """Yield the tags of `text` in each reading of it as content, outer ones first."""
    yield from _tags(text, 0, len(text), _DEPTH)


def _tags(text: str, start: int, stop: int, depth: int) -> Iterator[Tag]:
    within = text if stop == len(text) else text[:stop]
    inner: list[tuple[int, int]] = []
    at = start
    while (match := _OPENING.search(within, at)) is not None:
        found, at, complete = attributes(within, match.end())
        yield Tag(_name(match[2]), bool(match[1]), complete, found, match.start(), at)
        if within.find("<", match.start() + 1, at) >= 0:
            inner.append((match.start() + 1, at))
    if depth and inner:
        # Each level reads disjoint parts of its outer one: together at most `depth` times the text.
        for first, last in inner:
            part = text[first:last]
            for tag in _tags(part, 0, len(part), depth - 1):
                yield _moved(tag, first)


def _name(written: str) -> str:
    """Name the element: old browsers drop NUL; a program that reads `+` as a space ends the name there."""
    name = written.lower().replace("\0", "").partition("+")[0]
    return name.rpartition(":")[2] or name


def _moved(tag: Tag, by: int) -> Tag:
    moved = tuple(
        Attribute(each.name, each.value, each.has_value, each.start + by, each.end + by) for each in tag.attributes
    )
    return Tag(tag.name, tag.is_end, tag.is_complete, moved, tag.start + by, tag.end + by)
