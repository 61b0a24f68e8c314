"""The lists of breached passwords on this machine: the one that ships and the one an operator imported.

Imported lists are mapped, not read: the full one of Have I Been Pwned has 9 GB. It does not say what
a password must be; that is `authn.password`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, Final

from gateway.authn.breached import BreachedList, BreachedListError, digest_of, header_of, parse_published
from gateway.exchange.errors import StoreUnavailableError
from gateway.store.ownership import hand_over, make_directory

IMPORTED_NAME: Final = "breached.bin"
_REPORT_EVERY: Final = 100_000


@lru_cache(maxsize=1)
def shipped_list() -> BreachedList:
    """Return the list in the package; `data/NOTICE` names its source and licence."""
    return BreachedList(files("gateway.store").joinpath("data", "breached.bin").read_bytes())


class LocalBreachedPasswords:
    """The shipped list and, once there is one in `state_dir`, the imported list. An import is seen at the next look."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / IMPORTED_NAME
        self._identity: tuple[int, int, int, int] | None = None
        self._imported: BreachedList | None = None

    def __contains__(self, password: str) -> bool:
        """Tell whether a list holds exactly this password. Raises `StoreUnavailableError` when the imported list is damaged."""
        digest = digest_of(password)
        if shipped_list().holds(digest):
            return True
        imported = self._current()
        return imported is not None and imported.holds(digest)

    def _current(self) -> BreachedList | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StoreUnavailableError(f"{self._path}: cannot be read: {exc.strerror}") from exc
        try:
            status = os.fstat(descriptor)
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if identity != self._identity:
                self._imported = BreachedList(memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)))
                self._identity = identity
        except (BreachedListError, ValueError, OSError) as exc:
            raise StoreUnavailableError(f"{self._path}: {exc}") from exc
        finally:
            os.close(descriptor)
        return self._imported


def import_published(source: BinaryIO, state_dir: Path, *, progress: Callable[[int], None]) -> int:
    """Turn the published list (`SHA1:count` a line, ordered by hash) into ours; return how many entries it has.

    All or nothing: an earlier import stays until the new one is complete. `progress` gets the bytes
    read so far, now and then.

    Raises:
        BreachedListError: names the line that is wrong.
        StoreUnavailableError: the list cannot be written.

    """
    path = state_dir / IMPORTED_NAME
    beside = state_dir / f".{IMPORTED_NAME}.{os.getpid()}"
    count = 0
    try:
        make_directory(state_dir)
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb", buffering=1024 * 1024) as target:
                hand_over(descriptor, state_dir)
                target.write(header_of(0))
                for entry in parse_published(_counted(source, progress)):
                    target.write(entry)
                    count += 1
                if not count:
                    raise BreachedListError("the file holds no entry")
                target.seek(0)
                target.write(header_of(count))
                target.flush()
                os.fsync(descriptor)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as exc:
        raise StoreUnavailableError(f"{path}: cannot be written: {exc.strerror}") from exc
    return count


def _counted(source: BinaryIO, progress: Callable[[int], None]) -> Iterator[bytes]:
    read = 0
    for number, line in enumerate(source, 1):
        read += len(line)
        if number % _REPORT_EVERY == 0:
            progress(read)
        yield line
    progress(read)
