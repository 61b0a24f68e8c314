"""What a client of HTTP/2 may cost beyond the requests that it makes (RFC 9113 §10.5).

Two allowances, refilled by time and by work that was done: for frames that bring nothing forward, and for
streams that end in vain. Whoever exceeds one has to calm down; why it spends is not judged here.
"""

from __future__ import annotations

from typing import Final

from gateway.wire.http2_frames import ErrorCode, Http2Error

FRAMES: Final = 2000.0
"""Frames that bring nothing forward: how many at once, and a second (CVE-2019-9511 to 9518)."""
FRAMES_PER_S: Final = 500.0
FRAMES_PER_DATA: Final = 4.0
"""For each frame of an answer: the client opens its windows again."""
EARNING_DATA_BYTES: Final = 1024
"""A frame of an answer that is smaller earns nothing: its size was the client's choice."""
STREAMS_PER_OPEN: Final = 2.0
"""Streams that end in vain: twice as many at once as may be open, and so many a second (CVE-2023-44487, CVE-2025-8671)."""
STREAMS_PER_S: Final = 10.0
STREAMS_PER_ANSWER: Final = 0.5
"""And one for every two that were answered to the end."""


class Allowance:
    """Of one connection."""

    __slots__ = ("_frames", "_most_streams", "_seen_at", "_streams")

    def __init__(self, max_streams: int, now: float) -> None:
        self._frames = FRAMES
        self._streams = self._most_streams = STREAMS_PER_OPEN * max_streams
        self._seen_at = now

    def refill(self, now: float) -> None:
        """Time passed."""
        passed, self._seen_at = now - self._seen_at, now
        self._frames = min(FRAMES, self._frames + passed * FRAMES_PER_S)
        self._streams = min(self._most_streams, self._streams + passed * STREAMS_PER_S)

    def spend(self, frames: int = 1) -> None:
        """Charge for what brings nothing forward. Raises Http2Error."""
        self._frames -= frames
        if self._frames < 0:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that bring nothing forward")

    def spend_stream(self) -> None:
        """Charge for a stream that ended in vain. Raises Http2Error."""
        self._streams -= 1
        if self._streams < 0:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many streams that end in vain")

    def sent(self, size: int) -> None:
        """A frame of an answer went out."""
        if size >= EARNING_DATA_BYTES:
            self._frames += FRAMES_PER_DATA

    def answered(self) -> None:
        """A stream was answered to its end."""
        self._streams += STREAMS_PER_ANSWER
