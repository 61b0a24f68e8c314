"""Reads logs that somebody else may be writing: for verification, queries and `tail`.

Never writes and takes no lock. A frame that is only half there is read again before it is judged.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.entry import Entry, EntryError, parse_entry, split_bundle
from gateway.audit.filehead import MAX_HEAD_BYTES, FileHead, FileHeadError, head_length, parse_head
from gateway.audit.frame import FrameError, find_frame, open_frame, parse_frame
from gateway.audit.segment import SegmentError, entries_of, parse_segment
from gateway.audit.walk import is_zero
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import names_in, parse_name
from gateway.ledger.spool import read_front, read_whole

_BLOCK_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 30
"""Eight times what the daemon allocates (attack: a copy that no memory holds)."""
_SETTLE_TRIES = 20
_SETTLE_S = 0.05
_HEAD_GUESS_BYTES = 4096
_SEALED = ".seg"


class LogFile(msgspec.Struct, frozen=True):
    """A file of the directory and what its head says."""

    path: Path
    number: int
    """From its name."""
    head: FileHead | None
    """None when it is damaged."""


class Stored(msgspec.Struct, frozen=True):
    """An entry and where it stands in the log of its stream."""

    stream: Stream
    index: int
    entry: Entry


class UnreadableLogError(AuditUnavailableError):
    """The directory or a file in it cannot be read."""


def list_files(directory: Path, stream: Stream) -> tuple[list[LogFile], list[str]]:
    """Return the log files and segments of a stream in order, and the names of whatever else is there and is its to explain.

    What no stream explains is named with the first. Raises `UnreadableLogError`.
    """
    try:
        names = names_in(directory)
        found = [(path, parse_name(path)) for path in names]
        mine = {name.number: path for path, name in reversed(found) if name is not None and name.stream is stream}
        files = [_log_file(directory / path, number) for number, path in sorted(mine.items())]
    except OSError as exc:
        raise UnreadableLogError(
            f"{exc.filename or directory}: cannot be read: {os.strerror(exc.errno or 0).lower()}"
        ) from exc
    strangers = [path for path, name in found if name is None and _explains(path) is stream]
    return files, strangers


def _explains(name: str) -> Stream:
    return next((stream for stream in STREAMS if name.startswith(f"{stream}-")), STREAMS[0])


def _log_file(path: Path, number: int) -> LogFile:
    try:
        return LogFile(path, number, _read_head(path))
    except FileNotFoundError:  # sealed since the directory was read
        sealed = path.with_suffix(_SEALED)
        return LogFile(sealed, number, _read_head(sealed))


def _read_head(path: Path) -> FileHead | None:
    with path.open("rb") as file:
        if path.suffix == _SEALED:
            try:
                return read_front(file.fileno()).head
            except SegmentError:
                return None
        data = file.read(_HEAD_GUESS_BYTES)
        try:
            length = min(head_length(data), MAX_HEAD_BYTES)
            return parse_head(data + file.read(max(0, length - len(data))))[0]
        except FileHeadError:
            return None


def read_newest(path: Path, *, pause: Callable[[float], None] = time.sleep) -> bytes:
    """Read a file that may be growing.

    From its end to its beginning: then what was read later is older, and at most one frame, the
    last, can be half there. That one is read again until it is whole. Raises `OSError`.
    """
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        if size > MAX_FILE_BYTES:
            raise UnreadableLogError(f"{path}: is larger than any file of a log")
        whole_file = BytesIO(bytes(size))  # in one piece: a file of 128 MiB must not take twice as much memory
        for at in reversed(range(0, size, _BLOCK_BYTES)):
            whole_file.seek(at)
            whole_file.write(os.pread(fd, _BLOCK_BYTES, at)[: size - at])
        data = whole_file.getvalue()
        end = _end_of_frames(data)
        if end < 0 or is_zero(memoryview(data)[end:]):
            return data
        if size < parse_head(data)[0].capacity:  # it was ended, or cut off: nobody writes it
            return data
        if find_frame(data, end + 1, size) is not None:  # a frame is begun when the one before is safe: this is damage
            return data
        for _ in range(_SETTLE_TRIES):
            fresh = os.pread(fd, _BLOCK_BYTES * 4, end)
            try:
                frame = parse_frame(fresh, 0)
            except FrameError:
                pause(_SETTLE_S)
                continue
            whole = end + frame.end
            return data[:end] + fresh[: frame.end] + bytes(max(0, len(data) - whole))
        return data


def _end_of_frames(data: bytes) -> int:
    try:
        at = parse_head(data)[1]
    except FileHeadError:
        return -1
    view = memoryview(data)
    while True:
        try:
            at = parse_frame(view, at).end
        except FrameError:
            return at


def entries(
    directory: Path,
    keys: AuditKeys,
    *,
    streams: Sequence[Stream] = STREAMS,
    since_ns: int = 0,
    on_damage: Callable[[str], None],
) -> Iterator[Stored]:
    """Yield entries, those of a stream in its order and the streams merged by the time an entry was taken in.

    Files that ended before `since_ns` are skipped. What cannot be read is told to `on_damage` and left out: `verify`
    is there to judge it. Raises `UnreadableLogError`.
    """
    found = [_entries(directory, keys, stream, since_ns, on_damage) for stream in streams]
    return heapq.merge(*found, key=lambda stored: stored.entry.time_ns) if len(found) > 1 else iter(found[0])


def _entries(
    directory: Path, keys: AuditKeys, stream: Stream, since_ns: int, on_damage: Callable[[str], None]
) -> Iterator[Stored]:
    files, _ = list_files(directory, stream)
    for i, file in enumerate(files):
        following = files[i + 1].head if i + 1 < len(files) else None
        if following is not None and following.created_ns < since_ns:
            continue
        reader = FileReader(file.path, keys)
        try:
            yield from reader.poll()
        except (OSError, FileHeadError, FrameError, EntryError) as exc:
            on_damage(f"{file.path.name}: {exc}")
        if reader.is_damaged and (following is None or reader.offset < following.prev_tail):
            on_damage(f"{file.path.name}: not readable from byte {reader.offset} on")


class FileReader:
    """Yields the entries of one file as they come; a log file that was sealed meanwhile goes on as its segment."""

    def __init__(self, path: Path, keys: AuditKeys) -> None:
        self.path = path
        self.offset = 0
        """After the last frame that was read."""
        self.is_damaged = False
        """Something other than zeros follows."""
        self._keys = keys
        self._cipher: AESGCM | None = None
        self._next_index = 0
        """After the last entry of a frame that was read."""

    def poll(self, holds: Callable[[int, int], bool] | None = None) -> Iterator[Stored]:
        """Yield what is complete, without frames of whose first index and count `holds` says no: they are not decrypted.

        Raises `OSError`, `FileHeadError`, `FrameError`, `EntryError`.
        """
        try:
            file = self.path.open("rb", buffering=0)
        except FileNotFoundError:
            if self.path.suffix == _SEALED or not self.path.with_suffix(_SEALED).exists():
                raise
            self.path = self.path.with_suffix(_SEALED)
            file = self.path.open("rb", buffering=0)
        with file:
            fd = file.fileno()
            if self.path.suffix == _SEALED:
                yield from self._poll_sealed(fd, holds)
                return
            if self._cipher is None:
                head, self.offset = parse_head(os.pread(fd, MAX_HEAD_BYTES, 0))
                self._cipher = self._keys.open(head)
            buffer = b""
            at = 0
            while True:
                try:
                    frame = parse_frame(buffer, at)
                except FrameError:
                    fresh = os.pread(fd, _BLOCK_BYTES * 4, self.offset)
                    if fresh == buffer[at:] or not fresh:
                        self.is_damaged = not is_zero(fresh)
                        return
                    buffer, at = fresh, 0
                    continue
                if holds is None or holds(frame.header.first_index, frame.header.count):
                    bundle = open_frame(self._cipher, frame)
                    for i, raw in enumerate(split_bundle(bundle, frame.header.count)):
                        entry = parse_entry(raw)
                        yield Stored(entry.stream, frame.header.first_index + i, entry)
                self.offset += frame.end - at
                self._next_index = frame.header.first_index + frame.header.count
                at = frame.end

    def _poll_sealed(self, fd: int, holds: Callable[[int, int], bool] | None) -> Iterator[Stored]:
        """Yield what was not yielded yet; a segment grows no more."""
        try:
            if read_front(fd).next_index <= self._next_index:
                return
            segment = parse_segment(read_whole(fd))
            for index, raw in enumerate(entries_of(segment, self._keys.open(segment.head)), segment.head.first_index):
                if index < self._next_index or (holds is not None and not holds(index, 1)):
                    continue
                entry = parse_entry(raw)
                yield Stored(entry.stream, index, entry)
        except SegmentError as exc:
            raise FrameError(str(exc)) from exc
        self._next_index = segment.next_index


class Follower:
    """Yields new entries of logs that are being written, from their present end on."""

    def __init__(self, directory: Path, keys: AuditKeys, streams: Sequence[Stream] = STREAMS) -> None:
        self._streams = [_StreamFollower(directory, keys, stream) for stream in streams]

    def last(self, count: int) -> list[Stored]:
        """Return the last entries there are, and remember where they end. Raises `UnreadableLogError`."""
        found = _by_time([follower.last(count) for follower in self._streams])
        return found[-count:] if count else []

    def poll(self) -> list[Stored]:
        """Return what was written since. Raises `UnreadableLogError`."""
        return _by_time([follower.poll() for follower in self._streams])


def _by_time(found: list[list[Stored]]) -> list[Stored]:
    return list(heapq.merge(*found, key=lambda stored: stored.entry.time_ns))


class _StreamFollower:
    def __init__(self, directory: Path, keys: AuditKeys, stream: Stream) -> None:
        self._directory = directory
        self._keys = keys
        self._stream = stream
        self._number = 0
        self._reader: FileReader | None = None

    def last(self, count: int) -> list[Stored]:
        found: list[Stored] = []
        files, _ = list_files(self._directory, self._stream)
        for file in reversed(files):
            reader = FileReader(file.path, self._keys)
            fresh = self._read(reader)
            if self._reader is None:
                self._reader, self._number = reader, file.number
            found = fresh + found
            if len(found) >= count:
                break
        return found[-count:] if count else []

    def poll(self) -> list[Stored]:
        found: list[Stored] = []
        if self._reader is not None:
            found += self._read(self._reader)
        files, _ = list_files(self._directory, self._stream)
        for file in files:
            if file.number > self._number and file.head is not None:
                self._reader, self._number = FileReader(file.path, self._keys), file.number
                found += self._read(self._reader)
        return found

    def _read(self, reader: FileReader) -> list[Stored]:
        try:
            return list(reader.poll())
        except (OSError, FileHeadError, FrameError, EntryError) as exc:
            raise UnreadableLogError(f"{reader.path}: {exc}") from exc
