"""Whose files they are when an operator runs a verb as root: the gateway's user's, never root's."""

from __future__ import annotations

import os
from pathlib import Path


def hand_over(descriptor: int, like: Path) -> None:
    """As root, give an open file to the owner of `like`, so that the gateway can still read what root wrote."""
    if os.geteuid() == 0:
        status = like.stat()
        os.fchown(descriptor, status.st_uid, status.st_gid)


def make_directory(path: Path) -> None:
    """Make a directory that only its owner enters, with its parents; as root it belongs to the owner of what was there."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        status = path.parent.stat()
        os.chown(path, status.st_uid, status.st_gid)
