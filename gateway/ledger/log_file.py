"""The file of a log that is written now: made whole under another name, watched, and ended once.

Decides how much room it takes, and whether it is still the one in the directory. What goes into it, and when that is safe,
is `log`'s to decide.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.filehead import NO_HASH
from gateway.exchange.stream import Stream
from gateway.ledger.disk import Disk, sync_directory
from gateway.ledger.layout import UNFINISHED_SUFFIX, Layout, file_name

FILE_BYTES = 128 << 20
"""Room for `chunk.FILE_ENTRIES` records of the usual length, each in a frame of its own."""
FREE_SHARE = 8
"""A file takes at most one part in so many of what is free, so that small disks have room for several."""
SMALL_FILE_BYTES = 1 << 20
"""For a file that one command line verb makes, or that is made out of the ballast."""
_OTHERS = 0o077


class Ended(msgspec.Struct, frozen=True):
    """How the file before the next one ended."""

    path: Path | None
    file_no: int
    tail: int
    discarded: int = 0
    discarded_sha256: bytes = NO_HASH


class LogFile(msgspec.Struct, kw_only=True):
    """The file that is written now."""

    path: Path
    fd: int
    file_no: int
    capacity: int
    aead: AESGCM
    key_id: bytes
    offset: int
    first_index: int
    inode: tuple[int, int]
    is_reserved: bool = False

    def is_intact(self) -> bool:
        """Tell whether it is still the one in the directory, whole (attack: rm, mv, truncate, chmod)."""
        try:
            held = os.fstat(self.fd)
            named = self.path.lstat()
        except OSError:
            return False
        return (
            held.st_nlink == 1
            and (named.st_dev, named.st_ino) == self.inode
            and held.st_size == self.capacity
            and not held.st_mode & _OTHERS
        )

    def end(self, tail: int) -> None:
        """Cut off what follows `tail` and let it go."""
        with suppress(OSError):  # what stays is zeros, which verification accepts
            os.ftruncate(self.fd, tail)
        os.close(self.fd)


def usual_capacity(most: int, free: int) -> int:
    """Return how large an ordinary file may be. Raises `OSError`: the last of a disk is not for ordinary records."""
    capacity = min(most, max(SMALL_FILE_BYTES, free // FREE_SHARE))
    if free < 2 * capacity:  # what was taken out of the ballast and is not used yet
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return capacity


def place_file(
    layout: Layout,
    stream: Stream,
    disk: Disk,
    head: bytes,
    *,
    file_no: int,
    first_index: int,
    capacity: int,
    aead: AESGCM,
    key_id: bytes,
) -> LogFile:
    """Make a file that begins with `head`, under another name until it is whole and on stable storage. Raises `OSError`."""
    path = layout.directory / file_name(stream, file_no)
    unfinished = path.with_name(path.name + UNFINISHED_SUFFIX)
    if path.exists():
        raise FileExistsError(errno.EEXIST, "a log file of this number exists", path.name)
    fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        layout.give(fd)
        disk.allocate(fd, capacity)
        disk.write(fd, head, 0)
        os.fsync(fd)
        unfinished.rename(path)
        sync_directory(layout.directory)
        status = os.fstat(fd)
    except BaseException:
        os.close(fd)
        unfinished.unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # the file before it goes on: a successor would say that it ended here
        raise
    return LogFile(
        path=path,
        fd=fd,
        file_no=file_no,
        capacity=capacity,
        aead=aead,
        key_id=key_id,
        offset=len(head),
        first_index=first_index,
        inode=(status.st_dev, status.st_ino),
    )
