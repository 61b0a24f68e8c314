"""Code that a text quotes: Markdown's fences and back-ticks within sentences (CommonMark 4.5 and 6.1).

What renders Markdown shows such code and does not run it; what does not render Markdown shows the sentences
around it. Only a text with sentences around its code is trusted to be one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from operator import itemgetter
from typing import Final

from gateway.inspection.finding import Position

_TEXTS: Final[frozenset[Position]] = frozenset(
    {Position.FORM, Position.JSON, Position.PART, Position.XML, Position.BODY, Position.QUERY}
)
_FENCE: Final = re.compile(r"^[ ]{0,3}(`{3,8}|~{3,8})", re.MULTILINE)
_TICKS: Final = re.compile(r"`+")
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_WORDS_AROUND: Final = 3


def quoted(text: str, position: Position) -> tuple[tuple[int, int], ...]:
    """Return where `text` quotes code, in ascending order; nothing where no person writes Markdown."""
    if position not in _TEXTS or ("`" not in text and "~~~" not in text):
        return ()
    spans = _fences(text) if "```" in text or "~~~" in text else []
    spans = _ticks(text, spans)
    return tuple(spans) if spans and _has_sentences(text, spans) else ()


def _fences(text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        if opened is None:
            opened = match
        elif match[1][0] == opened[1][0] and len(match[1]) >= len(opened[1]):
            spans.append((opened.start(), match.end()))
            opened = None
    if opened is not None:
        spans.append((opened.start(), len(text)))
    return spans


def _ticks(text: str, fences: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    at = 0
    for start, end in [*fences, (len(text), len(text))]:
        opened: re.Match[str] | None = None
        for match in _TICKS.finditer(text, at, start):
            if opened is None:
                opened = match
            elif len(match[0]) == len(opened[0]):
                spans.append((opened.start(), match.end()))
                opened = None
        if end > start:
            spans.append((start, end))
        at = end
    return spans


def _has_sentences(text: str, spans: list[tuple[int, int]]) -> bool:
    words, at = 0, 0
    for start, end in [*spans, (len(text), len(text))]:
        for _ in _WORD.finditer(text, at, start):
            words += 1
            if words >= _WORDS_AROUND:
                return True
        at = end
    return False


def within(spans: tuple[tuple[int, int], ...], start: int) -> bool:
    """Tell whether `start` lies in one of `spans`."""
    at = bisect_right(spans, start, key=itemgetter(0))
    return at > 0 and start < spans[at - 1][1]
