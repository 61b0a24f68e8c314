"""A shared table of numbers that tells every process when a cached session must be read again.

65,536 unsigned 64-bit numbers in one mmap'd file; a row's slot follows from its id. Zero means "do
not cache". A writer holds the write lock while it stores 0, commits, and stores a fresh random
number, so a reader that cached under the old number misses at its next look (docs/decisions/0004).
It knows nothing of sessions, and a number never repeats on purpose.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.ownership import hand_over

SLOTS: Final = 65_536
_SIZE: Final = SLOTS * 8
LOCK_WAIT_S: Final = 0.25
_LOCK_POLL_S: Final = 0.002


def slot_of(row: bytes) -> int:
    """Return the slot of a row id, which is a SHA-256 and therefore even."""
    return row[0] << 8 | row[1]


class Generations:
    """The table, open in this process. `slots[n]` is the hot read: one load from shared memory.

    `refresh` puts another view there when the file was replaced; an older view stays readable.
    """

    __slots__ = ("_descriptor", "_identity", "_path", "_place", "_random", "_thread_lock", "slots")

    def __init__(self, path: Path, *, create: bool = False, random: Callable[[int], bytes] = os.urandom) -> None:
        self._path = path
        self._place = str(path)
        self._random = random
        self._thread_lock = threading.Lock()
        if create:
            _make(path, random)
        self._open()

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as exc:
            raise StoreUnavailableError(f"{self._path}: cannot be opened: {exc.strerror}") from exc
        status = os.fstat(self._descriptor)
        if status.st_size != _SIZE:
            os.close(self._descriptor)
            raise StoreUnavailableError(
                f"{self._path}: has {status.st_size} bytes, not {_SIZE}; stop the gateway and remove it"
            )
        self._identity = (status.st_dev, status.st_ino)
        self.slots: memoryview[int] = memoryview(mmap.mmap(self._descriptor, _SIZE)).cast("Q")

    def close(self) -> None:
        """Let go of the file; the object is of no use afterwards. Twice is fine."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def refresh(self) -> None:
        """Follow a file that was replaced under us; `slots` is a new view then.

        Raises:
            StoreUnavailableError: the file is gone.

        """
        try:
            status = os.stat(self._place)  # noqa: PTH116 - half the time of Path.stat
        except OSError as exc:
            raise StoreUnavailableError(f"{self._path}: is gone: {exc.strerror}") from exc
        if (status.st_dev, status.st_ino) != self._identity:
            stale = self._descriptor
            self._open()
            os.close(stale)

    @contextmanager
    def changing(self) -> Iterator[Callable[[Iterable[int]], None]]:
        """Run a commit under the write lock. The body names the slots it changes to the yielded function before it commits.

        Those slots are zero from then on and get a fresh number when the body ends, whatever way it
        ends. A process that dies inside leaves zeros: slower, never stale.

        Raises:
            StoreUnavailableError: another process kept the lock for longer than 250 ms.

        """
        changed: set[int] = set()

        def invalidate(slots: Iterable[int]) -> None:
            for slot in slots:
                changed.add(slot)
                self.slots[slot] = 0

        with self.locked():
            try:
                yield invalidate
            finally:
                self._freshen(changed)

    def heal(self) -> int:
        """Give a number to slots that a killed writer left at zero; return how many. Takes the lock."""
        with self.locked():
            left = {slot for slot, value in enumerate(self.slots) if not value}
            self._freshen(left)
            return len(left)

    def _freshen(self, slots: Collection[int]) -> None:
        for slot, value in zip(slots, _numbers(self._random, len(slots)), strict=True):
            self.slots[slot] = value

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the write lock of all processes. It ends with its holder, even by SIGKILL."""
        deadline = time.monotonic() + LOCK_WAIT_S
        if not self._thread_lock.acquire(timeout=LOCK_WAIT_S):
            raise StoreUnavailableError(f"{self._path}: is locked by another thread")
        try:
            self.refresh()
            while True:
                try:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StoreUnavailableError(f"{self._path}: is locked by another process") from None
                    time.sleep(_LOCK_POLL_S)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._thread_lock.release()


def _numbers(random: Callable[[int], bytes], count: int) -> tuple[int, ...]:
    numbers: tuple[int, ...] = struct.unpack(f"={count}Q", random(8 * count))
    return tuple(number or 1 for number in numbers)  # zero is the one value that means something


def _make(path: Path, random: Callable[[int], bytes]) -> None:
    """Create the file whole or not at all; an existing one stays."""
    if path.exists():
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                hand_over(descriptor, path.parent)
                file.write(struct.pack(f"={SLOTS}Q", *_numbers(random, SLOTS)))
            with suppress(FileExistsError):  # another process was faster; its file is as good
                os.link(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as exc:
        raise StoreUnavailableError(f"{path}: cannot be created: {exc.strerror}") from exc
