"""Watches the disk of the log: its level, and how fast the log fills it.

Says when a level begins or ends; it frees nothing and refuses nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from gateway.audit.pressure import Level, Space, Watermarks, free_share, judge

SAMPLE_S: Final = 60.0
SAMPLES: Final = 60
LEAST_SAMPLES: Final = 10
"""Fewer minutes than these say nothing about a day."""


class DiskWatch:
    """Asked once a second."""

    def __init__(self, marks: Watermarks) -> None:
        self.level = Level.NORMAL
        self._marks = marks
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        """Time and bytes written so far, one a minute."""

    def look(self, space: Space, *, written_bytes: int, now: float, is_full: bool) -> dict[str, Any] | None:
        """Find the level. Returns what to say when it is another than before, else None."""
        if not self._samples or now - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now, written_bytes))
        before = self.level
        rate = self._bytes_per_s(written_bytes, now)
        self.level = Level.FULL if is_full else judge(space, self._marks, before, bytes_per_s=rate)
        if self.level is before:
            return None
        return {
            "before": before.name.lower(),
            "bytes_per_second": int(rate),
            "free_bytes": space.free_bytes,
            "free_permille": int(free_share(space) * 1000),
            "level": self.level.name.lower(),
            "total_bytes": space.total_bytes,
        }

    def _bytes_per_s(self, written_bytes: int, now: float) -> float:
        if len(self._samples) < LEAST_SAMPLES:
            return 0.0
        then, bytes_then = self._samples[0]
        return (written_bytes - bytes_then) / (now - then)
