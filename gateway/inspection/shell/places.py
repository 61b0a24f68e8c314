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

from gateway.inspection.finding import Position
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, Speech
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
_FIRST: Final = re.compile(r"""[ \t]*([A-Za-z][\w.\-]*)(?=[\s;|&()<>`]|['"](?![A-Za-z'"])|$)""")
"""A word that ends here; a quotation mark with letters behind it does not end it: `c'a't`."""
_CALL: Final = re.compile(r"\s*\(")
"""What makes a word one of a programming language: `if (x)`, `test(1)`."""
_QUOTES: Final = " \t\r\n'\"`)]}(%"
_GAP: Final = re.compile(r"[ \t\r\n]")
_VALUE_MARKS: Final = frozenset("./@:=\\%?$")
_CMDLET: Final = re.compile(
    r"(?:get|set|new|add|remove|select|where|foreach|sort|out|import|export|start|stop|test)-[a-z]{2,32}"
)
"""PowerShell's verbs and nouns; people show pipelines of them."""
_LONGEST_TOOL: Final = 16
_NEAR: Final = 32
_MARKS: Final = ("'", '"')
_OPTIONS: Final = re.compile(
    r"--?[A-Za-z][\w-]{0,32}(?:[ =][^\s;|&-][^\s;|&]{0,64})?(?: --?[A-Za-z][\w-]{0,32}(?:[ =][^\s;|&-][^\s;|&]{0,64})?){0,8}"
)
"""`-resize 100 --quiet`: what a program is given."""
_LONGEST_PREFIX: Final = 512
_MOST_TOOLS: Final = 24
_SHORT_PREFIX_WORDS: Final = 1


def places(text: str) -> Iterator[Place]:
    """Yield the command positions whose first word may be a command; the rest would say nothing."""
    yield Place(Kind.BEGINNING, "", 0, 0)
    is_table = "|" in text and _TABLE.search(text) is not None
    for mark in _MARK.finditer(text):
        if (is_table and not mark[0].strip("| \t\r\n")) or text.startswith("#", mark.end()):
            continue
        first = _FIRST.match(text, mark.end())
        if first and (first[1].lower() not in KNOWN or _CALL.match(text, first.end())):
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


class Surroundings:
    """What stands around the places of one text; each question is answered in constant time, or looks at a short piece."""

    def __init__(self, text: str, position: Position) -> None:
        self.text = text
        self.speaks = position in PROSE_POSITIONS
        """People may write sentences here."""
        self.is_file = position in (Position.PATH, Position.FILE_NAME)
        """What follows a command may be the ending that the application adds or asks for."""
        self.spans = CodeSpans(text, position)
        self.speech = Speech(text)
        gap = _GAP.search(text)
        self._first_gap = gap.start() if gap else len(text)
        self._ticks = 0
        self._ticks_to = 0

    def is_clean(self, start: int) -> bool:
        """Say whether before the place stands nothing, one word with the quote it closes (a host, a file), or options."""
        if self.text.startswith("#!"):  # a script that somebody shows
            return False
        if start <= self._first_gap:
            return True
        if start > _LONGEST_PREFIX:
            return False
        return len(self.text[:start].strip(_QUOTES).split()) <= _SHORT_PREFIX_WORDS or self.is_options(start)

    def is_break_out(self, start: int) -> bool:
        """Say whether before the place stands a quotation mark that ends what the application has begun, and no more."""
        return start <= _NEAR and self.text[:start].strip() in _MARKS

    def is_options(self, start: int) -> bool:
        """Say whether before the place stand options and their values, and no more."""
        return self.text[:1] == "-" and _OPTIONS.fullmatch(self.text, 0, start) is not None

    def is_shown_line(self, start: int) -> bool:
        """Say whether the place stands in a line, not the first, that begins with a command people show: `tar czf $(date).tgz`."""
        begin = self.text.rfind("\n", max(0, start - _LONGEST_PREFIX), start) + 1
        return begin > 0 and self.text[begin : begin + _LONGEST_TOOL].partition(" ")[0] in DEVELOPER_TOOLS

    def is_tool(self, start: int) -> bool:
        """Say whether before the place stands one word, a tool that people ask about: `ls | wc -l`."""
        return start <= _NEAR and self.text[:start].strip().lower() in DEVELOPER_TOOLS

    def is_value(self, start: int) -> bool:
        """Say whether before the place stands nothing or a value that is no plain word: `127.0.0.1`, `a@b.c`, `x.pdf`, `1'`."""
        before = self.text[max(0, start - _LONGEST_PREFIX) : start].strip(" \t\r\n")
        bare = before.strip(_QUOTES)
        return not bare or before != bare or not any(map(str.isalpha, bare)) or not _VALUE_MARKS.isdisjoint(bare)

    def is_phrase(self, start: int) -> bool:
        """Say whether before the place stand a few words, as of a name or title, and no command."""
        return not self.speech.before(start) and not self.is_quoted_pipeline(start)

    def is_quoted_pipeline(self, start: int) -> bool:
        """Say whether what precedes the place is itself a command that somebody shows: `I ran docker ps | grep x`."""
        before = self.text[max(0, start - _LONGEST_PREFIX) : start]
        words = [word.strip("`'\"(),:;") for word in before.lower().split()[-_MOST_TOOLS:]]
        if any(_CMDLET.fullmatch(word) for word in words):
            return True
        return any(word in DEVELOPER_TOOLS for word in words[:-1]) or (len(words) > 1 and words[-1] in DEVELOPER_TOOLS)

    def closes(self, tick: int) -> bool:
        """Say whether the backtick at the offset closes what another one opened; offsets only grow from call to call."""
        self._ticks += self.text.count("`", self._ticks_to, tick)
        self._ticks_to = max(self._ticks_to, tick)
        return self._ticks % 2 == 1
