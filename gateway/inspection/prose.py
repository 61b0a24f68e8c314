"""Tell running text, and the code that people quote in it, from a value that is all payload.

Customers ask about commands, paste scripts and write Markdown. What a mechanism finds inside such text is weighed
less than the same thing standing alone or at a break-out. Nothing here knows a language: words are runs of letters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise
from typing import Final

from gateway.inspection.finding import Position

PROSE_POSITIONS: Final = frozenset(
    {Position.QUERY, Position.FORM, Position.JSON, Position.XML, Position.PART, Position.BODY}
)
"""Where people write sentences; nobody writes any into a cookie, a name or a file's name."""

_RUNNING: Final = re.compile(
    r"""(?:[("„«]?[^\W\d_]{1,30}(?:['\u2019\-/][^\W\d_]{1,30})?[)"“»]?[,.;:!?]{0,2}\s{1,3}){3}[^\W\d_]{2,30}"""
)
_IDEOGRAPHS: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{4}")
_PLAIN_WORD: Final = re.compile(r"""[("„«]?[^\W\d_]{1,40}(?:['\u2019\-][^\W\d_]{1,30})?[)"“»]?[,.;:!?…]{0,3}""")
_FENCE: Final = re.compile(r"^[ \t>]{0,8}(?:```|~~~)", re.MULTILINE)
_LABELLED: Final = re.compile(r"[ \t]{0,3}(?:```|~~~) ?[A-Za-z][\w+#.-]{0,16}(?: [^\n`]{0,64})?\n")
"""A fence that names its language, as nobody writes by accident."""
_INLINE: Final = re.compile(r"(?<![^\s(\[*_\"'„>:/-])(`{1,2})(?!`)[^`\n]{1,400}\1(?![\w`/$])")
_PROSE_AROUND: Final = 2
"""This many plain words outside a code span make the text one that quotes code."""


def is_running(text: str, start: int = 0, end: int | None = None) -> bool:
    """Say whether four plain words follow each other somewhere, or four ideographs."""
    stop = len(text) if end is None else end
    return _RUNNING.search(text, start, stop) is not None or _IDEOGRAPHS.search(text, start, stop) is not None


def is_plain_word(word: str) -> bool:
    """Say whether a word is letters, with the punctuation a sentence gives it."""
    return _PLAIN_WORD.fullmatch(word) is not None


class Speech:
    """Where in a text sentences stand, found once and asked often."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans: tuple[int, int] | None = None

    def _found(self) -> tuple[int, int]:
        """Where the first sentence has shown itself, and where the last one begins."""
        if self._spans is None:
            first, last = len(self._text) + 1, -1
            for pattern in (_RUNNING, _IDEOGRAPHS):
                for match in pattern.finditer(self._text):
                    first = min(first, match.end())
                    last = max(last, match.start())
            self._spans = first, last
        return self._spans

    def before(self, at: int) -> bool:
        """Say whether a sentence stands before the offset."""
        return self._found()[0] <= at

    def after(self, at: int) -> bool:
        """Say whether a sentence begins behind the offset."""
        return self._found()[1] >= at


class CodeSpans:
    """Where a text quotes code as Markdown does: between fences, and in backticks that stand in a sentence."""

    def __init__(self, text: str, position: Position) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        if position not in PROSE_POSITIONS or ("`" not in text and "~~~" not in text):
            return
        spans = _fenced(text) or [span.span() for span in _INLINE.finditer(text)]
        if spans and (_speaks_outside(text, spans) or _LABELLED.match(text) is not None):
            self._starts = [start for start, _ in spans]
            self._ends = [end for _, end in spans]

    def __contains__(self, at: int) -> bool:
        """Say whether the offset lies in quoted code."""
        index = bisect_right(self._starts, at) - 1
        return index >= 0 and at < self._ends[index]

    def __bool__(self) -> bool:
        """Say whether any code is quoted."""
        return bool(self._starts)


def _fenced(text: str) -> list[tuple[int, int]]:
    marks = [mark.start() for mark in _FENCE.finditer(text)]
    spans = [(start, end + 3) for index, (start, end) in enumerate(pairwise(marks)) if index % 2 == 0]
    if len(marks) % 2:  # a last fence that is never closed runs to the end, as CommonMark has it
        spans.append((marks[-1], len(text)))
    if not spans:
        return []
    outside = [
        span.span()
        for before, after in pairwise([(0, 0), *spans, (len(text), len(text))])
        for span in _INLINE.finditer(text, before[1], after[0])
    ]
    return sorted(spans + outside)


def _speaks_outside(text: str, spans: list[tuple[int, int]]) -> bool:
    words = 0
    for before, after in pairwise([(0, 0), *spans, (len(text), len(text))]):
        piece = text[before[1] : after[0]]
        words += sum(1 for word in piece.split(maxsplit=64)[:64] if is_plain_word(word))
        if words >= _PROSE_AROUND or _IDEOGRAPHS.search(piece):
            return True
    return False
