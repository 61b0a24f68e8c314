"""Patterns that operators and rules bring along: RE2, which takes linear time whatever it is given.

What RE2 does not know (look-around, back-references) is an error with a sentence, not a slower engine.
"""

from __future__ import annotations

from typing import Final, Protocol

import re2

from gateway.document.place import Place

MAX_CHARACTERS: Final = 2_048
MAX_MEMORY_BYTES: Final = 8 << 20
"""Of the compiled pattern and its caches together; a pattern that needs more is refused when it is compiled."""


class PatternError(ValueError):
    """A pattern that cannot be used. The message says why, for whoever wrote it."""


class Match(Protocol):
    """Where a pattern was found."""

    def span(self) -> tuple[int, int]:
        """Offsets in characters."""


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> Match | None:
        """Find its first occurrence."""


def compile_pattern(text: str) -> Pattern:
    """Compile a pattern (https://github.com/google/re2/wiki/Syntax); `.` takes a line break too, case counts.

    Raises:
        PatternError: it is too long or too large, or RE2 does not know what stands in it.

    """
    if len(text) > MAX_CHARACTERS:
        raise PatternError(f"a pattern has {MAX_CHARACTERS} characters at most")
    options = re2.Options()
    options.log_errors = False  # else it writes to the process's own standard error
    options.dot_nl = True
    options.max_mem = MAX_MEMORY_BYTES
    try:
        compiled: Pattern = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        words = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(
            f"RE2 does not take this pattern: {words}; it has no look-around and no back-references"
        ) from None
    if compiled.search("") is not None:
        raise PatternError("this pattern matches an empty text, and so every request")
    return compiled


def read_pattern(place: Place) -> Pattern | None:
    """Read a pattern where it stands in a file; None when it was reported."""
    text = place.text()
    if text is None:
        return None
    try:
        return compile_pattern(text)
    except PatternError as error:
        place.fail(str(error), name="malformed-pattern")
        return None
