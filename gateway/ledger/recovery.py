"""Finds where a log ends when it is opened again, and decides whether it can be continued from there.

Reads the newest file only: its signed head carries what came before. What a crash leaves is discarded and said; what does
not verify is never continued. It changes nothing itself but for removing files that were never finished.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit import record
from gateway.audit.checkpoint import CheckpointError, verify_checkpoint
from gateway.audit.filehead import NO_HASH, FileHead, FileHeadError, parse_head
from gateway.audit.frame import Frame, FrameError, find_frame, open_frame, parse_frame
from gateway.audit.verify import Verifier
from gateway.exchange.stream import Stream
from gateway.ledger.checkpoint_file import read_checkpoint
from gateway.ledger.disk import Disk
from gateway.ledger.errors import LogTamperedError
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import UNFINISHED_SUFFIX, Layout, file_name, parse_name
from gateway.ledger.log_file import Ended

_EARLIER = "main-"
_ZEROS = bytes(1 << 20)


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What opening a log found."""

    stream: Stream
    is_new: bool
    size: int
    discarded_bytes: int = 0
    discarded_sha256: str = ""
    was_interrupted: bool = True
    """The discarded bytes look like the beginning of a frame, as a crash leaves them."""
    missing_files: tuple[int, ...] = ()
    boot: str = ""
    """Run of the gateway that wrote the newest file."""
    file: str = ""

    def event(self, stamp: record.Stamp) -> dict[str, Any]:
        """Return the record `audit.recovery`, the first of what is written after opening."""
        is_clean = self.was_interrupted and not self.missing_files
        details = {
            "discarded_bytes": self.discarded_bytes,
            "discarded_sha256": self.discarded_sha256,
            "file": self.file,
            "missing_files": list(self.missing_files),
            "size": self.size,
            "stream": self.stream.value,
        }
        return record.lifecycle(
            stamp,
            "audit.recovery",
            success=is_clean,
            severity=record.INFORMATIONAL if is_clean else record.HIGH,
            more={"recovery": details},
        )


