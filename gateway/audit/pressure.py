"""How short the disk of the log is, from what is free on it and how fast the log grows.

Decides a level only; who drops, ships, deletes or refuses because of it is not said here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

LARGE_DISK_BYTES: Final = 200 << 30
"""Shares are of the disk, but of no more than this: 5 % of a very large disk are no emergency."""
RELIEF: Final = 0.01
"""So much more than a mark must be free before its level is left: no level is entered and left again and again."""
WARN_S: Final = 86_400.0
"""Less than a day at the present rate is worth a warning, whatever share is free."""


class Level(IntEnum):
    """From plenty to nothing."""

    NORMAL = 0
    WARN = 1
    HIGH = 2
    CRITICAL = 3
    FULL = 4
    """Records are being refused for want of room."""


class Space(NamedTuple):
    """What a file system has, for us."""

    total_bytes: int
    free_bytes: int
    total_files: int
    """0 where the file system does not count them."""
    free_files: int


class Watermarks(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the disk; with less than that free, a level begins."""

    warn: float = 0.30
    high: float = 0.15
    critical: float = 0.05


def free_share(space: Space) -> float:
    """Return the share that is free, 0 to 1: of bytes or of files, whichever is less."""
    reference = min(space.total_bytes, LARGE_DISK_BYTES)
    share = min(1.0, space.free_bytes / reference) if reference else 0.0
    return min(share, space.free_files / space.total_files) if space.total_files else share


def judge(space: Space, marks: Watermarks, before: Level, *, bytes_per_s: float = 0.0) -> Level:
    """Return the level, given the one before; never FULL, which nobody knows before something was refused."""
    share = free_share(space)
    for level, mark in ((Level.CRITICAL, marks.critical), (Level.HIGH, marks.high), (Level.WARN, marks.warn)):
        if share < mark + (RELIEF if before >= level else 0.0):
            return level
    return Level.WARN if bytes_per_s > 0 and space.free_bytes / bytes_per_s < WARN_S else Level.NORMAL
