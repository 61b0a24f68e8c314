"""Where in a text a shell would look for a command: after separators, in substitutions, and at the beginning.

The context of the value is unknown, so every separator may be live: outside quotes, or behind a quote that breaks out.
What stands before it tells an injection from a sentence with a semicolon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.inspection.shell.commands import DEVELOPER_TOOLS, KNOWN


class Kind(Enum):
    """What makes a shell begin a command."""

    BEGINNING = "beginning"
    SEPARATOR = "separator"
    """`;`, `|`, `||`, `&&` or `&`."""
    LINE = "line"
    SUBSTITUTION = "substitution"
    r"""`$(`, a backtick, `<(` or `>(`."""


@dataclass(frozen=True, slots=True)
class Place:
    """One command position."""

    kind: Kind
    mark: str
    """The characters that make it one."""
    start: int
    """Of the mark."""
    command: int
    """Where the command begins."""


_MARK: Final = re.compile(r"[;|&\n\r]+(?:[ \t]*[;|&\n\r]+){0,4}|`|[$<>]\(")
_ENTITY_BEFORE: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31})$")
_TABLE: Final = re.compile(r"^[ \t>]{0,8}\|?[ \t]{0,4}:?-{2,}:?[ \t]{0,4}\|", re.MULTILINE)
"""The second row of a table in Markdown."""
_FIRST: Final = re.compile(r"""[ \t]*([A-Za-z][\w.\-]*)(?=[\s;|&)<>`'"]|$)""")
_QUOTES: Final = " \t\r\n'\"`)]}(%"
_VALUE_MARKS: Final = frozenset("./@:=\\%?#$+")
_LONGEST_PREFIX: Final = 512
_MOST_TOOLS: Final = 24
_SHORT_PREFIX_WORDS: Final = 1


def places(text: str) -> Iterator[Place]:
    """Yield the command positions whose first word may be a command; the rest would say nothing."""
    yield Place(Kind.BEGINNING, "", 0, 0)
    is_table = "|" in text and _TABLE.search(text) is not None
    for mark in _MARK.finditer(text):
        if is_table and mark[0].strip(" \t\r\n") == "|":
            continue
        first = _FIRST.match(text, mark.end())
        if first and first[1].lower() not in KNOWN:
            continue
        written = mark[0]
        if written[0] in "$<>`":
            yield Place(Kind.SUBSTITUTION, written, mark.start(), mark.end())
        elif written[0] == ";" and _ENTITY_BEFORE.search(text, max(0, mark.start() - 33), mark.start()):
            continue
        elif not written.strip("\r\n \t"):
            yield Place(Kind.LINE, written, mark.start(), mark.end())
        else:
            yield Place(Kind.SEPARATOR, written, mark.start(), mark.end())


def is_clean_prefix(text: str, end: int) -> bool:
    """Say whether before the place stands nothing, or one word: a host, a number, a file, with the quote that is closed."""
    if end > _LONGEST_PREFIX:
        return text.find(" ", 0, end) < 0 and text.find("\n", 0, end) < 0
    return len(text[:end].strip(_QUOTES).split()) <= _SHORT_PREFIX_WORDS


def is_value_prefix(text: str, end: int) -> bool:
    """Say whether before the place stands nothing or a value that is no plain word: `127.0.0.1`, `a@b.c`, `x.pdf`, `1'`."""
    before = text[:end].strip(" \t\r\n")
    bare = before.strip(_QUOTES)
    return not bare or before != bare or not any(map(str.isalpha, bare)) or not _VALUE_MARKS.isdisjoint(bare)


def is_quoted_pipeline(text: str, start: int) -> bool:
    """Say whether what precedes the place is itself a command line that somebody shows: `I ran docker ps | grep x`."""
    before = text[max(0, start - _LONGEST_PREFIX) : start]
    words = [word.strip("`'\"(),:;") for word in before.lower().split()[-_MOST_TOOLS:]]
    return any(word in DEVELOPER_TOOLS for word in words[:-1]) or (len(words) > 1 and words[-1] in DEVELOPER_TOOLS)
