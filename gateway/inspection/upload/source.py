"""Bytes that can be read anywhere: a file within the body it came in, or what came out of an archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

PIECE_BYTES: Final = 64 * 1024


class Source(Protocol):
    """Something of known size. Reading costs what is read."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    def read(self, at: int, length: int) -> bytes:
        """Return the bytes from `at`, fewer where it ends."""
        ...


class Held:
    """Bytes in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self._data)

    def read(self, at: int, length: int) -> bytes:
        """Return the bytes from `at`, fewer where it ends."""
        return self._data[at : at + length] if at or length < len(self._data) else self._data


class Extract:
    """A range of another source."""

    __slots__ = ("_length", "_source", "_start")

    def __init__(self, source: Source, start: int, length: int) -> None:
        self._source, self._start, self._length = source, start, length

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._length

    def read(self, at: int, length: int) -> bytes:
        """Return the bytes from `at`, fewer where it ends."""
        return self._source.read(self._start + at, max(0, min(length, self._length - at)))


def pieces(source: Source) -> Iterator[bytes]:
    """Read all of it, in order."""
    for at in range(0, source.size, PIECE_BYTES):
        yield source.read(at, PIECE_BYTES)
