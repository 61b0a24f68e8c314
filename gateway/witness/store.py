"""What a witness saw last of each log, on disk before it answers.

One file for each log: the checkpoint with the log's signature and the witness's own. Whoever can put
an older file back makes the witness forget; that is why it runs on another machine than the log.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from gateway.audit.checkpoint import Checkpoint, CheckpointError, parse_checkpoint, split_note
from gateway.audit.cosignature import WitnessKey, cosignatures
from gateway.audit.witness import Seen, origin_hash
from gateway.exchange.errors import GatewayError

_SUFFIX: Final = ".checkpoint"
_LOCK: Final = "lock"
_MODE: Final = 0o600


class WitnessStateError(GatewayError):
    """The state of a witness cannot be read, written or believed."""


class Kept(msgspec.Struct, frozen=True):
    """The last checkpoint that was cosigned of a log."""

    checkpoint: Checkpoint
    note: bytes
    """With the signatures of the log and of this witness."""
    time_s: int
    """When it was cosigned."""

    @property
    def seen(self) -> Seen:
        """What the next one has to continue."""
        return Seen(self.checkpoint.size, self.checkpoint.root)


class WitnessStore:
    """A directory that belongs to one running witness."""

    def __init__(self, directory: Path, key: WitnessKey) -> None:
        self.directory = directory
        self._key = key
        self._lock = -1

    def open(self) -> dict[str, Kept]:
        """Take the directory and return what is in it by origin. Raises `WitnessStateError`."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self.close()
            raise WitnessStateError(f"{self.directory}: another witness runs on this state") from exc
        except OSError as exc:
            self.close()
            raise WitnessStateError(f"{self.directory}: cannot be used: {os.strerror(exc.errno or 0).lower()}") from exc
        try:
            return self.read()
        except WitnessStateError:
            self.close()
            raise

    def read(self) -> dict[str, Kept]:
        """Return what is in the directory by origin, without taking it. Raises `WitnessStateError`."""
        kept: dict[str, Kept] = {}
        try:
            for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
                found = self._parse(path, path.read_bytes())
                kept[found.checkpoint.origin] = found
        except OSError as exc:
            raise WitnessStateError(
                f"{exc.filename or self.directory}: cannot be read: {os.strerror(exc.errno or 0).lower()}"
            ) from exc
        return kept

    def keep(self, kept: Kept) -> None:
        """Replace what was kept of a log; on stable storage when this returns. Raises `OSError`."""
        path = self.directory / f"{origin_hash(kept.checkpoint.origin)}{_SUFFIX}"
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(kept.note)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Let the directory go."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _parse(self, path: Path, data: bytes) -> Kept:
        """Believe nothing that this witness did not sign itself (attack: an old or another size in the file)."""
        try:
            checkpoint = parse_checkpoint(split_note(data)[0])
            found = cosignatures(data, [self._key])
        except CheckpointError as exc:
            raise WitnessStateError(
                f"{path}: {exc}; restore it, or ask the log's operator what was cosigned last"
            ) from exc
        if not found or path.name != f"{origin_hash(checkpoint.origin)}{_SUFFIX}":
            raise WitnessStateError(f"{path}: was not written by the witness {self._key.name} with this key")
        return Kept(checkpoint, data, found[0].time_s)
