"""A text in lower case, letter for letter: what patterns and needles of ASCII are looked for in."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

TEXTS_KEPT: Final = 4
"""Several mechanisms ask about one reading, one after the other."""


@lru_cache(maxsize=TEXTS_KEPT)
def lower_case(text: str) -> str:
    """Return a text with its ASCII letters in lower case: as long as it was, so that offsets hold.

    Other letters stay, which for a text in another language is also several times as fast.
    """
    if text.isascii():
        return text.lower()
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
