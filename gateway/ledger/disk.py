"""What the log asks of the operating system's files, and nothing else: the seam for faults in tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from gateway.audit.pressure import Space


class Disk(Protocol):
    """Raises `OSError` from every method. A sync that failed says nothing about later ones (it may lie)."""

    def allocate(self, fd: int, size: int) -> None:
        """Give the file `size` bytes that later writes cannot fail for lack of space."""
        ...

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        ...

    def sync(self, fd: int) -> None:
        """Return when what was written is on stable storage."""
        ...

    def space(self, path: Path) -> Space:
        """Return what is left for us on the file system of `path`."""
        ...


class LocalDisk:
    """The kernel's files."""

    def allocate(self, fd: int, size: int) -> None:
        """posix_fallocate."""
        os.posix_fallocate(fd, 0, size)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Pwrite until everything is taken."""
        written = os.pwrite(fd, data, offset)
        while written < len(data):
            written += os.pwrite(fd, memoryview(data)[written:], offset + written)

    def sync(self, fd: int) -> None:
        """Fdatasync: the size was fixed when the file was made."""
        os.fdatasync(fd)

    def space(self, path: Path) -> Space:
        """Statvfs, without what is kept for root."""
        status = os.statvfs(path)
        return Space(
            status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize, status.f_files, status.f_favail
        )


def sync_directory(directory: Path) -> None:
    """Make names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
