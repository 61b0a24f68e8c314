"""How far the run is: one line that rewrites itself on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

QUIET_S = 10.0


class Progress:
    """Counts planned seconds of work, so that what is left can be told from how long the past has taken."""

    def __init__(self, planned_s: float) -> None:
        self._planned_s = max(planned_s, 1.0)
        self._done_s = 0.0
        self._started = time.monotonic()
        self._said = 0.0
        self._live = sys.stderr.isatty()

    def show(self, doing: str) -> None:
        """Say what is being done now."""
        now = time.monotonic()
        if not self._live and now - self._said < QUIET_S:
            return
        self._said = now
        share = min(0.99, self._done_s / self._planned_s)
        elapsed = now - self._started
        left = elapsed / share - elapsed if share > 0.02 else self._planned_s
        line = f"[{share:4.0%}] {doing} · {clock(elapsed)} gone, about {clock(left)} left"
        sys.stderr.write(f"\r\x1b[K{line[:120]}" if self._live else line + "\n")
        sys.stderr.flush()

    def advance(self, seconds: float) -> None:
        """Count `seconds` of the plan as done."""
        self._done_s += seconds

    def say(self, text: str) -> None:
        """Print a line that stays."""
        sys.stderr.write(("\r\x1b[K" if self._live else "") + text + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def clock(seconds: float) -> str:
    """Write a length of time as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
