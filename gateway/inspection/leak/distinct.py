"""How many different things somebody took lately: counted in bounded memory, never too few by more than chance allows.

Of each person there are six bitmaps of a fifth of the period each, of which all that are not too old are read together: what is
counted happened within the period, or at most a fifth longer ago. A thing sets one bit, and how many bits are still clear says
how many things there were (linear counting: Whang, Vander-Zanden, Taylor, 1990): the standard error is below two in a hundred
up to 20,000. Which bit is a keyed digest's: no ids are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

PANES: Final = 6
BITS: Final = 8_192
MOST: Final = 20_000
"""Things of one person that can be told apart from more."""
WAYS: Final = 8
_PANE_BYTES: Final = BITS // 8
_WORDS: Final = 2 + PANES
"""Key, when it was last used, and of each pane in which fraction of time it was begun."""
_HEAD_BYTES: Final = 8 * _WORDS
SLOT_BYTES: Final = _HEAD_BYTES + PANES * _PANE_BYTES
_FIFTHS: Final = PANES - 1


class DistinctTable:
    """Counts for as many people as the memory has slots; who was not seen for the longest gives way.

    `memory` is zeroed at first and may be shared; whoever shares it keeps others out of a set (`set_of`) while using it.
    """

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._sets = len(memory) // (SLOT_BYTES * WAYS)
        if self._sets < 1:
            raise ValueError("too little memory for one set")

    def set_of(self, key: int) -> int:
        """Return the number of the set in which a key is counted."""
        return key % self._sets

    def count(self, key: int, things: Iterable[int], *, period_s: float, now: float, most: int) -> tuple[int, int]:
        """Count things (64-bit digests) for a key, unless there would be more than `most`.

        Returns how many there were, and how many there are, or would be: then none of the new ones was counted.
        """
        pane = int(now / (period_s / _FIFTHS))
        start = self._slot(key, int(now))
        head = self._memory[start : start + _HEAD_BYTES].cast("Q")
        here = start + _HEAD_BYTES + pane % PANES * _PANE_BYTES
        before = 0
        for index in range(PANES):
            begun = head[2 + index]
            at = start + _HEAD_BYTES + index * _PANE_BYTES
            if pane - _FIFTHS <= begun <= pane and begun:
                before |= int.from_bytes(self._memory[at : at + _PANE_BYTES], "little")
        fresh = 0
        for thing in things:
            fresh |= 1 << (thing % BITS)
        known, after = _estimate(before), _estimate(before | fresh)
        if after <= most or after == known:
            current = head[2 + pane % PANES]
            bits = int.from_bytes(self._memory[here : here + _PANE_BYTES], "little") if current == pane else 0
            head[2 + pane % PANES] = pane
            self._memory[here : here + _PANE_BYTES] = (bits | fresh).to_bytes(_PANE_BYTES, "little")
        head.release()
        return known, after

    def release(self) -> None:
        """Let the memory go."""
        self._memory.release()

    def _slot(self, key: int, now: int) -> int:
        """Return where a key is counted; it takes the place of whoever was not seen for the longest."""
        base = self.set_of(key) * WAYS * SLOT_BYTES
        oldest, oldest_seen = base, -1
        for at in range(base, base + WAYS * SLOT_BYTES, SLOT_BYTES):
            head = self._memory[at : at + _HEAD_BYTES].cast("Q")
            found, seen = head[0], head[1]
            if found == key:
                head[1] = now
            head.release()
            if found == key:
                return at
            if oldest_seen < 0 or seen < oldest_seen:
                oldest, oldest_seen = at, seen
        head = self._memory[oldest : oldest + _HEAD_BYTES].cast("Q")
        head[0], head[1] = key, now
        for index in range(PANES):
            head[2 + index] = 0
        head.release()
        return oldest


def _estimate(bits: int) -> int:
    """Say how many things set these bits."""
    clear = BITS - bits.bit_count()
    return round(-BITS * math.log(max(clear, 1) / BITS))
