"""One stream of the log as a sequence of entries, whatever files they are in: the queue that sinks and tiles read.

Reads log files as they grow and segments as they are. It stops at an index that it is given, because
bytes after the last checkpoint may not be on stable storage yet and may become other entries. It writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.entry import EntryError, split_bundle
from gateway.audit.filehead import FileHead, FileHeadError, head_length, parse_head
from gateway.audit.frame import FrameError, open_frame, parse_frame
from gateway.audit.segment import Segment, SegmentError, entries_of, front_length, parse_front, parse_segment
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from gateway.ledger.layout import file_name, names_in, parse_name, segment_name

_HEAD_GUESS_BYTES = 4096
_BLOCK_BYTES = 4 << 20
_SKIPPED_AT_ONCE = 4096


class SpoolError(AuditUnavailableError):
    """Entries that should be there cannot be read: `gateway audit verify` says why."""


class PrunedError(SpoolError):
    """The entries that were asked for are older than what is kept."""

    def __init__(self, index: int, first: int) -> None:
        super().__init__(f"entry {index} is not kept any more; the oldest is {first}")
        self.first = first


class Opener(Protocol):
    """Opens the data key of a file."""

    def open(self, head: FileHead) -> AESGCM:
        """Return the file's cipher. Raises `FileHeadError` when the key is not ours."""
        ...


def numbers(directory: Path, stream: Stream) -> list[int]:
    """Return the numbers of a stream's files and segments, ascending. Raises `OSError`."""
    found = map(parse_name, names_in(directory))
    return sorted({name.number for name in found if name is not None and name.stream is stream})


