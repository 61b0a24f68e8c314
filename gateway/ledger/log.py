"""The files of one stream's log: written by one process, one frame at a time, and never opened again to append.

Decides where a frame goes, when it is safe, and what happens when the disk lies: a file that failed
once is not written again; what was not yet safe is written anew into another file. What the records
say is not its business.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.checkpoint import Signer
from gateway.audit.filehead import NO_HASH, FileHead, pack_head, wrap_key
from gateway.audit.frame import OVERHEAD_BYTES, TAG_BYTES, Header, seal_frame
from gateway.audit.intent import INTENT, PHASE_MARK, note_intent
from gateway.audit.merkle import Tree
from gateway.audit.pressure import Space
from gateway.audit.protocol import Refusal
from gateway.exchange.stream import Stream
from gateway.ledger.ballast import BALLAST_BYTES, keep_ballast, take_from_ballast
from gateway.ledger.checkpoint_file import write_checkpoint
from gateway.ledger.chunk import Chunk, Group, cut, ends_file
from gateway.ledger.disk import Disk, LocalDisk
from gateway.ledger.errors import LogUnavailableError
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.lock import lock_log
from gateway.ledger.log_file import FILE_BYTES, SMALL_FILE_BYTES, Ended, LogFile, place_file, usual_capacity
from gateway.ledger.recovery import End, find_end

_NOTE_SLACK_BYTES = 256
_TAMPERED = "the live log file was removed or replaced"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""No file can be made now, and one can be later: bytes, quota, files, descriptors, or a file system that lets nobody write."""


class _Mark(msgspec.Struct, frozen=True):
    """A state of the log that is on stable storage."""

    tree: Tree
    next_frame: int
    sha256: bytes
    offset: int
    note: bytes
    sequences: dict[int, int]


class Log:
    """The one writer of a stream's log. Not thread-safe; every method blocks."""

    def __init__(
        self,
        layout: Layout,
        stream: Stream,
        keys: AuditKeys,
        end: End,
        *,
        lock_fd: int,
        boot: str,
        disk: Disk,
        random: Callable[[int], bytes],
        capacity: int,
    ) -> None:
        """Go on from the `end` that `open_log` found."""
        verifier = end.verifier
        self.stream = stream
        self.origin = end.origin
        self.recovery = end.recovery
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
        self._signer: Signer = keys.signer(end.origin)
        self._tree = verifier.tree.copy() if verifier and verifier.tree else Tree()
        self._next_frame = verifier.next_frame if verifier else 1
        self._sha256 = verifier.last_sha256 if verifier else NO_HASH
        # a writer that was killed may have published less than it had made safe
        self._note = self._signer.checkpoint(self._tree.size, self._tree.root()) if self._tree.size else b""
        self._ended = end.ended
        self._file: LogFile | None = None
        self._pending: list[Chunk] = []
        self._backlog: list[Chunk] = []
        self._now_ns = 0
        self._published = end.published
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
        for chunk in cut(groups, stream=self.stream, next_index=self._next_index(), now_ns=now_ns, random=self._random):
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

    def _store(self, chunk: Chunk | None, *, is_safe: bool, reserved: bool) -> None:
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

    def _write(self, chunk: Chunk | None, *, is_safe: bool, reserved: bool) -> None:
        """Write what is kept and then `chunk`. Raises `OSError` when the file must be given up."""
        is_safe = is_safe or bool(self._backlog)
        while self._backlog:
            file = self._room(self._backlog[0], reserved=reserved)
            self._put(file, self._backlog.pop(0))
        if chunk is not None:
            self._put(self._room(chunk, reserved=reserved), chunk)
        if is_safe:
            self._sync()

    def _room(self, chunk: Chunk, *, reserved: bool) -> LogFile:
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
            and (not ends_file(self._tree.size) or self._tree.size == file.first_index)
        ):
            return file
        return self._begin_file(need, reserved=reserved)

    def _put(self, file: LogFile, chunk: Chunk) -> None:
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

    def _give_up(self, mine: Chunk | None) -> None:
        """Never write the current file again, go back to what is safe, and keep what was acknowledged: all but `mine`."""
        self.io_errors += 1
        written = b"".join(chunk.frame for chunk in self._pending)
        self._backlog[:0] = [chunk for chunk in self._pending if chunk is not mine]
        self._pending = []
        safe = self._safe
        if self._file is not None:
            digest = sha256(written).digest() if written else NO_HASH
            self._ended = Ended(self._file.path, self._file.file_no, safe.offset, len(written), digest)
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
        if self._file is not None and not self._file.is_intact():
            self.is_tampered = True

    # files

    def _begin_file(self, need: int, *, reserved: bool) -> LogFile:
        """Make the next file; only then end the current one.

        Raises `LogUnavailableError`, and then nothing has changed.
        """
        try:
            file = self._make_file(usual_capacity(self._capacity, self.space().free_bytes), need)
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

    def _make_reserved(self, need: int, cause: OSError) -> LogFile:
        """Make a small file out of the ballast."""
        capacity = max(SMALL_FILE_BYTES, need)
        try:
            if not take_from_ballast(self._layout, capacity):
                raise cause
            file = self._make_file(capacity, need)
        except OSError as exc:
            raise LogUnavailableError(_sentence(cause), Refusal.DISK_FULL) from exc
        file.is_reserved = True
        return file

    def _make_file(self, capacity: int, need: int) -> LogFile:
        ended = self._ended
        if self._file is not None:
            ended = Ended(self._file.path, self._file.file_no, self._safe.offset)
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
        return place_file(
            self._layout,
            self.stream,
            self._disk,
            data,
            file_no=file_no,
            first_index=self._tree.size,
            capacity=capacity,
            aead=AESGCM(key),
            key_id=key_id,
        )

    def _end_file(self) -> None:
        """Cut the padding, or what was given up, off the file before the one that begins."""
        if self._file is not None:
            self._file.end(self._safe.offset)
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
        write_checkpoint(self._layout, self.stream, self._disk, note)
        self._published = note

    def keep_ballast(self, size: int = BALLAST_BYTES) -> int:
        """Fill the ballast up to `size` where there is room; return what it has."""
        return keep_ballast(self._layout, self._disk, size)

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

    Raises `LogBusyError`, `LogTamperedError`, `OSError`.
    """
    layout = Layout(state_dir)
    layout.create()
    lock_fd = lock_log(layout, stream)
    disk = disk or LocalDisk()
    try:
        end = find_end(layout, keys, stream, disk=disk, random=random)
        return Log(layout, stream, keys, end, lock_fd=lock_fd, boot=boot, disk=disk, random=random, capacity=capacity)
    except BaseException:
        os.close(lock_fd)
        raise


def _sentence(error: OSError) -> str:
    return f"the audit log cannot be written: {os.strerror(error.errno or 0).lower()}"
