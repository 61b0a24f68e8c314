"""Records as lines of a file, or on standard output.

A batch is one write and one fsync. The file may be moved away or removed between two batches, as logrotate does:
the next one goes into a new file of the same name. A line that a crash left unfinished is cut off when the file
is opened again; its record comes once more. Standard output acknowledges nothing.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from gateway.audit.delivery import Batch
from gateway.custody.sinks.sink import Fault, NotDeliveredError
from gateway.custody.sinks.thread import SinkThreads
from gateway.ledger.disk import sync_directory

STDOUT: Final = 1
_TAIL_BYTES: Final = 256 * 1024
"""More than any line."""
_ATOMIC_BYTES: Final = select.PIPE_BUF
_WAIT_S: Final = 5.0


class FileSink:
    """Appends to one file. One batch at a time, whatever stream it is of."""

    def __init__(self, path: Path, *, mode: int = 0o600) -> None:
        self._path = path
        self._mode = mode
        self._descriptor = -1
        self._turn = asyncio.Lock()
        self._threads = SinkThreads("sink-file", 1)

    async def deliver(self, batch: Batch) -> None:
        """Append a batch. Raises NotDeliveredError."""
        async with self._turn:
            await self._threads(partial(self._append, batch.body()))

    async def probe(self) -> None:
        """Find out whether the file can be written. It is not made: who asks may be another user. Raises NotDeliveredError."""
        async with self._turn:
            await self._threads(self._look)

    async def close(self) -> None:
        """Close the file, unless a write hangs in it."""
        with suppress(NotDeliveredError):
            await self._threads(self._let_go)

    def _append(self, body: bytes) -> None:
        self._open()
        try:
            end = os.lseek(self._descriptor, 0, os.SEEK_END)
            try:
                _write(self._descriptor, body)
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, end)  # half a batch would be half a line
                raise
        except OSError as exc:
            self._let_go()
            raise NotDeliveredError(Fault.DISK, f"{self._path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def _look(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                _require_file(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            if not os.access(self._path.parent, os.W_OK | os.X_OK):
                raise NotDeliveredError(
                    Fault.DISK, f"{self._path.parent} is not a directory that can be written"
                ) from None
        except OSError as exc:
            raise NotDeliveredError(Fault.DISK, f"{self._path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def _open(self) -> None:
        try:
            if self._descriptor >= 0:
                if _is_same(self._descriptor, self._path):
                    return
                self._let_go()
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags, self._mode)
            _require_file(self._descriptor)
            _cut_torn_line(self._descriptor)
            sync_directory(self._path.parent)
        except OSError as exc:
            self._let_go()
            raise NotDeliveredError(Fault.DISK, f"{self._path}: {os.strerror(exc.errno or 0).lower()}") from exc
        except NotDeliveredError:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class StandardOutputSink:
    """Writes to standard output, in pieces that never block: whoever reads it may stop."""

    def __init__(self, descriptor: int = STDOUT) -> None:
        self._descriptor = descriptor
        self._turn = asyncio.Lock()
        self._threads = SinkThreads("sink-stdout", 1)
        self._rest = b""
        """Of a line that was begun: it must end before another begins."""
        self._is_within_line = False

    async def deliver(self, batch: Batch) -> None:
        """Write a batch. Raises NotDeliveredError."""
        async with self._turn:
            await self._threads(partial(self._write, batch.body()))

    async def probe(self) -> None:
        """Find out whether anybody takes what is written. Raises NotDeliveredError."""
        async with self._turn:
            await self._threads(partial(self._write, b""))

    async def close(self) -> None:
        """Leave standard output open: it is the process's."""

    def _write(self, body: bytes) -> None:
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLOUT)
        rest = self._rest + body
        try:
            while rest:
                if not waiting.poll(_WAIT_S * 1000):
                    raise NotDeliveredError(Fault.TIMED_OUT, "nobody reads standard output")
                written = os.write(self._descriptor, rest[:_ATOMIC_BYTES])
                self._is_within_line = rest[written - 1 : written] != b"\n"
                rest = rest[written:]
        except OSError as exc:
            raise NotDeliveredError(Fault.DISK, f"standard output: {os.strerror(exc.errno or 0).lower()}") from exc
        finally:
            self._rest = rest[: rest.find(b"\n") + 1] if self._is_within_line else b""


def unwritable_because(path: Path) -> str:
    """Return why this process could not write a file, in words; empty where it could, as far as that shows beforehand."""
    directory = path.parent
    try:
        if not directory.is_dir():
            there = "is no directory" if directory.exists() else "is not there"
            return f"the directory {directory} {there}; make it, then restart the gateway"
        if not os.access(directory, os.W_OK | os.X_OK):
            return f"the directory {directory} cannot be written by the user id {os.geteuid()}"
        if path.exists() and not path.is_file():
            return f"{path} is something else than a file"
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            return f"{path} cannot be written by the user id {os.geteuid()}"
    except OSError as exc:
        return f"{exc.filename or path}: {os.strerror(exc.errno or 0).lower()}"
    return ""


def _write(descriptor: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(descriptor, view) :]


def _require_file(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise NotDeliveredError(Fault.MISCONFIGURED, "there is something else than a file")


def _is_same(descriptor: int, path: Path) -> bool:
    """Tell whether a name still is the file that is open."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def _cut_torn_line(descriptor: int) -> None:
    """Cut off what stands after the last line end: a crash left it."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    torn = len(tail) - tail.rfind(b"\n") - 1
    if not torn:
        return
    if torn == len(tail) < size:
        raise NotDeliveredError(Fault.MISCONFIGURED, "the file holds something else than lines of records")
    try:
        os.ftruncate(descriptor, size - torn)
    except PermissionError:  # append-only (chattr +a): end the line instead; a reader passes it by
        _write(descriptor, b"\n")
