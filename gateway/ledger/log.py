"""The files of one stream's log: written by one process, one frame at a time, and never opened again to append.

Decides where a frame goes, when it is safe, and what happens when the disk lies: a file that failed
once is not written again; what was not yet safe is written anew into another file. What the records
say is not its business.
"""

from __future__ import annotations

import errno
import fcntl
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit import record
from gateway.audit.checkpoint import CheckpointError, Signer, verify_checkpoint
from gateway.audit.entry import HEAD, LENGTH, MAGIC, SALT_BYTES
from gateway.audit.filehead import NO_HASH, FileHead, FileHeadError, pack_head, parse_head, wrap_key
from gateway.audit.frame import (
    OVERHEAD_BYTES,
    TAG_BYTES,
    Frame,
    FrameError,
    Header,
    find_frame,
    open_frame,
    parse_frame,
    seal_frame,
)
from gateway.audit.intent import INTENT, PHASE_MARK, note_intent
from gateway.audit.merkle import Tree
from gateway.audit.pressure import Space
from gateway.audit.protocol import Refusal
from gateway.audit.verify import Verifier
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAM_NUMBERS, Stream
from gateway.ledger.disk import Disk, LocalDisk
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import UNFINISHED_SUFFIX, Layout, file_name, parse_name

FILE_BYTES = 128 << 20
"""Room for `FILE_ENTRIES` records of the usual length, each in a frame of its own."""
FILE_ENTRIES = 65_536
"""No file goes past a multiple of so many: a full one is one whole tile of level 1 (C2SP tlog-tiles)."""
FREE_SHARE = 8
"""A file takes at most one part in so many of what is free, so that small disks have room for several."""
SMALL_FILE_BYTES = 1 << 20
"""For a file that one command line verb makes, or that is made out of the ballast."""
BALLAST_BYTES = 16 << 20
FRAME_BUNDLE_BYTES = 512 << 10
FRAME_RECORDS = 4096
_NOTE_SLACK_BYTES = 256
_EARLIER = "main-"
_TAMPERED = "the live log file was removed or replaced"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""No file can be made now, and one can be later: bytes, quota, files, descriptors, or a file system that lets nobody write."""

Group = tuple[int, Sequence[int], Sequence[bytes]]
"""Slot, ascending sequences, and a payload for each."""


class LogBusyError(AuditUnavailableError):
    """Another process writes this log."""


class LogTamperedError(AuditUnavailableError):
    """The log on disk is not what was written; it must not be continued."""


class LogUnavailableError(AuditUnavailableError):
    """Records could not be stored. `refusal` says why; nothing of them beyond `Log.taken` will be in the log."""

    def __init__(self, message: str, refusal: Refusal) -> None:
        super().__init__(message)
        self.refusal = refusal


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


class _Chunk:
    """The entries of one frame, kept until they are safe."""

    __slots__ = ("frame", "groups", "has_intents", "leaves", "parts", "size")

    def __init__(self) -> None:
        self.has_intents = False
        """Some record announces a request: one search of the bundle spares a search of each record."""
        self.parts: list[bytes] = []
        """The bundle in pieces."""
        self.leaves: list[bytes] = []
        self.groups: list[Group] = []
        self.size = 0
        self.frame = b""


class _File(msgspec.Struct, kw_only=True):
    """The file that is written now."""

    path: Path
    fd: int
    file_no: int
    capacity: int
    aead: AESGCM
    key_id: bytes
    offset: int
    first_index: int
    inode: tuple[int, int]
    is_reserved: bool = False


class _Mark(msgspec.Struct, frozen=True):
    """A state of the log that is on stable storage."""

    tree: Tree
    next_frame: int
    sha256: bytes
    offset: int
    note: bytes
    sequences: dict[int, int]


class _Ended(msgspec.Struct, frozen=True):
    """How the file before the next one ended."""

    path: Path | None
    file_no: int
    tail: int
    discarded: int = 0
    discarded_sha256: bytes = NO_HASH


class Log:
    """The one writer of a stream's log. Not thread-safe; every method blocks."""

    def __init__(
        self,
        layout: Layout,
        stream: Stream,
        keys: AuditKeys,
        *,
        lock_fd: int,
        boot: str,
        disk: Disk,
        random: Callable[[int], bytes],
        capacity: int,
        origin: str,
        verifier: Verifier | None,
        ended: _Ended,
        recovery: Recovery,
        published: bytes,
    ) -> None:
        """Take over what `open_log` found; `published` = the checkpoint that is there."""
        self.stream = stream
        self.origin = origin
        self.recovery = recovery
        self.sequences: dict[int, int] = dict(verifier.sequences) if verifier else {}
        """Slot -> last sequence that was written."""
        self.taken: dict[int, int] = self.sequences.copy()
        """Slot -> last sequence that was written or is kept to be written again: what a resend is compared with."""
        self.intents: dict[str, int] = dict(verifier.intents) if verifier else {}
        """Correlation uid -> slot of intents that are safe and have no outcome yet."""
        self.written_bytes = 0
        """Since it was opened."""
        self.io_errors = 0
        """How often a file had to be given up."""
        self.is_tampered = False
        """The live file was removed, replaced or cut while it was written; nothing is taken in any more."""
        self._layout = layout
        self._keys = keys
        self._lock_fd = lock_fd
        self._boot = boot
        self._disk = disk
        self._random = random
        self._capacity = capacity
        self._signer: Signer = keys.signer(origin)
        self._tree = verifier.tree.copy() if verifier and verifier.tree else Tree()
        self._next_frame = verifier.next_frame if verifier else 1
        self._sha256 = verifier.last_sha256 if verifier else NO_HASH
        # a writer that was killed may have published less than it had made safe
        self._note = self._signer.checkpoint(self._tree.size, self._tree.root()) if self._tree.size else b""
        self._ended = ended
        self._file: _File | None = None
        self._pending: list[_Chunk] = []
        self._backlog: list[_Chunk] = []
        self._now_ns = 0
        self._published = published
        self._safe = self._mark(0)

    # reading

    @property
    def size(self) -> int:
        """Entries that are on stable storage."""
        return self._safe.tree.size

    @property
    def is_published(self) -> bool:
        """A checkpoint says how long it is, or was at most a second ago."""
        return bool(self._published)

    @property
    def root(self) -> bytes:
        """Root of the tree of those entries."""
        return self._safe.tree.root()

    @property
    def file_entries(self) -> int:
        """Entries in the file that is written now."""
        return self._tree.size - self._file.first_index if self._file is not None else 0

    @property
    def file_no(self) -> int:
        """Number of the file that is written now; 0 before the first record."""
        return self._file.file_no if self._file is not None else 0

    @property
    def has_unsafe(self) -> bool:
        """Records were written that are not on stable storage yet."""
        return bool(self._pending or self._backlog)

    @property
    def unsafe_records(self) -> int:
        """How many records that are."""
        return sum(len(chunk.leaves) for chunk in (*self._backlog, *self._pending))

    def space(self) -> Space:
        """Return what is left on the log's file system; nothing when it cannot be asked."""
        try:
            return self._disk.space(self._layout.directory)
        except OSError:
            return Space(0, 0, 0, 0)

    # appending

    def append(self, groups: Iterable[Group], *, is_safe: bool, now_ns: int, reserved: bool = False) -> None:
        """Write records; with `is_safe`, return only when they are on stable storage.

        `reserved` records may use the ballast when the disk is full. Raises `LogUnavailableError`:
        then those of these records that are not in `taken` are not, and will not be, in the log.
        """
        self._now_ns = now_ns
        for chunk in self._chunks(groups, now_ns):
            before = {slot: self.taken.get(slot, 0) for slot, _, _ in chunk.groups}
            try:
                self._store(chunk, is_safe=is_safe, reserved=reserved)
            except LogUnavailableError:
                self.taken.update(before)
                raise

    def _next_index(self) -> int:
        """Index of the next new record: what is kept to be written again comes before it."""
        return self._tree.size + sum(len(chunk.leaves) for chunk in self._backlog)

    def settle(self) -> None:
        """Make safe what was written without waiting.

        Raises `LogUnavailableError`; the records are kept and tried again with the next.
        """
        if self.has_unsafe:
            self._store(None, is_safe=True, reserved=False)

    def turn_over(self, *, now_ns: int) -> None:
        """Begin another file: who opens the log next reads the newest one, which is short then.

        Raises `LogUnavailableError`; the log goes on as it was.
        """
        self._now_ns = now_ns
        self.settle()
        if self._file is not None and not self.is_tampered:
            self._begin_file(0, reserved=False)

    def _chunks(self, groups: Iterable[Group], now_ns: int) -> list[_Chunk]:
        """Make the entries, their leaf hashes, and cut them into frames."""
        groups = list(groups)
        salts = self._random(SALT_BYTES * sum(len(payloads) for _, _, payloads in groups))
        pack, prefix, overhead = HEAD.pack, LENGTH.pack, HEAD.size
        number = STREAM_NUMBERS[self.stream]
        in_file = FILE_ENTRIES - self._next_index() % FILE_ENTRIES
        chunk = _Chunk()
        chunks = [chunk]
        leaves, parts = chunk.leaves, chunk.parts
        room, size, at = min(FRAME_RECORDS, in_file), 0, 0
        for slot, sequences, payloads in groups:
            start = 0
            for i, (sequence, payload) in enumerate(zip(sequences, payloads, strict=True)):
                cost = len(payload) + overhead
                if room == 0 or (size + cost > FRAME_BUNDLE_BYTES and size):
                    if i > start:
                        chunk.groups.append((slot, sequences[start:i], payloads[start:i]))
                    start = i
                    chunk.size = size
                    in_file = (in_file - len(leaves)) or FILE_ENTRIES
                    chunk = _Chunk()
                    chunks.append(chunk)
                    leaves, parts = chunk.leaves, chunk.parts
                    room, size = min(FRAME_RECORDS, in_file), 0
                head = pack(MAGIC, 0, number, slot, now_ns, sequence, salts[at : at + SALT_BYTES])
                at += SALT_BYTES
                leaves.append(sha256(b"\0" + head + payload).digest())
                parts += (prefix(cost), head, payload)
                room -= 1
                size += cost + LENGTH.size
            if len(payloads) > start:
                chunk.groups.append((slot, sequences[start:], payloads[start:]))
        chunk.size = size
        return chunks if chunk.leaves else chunks[:-1]

    def _store(self, chunk: _Chunk | None, *, is_safe: bool, reserved: bool) -> None:
        """Store a chunk as a whole or not at all."""
        if self.is_tampered:
            raise LogUnavailableError(_TAMPERED, Refusal.IO_ERROR)
        try:
            self._write(chunk, is_safe=is_safe, reserved=reserved)
        except OSError:
            # fsync is not tried again: after an error it may succeed and have lost the data
            self._give_up(chunk)
            try:
                self._write(chunk, is_safe=True, reserved=reserved)
            except OSError as exc:
                self._give_up(chunk)
                raise LogUnavailableError(_sentence(exc), Refusal.IO_ERROR) from exc

    def _write(self, chunk: _Chunk | None, *, is_safe: bool, reserved: bool) -> None:
        """Write what is kept and then `chunk`. Raises `OSError` when the file must be given up."""
        is_safe = is_safe or bool(self._backlog)
        while self._backlog:
            file = self._room(self._backlog[0], reserved=reserved)
            self._put(file, self._backlog.pop(0))
        if chunk is not None:
            self._put(self._room(chunk, reserved=reserved), chunk)
        if is_safe:
            self._sync()

    def _room(self, chunk: _Chunk, *, reserved: bool) -> _File:
        """Return a file that takes a chunk, the current one or the next, in which everything is safe.

        No frame ever follows one that a power cut can tear: a whole frame behind a broken one is no crash, and is not
        taken for one. Raises `LogUnavailableError`, `OSError`.
        """
        self._sync()
        need = chunk.size + OVERHEAD_BYTES + _NOTE_SLACK_BYTES + 2 * len(self.origin)
        file = self._file
        if (
            file is not None
            and file.offset + need <= file.capacity
            and (reserved or not file.is_reserved)
            and (self._tree.size % FILE_ENTRIES or self._tree.size == file.first_index)
        ):
            return file
        return self._begin_file(need, reserved=reserved)

    def _put(self, file: _File, chunk: _Chunk) -> None:
        self._pending.append(chunk)
        tree = self._tree
        header = Header(
            self._next_frame, tree.size, len(chunk.leaves), chunk.size + TAG_BYTES, self._sha256, file.key_id
        )
        tree.extend(chunk.leaves)
        note = self._signer.checkpoint(tree.size, tree.root())
        bundle = b"".join(chunk.parts)
        chunk.has_intents = PHASE_MARK + INTENT in bundle
        chunk.frame, self._sha256 = seal_frame(file.aead, header, bundle, note)
        self._next_frame += 1
        self._note = note
        for slot, sequences, _ in chunk.groups:
            self.sequences[slot] = self.taken[slot] = sequences[-1]
        self._disk.write(file.fd, chunk.frame, file.offset)
        file.offset += len(chunk.frame)
        self.written_bytes += len(chunk.frame)

    def _sync(self) -> None:
        if self._file is None or not self._pending:
            return
        self._disk.sync(self._file.fd)
        self.check()
        if self.is_tampered:  # attack: rm between two looks; what goes into a file without a name is not safe
            raise LogUnavailableError(_TAMPERED, Refusal.IO_ERROR)
        self._safe = self._mark(self._file.offset)
        for chunk in self._pending:
            if not chunk.has_intents and not self.intents:
                continue
            for slot, _, payloads in chunk.groups:
                for payload in payloads:
                    note_intent(self.intents, slot, payload)
        self._pending = []

    def _mark(self, offset: int) -> _Mark:
        return _Mark(self._tree.copy(), self._next_frame, self._sha256, offset, self._note, self.sequences.copy())

    # faults

    def _give_up(self, mine: _Chunk | None) -> None:
        """Never write the current file again, go back to what is safe, and keep what was acknowledged: all but `mine`."""
        self.io_errors += 1
        written = b"".join(chunk.frame for chunk in self._pending)
        self._backlog[:0] = [chunk for chunk in self._pending if chunk is not mine]
        self._pending = []
        safe = self._safe
        if self._file is not None:
            digest = sha256(written).digest() if written else NO_HASH
            self._ended = _Ended(self._file.path, self._file.file_no, safe.offset, len(written), digest)
            with suppress(OSError):
                os.close(self._file.fd)
            self._file = None
        self._tree = safe.tree.copy()
        self._next_frame = safe.next_frame
        self._sha256 = safe.sha256
        self._note = safe.note
        self.sequences = safe.sequences.copy()

    def check(self) -> None:
        """Find out whether the live file is still the one in the directory, whole (attack: rm, mv, truncate).

        Afterwards `is_tampered` says so, and nothing is taken in any more.
        """
        file = self._file
        if file is None:
            return
        try:
            held = os.fstat(file.fd)
            named = file.path.lstat()
        except OSError:
            self.is_tampered = True
            return
        if (
            held.st_nlink != 1
            or (named.st_dev, named.st_ino) != file.inode
            or held.st_size != file.capacity
            or held.st_mode & 0o077
        ):
            self.is_tampered = True

    # files

    def _begin_file(self, need: int, *, reserved: bool) -> _File:
        """Make the next file; only then end the current one.

        Raises `LogUnavailableError`, and then nothing has changed.
        """
        try:
            file = self._make_file(self._capacity_now(), need)
        except OSError as exc:
            if exc.errno not in _FULL:
                raise LogUnavailableError(_sentence(exc), Refusal.IO_ERROR) from exc
            if not reserved:
                raise LogUnavailableError(_sentence(exc), Refusal.DISK_FULL) from exc
            file = self._make_reserved(need, exc)
        self._end_file()
        self._file = file
        self._safe = self._mark(file.offset)
        return file

    def _capacity_now(self) -> int:
        """Return how large an ordinary file may be. Raises `OSError`: the last of a disk is not for ordinary records."""
        free = self.space().free_bytes
        capacity = min(self._capacity, max(SMALL_FILE_BYTES, free // FREE_SHARE))
        if free < 2 * capacity:  # what was taken out of the ballast and is not used yet
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return capacity

    def _make_reserved(self, need: int, cause: OSError) -> _File:
        """Make a small file out of the ballast."""
        ballast = self._layout.ballast
        capacity = max(SMALL_FILE_BYTES, need)
        try:
            kept = ballast.stat().st_size
            if kept < 2 * capacity:
                raise cause
            os.truncate(ballast, kept - 2 * capacity)
            file = self._make_file(capacity, need)
        except OSError as exc:
            raise LogUnavailableError(_sentence(cause), Refusal.DISK_FULL) from exc
        file.is_reserved = True
        return file

    def _make_file(self, capacity: int, need: int) -> _File:
        ended = self._ended
        if self._file is not None:
            ended = _Ended(self._file.path, self._file.file_no, self._safe.offset)
        file_no = ended.file_no + 1
        key, key_id, nonce = self._random(32), self._random(8), self._random(12)
        head = FileHead(
            file_no=file_no,
            created_ns=self._now_ns,
            first_frame=self._next_frame,
            first_index=self._tree.size,
            capacity=capacity,
            prev_sha256=self._sha256,
            prev_tail=ended.tail,
            prev_discarded=ended.discarded,
            prev_discarded_sha256=ended.discarded_sha256,
            kek_id=self._keys.kek_id,
            key_id=key_id,
            wrap_nonce=nonce,
            wrapped_key=wrap_key(self._keys.kek, key, nonce=nonce, origin=self.origin, file_no=file_no, key_id=key_id),
            public=self._keys.public,
            origin=self.origin,
            boot=self._boot,
            frontier=tuple(self._tree.frontier),
            sequences=self.sequences,
            intents=self.intents,
        )
        data = pack_head(head, self._signer)
        if len(data) + need > capacity:
            capacity = len(data) + need
            data = pack_head(msgspec.structs.replace(head, capacity=capacity), self._signer)
        return self._place_file(file_no, capacity, data, AESGCM(key), key_id)

    def _place_file(self, file_no: int, capacity: int, data: bytes, aead: AESGCM, key_id: bytes) -> _File:
        """Allocate under another name, so that a log file is whole from the moment it has its own."""
        directory = self._layout.directory
        path = directory / file_name(self.stream, file_no)
        unfinished = directory / (path.name + UNFINISHED_SUFFIX)
        if path.exists():
            raise FileExistsError(errno.EEXIST, "a log file of this number exists", path.name)
        fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._layout.give(fd)
            self._disk.allocate(fd, capacity)
            self._disk.write(fd, data, 0)
            os.fsync(fd)
            unfinished.rename(path)
            sync_directory(directory)
            status = os.fstat(fd)
        except BaseException:
            os.close(fd)
            unfinished.unlink(missing_ok=True)
            path.unlink(missing_ok=True)  # the file before it goes on: a successor would say that it ended here
            raise
        return _File(
            path=path,
            fd=fd,
            file_no=file_no,
            capacity=capacity,
            aead=aead,
            key_id=key_id,
            offset=len(data),
            first_index=self._tree.size,
            inode=(status.st_dev, status.st_ino),
        )

    def _end_file(self) -> None:
        """Cut the padding, or what was given up, off the file before the one that begins."""
        if self._file is not None:
            with suppress(OSError):  # what stays is zeros, which verification accepts
                os.ftruncate(self._file.fd, self._safe.offset)
            os.close(self._file.fd)
            self._file = None
        elif self._ended.path is not None:
            with suppress(OSError):  # it failed before; its successor's head says where it ends
                os.truncate(self._ended.path, self._ended.tail)

    # the rest

    def publish(self) -> None:
        """Replace the checkpoint file when the log has grown. Raises `OSError`."""
        note = self._safe.note
        if not note or note == self._published:
            return
        path = self._layout.checkpoint(self.stream)
        unfinished = path.with_name("." + path.name + UNFINISHED_SUFFIX)
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._layout.give(fd)
            self._disk.write(fd, note, 0)
            self._disk.sync(fd)
        finally:
            os.close(fd)
        unfinished.rename(path)
        self._published = note

    def keep_ballast(self, size: int = BALLAST_BYTES) -> int:
        """Fill the ballast up to `size` where there is room; return what it has."""
        path = self._layout.ballast
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return 0
        try:
            self._layout.give(fd)
            have = os.fstat(fd).st_size
            if have < size and self.space().free_bytes > 2 * size:
                with suppress(OSError):
                    os.posix_fallocate(fd, 0, size)
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def close(self) -> None:
        """Make everything safe, cut the padding off, publish the checkpoint and let the lock go.

        Raises `LogUnavailableError` or `OSError`; the lock is gone all the same.
        """
        try:
            self.settle()
            if self._file is not None and not self.is_tampered:
                os.ftruncate(self._file.fd, self._file.offset)
                os.fsync(self._file.fd)
            self.publish()
        finally:
            if self._file is not None:
                os.close(self._file.fd)
                self._file = None
            os.close(self._lock_fd)


def beyond(group: Group, last: int) -> Group:
    """Return what of a group has a sequence above `last`."""
    slot, sequences, payloads = group
    at = bisect_right(sequences, last)
    return (slot, sequences[at:], payloads[at:]) if at else group


def open_log(
    state_dir: Path,
    keys: AuditKeys,
    stream: Stream,
    *,
    boot: str,
    disk: Disk | None = None,
    random: Callable[[int], bytes] = os.urandom,
    capacity: int = FILE_BYTES,
) -> Log:
    """Become the writer of a stream's log under `state_dir`; find its end, and never continue what does not verify.

    Reads the newest file only: its signed head carries what came before. Raises `LogBusyError`,
    `LogTamperedError`, `OSError`.
    """
    layout = Layout(state_dir)
    layout.create()
    lock_fd = _lock(layout, stream)
    try:
        return _open_locked(
            layout, keys, stream, lock_fd, boot=boot, disk=disk or LocalDisk(), random=random, capacity=capacity
        )
    except BaseException:
        os.close(lock_fd)
        raise


def _lock(layout: Layout, stream: Stream) -> int:
    fd = os.open(layout.lock(stream), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        layout.give(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(fd)
        raise LogBusyError(f"{layout.directory}: another process writes this audit log") from exc
    except OSError:
        os.close(fd)
        raise
    return fd


def _open_locked(
    layout: Layout,
    keys: AuditKeys,
    stream: Stream,
    lock_fd: int,
    *,
    boot: str,
    disk: Disk,
    random: Callable[[int], bytes],
    capacity: int,
) -> Log:
    for leftover in layout.directory.glob(f"{stream}-*.log{UNFINISHED_SUFFIX}"):
        leftover.unlink()
    numbers = _numbers(layout, stream)
    known = _read_checkpoint(layout, stream)
    verifier: Verifier | None = None
    ended = _Ended(None, 0, 0)
    if numbers:
        origin, verifier, ended, recovery = _recover(layout, keys, stream, numbers, known=known, disk=disk)
    elif known:
        raise LogTamperedError(
            _mend(layout, stream, "the log files are gone, but a checkpoint says that there were some")
        )
    else:
        origin = f"{keys.origin}/{random(4).hex()}/{stream}"
        recovery = Recovery(stream=stream, is_new=True, size=0)
    return Log(
        layout,
        stream,
        keys,
        lock_fd=lock_fd,
        boot=boot,
        disk=disk,
        random=random,
        capacity=capacity,
        origin=origin,
        verifier=verifier,
        ended=ended,
        recovery=recovery,
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
) -> tuple[str, Verifier, _Ended, Recovery]:
    """Find the end of the log: the frames of the newest file up to the first that is not intact.

    What follows is an interrupted write only beyond the last known size, and only where no whole frame follows it: the one
    before is always on stable storage before the next is written. Anything else is tampering, and nothing is discarded.
    """
    path = layout.directory / file_name(stream, numbers[-1])
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
    kept = _frame_behind(data, tail, keys.open(head))
    if kept is not None:
        first, count = kept.header.first_index, kept.header.count
        raise LogTamperedError(
            _mend(
                layout,
                stream,
                f"{path.name}: entries {first} to {first + count - 1} are intact, but what stands before them is not",
            )
        )
    rest = data[tail:].rstrip(b"\0")
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
    ended = _Ended(path, head.file_no, tail, len(rest), sha256(rest).digest() if rest else NO_HASH)
    return head.origin, verifier, ended, recovery


def _read_durably(path: Path, disk: Disk) -> bytes:
    """Read a file whose writer was killed: what is believed of it must still be there after the power fails."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)
    return path.read_bytes()


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


def _frame_behind(data: bytes, tail: int, cipher: AESGCM) -> Frame | None:
    """Return the first whole frame of ours behind the end of the log, which a crash never leaves there."""
    at = tail
    while (found := find_frame(data, at, len(data))) is not None:
        at, frame = found
        try:
            open_frame(cipher, frame)
        except FrameError:
            at += 1  # somebody's bytes in the form of a frame: garbage, and called that
        else:
            return frame
    return None


def _read_checkpoint(layout: Layout, stream: Stream) -> bytes:
    try:
        return layout.checkpoint(stream).read_bytes()
    except FileNotFoundError:
        return b""


def _mend(layout: Layout, stream: Stream, what: str) -> str:
    return (
        f"{layout.directory}: {what}; the {stream} log is not what was written and is not continued. Run gateway audit verify, "
        f"keep {layout.directory}/{stream}-* and {layout.checkpoint(stream)} as evidence by moving all of them away, and "
        "start again: a new log begins"
    )


def _sentence(error: OSError) -> str:
    return f"the audit log cannot be written: {os.strerror(error.errno or 0).lower()}"


def sync_directory(directory: Path) -> None:
    """Make names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
