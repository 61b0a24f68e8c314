"""Room that is kept for when the disk is full: a file that gives up as much as a small log file needs.

Who may use that room is the daemon's to decide.
"""

from __future__ import annotations

import os
from contextlib import suppress

from gateway.ledger.disk import Disk
from gateway.ledger.layout import Layout

BALLAST_BYTES = 16 << 20


def keep_ballast(layout: Layout, disk: Disk, size: int) -> int:
    """Fill the ballast up to `size` where there is room; return what it has."""
    try:
        fd = os.open(layout.ballast, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return 0
    try:
        layout.give(fd)
        if os.fstat(fd).st_size < size:
            with suppress(OSError):
                if disk.space(layout.directory).free_bytes > 2 * size:
                    os.posix_fallocate(fd, 0, size)
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def take_from_ballast(layout: Layout, size: int) -> bool:
    """Give up room for a file of `size` bytes, twice over; False when there is not as much. Raises `OSError`."""
    kept = layout.ballast.stat().st_size
    if kept < 2 * size:
        return False
    os.truncate(layout.ballast, kept - 2 * size)
    return True
