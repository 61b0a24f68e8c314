"""Finds the logs in a directory or an archive: of a running gateway, of a copy, of what a sink kept.

Says what is there and where it belongs, by name and head; judges nothing. A directory that holds log
files may hold nothing else, so the rest of it is named too.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from backports.zstd import ZstdError, ZstdFile

from gateway.audit.checkpoint import MAX_NOTE_BYTES, CheckpointError, parse_checkpoint, split_note
from gateway.audit.file_check import read_head
from gateway.audit.filehead import MAGIC as LOG_MAGIC
from gateway.audit.filehead import FileHead
from gateway.audit.segment import FIXED, MAX_FRONT_BYTES, SegmentError, front_length
from gateway.audit.segment import MAGIC as SEGMENT_MAGIC
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.layout import UNFINISHED_SUFFIX, names_in, parse_name
from gateway.ledger.reader import UnreadableLogError

ARCHIVES: Final = (".tar", ".tar.gz", ".tgz", ".tar.zst")
LINES: Final = (".ndjson", ".jsonl")
MAX_MEMBERS: Final = 1 << 22
"""Files and directories of an archive."""
_TILES: Final = "tile"
_PUBLISHED: Final = frozenset({"checkpoints", "cosigned"})
"""Directories of a gateway's own tree heads."""
_HEAD_GUESS_BYTES: Final = 4096


class VanishedError(UnreadableLogError):
    """A file went away while it was looked at: sealed or pruned. Looking again shows where it went."""


class CopyFile(msgspec.Struct, frozen=True):
    """A log file or a segment."""

    path: Path
    number: int
    """From its head; from its name where the head is damaged."""
    named: int
    """From its name; 0 = its name is not one that the gateway gives."""
    is_sealed: bool
    head: FileHead | None
    """None when it is damaged."""
    size: int
    """Bytes."""


class LogCopy(msgspec.Struct, kw_only=True):
    """One log, as far as it is there."""

    place: str
    """Where it was found, for messages."""
    stream: Stream | None
    files: list[CopyFile] = []
    strangers: list[str] = []
    """Names of what stands beside its files and is none."""
    leftovers: list[str] = []
    """Names of files that were being made."""
    tiles: Path | None = None
    """The directory of its hash tiles; None = they are not in what was given."""

    @property
    def origin(self) -> str:
        """Origin of the log, by the first head that can be read; empty where none can."""
        return next((file.head.origin for file in self.files if file.head is not None), "")


class Note(msgspec.Struct, frozen=True):
    """A signed tree head that was found beside the logs."""

    name: str
    origin: str
    data: bytes
    is_published: bool
    """It stands where a gateway publishes its own."""

    def belongs_beside(self, log: LogCopy) -> bool:
        """Tell whether it stands where the gateway that wrote this log publishes the log's tree head."""
        path = Path(self.name)
        return path.name == log.stream and path.parent.parent == Path(log.place).parent