class End(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log ends, and what its writer goes on from."""

    origin: str
    verifier: Verifier | None
    """Has followed the newest file; None for a new log."""
    ended: Ended
    recovery: Recovery
    published: bytes
    """The checkpoint that is there; empty when none is."""


def find_end(
    layout: Layout,
    keys: AuditKeys,
    stream: Stream,
    *,
    disk: Disk,
    random: Callable[[int], bytes],
    is_trial: bool = False,
) -> End:
    """Return where the log of a stream ends; whoever asks holds its lock. Raises `LogTamperedError`, `OSError`.

    With `is_trial` not even what was never finished is removed.
    """
    for leftover in layout.directory.glob(f"{stream}-*.log{UNFINISHED_SUFFIX}"):
        if not is_trial:
            leftover.unlink()
    numbers = _numbers(layout, stream)
    known = read_checkpoint(layout, stream)
    if numbers:
        return _recover(layout, keys, stream, numbers, known=known, disk=disk)
    if known:
        raise LogTamperedError(
            _mend(layout, stream, "the log files are gone, but a checkpoint says that there were some")
        )
    return End(
        origin=f"{keys.origin}/{random(4).hex()}/{stream}",
        verifier=None,
        ended=Ended(None, 0, 0),
        recovery=Recovery(stream=stream, is_new=True, size=0),
        published=known,
    )


def _numbers(layout: Layout, stream: Stream) -> list[int]:
    """Return the numbers of a stream's files and segments, ascending. Raises `LogTamperedError` for a log of another layout."""
    numbers: set[int] = set()
    for path in layout.directory.iterdir():
        name = parse_name(path.name)
        if name is not None and name.stream is stream:
            numbers.add(name.number)
        elif path.name.startswith(_EARLIER):
            raise LogTamperedError(
                f"{path}: is of a log without streams, which an earlier gateway wrote and only that one verifies. Move "
                f"{layout.directory} and {layout.state_dir / 'checkpoint'} away together, and start again: new logs begin"
            )
    return sorted(numbers)


def _recover(
    layout: Layout, keys: AuditKeys, stream: Stream, numbers: Sequence[int], *, known: bytes, disk: Disk
) -> End:
    """Find the end of the log: the frames of the newest file up to the first that is not intact.

    What follows is an interrupted write only beyond the last known size, and only where no whole frame follows it: the one
    before is always on stable storage before the next is written. Anything else is tampering, and nothing is discarded.
    """
    path = layout.directory / file_name(stream, numbers[-1])
    if (
        not path.exists()
    ):  # attack: rm of the newest file; only closed ones are sealed, so another always follows a segment
        raise LogTamperedError(_mend(layout, stream, f"the file after number {numbers[-1]}, which was sealed, is gone"))
    data = _read_durably(path, disk)
    try:
        head, at = parse_head(data)
    except FileHeadError as exc:
        raise LogTamperedError(_mend(layout, stream, f"{path.name}: {exc}")) from exc
    tail = _end_of_frames(data, at, head)
    verifier = Verifier(public=keys.public, base_origin=keys.origin, opener=keys)
    verifier.resume(head)
    verifier.file(path.name, data[:tail])
    broken = [finding for finding in verifier.findings if finding.is_failure]
    if broken or verifier.tree is None:
        raise LogTamperedError(_mend(layout, stream, str(broken[0]) if broken else f"{path.name}: cannot be followed"))
    if known:
        try:
            checkpoint = verify_checkpoint(known, keys.vkey(head.origin))
        except CheckpointError as exc:
            raise LogTamperedError(_mend(layout, stream, f"checkpoint {stream}: {exc}")) from exc
        if checkpoint.size > verifier.tree.size:
            raise LogTamperedError(
                _mend(
                    layout,
                    stream,
                    f"the log once had {checkpoint.size} entries, {verifier.tree.size} of them are intact",
                )
            )
    rest = data.rstrip(b"\0")[tail:]
    kept = _frame_behind(data, tail, tail + len(rest), keys.open(head))
    if kept is not None:
        first, count = kept.header.first_index, kept.header.count
        raise LogTamperedError(
            _mend(
                layout,
                stream,
                f"{path.name}: entries {first} to {first + count - 1} are intact, but what stands before them is not",
            )
        )
    recovery = Recovery(
        stream=stream,
        is_new=False,
        size=verifier.tree.size,
        discarded_bytes=len(rest),
        discarded_sha256=sha256(rest).hexdigest() if rest else "",
        was_interrupted=not rest or verifier.is_interrupted(rest, head),
        missing_files=tuple(sorted(set(range(numbers[0], numbers[-1])) - set(numbers)))[:100],
        boot=head.boot,
        file=path.name,
    )
    ended = Ended(path, head.file_no, tail, len(rest), sha256(rest).digest() if rest else NO_HASH)
    return End(origin=head.origin, verifier=verifier, ended=ended, recovery=recovery, published=known)


def _read_durably(path: Path, disk: Disk) -> bytes:
    """Read a file whose writer was killed: what is believed of it must still be there after the power fails.

    Most of it was allocated and never written; those zeros at its end are not kept, since everybody waits for this.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)
    parts: list[bytes] = []
    written = 0
    with path.open("rb", buffering=0) as file:
        while part := file.read(len(_ZEROS)):
            is_written = part != _ZEROS[: len(part)]
            parts.append(part if is_written else _ZEROS[: len(part)])
            written = len(parts) if is_written else written
    return b"".join(parts[:written])


def _end_of_frames(data: bytes, at: int, head: FileHead) -> int:
    expected, last = head.first_frame, head.prev_sha256
    while True:
        try:
            frame = parse_frame(data, at)
        except FrameError:
            return at
        if frame.header.frame_no != expected or frame.header.prev_sha256 != last:
            return at
        expected, last, at = expected + 1, frame.sha256, frame.end


def _frame_behind(data: bytes, tail: int, limit: int, cipher: AESGCM) -> Frame | None:
    """Return the first whole frame of ours behind the end of the log, which a crash never leaves there."""
    at = tail
    while (found := find_frame(data, at, limit)) is not None:
        at, frame = found
        try:
            open_frame(cipher, frame)
        except FrameError:
            at += 1  # somebody's bytes in the form of a frame: garbage, and called that
        else:
            return frame
    return None


def _mend(layout: Layout, stream: Stream, what: str) -> str:
    return (
        f"{layout.directory}: {what}; the {stream} log is not what was written and is not continued. Run gateway audit verify, "
        f"keep {layout.directory}/{stream}-* and {layout.checkpoint(stream)} as evidence by moving all of them away, and "
        "start again: a new log begins"
    )
