"""The streams of the audit log: each is a Merkle log of its own, kept for as long as its records are worth.

What belongs together is in one stream, so that one stream answers a question: who got in and who
decides (`security`), who saw or changed which data (`access`), and everything else that was asked for
(`traffic`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Stream(StrEnum):
    """One log of a node."""

    SECURITY = "security"
    """Sign-in and accounts, administration, the life of gateway and log, refusals for want of identity or permission."""
    ACCESS = "access"
    """Allowed requests of routes that ask for somebody: who saw or changed which data."""
    TRAFFIC = "traffic"
    """Public routes, and refusals that say nothing about anybody."""


STREAMS: Final = tuple(Stream)
STREAM_NUMBERS: Final = {Stream.SECURITY: 1, Stream.ACCESS: 2, Stream.TRAFFIC: 3}
"""The byte that stands for a stream in an entry and in the frames of producers."""
STREAMS_BY_NUMBER: Final = {number: stream for stream, number in STREAM_NUMBERS.items()}
