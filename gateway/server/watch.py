"""Whether the files of a configuration have changed and come to rest.

Looks at what the file system says of each file: which one it is, its size and its times. Links are followed, so that
directories that are swapped under a link (Kubernetes, releases) are noticed. Reads nothing but gateway.yaml, to know which
files it names; what they hold, and what follows, is the supervisor's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from gateway.exchange.errors import ConfigurationError
from gateway.server.bundle import read_text
from gateway.server.settings import Settings, load_settings

_DEPTH: Final = 3
"""Directories below one that is named: the cases lie in `policies/tests`."""
_KEPT_BY_US: Final = frozenset(("state_dir",))
"""What the gateway itself writes to: it changes all the time."""

Mark = tuple[int, ...] | None
"""What tells one state of a file from another; None = it cannot be looked at."""


class Watch:
    """Remembers one state of the files, and since when it has been so."""

    def __init__(self, path: Path) -> None:
        """Look after gateway.yaml at `path` and what it names."""
        self._path = path
        self._named: tuple[Path, ...] = ()
        self._marks: dict[str, Mark] | None = None
        self._since = 0.0
        self._is_told = True

    def look(self, now: float, settle_s: float) -> bool:
        """Return True once for each state that differs from the one before and has lasted `settle_s`; blocks.

        The first state that is seen counts as different: the files may have changed since they were read.
        """
        if self._marks is None or self._marks.get(str(self._path)) != _mark(self._path):
            self._named = self._read_names()
        marks = {str(path): mark for root in (self._path, *self._named) for path, mark in _marks(root, _DEPTH)}
        if marks != self._marks:
            self._marks, self._since, self._is_told = marks, now, False
        if self._is_told or now - self._since < settle_s:
            return False
        self._is_told = True
        return True

    def _read_names(self) -> tuple[Path, ...]:
        """Read which files there are; while gateway.yaml cannot be read, those that were there before."""
        text = read_text(self._path, self._path.name, [])  # never waits, as a FIFO would have it
        try:
            settings = load_settings(text or "", self._path)
        except ConfigurationError:
            return self._named
        return tuple(sorted(set(named_files(settings))))


def named_files(settings: Settings) -> Iterator[Path]:
    """List every file and directory that the settings name, but those that the gateway writes itself."""
    for name in type(settings).model_fields:
        if name not in _KEPT_BY_US:
            yield from _within(getattr(settings, name))


def _within(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _within(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _within(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _within(inner)


def _marks(path: Path, depth: int) -> Iterator[tuple[Path, Mark]]:
    """Mark a file, or everything in a directory but what is hidden."""
    if depth and os.path.isdir(path):  # noqa: PTH112 - that of a Path raises where it may not look
        names = []
        with suppress(OSError):
            names = sorted(os.listdir(path))  # noqa: PTH208 - names alone
        yield path, None if not names else ()
        for name in names:
            if not name.startswith("."):
                yield from _marks(path / name, depth - 1)
    else:
        yield path, _mark(path)


def _mark(path: Path) -> Mark:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns
