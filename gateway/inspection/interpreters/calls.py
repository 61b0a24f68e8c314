"""Which names a text calls: what stands before each `(`, found from the parentheses and not from the names.

Prose has few parentheses and a space before them, so this is what makes it cheap to look for code in prose.
"""

from __future__ import annotations

from typing import Final, NamedTuple

DYNAMIC: Final = ""
"""Stands for a call of something that is no name: `('sys'.'tem')(...)`, `$x[0](...)`, `"system"(...)`."""
_LONGEST_NAME: Final = 64
_MOST_SPACES: Final = 8
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_$")
_ENDS_OF_EXPRESSIONS: Final = frozenset(")]}'\"/")


class Call(NamedTuple):
    """One call."""

    name: str
    start: int
    """Where the name begins."""
    at: int
    """Where the parenthesis opens."""
    is_adjacent: bool
    """No space stands before the parenthesis."""


def calls(lowered: str) -> list[Call]:
    """List the calls in a text, which is in lower case."""
    found: list[Call] = []
    at = lowered.find("(")
    while at >= 0:
        end = at
        while end > 0 and at - end < _MOST_SPACES and lowered[end - 1] in " \t\r\n":
            end -= 1
        if end > 0:
            last = lowered[end - 1]
            if last in _NAME:
                start = end - 1
                while start > 0 and end - start < _LONGEST_NAME and lowered[start - 1] in _NAME:
                    start -= 1
                found.append(Call(lowered[start:end], start, at, end == at))
            elif last in _ENDS_OF_EXPRESSIONS and end == at:
                found.append(Call(DYNAMIC, end, at, is_adjacent=True))
        at = lowered.find("(", at + 1)
    return found
