"""What the HTTP/2 connections of one worker have in common: what lines become, and when something was last reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.wire.hpack_encoder import KnownLines
from gateway.wire.http2_frames import ErrorCode

WARN_EVERY_S: Final = 60.0


class Http2Shared:
    """Of one worker."""

    def __init__(self, report: Callable[[str, str], None]) -> None:
        self.lines = KnownLines()
        self._report = report
        self._warn_at = 0.0
        self._untold = 0

    def warn(self, now: float, code: ErrorCode, sentence: str) -> None:
        """Report a connection that ended because of its client, once a minute; which client is in no log."""
        if now < self._warn_at:
            self._untold += 1
            return
        self._warn_at = now + WARN_EVERY_S
        others = f"; {self._untold} more since the last report" if self._untold else ""
        self._untold = 0
        self._report("http2.ended", f"{code.name}: {sentence}{others}")
