"""What a process did to its files, call by call, and what of it is left when the machine loses power at any point.

The model is stricter than any file system in use: a name is durable when its directory was synced, bytes and length when
the file was, and of everything else any sector and any beginning of the changes of names may be there.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SECTOR = 512


class Journal:
    """Takes down every call that changes a file below `root`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.calls: list[tuple[Any, ...]] = []
        self._files: dict[str, int] = {}
        """Path -> number of the file that has this name."""
        self._open: dict[int, int | str] = {}
        """Descriptor -> number of the file, or path of the directory."""
        self._count = 0
        for name, wrapper in (
            ("open", self._opened),
            ("close", self._closed),
            ("pwrite", self._written),
            ("ftruncate", self._cut),
            ("truncate", self._cut_by_name),
            ("posix_fallocate", self._allocated),
            ("fsync", self._synced),
            ("fdatasync", self._synced),
            ("rename", self._renamed),
            ("replace", self._renamed),
            ("link", self._linked),
            ("unlink", self._unlinked),
        ):
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name), wrapper))

    @staticmethod
    def _wrap(real: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            existed = os.path.lexists(arguments[0]) if isinstance(arguments[0], (str, Path)) else False
            result = real(*arguments, **named)
            note(result, *arguments, existed=existed)
            return result

        return call

    def _path(self, path: Any) -> str:
        text = os.fspath(path)
        below = os.path.relpath(text, self.root)
        return "" if below.startswith(("..", "run/")) else below

    def _new(self) -> int:
        self._count += 1
        return self._count

    def _opened(self, fd: int, path: Any, flags: int = 0, *_: Any, existed: bool) -> None:
        name = self._path(path)
        if not name:
            self._open.pop(fd, None)
        elif stat.S_ISDIR(os.fstat(fd).st_mode):
            self._open[fd] = name
        else:
            if not existed:
                self._files[name] = self._new()
                self.calls.append(("name", name, self._files[name]))
            self._open[fd] = self._files[name]
            if flags & os.O_TRUNC:
                self.calls.append(("size", self._files[name], 0))

    def _closed(self, _result: None, fd: int, *, existed: bool) -> None:
        self._open.pop(fd, None)

    def _written(self, count: int, fd: int, data: Any, offset: int, *, existed: bool) -> None:
        if fd in self._open:
            self.calls.append(("write", self._open[fd], offset, bytes(data)[:count]))

    def _cut(self, _result: None, fd: int, size: int, *, existed: bool) -> None:
        if fd in self._open:
            self.calls.append(("size", self._open[fd], size))

    def _cut_by_name(self, _result: None, path: Any, size: int, *, existed: bool) -> None:
        if name := self._path(path):
            self.calls.append(("size", self._files[name], size))

    def _allocated(self, _result: None, fd: int, offset: int, size: int, *, existed: bool) -> None:
        if fd in self._open:
            self.calls.append(("grow", self._open[fd], offset + size))

    def _synced(self, _result: None, fd: int, *, existed: bool) -> None:
        if fd in self._open:
            about = self._open[fd]
            self.calls.append(("sync names" if isinstance(about, str) else "sync", about))

    def _renamed(self, _result: None, old: Any, new: Any, *, existed: bool) -> None:
        self._linked(None, old, new, existed=existed)
        self._unlinked(None, old, existed=existed)

    def _linked(self, _result: None, old: Any, new: Any, *, existed: bool) -> None:
        name = self._path(new)
        if name:
            self._files[name] = self._files[self._path(old)]
            self.calls.append(("name", name, self._files[name]))

    def _unlinked(self, _result: None, path: Any, *, existed: bool) -> None:
        name = self._path(path)
        if name:
            del self._files[name]
            self.calls.append(("forget", name))


class Platter:
    """What is on the disk after some calls."""

    def __init__(self) -> None:
        self._durable: dict[int, bytes] = {}
        self._pending: dict[int, list[tuple[Any, ...]]] = {}
        self._names: dict[str, int] = {}
        self._renaming: list[tuple[Any, ...]] = []

    def take(self, call: tuple[Any, ...]) -> None:
        """Let one call happen."""
        kind, about = call[0], call[1]
        if kind in {"write", "size", "grow"}:
            self._pending.setdefault(about, []).append(call)
        elif kind == "sync":
            self._durable[about] = _changed(self._durable.get(about, b""), self._pending.pop(about, []))
        elif kind in {"name", "forget"}:
            self._renaming.append(call)
        elif kind == "sync names":
            mine = [change for change in self._renaming if (os.path.dirname(change[1]) or ".") == about]
            self._renaming = [change for change in self._renaming if change not in mine]
            _rename(self._names, mine)

    def whole(self) -> dict[str, bytes]:
        """Every file as programs see it while the machine runs."""
        names = dict(self._names)
        _rename(names, self._renaming)
        return {
            name: _changed(self._durable.get(file, b""), self._pending.get(file, [])) for name, file in names.items()
        }

    def after_a_power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """Every file as it may be found."""
        names = dict(self._names)
        _rename(names, self._renaming[: chance.randint(0, len(self._renaming))])
        found = {}
        for name, file in names.items():
            durable, pending = self._durable.get(file, b""), self._pending.get(file, [])
            written = _changed(durable, pending)
            size = chance.choice([len(durable), len(written)]) if pending else len(durable)
            kept = bytearray(durable[:size].ljust(size, b"\0"))
            likely = chance.choice([0.0, 0.5, 1.0])
            for at in range(0, size, SECTOR):
                if chance.random() < likely:
                    piece = written[at : min(at + SECTOR, size)]
                    kept[at : at + len(piece)] = piece
            found[name] = bytes(kept)
        return found


def _changed(contents: bytes, changes: list[tuple[Any, ...]]) -> bytes:
    made = bytearray(contents)
    for kind, _, *rest in changes:
        if kind == "write":
            offset, data = rest
            made.extend(bytes(max(0, offset + len(data) - len(made))))
            made[offset : offset + len(data)] = data
        elif kind == "grow" or rest[0] > len(made):
            made.extend(bytes(max(0, rest[0] - len(made))))
        else:
            del made[rest[0] :]
    return bytes(made)


def _rename(names: dict[str, int], changes: list[tuple[Any, ...]]) -> None:
    for kind, name, *file in changes:
        if kind == "name":
            names[name] = file[0]
        else:
            names.pop(name, None)
