"""Turns closed log files into segments, one step after the other, so that a kill between any two loses and doubles nothing.

A log file is removed only after its segment was read back, proven to hold the same entries, made durable,
named, and recorded. A file that is not what was signed stays as it is: it is evidence.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from gateway.audit import record
from gateway.audit.filehead import FileHead, FileHeadError, head_length, parse_head, verify_head
from gateway.audit.merkle import Tree
from gateway.audit.segment import SALT_BYTES, Segment, SegmentError, parse_segment, seal, verify_contents
from gateway.custody.station import Station
from gateway.custody.threads import in_thread
from gateway.custody.trail import Build, Mark
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.disk import sync_directory
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import UNFINISHED_SUFFIX, Layout, file_name, parse_name, segment_name
from gateway.ledger.log_file import SMALL_FILE_BYTES
from gateway.ledger.spool import read_head

POLL_S: Final = 1.0
SPARED_BYTES: Final = 2 * SMALL_FILE_BYTES
"""Of what is free on the disk, that no segment takes."""
_log = structlog.get_logger("gateway.audit")


class Recording(Protocol):
    """Writes records exactly once: `trail.Trail`, or a log that no daemon has."""

    def done(self, matter: str) -> int:
        """Return how far a matter is recorded. Raises `AuditUnavailableError`."""
        ...

    def write(self, build: Build, stream: Stream = Stream.SECURITY, mark: Mark | None = None) -> None:
        """Write one record, blocking. Raises `AuditUnavailableError`."""
        ...


class SealError(AuditUnavailableError):
    """A closed log file cannot become a segment: `gateway audit verify` says what is wrong with it."""


class NoRoomError(AuditUnavailableError):
    """A segment would take what the log needs to go on."""


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A log file that became a segment."""

    origin: str
    stream: Stream
    number: int
    first: int
    last: int
    """Indexes of its entries; one less than `first` when it has none."""
    log_bytes: int
    segment_bytes: int
    root: bytes
    sha256: bytes
    """Of the segment."""

    @property
    def mark(self) -> Mark:
        """What its record says was done."""
        return Mark(sealed_matter(self.origin), self.number)

    def event(self, stamp: record.Stamp) -> dict[str, object]:
        """Return the record `audit.segment_sealed`."""
        details = {
            "bytes": self.segment_bytes,
            "file": segment_name(self.stream, self.number),
            "from": self.first,
            "log_bytes": self.log_bytes,
            "root": b64encode(self.root).decode(),
            "sha256": self.sha256.hex(),
            "stream": self.stream.value,
            "to": self.last,
        }
        return record.lifecycle(stamp, "audit.segment_sealed", more={"segment": details})


def sealed_matter(origin: str) -> str:
    """Name the matter of a log's segments in the custodian's journal."""
    return f"sealed/{origin}"


def closed_files(layout: Layout, stream: Stream) -> list[int]:
    """Return the numbers of the log files that are followed by another file, ascending. Raises `OSError`."""
    found = [parse_name(entry.name) for entry in os.scandir(layout.directory)]
    mine = [name for name in found if name is not None and name.stream is stream]
    newest = max((name.number for name in mine), default=0)
    return sorted(name.number for name in mine if not name.is_sealed and name.number < newest)


class Sealing:
    """One log file on its way to a segment: `steps` says after each what is done. Blocking."""

    def __init__(self, layout: Layout, keys: AuditKeys, stream: Stream, number: int, *, trail: Recording) -> None:
        self._layout = layout
        self._keys = keys
        self._trail = trail
        self._stream = stream
        self._number = number
        self._log = layout.directory / file_name(stream, number)
        self._segment = layout.directory / segment_name(stream, number)
        self._unfinished = self._segment.with_name(self._segment.name + UNFINISHED_SUFFIX)
        self.sealed: Sealed | None = None

    def steps(self) -> Iterator[str]:
        """Do the steps. Raises `SealError`, `AuditUnavailableError`, `OSError`; the log file is still there then."""
        following = self._following()
        if not self._segment.exists():
            self._write(following)
            yield "written"
            self._check(self._unfinished, following)
            yield "checked"
            self._unfinished.rename(self._segment)
            yield "named"
        self.sealed = self._check(self._segment, following)
        sync_directory(self._layout.directory)
        yield "durable"
        if (
            self._trail.done(self.sealed.mark.matter) != self._number
        ):  # the mark is the last one; files may be passed over
            self._trail.write(self.sealed.event, mark=self.sealed.mark)
        yield "recorded"
        self._log.unlink()
        yield "removed"
        sync_directory(self._layout.directory)

    def _following(self) -> FileHead:
        try:
            return read_head(self._layout.directory, self._stream, self._number + 1)
        except (FileHeadError, SegmentError, FileNotFoundError) as exc:
            raise SealError(f"{self._log.name}: how it ended is not known: file {self._number + 1}: {exc}") from exc

    def _write(self, following: FileHead) -> None:
        data = self._log.read_bytes()
        try:
            head = parse_head(data[: head_length(data)])[0]
            segment = seal(data, following, self._keys.open(head), self._keys.public, salt=os.urandom(SALT_BYTES))
        except (FileHeadError, SegmentError) as exc:
            raise SealError(f"{self._log.name}: is not what was signed and is not sealed: {exc}") from exc
        self._require_room(len(segment))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._unfinished, flags, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                self._layout.give(fd)
                file.write(segment)
                file.flush()
                os.fsync(fd)
        except OSError:
            self._unfinished.unlink(missing_ok=True)  # what it took, the log may need
            raise

    def _require_room(self, size: int) -> None:
        """Leave the log room to go on: it cannot answer without, and a segment can wait. Raises `NoRoomError`."""
        disk = os.statvfs(self._layout.directory)
        free = disk.f_bavail * disk.f_frsize
        if free < size + SPARED_BYTES:
            raise NoRoomError(
                f"{self._log.name}: a segment of {size} bytes waits, because {free} are free and the log needs room"
            )

    def _check(self, path: Path, following: FileHead) -> Sealed:
        """Read a segment back and prove that it holds what the log file held."""
        try:
            segment = parse_segment(path.read_bytes())
            verify_head(segment.head_bytes, len(segment.head_bytes), self._keys.public)
            tree = self._tree_of(segment)
        except (FileHeadError, SegmentError) as exc:
            raise SealError(f"{path.name}: does not hold what {self._log.name} holds: {exc}") from exc
        ends = (segment.next_index, segment.next_frame, segment.last_sha256, segment.tail, tuple(tree.frontier))
        if segment.head.file_no != self._number or ends != (
            following.first_index,
            following.first_frame,
            following.prev_sha256,
            following.prev_tail,
            tuple(following.frontier),
        ):
            raise SealError(f"{path.name}: does not end as {self._log.name} ended")
        return Sealed(
            origin=segment.head.origin,
            stream=self._stream,
            number=self._number,
            first=segment.head.first_index,
            last=segment.next_index - 1,
            log_bytes=segment.tail,
            segment_bytes=segment.size,
            root=tree.root(),
            sha256=segment.sha256,
        )

    def _tree_of(self, segment: Segment) -> Tree:
        return verify_contents(segment, self._keys.open(segment.head), self._keys.vkey(segment.head.origin))


class SealingDuty:
    """Seals what is closed, as soon as it is."""

    name = "sealing"

    def __init__(self, station: Station) -> None:
        """Declare the metrics."""
        self._station = station
        self._refused: set[tuple[Stream, int]] = set()
        """Files that cannot be sealed; they are not tried again until the next start."""
        registry = station.metrics
        self._sealed = registry.counter(
            "gateway_audit_segments_sealed_total", "Log files that were sealed into segments.", ("stream",)
        )
        self._bytes = registry.counter(
            "gateway_audit_sealed_bytes_total", "Bytes of log files that were sealed, before and after.",
            ("stream", "form"),
        )  # fmt: skip
        self._waiting = registry.gauge(
            "gateway_audit_unsealed_files", "Closed log files that are not segments yet.", ("stream",)
        )

    async def run(self) -> None:
        """Look once a second. Raises `AuditUnavailableError`, `OSError`."""
        await in_thread(self._forget_unfinished)
        while True:
            faults: list[str] = []
            for stream in STREAMS:
                numbers = await in_thread(closed_files, self._station.layout, stream)
                self._waiting.set(len(numbers), (stream.value,))
                for number in numbers:
                    try:
                        await self._seal(stream, number)
                    except NoRoomError as error:  # a smaller one may have room
                        faults.append(str(error))
                    except OSError as error:  # a bad sector keeps no other file from being sealed
                        faults.append(f"{file_name(stream, number)}: {error.strerror}")
            if faults:
                raise AuditUnavailableError(faults[0])
            await asyncio.sleep(POLL_S)

    def measure(self) -> None:
        """Nothing that is not up to date."""

    def _forget_unfinished(self) -> None:
        for leftover in self._station.layout.directory.glob(f"*.seg{UNFINISHED_SUFFIX}"):
            leftover.unlink(missing_ok=True)

    async def _seal(self, stream: Stream, number: int) -> None:
        if (stream, number) in self._refused:
            return
        station = self._station
        sealing = Sealing(station.layout, station.keys, stream, number, trail=station.trail)
        try:
            await in_thread(self._finish, sealing)
        except SealError as error:
            self._refused.add((stream, number))
            _log.error("segment.refused", stream=stream, file=number, reason=str(error))
            await self._station.trail.record(
                partial(
                    record.lifecycle,
                    event="audit.seal_refused",
                    success=False,
                    severity=record.HIGH,
                    detail=str(error),
                    more={"segment": {"file": file_name(stream, number), "stream": stream.value}},
                )
            )
            return
        if sealing.sealed is not None:
            self._sealed.inc((stream.value,))
            self._bytes.inc((stream.value, "log"), sealing.sealed.log_bytes)
            self._bytes.inc((stream.value, "segment"), sealing.sealed.segment_bytes)

    @staticmethod
    def _finish(sealing: Sealing) -> None:
        for _ in sealing.steps():
            pass