def open_file(directory: Path, stream: Stream, number: int) -> tuple[int, bool]:
    """Open a file by number, as a log file or the segment it became; returns descriptor and whether it is sealed.

    Raises `FileNotFoundError` when it is neither, `OSError`.
    """
    for _ in range(2):  # sealed between the two looks
        with suppress(FileNotFoundError):
            return os.open(directory / file_name(stream, number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), False
        with suppress(FileNotFoundError):
            return os.open(directory / segment_name(stream, number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), True
    raise FileNotFoundError(2, os.strerror(2), file_name(stream, number))


def read_head(directory: Path, stream: Stream, number: int) -> FileHead:
    """Return the head of a file or segment. Raises `OSError`, `FileHeadError`, `SegmentError`."""
    fd, is_sealed = open_file(directory, stream, number)
    try:
        return read_front(fd).head if is_sealed else _read_head(fd)
    finally:
        os.close(fd)


def read_front(fd: int) -> Segment:
    """Return what a segment says of itself, without its contents. Raises `OSError`, `SegmentError`."""
    data = os.pread(fd, _HEAD_GUESS_BYTES, 0)
    return parse_front(data + os.pread(fd, max(0, front_length(data) - len(data)), len(data)))


def read_whole(fd: int) -> bytes:
    """Return all bytes of a file. Raises `OSError`."""
    size = os.fstat(fd).st_size
    blocks = [os.pread(fd, _BLOCK_BYTES, at) for at in range(0, size, _BLOCK_BYTES)]
    return b"".join(blocks)


def _read_head(fd: int) -> FileHead:
    data = os.pread(fd, _HEAD_GUESS_BYTES, 0)
    return parse_head(data + os.pread(fd, max(0, head_length(data) - len(data)), len(data)))[0]


class _OpenFile:
    """A file at some place, with the entries that come next."""

    def __init__(self, fd: int, keys: Opener, *, is_sealed: bool) -> None:
        self._fd = fd
        self._is_sealed = is_sealed
        if is_sealed:
            segment = parse_segment(read_whole(fd))
            self._cipher = keys.open(segment.head)
            self._sealed: Iterator[bytes] = entries_of(segment, self._cipher)
            head = segment.head
        else:
            data = os.pread(fd, _HEAD_GUESS_BYTES, 0)
            data += os.pread(fd, max(0, head_length(data) - len(data)), len(data))
            head, self._offset = parse_head(data)
            self._cipher = keys.open(head)
            self._buffer = b""
            self._at = 0
        self.first_index = head.first_index
        self.number = head.file_no

    def close(self) -> None:
        os.close(self._fd)

    def is_unlinked(self) -> bool:
        return os.fstat(self._fd).st_nlink == 0

    def take(self, most: int) -> list[bytes]:
        """Return entries in order: of a segment at most so many, of a log file those of the next frame; [] = no more now."""
        if self._is_sealed:
            return list(islice(self._sealed, most))
        try:
            frame = parse_frame(self._buffer, self._at)
        except FrameError:
            self._buffer, self._at = os.pread(self._fd, _BLOCK_BYTES, self._offset), 0
            try:
                frame = parse_frame(self._buffer, 0)
            except FrameError:
                return []
        self._offset += frame.end - self._at
        self._at = frame.end
        return split_bundle(open_frame(self._cipher, frame), frame.header.count)


class SpoolReader:
    """Reads one stream from an index on. Blocking, not thread-safe; `close` it."""

    def __init__(self, directory: Path, keys: Opener, stream: Stream, start: int) -> None:
        self.next_index = start
        """Of the entry that `read` returns first."""
        self._directory = directory
        self._keys = keys
        self._stream = stream
        self._file: _OpenFile | None = None
        self._ready: list[bytes] = []
        """Entries that were read and not returned yet."""

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def is_unlinked(self) -> bool:
        """Tell whether its file was sealed or pruned meanwhile, and takes room for nobody else. Raises `OSError`."""
        return self._file is not None and self._file.is_unlinked()

    def read(self, most: int, end: int) -> list[bytes]:
        """Return at most `most` entries, none from index `end` on; [] when there are none before it.

        Raises `PrunedError`, `SpoolError`.
        """
        wanted = min(most, end - self.next_index)
        found: list[bytes] = []
        try:
            while len(found) < wanted:
                if not self._ready:
                    self._ready = self._more(wanted - len(found))
                room = wanted - len(found)
                found += self._ready[:room]
                self.next_index += len(self._ready[:room])
                self._ready = self._ready[room:]
        except (OSError, FileHeadError, FrameError, EntryError, SegmentError) as exc:
            self.close()
            self._ready = []
            what = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise SpoolError(f"{self._stream} log, entry {self.next_index}: {what}") from exc
        return found

    def _more(self, most: int) -> list[bytes]:
        """Return entries that come next; [] after a step to the next file. Raises when there is none."""
        if self._file is None:
            return self._seek()
        fresh = self._file.take(most)
        if fresh:
            return fresh
        number = self._file.number + 1
        following = self._open(number)
        if following.first_index != self.next_index:
            following.close()
            raise FrameError(f"file {number} begins at {following.first_index}")
        self._file.close()
        self._file = following
        return following.take(most)

    def _seek(self) -> list[bytes]:
        self._file = file = self._open(self._find(self.next_index))
        skip = self.next_index - file.first_index
        while skip:
            fresh = file.take(_SKIPPED_AT_ONCE)
            if not fresh:
                raise FrameError(f"file {file.number} ends before it")
            if len(fresh) > skip:
                return fresh[skip:]
            skip -= len(fresh)
        return file.take(1)

    def _open(self, number: int) -> _OpenFile:
        fd, is_sealed = open_file(self._directory, self._stream, number)
        try:
            return _OpenFile(fd, self._keys, is_sealed=is_sealed)
        except BaseException:
            os.close(fd)
            raise

    def _find(self, index: int) -> int:
        """Return the number of the last file that begins at or before an index; heads ascend with their numbers."""
        known = numbers(self._directory, self._stream)
        low, high = 0, len(known)
        while low < high:
            middle = (low + high) // 2
            if read_head(self._directory, self._stream, known[middle]).first_index <= index:
                low = middle + 1
            else:
                high = middle
        if not low:
            first = read_head(self._directory, self._stream, known[0]).first_index if known else 0
            raise PrunedError(index, first)
        return known[low - 1]
