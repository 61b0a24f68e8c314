"""The tags in a value, after the tokeniser of WHATWG HTML (section 13.2.5).

A value stands somewhere in a page that the gateway does not know, so nothing may hide a tag here that some page
would show: comments, CDATA and raw text are read on as content, and the inside of a tag is read once more when
it holds another `<` (an attribute of one page is the content of another: mutation XSS).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_SPACE: Final = r"[\t\n\x0b\f\r ]"
_OPENING: Final = re.compile(r"<(/?)([A-Za-z][^\t\n\x0b\f\r /><]*)")
# Where a tag begins within the names and bare values of another, the other ends: some page would end it there.
_NAME: Final = r"(?:[^\t\n\x0b\f\r />=<]|<(?![A-Za-z!?]))"
_BARE: Final = r"(?:[^\t\n\x0b\f\r ><]|<(?![A-Za-z!?]))"
# Names without a value, up to the next that has one: only those act.
_PLAIN: Final = re.compile(rf"(?:[\t\n\x0b\f\r /]++{_NAME}++(?![\t\n\x0b\f\r ]*+=)(?=[\t\n\x0b\f\r />]))+")
# Names may begin with `=` (WHATWG: unexpected-equals-sign-before-attribute-name). No part is read twice: linear.
_ATTRIBUTE: Final = re.compile(
    rf"[\t\n\x0b\f\r /]*+(?P<name>(?:=|{_NAME}){_NAME}*+)"
    rf"(?:{_SPACE}*+(?P<equals>=){_SPACE}*+(?P<value>\"[^\"]*+\"?|'[^']*+'?|(?![\"'>]){_BARE}++)?)?"
)
_GAP: Final = re.compile(r"[\t\n\x0b\f\r /]*+")
_INNER: Final = re.compile(r"<[A-Za-z]")
_DEPTH: Final = 3
"""How often what stands in quotes within a tag is read as content again."""


class Attribute(NamedTuple):
    """One attribute as the browser keeps it: name in lower case, value without quotes and character references."""

    name: str
    value: str
    has_value: bool
    """An equals sign followed the name."""
    start: int
    end: int


class Tag(NamedTuple):
    """One start or end tag."""

    name: str
    """In lower case, without a namespace's prefix."""
    is_end: bool
    is_complete: bool
    """A `>` ended it inside the value; else the page goes on writing it."""
    attributes: tuple[Attribute, ...]
    """Those with a value; where none has one, the first of the others."""
    start: int
    end: int

    def value(self, *names: str) -> str | None:
        """Return the value of the first attribute so named, None without one."""
        for attribute in self.attributes:
            if attribute.name in names:
                return attribute.value
        return None


def attributes(text: str, start: int, stop: int | None = None) -> tuple[tuple[Attribute, ...], int, bool]:
    """Read the attributes with a value from `start` on: them, where the tag ends, and whether a `>` ended it."""
    length = len(text) if stop is None else stop
    if start < length and text[start] == ">":
        return (), start + 1, True
    found: list[Attribute] = []
    at = start
    while at < length:
        plain = _PLAIN.match(text, at, length)
        if plain is not None:
            at = plain.end()
        match = _ATTRIBUTE.match(text, at, length)
        if match is None:
            break
        if match["equals"] is not None or not found:
            found.append(_attribute(match))
        at = match.end()
    gap = _GAP.match(text, at, length)
    at = gap.end() if gap else at
    complete = text.startswith(">", at) and at < length
    return tuple(found), at + complete, complete


def _attribute(match: re.Match[str]) -> Attribute:
    value = match["value"] or ""
    if value[:1] in {'"', "'"}:
        quote = value[0]
        value = value[1:-1] if len(value) > 1 and value.endswith(quote) else value[1:]
    if "&" in value:
        value = html.unescape(value)
    name = match["name"].lower()
    if "\0" in name:
        name = name.replace("\0", "")
    return Attribute(name, value, match["equals"] is not None, match.start("name"), match.end())


def tags(text: str) -> Iterator[Tag]:
    """Yield the tags of `text` in each reading of it as content, outer ones before what stands in their quotes."""
    return _tags(text, 0, len(text), _DEPTH)


def _tags(text: str, start: int, stop: int, depth: int) -> Iterator[Tag]:
    at = start
    while (match := _OPENING.search(text, at, stop)) is not None:
        found, at, complete = attributes(text, match.end(), stop)
        yield Tag(_name(match[2]), bool(match[1]), complete, found, match.start(), at)
        if depth and found:
            for attribute in found:
                if (
                    "<" in attribute.value
                    and (inner := _INNER.search(text, attribute.start, attribute.end)) is not None
                ):
                    yield from _tags(text, inner.start(), attribute.end, depth - 1)
                elif "<" in attribute.value:
                    yield from _decoded(attribute)


def _decoded(attribute: Attribute) -> Iterator[Tag]:
    """Yield the tags that stand in an attribute's value by character references: one page decodes, the next shows."""
    for tag in _tags(attribute.value, 0, len(attribute.value), 0):
        yield Tag(tag.name, tag.is_end, tag.is_complete, tag.attributes, attribute.start, attribute.end)


def _name(written: str) -> str:
    """Name the element: old browsers drop NUL; a program that reads `+` as a space ends the name there."""
    name = written.lower().replace("\0", "").partition("+")[0]
    return name.rpartition(":")[2] or name
