"""The files under `state_dir/index`: the columns of each closed file of the log, to be made again at any time.

They are encrypted under the audit keys and bound to the file they were made from. One that does not
open, or belongs to another file, counts as none. When the disk is getting full none is written: the
log comes first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.audit.columns import MAX_HEAD_BYTES, SALT_BYTES, Columns, ColumnsError, decode, read_head
from gateway.audit.filehead import FileHead
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout

SUFFIX: Final = ".index"
_UNFINISHED: Final = ".new"
_UNFINISHED_S: Final = 3600.0
"""Nobody writes one file for so long."""
FREE: Final = 0.15
"""Share of the disk that must be free; below it the log's own files are already being cleared away."""


def identity(head: FileHead) -> str:
    """Return what names a file of the log for ever: its data key is like no other's, also once the file is sealed."""
    return sha256(head.origin.encode() + b"\n" + head.wrap_nonce + head.wrapped_key).hexdigest()


class SearchIndex:
    """Reads and writes the columns of files of the log."""

    def __init__(
        self,
        state_dir: Path,
        keys: AuditKeys,
        *,
        random: Callable[[int], bytes] = os.urandom,
        free: float | None = None,
    ) -> None:
        self.directory = state_dir / "index"
        self._layout = Layout(state_dir)
        self._keys = keys
        self._random = random
        self._free = FREE if free is None else free

    def load(self, stem: str, head: FileHead, names: Iterable[str]) -> Columns | None:
        """Return columns of the log file that is called `stem`, None when there are none to be trusted."""
        try:
            fd = os.open(self._path(stem), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            begin = os.pread(fd, MAX_HEAD_BYTES, 0)
            found = read_head(begin)
            if found.file != identity(head):
                return None
            key = self._keys.open_index(bytes.fromhex(found.salt))
            return decode(lambda offset, size: os.pread(fd, size, offset), begin, key, names)
        except (OSError, ColumnsError, ValueError):
            return None
        finally:
            os.close(fd)

    def has(self, stem: str) -> bool:
        """Tell whether something is kept for a log file; whether it can be trusted is seen when it is read."""
        return self._path(stem).exists()

    def save(self, stem: str, head: FileHead, columns: Columns) -> bool:
        """Keep the columns of a closed log file; False when there is no room or no permission for it."""
        salt = self._random(SALT_BYTES)
        data = columns.encode(self._keys.open_index(salt), file=identity(head), salt=salt)
        path = self._path(stem)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}{_UNFINISHED}")
        try:
            self._prepare()
            if not self._has_room():
                return False
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                self._layout.give(fd)
                file.write(data)
            unfinished.rename(path)
        except OSError:
            with suppress(OSError):
                unfinished.unlink()
            return False
        return True

    def sweep(self, stems: Collection[str]) -> None:
        """Remove what belongs to no file of the log any more: what was pruned must not live on here. And what was never finished."""
        with suppress(OSError):
            for path in self.directory.iterdir():
                is_gone = path.suffix == SUFFIX and path.stem not in stems
                if is_gone or (path.suffix == _UNFINISHED and time.time() - path.stat().st_mtime > _UNFINISHED_S):
                    path.unlink(missing_ok=True)

    def _path(self, stem: str) -> Path:
        return self.directory / (stem + SUFFIX)

    def _prepare(self) -> None:
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._layout.give(self.directory)

    def _has_room(self) -> bool:
        status = os.statvfs(self.directory)
        return status.f_bavail >= self._free * status.f_blocks
