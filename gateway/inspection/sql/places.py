"""Where a value may stand in a statement, and where it gets out of that place.

A value stands bare (a number, a column, a direction), or between quotation marks. It leaves a quoted place at the first mark that
is neither doubled nor, on servers that know that, behind a backslash; what comes later is read by the server only if what follows
this first mark is SQL. A few later marks are tried, too, since applications split and join what they are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.inspection.finding import Position

_SEGMENTS: Final = 8
"""How many beginnings of a path are tried."""
_LATER_MARKS: Final = 5
"""How many marks behind the first are tried."""
_TYPOGRAPHIC: Final = str.maketrans(
    "\u2018\u2019\u02bc\u02b9\u02c8\u2032\u00b4\uff07\u201c\u201d\uff02\u2033\u2035\uff40", "''''''''\"\"\"\"``"
)
"""What code pages without these marks put in their place (best fit of Windows 1252 and Latin 1, `iconv //TRANSLIT`)."""
_TYPOGRAPHIC_MARK: Final = re.compile(
    "[\u2018\u2019\u02bc\u02b9\u02c8\u2032\u00b4\uff07\u201c\u201d\uff02\u2033\u2035\uff40]"
)
_PLAIN: Final = {quote: re.compile(f"{quote}{quote}?") for quote in "'\"`"}
_ESCAPING: Final = {quote: re.compile(f"\\\\.|{quote}{quote}?", re.DOTALL) for quote in "'\"`"}


def respelled(text: str) -> Iterator[str]:
    """The text, and what else of the same length a server may read: marks of typography as quotation marks, `+` as spaces."""
    yield text
    if not text.isascii() and _TYPOGRAPHIC_MARK.search(text) is not None:
        text = text.translate(_TYPOGRAPHIC)
        yield text
    if "+" in text and " " not in text:
        yield text.replace("+", " ")


def begins(text: str, position: Position) -> Iterator[int]:
    """Where a value may begin: at the beginning; in a path behind its slashes, too, for a value may hold slashes itself."""
    if position is not Position.PATH:
        yield 0
        return
    begin = 0
    for _ in range(_SEGMENTS):
        yield begin
        begin = text.find("/", begin) + 1
        if begin == 0:
            return


def exits(text: str, quote: str) -> Iterator[tuple[int, bool, bool]]:
    """Each place behind a mark that ends a value between such marks: (offset, escapes, first of its reading)."""
    escaping = "\\" in text
    for escapes in (False, True) if escaping else (True,):
        first = True
        tried = 0
        for mark in (_ESCAPING if escapes else _PLAIN)[quote].finditer(text):
            if mark.group() != quote:
                continue
            yield mark.end(), escaping and escapes, first
            first = False
            tried += 1
            if tried > _LATER_MARKS:
                break
