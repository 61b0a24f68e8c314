"""The published checkpoint of a stream's log: a signed note in a file of its own, replaced as a whole."""

from __future__ import annotations

import os

from gateway.exchange.stream import Stream
from gateway.ledger.disk import Disk
from gateway.ledger.layout import UNFINISHED_SUFFIX, Layout


def read_checkpoint(layout: Layout, stream: Stream) -> bytes:
    """Return the note; empty when there is none. Raises `OSError`."""
    try:
        return layout.checkpoint(stream).read_bytes()
    except FileNotFoundError:
        return b""


def write_checkpoint(layout: Layout, stream: Stream, disk: Disk, note: bytes) -> None:
    """Replace the note. Raises `OSError`: then the old one is there, or the new one."""
    path = layout.checkpoint(stream)
    unfinished = path.with_name("." + path.name + UNFINISHED_SUFFIX)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        layout.give(fd)
        disk.write(fd, note, 0)
        disk.sync(fd)
    finally:
        os.close(fd)
    unfinished.rename(path)
