"""How the tests look through a text: whole, or cut into pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.inspection.leak.pattern import Pattern
from gateway.inspection.leak.scanner import Scanner
from gateway.inspection.leak.sighting import Action, Kind
from gateway.inspection.leak.text_form import of_content_type

KEY = b"k" * 32
MASK_ALL: Mapping[str, Action] = {kind.value: Action.MASK for kind in Kind}


def scanner(
    content_type: bytes = b"text/plain",
    actions: Mapping[str, Action] = MASK_ALL,
    patterns: tuple[Pattern, ...] = (),
) -> Scanner:
    form = of_content_type(content_type)
    assert form is not None
    return Scanner(form, actions, key=KEY, patterns=patterns)


def masked(text: bytes, content_type: bytes = b"text/plain", kind: Kind | None = None) -> bytes:
    """Mask everything, or one kind alone."""
    actions = MASK_ALL if kind is None else {kind.value: Action.MASK}
    looking = scanner(content_type, actions)
    return looking.feed(text) + looking.finish()


def sighted(text: bytes, content_type: bytes = b"text/plain") -> dict[str, int]:
    looking = scanner(content_type)
    looking.feed(text)
    looking.finish()
    return {kind: tally.count for kind, tally in looking.report.tallies.items()}


def in_pieces(looking: Scanner, text: bytes, cuts: Sequence[int]) -> tuple[bytes, int]:
    """Feed a text in pieces of these lengths, and the rest. Returns what came out, and the most that was held back."""
    out = b""
    at = held = 0
    for cut in cuts:
        out += looking.feed(text[at : at + cut])
        held = max(held, looking.held)
        at += cut
    out += looking.feed(text[at:])
    held = max(held, looking.held)
    return out + looking.finish(), held
