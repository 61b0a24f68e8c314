"""Where the audit log's things are under `state_dir`. `audit/` holds only bytes that `verify` covers."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.exchange.stream import Stream

_FILE = re.compile(r"(security|access|traffic)-([0-9]{12})\.(log|seg)")
UNFINISHED_SUFFIX = ".new"
_LOOKS = 10


class FileName(NamedTuple):
    """What the name of a file of the log says."""

    stream: Stream
    number: int
    """1 for the first file of a stream; a log file and the segment it became have the same."""
    is_sealed: bool


class Layout(msgspec.Struct, frozen=True):
    """Paths of one gateway's audit log."""

    state_dir: Path

    @property
    def directory(self) -> Path:
        """The log files and segments of every stream."""
        return self.state_dir / "audit"

    @property
    def checkpoints(self) -> Path:
        """The directory of the latest signed tree heads."""
        return self.state_dir / "checkpoints"

    def checkpoint(self, stream: Stream) -> Path:
        """Return the path of the latest signed tree head of a stream, at most a second old: its last known size."""
        return self.checkpoints / stream

    def cosigned(self, stream: Stream) -> Path:
        """Return the path of the latest tree head of a stream that the quorum of witnesses has cosigned."""
        return self.state_dir / "cosigned" / stream

    @property
    def ballast(self) -> Path:
        """Space kept for the records of administrators when the disk is full."""
        return self.state_dir / "ballast"

    @property
    def run(self) -> Path:
        """What lives as long as the processes."""
        return self.state_dir / "run"

    def lock(self, stream: Stream) -> Path:
        """Return the path of what the one writer of a stream holds."""
        return self.run / f"audit-{stream}.lock"

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.run / "audit.sock"

    @property
    def tiles(self) -> Path:
        """Hashes of the trees, for proofs: `tiles/<stream>/tile/…`; made again from the log where they are lost."""
        return self.state_dir / "tiles"

    @property
    def custody(self) -> Path:
        """What the custodian remembers."""
        return self.state_dir / "custody"

    @property
    def custody_lock(self) -> Path:
        """Held by the one custodian."""
        return self.run / "custody.lock"

    @property
    def holds(self) -> Path:
        """The legal holds."""
        return self.state_dir / "holds.json"

    def create(self) -> None:
        """Make the directories, 0700, owned by whoever owns `state_dir`. Raises `OSError`."""
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.directory, self.checkpoints, self.run):
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
                self.give(directory)

    def give(self, target: Path | int) -> None:
        """Hand a new file of root's to the owner of `state_dir`: the command line must not lock the daemon out."""
        if os.geteuid() == 0:
            status = self.state_dir.stat()
            os.chown(target, status.st_uid, status.st_gid)


def file_name(stream: Stream, number: int) -> str:
    """Return the name of a log file."""
    return f"{stream}-{number:012d}.log"


def segment_name(stream: Stream, number: int) -> str:
    """Return the name of the segment that a log file becomes."""
    return f"{stream}-{number:012d}.seg"


def parse_name(name: str) -> FileName | None:
    """Read the name of a log file or segment; None when it is neither's."""
    match = _FILE.fullmatch(name)
    if match is None or not int(match[2]):
        return None
    return FileName(Stream(match[1]), int(match[2]), match[3] == "seg")


def names_in(directory: Path) -> list[str]:
    """Return what is in a directory in which files are sealed and removed: what two looks one after the other agree on.

    One look takes a large directory in parts; what is renamed in between may be in none of them, and would be missed.
    Raises `OSError`.
    """
    names = sorted(os.listdir(directory))  # noqa: PTH208 - names alone, of thousands of files each second
    for _ in range(_LOOKS):
        again = sorted(os.listdir(directory))  # noqa: PTH208
        if again == names:
            break
        names = again
    return names
