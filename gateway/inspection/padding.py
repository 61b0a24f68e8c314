"""Long texts without what fills them: between the first and the last word of an attack anybody may put a page of nothing.

Mechanisms are given a long text in windows. What is shortened here is what parsers skip or read as one thing: blanks, comments,
one sign again and again, and words that nobody writes by hand.
"""

from __future__ import annotations

import re
from typing import Final

KEPT: Final = 16
"""Of a run, so many of its characters stay."""
_BLANKS: Final = re.compile(r"(?<!\s)\s{64,}")
_RUN: Final = re.compile(r"([^\w\s])\1{31,}")
_WORD: Final = re.compile(r"(?<!\w)(\w{256})\w{256,}")
_COMMENT_LINES: Final = re.compile(r"(?m)^[ \t]*(?:--|#|//).*\n")


def without_padding(text: str) -> str:
    """Shorten what fills a text, in linear time; a text that nobody filled stays as it is."""
    text = _COMMENT_LINES.sub("", text)
    text = _WORD.sub(r"\1", _RUN.sub(_shortened, text))
    if "/*" in text:
        text = _without_comments(text)
    return _BLANKS.sub(" ", text)


def _shortened(found: re.Match[str]) -> str:
    return found[0][:KEPT]


def _without_comments(text: str) -> str:
    """Leave a gap where a comment stood; what follows `/*!` is code to MySQL."""
    kept: list[str] = []
    at = 0
    while (begin := text.find("/*", at)) >= 0 and (end := text.find("*/", begin + 2)) >= 0:
        kept.append(text[at:begin] if text[begin + 2 : begin + 3] != "!" else text[at : end + 2])
        kept.append(" ")
        at = end + 2
    kept.append(text[at:])
    return "".join(kept)
