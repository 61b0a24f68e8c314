"""What a mechanism says of a text, and what a mechanism is.

A mechanism is a module of `gateway.inspection.mechanisms` that judges what one kind of parser behind the
gateway would do with a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.inspection.finding import Position


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that a mechanism has seen: its name, and where in the reading."""

    name: str
    """`sql.tautology`: one of the mechanism's `SIGNS`."""
    start: int
    end: int


BEYOND_ASCII: Final = frozenset("\x80")
"""Among the special characters of a text: it is not all ASCII."""


class Mechanism(Protocol):
    """What each module of `gateway.inspection.mechanisms` offers."""

    @property
    def SIGNS(self) -> Mapping[str, str]:  # noqa: N802 - a constant of the module
        """Sign name to one sentence: what the sign proves."""

    @property
    def CLASS(self) -> str:  # noqa: N802 - a constant of the module
        """The class of attack, as in findings."""

    def can_occur(self, specials: frozenset[str], lowered: str) -> bool:
        r"""Say cheaply whether anything may be found; most values of honest people end here.

        `specials` holds the ASCII characters of the text that are neither letters, digits nor space, and `\x80` for all
        that are not ASCII;
        `lowered` is what is ASCII in the text, in lower case.
        """

    def signs(self, text: str, position: Position) -> Iterable[Sign]:
        """Find the signs in one reading of a value, at most 64 KiB of text."""
