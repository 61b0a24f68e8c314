"""Notices that somebody set the clock: wall time against the time that only runs.

Nothing is refused because of a clock, and no order depends on one; that it was changed is said.
"""

from __future__ import annotations

from typing import Final

JUMP_NS: Final = 1_000_000_000
"""Less is the work of a time daemon that slews."""


class Clock:
    """Compares two clocks each time it is asked."""

    def __init__(self, wall_ns: int, monotonic_s: float) -> None:
        self._offset_ns = wall_ns - int(monotonic_s * 1e9)
        self._start_ns = self._offset_ns

    def jump_ns(self, wall_ns: int, monotonic_s: float) -> int:
        """Return by how much the wall clock was set since the last call, 0 when it was not."""
        offset = wall_ns - int(monotonic_s * 1e9)
        jump = offset - self._offset_ns
        self._offset_ns = offset
        return jump if abs(jump) >= JUMP_NS else 0

    @property
    def offset_s(self) -> float:
        """How far the wall clock was set since the start, in all."""
        return (self._offset_ns - self._start_ns) / 1e9
