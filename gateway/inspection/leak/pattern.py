"""An operator's own patterns: the form of a customer's number, a project's code name.

Written as RE2, in linear time. A pattern sees one line at a time, and of a line that is longer than 4 KiB pieces of 4 KiB that
overlap by 256 bytes: so what it finds is the same however a body is cut, and little is held back for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import re2

MAX_PATTERNS: Final = 32
MAX_PATTERN: Final = 1_024
"""Characters of one pattern."""
_MAX_MEMORY: Final = 8 << 20
PIECE: Final = 4_096
OVERLAP: Final = 256
NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class InvalidPatternError(ValueError):
    """A pattern that cannot be used; the text is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, compiled."""

    name: str
    source: str
    compiled: Any
    """Of RE2, over bytes."""


class Hit(NamedTuple):
    """Where a pattern was found."""

    name: str
    start: int
    end: int


def compile_pattern(name: str, source: str) -> Pattern:
    """Compile a pattern.

    Raises:
        InvalidPatternError: it is none, is none in RE2, is too long, or finds nothing at all in every text.

    """
    if not source or len(source) > MAX_PATTERN:
        raise InvalidPatternError(f"a pattern has 1 to {MAX_PATTERN} characters")
    if not source.isascii():
        raise InvalidPatternError("a pattern is written in ASCII: texts come in several encodings")
    options = re2.Options()
    options.log_errors = False
    options.never_nl = True
    options.max_mem = _MAX_MEMORY
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        compiled = re2.compile(source.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidPatternError(f"not a pattern of RE2: {text}") from None
    if compiled.search(b"") is not None:
        raise InvalidPatternError("it matches the empty text, and so every place in every text")
    return Pattern(name, source, compiled)


class Lines:
    """Where, in a text that arrives in pieces, the next piece for the patterns begins. Offsets are the caller's."""

    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        self._patterns = patterns
        self._taken = dict.fromkeys((pattern.name for pattern in patterns), 0)
        """Of each pattern, where its last hit ended."""

    def move(self, by: int) -> None:
        """Count from a place that is so much further on."""
        for name, taken in self._taken.items():
            self._taken[name] = max(0, taken - by)

    def read(self, data: bytes, at: int, *, is_whole: bool) -> tuple[int, list[Hit]]:
        """Look through every piece that is complete, from `at` on. Returns where the first incomplete one begins, and the hits."""
        hits: list[Hit] = []
        while at < len(data):
            limit = at + PIECE + OVERLAP
            newline = data.find(b"\n", at, min(limit, at + PIECE))
            if newline >= 0:
                following, end = newline + 1, newline
            elif len(data) >= limit:
                following, end = at + PIECE, limit
                newline = data.find(b"\n", at, limit)
                end = newline if newline >= 0 else limit
            elif is_whole:
                newline = data.find(b"\n", at)
                following, end = (at + PIECE, newline) if newline >= 0 else (len(data), len(data))
            else:
                break
            hits.extend(self._hits(data[at:end], at, following))
            at = following
        return min(at, len(data)), hits

    def _hits(self, piece: bytes, at: int, following: int) -> Iterator[Hit]:
        for pattern in self._patterns:
            for start, end in _spans(pattern, piece, max(0, self._taken[pattern.name] - at)):
                if at + start >= following:
                    break
                self._taken[pattern.name] = at + end
                yield Hit(pattern.name, at + start, at + end)


def _spans(pattern: Pattern, piece: bytes, start: int) -> Iterator[tuple[int, int]]:
    if start <= len(piece):
        for found in pattern.compiled.finditer(piece, start):
            if found.end() > found.start():
                yield found.span()
