"""Where an upload waits for its verdict: in memory while it is small, then in a file that has no name.

The file is sealed under a key that is in this process alone and made for it, and the kernel removes it with the last
descriptor: after a crash nothing is there, and nothing that could be read. Whoever copies the disk meanwhile has noise.
What is kept free is for the audit log and the state, which share the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.quarantine.errors import SpoolError
from gateway.quarantine.pieces import KEY_BYTES, PIECE_BYTES, SEALED_BYTES, BrokenPieceError, Sealing

IN_MEMORY_BYTES: Final = 256 * 1024
KEPT_FREE_BYTES: Final = 64 << 20
_ASKED_EVERY_BYTES: Final = 4 << 20
_SUFFIX: Final = ".spool"


class Spool:
    """The rooms of one process. `directory` is its owner's alone and made when it is missing."""

    def __init__(
        self,
        directory: Path,
        *,
        kept_free: int = KEPT_FREE_BYTES,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._directory, self._kept_free, self._random = directory, kept_free, random
        self.on_disk = 0
        """Bytes of uploads in files."""
        self.rooms = 0
        """Uploads that wait."""

    def sweep(self) -> None:
        """Make the directory, and remove what an older kernel left there by name. Raises `SpoolError`."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            for left in self._directory.glob(f"*{_SUFFIX}"):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise SpoolError(f"{self._directory}: cannot be used: {error.strerror}") from error

    def room(self) -> SealedRoom:
        """Make a room for one upload."""
        return SealedRoom(self)

    def open_file(self) -> tuple[int, Sealing]:
        """Open a file without a name, with a key of its own. Raises `SpoolError`."""
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            try:
                descriptor = os.open(self._directory, flags | os.O_TMPFILE, 0o600)
            except OSError:  # a file system that cannot do that
                name = self._directory / f"{self._random(16).hex()}{_SUFFIX}"
                descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                name.unlink()
        except OSError as error:
            raise SpoolError(f"{self._directory}: an upload cannot be kept: {error.strerror}") from error
        return descriptor, Sealing(self._random(KEY_BYTES))

    def require_space(self, descriptor: int) -> None:
        """Leave room for others. Raises `SpoolError`."""
        found = os.fstatvfs(descriptor)
        if found.f_bavail * found.f_frsize < self._kept_free:
            raise SpoolError(f"{self._directory}: the disk is nearly full; what is left is for the audit log")


class SealedRoom:
    """One upload. Appended to in one thread, read in another once it is whole."""

    __slots__ = (
        "_at",
        "_descriptor",
        "_failed",
        "_is_closed",
        "_kept",
        "_sealing",
        "_size",
        "_spool",
        "_tail",
        "_unasked",
    )

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._tail = bytearray()
        """What is not in the file yet."""
        self._descriptor = -1
        self._sealing: Sealing | None = None
        self._size = self._unasked = 0
        self._at = -1
        """Number of the piece that was opened last."""
        self._kept = b""
        self._is_closed = self._failed = False
        spool.rooms += 1

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._size

    def append(self, data: bytes) -> None:
        """Add bytes at the end. Raises `SpoolError`, and from then on always."""
        if self._is_closed or self._failed:
            raise SpoolError("an upload that was given up takes nothing more")
        self._tail += data
        self._size += len(data)
        if self._sealing is None and self._size <= IN_MEMORY_BYTES:
            return
        try:
            self._write()
        except SpoolError:
            self._failed = True
            raise

    def _write(self) -> None:
        if self._sealing is None:
            self._descriptor, self._sealing = self._spool.open_file()
            self._spool.require_space(self._descriptor)
        whole = len(self._tail) // PIECE_BYTES
        first = (self._size - len(self._tail)) // PIECE_BYTES
        for number in range(whole):
            sealed = self._sealing.seal(
                first + number, bytes(self._tail[number * PIECE_BYTES : (number + 1) * PIECE_BYTES])
            )
            self._unasked += SEALED_BYTES
            if self._unasked > _ASKED_EVERY_BYTES:
                self._spool.require_space(self._descriptor)
                self._unasked = 0
            try:
                written = os.pwrite(self._descriptor, sealed, (first + number) * SEALED_BYTES)
            except OSError as error:
                raise SpoolError(f"an upload cannot be kept: {error.strerror}") from error
            if written != len(sealed):
                raise SpoolError("an upload cannot be kept: the disk is full")
            self._spool.on_disk += SEALED_BYTES
        del self._tail[: whole * PIECE_BYTES]

    def read(self, at: int, length: int) -> bytes:
        """Return the bytes from `at`, fewer where it ends. Raises `SpoolError`."""
        end = min(at + length, self._size)
        if at >= end:
            return b""
        in_file = self._size - len(self._tail)
        found = []
        while at < min(end, in_file):
            number, within = divmod(at, PIECE_BYTES)
            piece = self._piece(number)[within : within + end - at]
            found.append(piece)
            at += len(piece)
        if at < end:
            found.append(bytes(self._tail[at - in_file : end - in_file]))
        return found[0] if len(found) == 1 else b"".join(found)

    def _piece(self, number: int) -> bytes:
        if number != self._at:
            sealing = self._sealing
            if sealing is None:
                raise SpoolError("an upload was given up")
            try:
                self._kept = sealing.open(number, os.pread(self._descriptor, SEALED_BYTES, number * SEALED_BYTES))
            except (OSError, BrokenPieceError) as error:
                raise SpoolError(
                    "an upload cannot be read back: its file was changed, or the disk is broken"
                ) from error
            self._at = number
        return self._kept

    def close(self) -> None:
        """Forget everything; again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._spool.rooms -= 1
        if self._descriptor >= 0:
            self._spool.on_disk -= (self._size - len(self._tail)) // PIECE_BYTES * SEALED_BYTES
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
        self._sealing = None
        self._tail.clear()
        self._kept, self._at, self._size = b"", -1, 0