class Copy(msgspec.Struct, kw_only=True):
    """All that was found."""

    logs: list[LogCopy]
    notes: list[Note]
    lines: list[Path]
    """Files of delivered records."""


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Give a directory that holds what `path` holds: itself, or an archive unpacked for as long as the context lasts.

    Raises `UnreadableLogError`.
    """
    if path.is_dir() or not path.name.endswith(ARCHIVES):
        yield path
        return
    with TemporaryDirectory(prefix="gateway-audit-", ignore_cleanup_errors=True) as directory:
        try:
            _unpack(path, directory)
        except (OSError, EOFError, tarfile.TarError, ZstdError, ValueError) as exc:
            raise UnreadableLogError(f"{path}: cannot be unpacked: {exc}") from exc
        yield Path(directory)


def _unpack(path: Path, directory: str) -> None:
    if path.name.endswith(".zst"):
        with ZstdFile(path) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
            _extract(archive, directory)
    else:
        with tarfile.open(path, mode="r:gz" if path.name.endswith("gz") else "r:") as archive:
            _extract(archive, directory)


def _extract(archive: tarfile.TarFile, directory: str) -> None:
    """Unpack files and directories, as far as there is room. Raises `tarfile.TarError`, `ValueError`, `OSError`."""
    left = shutil.disk_usage(directory).free * 9 // 10
    for count, member in enumerate(archive, 1):
        # attack: a link, through which the next member leaves the directory; Python's filter let some pass (CVE-2025-4517)
        if not (member.isreg() or member.isdir()):
            raise ValueError(f"{member.name!r} is neither a file nor a directory; a copy of a log holds nothing else")
        left -= member.size
        if left < 0 or count > MAX_MEMBERS:  # attack: a small archive that fills the disk
            raise ValueError("it holds more than there is room for; set TMPDIR to a larger disk, or unpack it yourself")
        archive.extract(member, directory, filter="data")


def find_logs(root: Path, *, is_live: bool = False) -> Copy:
    """Find everything under a directory; `is_live` = it is a gateway's own, which holds log files or nothing.

    Raises `UnreadableLogError`.
    """
    copy = Copy(logs=[], notes=[], lines=[])
    if root.is_file():
        copy.lines.append(root)
        return copy
    try:
        for folder, below, names in os.walk(root, onerror=_refuse):
            below[:] = sorted(name for name in below if name != _TILES)
            is_strict = is_live and Path(folder) == root
            found = [name for name in names_in(root) if name not in below] if is_strict else sorted(names)
            _find_in(Path(folder), found, root, copy, is_strict=is_strict, below=below)
    except FileNotFoundError as exc:
        kind = VanishedError if root.exists() else UnreadableLogError
        raise kind(f"{exc.filename or root}: cannot be read: no such file or directory") from exc
    except OSError as exc:
        raise UnreadableLogError(
            f"{exc.filename or root}: cannot be read: {os.strerror(exc.errno or 0).lower()}"
        ) from exc
    for log in copy.logs:
        log.files.sort(key=lambda file: (file.number, not file.is_sealed, file.path.name))
    copy.logs.sort(key=lambda log: (log.place, STREAMS.index(log.stream) if log.stream else len(STREAMS)))
    return copy


def _refuse(error: OSError) -> None:
    raise error


def _find_in(folder: Path, names: list[str], root: Path, copy: Copy, *, is_strict: bool, below: list[str]) -> None:
    named: dict[Stream, LogCopy] = {}
    others: list[str] = []
    place = str(folder.relative_to(root))
    for name in names:
        if not stat.S_ISREG(
            (folder / name).stat().st_mode
        ):  # attack: a FIFO that nobody writes to, a device that never ends
            others.append(name)
            continue
        parsed = parse_name(name)
        if parsed is not None:
            log = named.setdefault(parsed.stream, LogCopy(place=place, stream=parsed.stream))
            log.files.append(_read(folder / name, parsed.number, is_sealed=parsed.is_sealed))
        elif not _place_other(folder / name, root, copy):
            others.append(name)
    if named or is_strict:
        for name in [*others, *(f"{name}/" for name in below)]:
            stream = _explains(name, list(named))
            log = named.setdefault(stream, LogCopy(place=place, stream=stream))
            unfinished = parse_name(name.removesuffix(UNFINISHED_SUFFIX)) if name.endswith(UNFINISHED_SUFFIX) else None
            (log.leftovers if unfinished else log.strangers).append(name)
    if is_strict or folder != root:  # beside the log, and inside what was given
        for stream, log in named.items():
            tiles = folder.parent / "tiles" / stream
            log.tiles = tiles if tiles.is_dir() else None
    copy.logs += named.values()


def _explains(name: str, there: list[Stream]) -> Stream:
    """Return the log that has to explain a file which is none of any."""
    return next((stream for stream in STREAMS if name.startswith(f"{stream}-")), (there or STREAMS)[0])


def _place_other(path: Path, root: Path, copy: Copy) -> bool:
    """Place a file by what is in it, not by its name; tell whether it was understood."""
    if path.name.endswith(LINES):
        copy.lines.append(path)
        return True
    if path.name.endswith(UNFINISHED_SUFFIX):  # of a log that is being written: it may have its own name by now
        return False
    with path.open("rb") as file:
        begin = file.read(len(LOG_MAGIC))
        if begin in {LOG_MAGIC, SEGMENT_MAGIC}:
            found = _read(path, 0, is_sealed=begin == SEGMENT_MAGIC)
            if found.head is None:
                return False
            origin = found.head.origin
            log = next((log for log in copy.logs if log.place == origin), None)
            if log is None:
                log = LogCopy(place=origin, stream=_stream_of(origin))
                copy.logs.append(log)
            log.files.append(found)
            return True
        data = begin + file.read(MAX_NOTE_BYTES)
    is_published = path.parent.name in _PUBLISHED
    try:
        origin = parse_checkpoint(split_note(data)[0]).origin
    except CheckpointError:
        if not is_published:
            return False
        origin = ""
    copy.notes.append(Note(str(path.relative_to(root)), origin, data, is_published=is_published))
    return True


def _stream_of(origin: str) -> Stream | None:
    return next((stream for stream in STREAMS if origin.endswith(f"/{stream}")), None)


def _read(path: Path, named: int, *, is_sealed: bool) -> CopyFile:
    with path.open("rb") as file:
        data = file.read(_HEAD_GUESS_BYTES)
        head = read_head(data + file.read(max(0, min(_front_bytes(data), MAX_FRONT_BYTES) - len(data))))
        size = os.fstat(file.fileno()).st_size
    return CopyFile(path, head.file_no if head is not None else named, named, is_sealed, head, size)


def _front_bytes(data: bytes) -> int:
    """Return how many bytes hold the head, as far as the first ones say."""
    if data[: len(SEGMENT_MAGIC)] == SEGMENT_MAGIC:
        try:
            return front_length(data[: FIXED.size])
        except SegmentError:
            return 0
    return int.from_bytes(data[4:8], "little")
