"""Whether any of many fixed texts occurs in another: the gate before patterns that cost more.

RE2 reads the text once, however many needles there are; with fixed texts its automaton has fewer states than they have
characters, so it can neither grow nor give up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import re2


class Needles:
    """A set of fixed texts in lower case."""

    def __init__(self, texts: Iterable[str]) -> None:
        options = re2.Options()
        options.log_errors = False
        pattern: Any = re2.compile("|".join(re2.escape(text) for text in sorted(set(texts))), options)
        self._search = pattern.search

    def are_in(self, lowered: str) -> bool:
        """Say whether one of them occurs in a text, which is in lower case."""
        if not lowered.isascii():  # RE2 reads UTF-8, which has no lone surrogates
            lowered = lowered.encode("utf-8", "replace").decode()
        return self._search(lowered) is not None


def follows_backslash(lowered: str, words: tuple[str, ...]) -> bool:
    """Say whether one of some words, each with its backslash, occurs in a text; most texts have few backslashes."""
    at = lowered.find("\\")
    while at >= 0:
        if lowered.startswith(words, at):
            return True
        at = lowered.find("\\", at + 1)
    return False
