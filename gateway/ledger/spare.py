"""Small files that are replaced as a whole, on a full disk too: the file that is replaced leaves its blocks to the next.

Two files take turns under one name. Whoever reads must do it at once: what was replaced is written over by the
change after the next. It says nothing about what is in the files.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.ledger.disk import sync_directory
from gateway.ledger.layout import UNFINISHED_SUFFIX

SPARE_SUFFIX: Final = ".spare"


def replace_file(path: Path, data: bytes, *, previous: Path | None = None) -> None:
    """Put `data` in the place of a small file, which becomes `previous`; return when that is on stable storage.

    A file of root's goes to the owner of the directory. Raises `OSError`: then what was there still is.
    """
    spare = path.with_name(f".{path.name}{SPARE_SUFFIX}")
    leaving = path.with_name(f".{path.name}{UNFINISHED_SUFFIX}")
    _fill(spare, data)
    leaving.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        os.link(previous or path, leaving)
    if previous is not None:
        with suppress(FileNotFoundError):
            path.rename(previous)
    spare.rename(path)
    sync_directory(path.parent)
    with suppress(OSError):  # the change is made; the next one has room, or says that it has none
        if leaving.exists():
            leaving.rename(spare)
        else:
            _fill(spare, data)


def _fill(path: Path, data: bytes) -> None:
    """Write a file over from its beginning, within the blocks that it has as far as they go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.posix_fallocate(descriptor, 0, max(1, len(data)))
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], written)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
