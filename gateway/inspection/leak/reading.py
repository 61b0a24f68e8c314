"""What a detector says about one place in a text, and what it is asked.

A detector names, as RE2 patterns, what its sightings begin with (`TRIGGER`) and what the end of a text may still become such
a beginning of (`OPENING`). Where a trigger stands it is asked to read on. Its answer may depend on the text from `LOOK_BACK`
bytes before the place on, and on no more than `LOOK_AHEAD` behind it: so it is the same however the text is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.inspection.leak.sighting import Kind
from gateway.inspection.leak.text_form import Markup

LOOK_BACK: Final = 256
LOOK_AHEAD: Final = 4_096
MASK: Final = 0x2A
"""`*`: means nothing in any of the languages that a text can be in."""
MASK_NUMBER: Final = 0x39
"""`9`: where anything but a digit would end a number, and a leading 0 is none."""


class Text(NamedTuple):
    """The text as far as it is known; each byte is a character or a part of one."""

    data: bytes
    is_whole: bool
    """Nothing follows."""
    markup: Markup
    has_heading: bool = False
    """A heading or a column before this place spoke of card numbers."""


class Skip(NamedTuple):
    """Nothing begins here; go on there."""

    resume: int


class Hold(NamedTuple):
    """Something may begin here; ask again when more is known."""


HOLD: Final = Hold()


class Tail(NamedTuple):
    """How far a value goes that is recognised before it has ended."""

    run: re.Pattern[bytes]
    """Matches, from anywhere within the value, as much of it as there is."""
    stop: bytes
    """Ends it, though `run` would go on; empty = nothing does."""
    most_bytes: int


class Found(NamedTuple):
    """A sighting."""

    kind: Kind
    start: int
    end: int
    """Go on here."""
    value: bytes
    """What is digested, and then forgotten."""
    masks: tuple[tuple[int, int], ...]
    """What is covered where sightings are masked: from, to."""
    is_number: bool = False
    """Only digits: a language may read it as a number."""
    tail: Tail | None = None
    """More of the value follows `end`, and is covered too."""


Reading = Skip | Hold | Found


def beginnings(literals: Iterable[bytes]) -> bytes:
    """Write, as a pattern, everything that these texts can begin with: what of them the end of a text may show."""
    found = {literal[:length] for literal in literals for length in range(1, len(literal))}
    return b"|".join(re.escape(beginning) for beginning in sorted(found, key=len, reverse=True))


_WORD_BEFORE: Final = re.compile(rb"[A-Za-z0-9_]\Z")
_ESCAPE_BEFORE: Final = re.compile(rb"(?:\\[nrtbf]|\\u00[0-9a-fA-F]{2}|%[0-9a-fA-F]{2})\Z")
_ESCAPE_BYTES: Final = 6


def is_in_word(data: bytes, at: int) -> bool:
    r"""Tell whether a place is in the middle of a word. The letters of an escape before it, as in `\n` or `%3D`, are no part of one."""
    if not _WORD_BEFORE.search(data, max(0, at - 1), at):
        return False
    return not _ESCAPE_BEFORE.search(data, max(0, at - _ESCAPE_BYTES), at)
