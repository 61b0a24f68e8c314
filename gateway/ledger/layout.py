"""Where the audit log's things are under `state_dir`. `audit/` holds only bytes that `verify` covers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

_FILE = re.compile(r"main-([0-9]{12})\.log")
UNFINISHED_SUFFIX = ".new"


class Layout(msgspec.Struct, frozen=True):
    """Paths of one gateway's audit log."""

    state_dir: Path

    @property
    def directory(self) -> Path:
        """The log files."""
        return self.state_dir / "audit"

    @property
    def checkpoint(self) -> Path:
        """The latest signed tree head, at most a second old: the last known size."""
        return self.state_dir / "checkpoint"

    @property
    def ballast(self) -> Path:
        """Space kept for the records of administrators when the disk is full."""
        return self.state_dir / "ballast"

    @property
    def lock(self) -> Path:
        """Held by the one writer."""
        return self.state_dir / "run" / "audit.lock"

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.state_dir / "run" / "audit.sock"

    def create(self) -> None:
        """Make the directories, 0700, owned by whoever owns `state_dir`. Raises `OSError`."""
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.directory, self.lock.parent):
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
                self.give(directory)

    def give(self, target: Path | int) -> None:
        """Hand a new file of root's to the owner of `state_dir`: the command line must not lock the daemon out."""
        if os.geteuid() == 0:
            status = self.state_dir.stat()
            os.chown(target, status.st_uid, status.st_gid)


def file_name(file_no: int) -> str:
    """Return the name of a log file."""
    return f"main-{file_no:012d}.log"


def file_number(name: str) -> int:
    """Return the number in the name of a log file, 0 when it is not one's name."""
    match = _FILE.fullmatch(name)
    return int(match[1]) if match else 0
