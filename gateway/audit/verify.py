"""Checks a log from its bytes alone: heads, frames, signatures, chain, tree, padding.

Fed file by file, oldest first; gives findings and a verdict. With the key-encryption key every
record is hashed again and every root compared; without it everything that is not encrypted is
checked. It reads nothing itself, and it never repairs.

What it cannot know: whether the end of the log was cut off cleanly, unless a checkpoint that was
kept elsewhere says how long the log once was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Any, Protocol

import msgspec
import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.checkpoint import Checkpoint, CheckpointError, Vkey, verify_checkpoint
from gateway.audit.entry import Entry, EntryError, parse_entry, split_bundle
from gateway.audit.filehead import NO_HASH, FileHead, FileHeadError, parse_head, verify_head
from gateway.audit.frame import (
    END,
    HEADER,
    MAGIC,
    NOTE_LENGTH,
    Frame,
    FrameError,
    Header,
    open_frame,
    pack_header,
    parse_frame,
    parse_header,
)
from gateway.audit.merkle import HASH_BYTES, Tree, hash_leaf

CLOCK_SLACK_NS = 1_000_000_000
"""Intake times may go back this far before it is called a jump."""
PHASE_MARK = b'"phase":"'
INTENT = b'intent"'
CORRELATION_MARK = b'"correlation_uid":"'
GAP_MARK = b'"event":"audit.gap"'
_ZEROS = bytes(1 << 20)


class Kind(StrEnum):
    """What can be wrong, or worth saying."""

    BITFLIP = "BITFLIP"
    MISSING = "MISSING"
    REORDERED = "REORDERED"
    DUPLICATE = "DUPLICATE"
    INSERTED = "INSERTED"
    TRUNCATED = "TRUNCATED"
    ROLLBACK = "ROLLBACK"
    FORK = "FORK"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    UNSIGNED_TAIL = "UNSIGNED_TAIL"
    WRONG_KEY_RANGE = "WRONG_KEY_RANGE"
    GAP_DECLARED = "GAP_DECLARED"
    OPEN_INTENT = "OPEN_INTENT"
    CLOCK_JUMP = "CLOCK_JUMP"
    RECOVERED = "RECOVERED"
    INTERRUPTED = "INTERRUPTED"


DECLARED = frozenset({Kind.GAP_DECLARED, Kind.OPEN_INTENT, Kind.CLOCK_JUMP, Kind.RECOVERED, Kind.INTERRUPTED})
"""Said, because an auditor wants to know; they do not contradict that the log is intact."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found, and where."""

    kind: Kind
    message: str
    file: str = ""
    offset: int = -1
    """Byte in the file; -1 = the file as a whole."""
    first_index: int = -1
    last_index: int = -1
    """Range of entries; -1 = none or unknown."""

    @property
    def is_failure(self) -> bool:
        """True when the log is not what was written."""
        return self.kind not in DECLARED

    def __str__(self) -> str:
        place = self.file if self.offset < 0 else f"{self.file}@{self.offset}"
        entries = ""
        if self.first_index >= 0:
            last = self.last_index
            entries = f"({self.first_index})" if last in (-1, self.first_index) else f"({self.first_index}-{last})"
        return f"{self.kind.value}{entries} {place}{': ' if place else ''}{self.message}"


class KeyOpener(Protocol):
    """Opens the data key of a file."""

    def open(self, head: FileHead) -> AESGCM:
        """Return the file's cipher. Raises `FileHeadError` when the key is not ours."""
        ...


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is proven, and by what."""

    findings: tuple[Finding, ...]
    origin: str
    vkey: str
    """The verifier key that the signatures were checked with; empty when there was none."""
    size: int
    """Entries in the log, as far as it could be followed."""
    root: bytes
    """Root of the tree of `size` entries; empty when it could not be computed."""
    proven: int
    """Entries `0` to `proven - 1` are exactly what the log's key signed."""
    files: int
    first_ns: int
    last_ns: int
    has_contents: bool
    """The records were decrypted and hashed again, not only counted."""
    tail: str
    """The furthest checkpoint that fits, in words; empty when nothing proves where the log ends."""

    @property
    def failures(self) -> list[Finding]:
        """Findings that contradict an intact log."""
        return [finding for finding in self.findings if finding.is_failure]

    @property
    def exit_code(self) -> int:
        """0 intact, 1 a finding, 3 nothing wrong but not everything provable."""
        if self.failures:
            return 1
        return 0 if self.tail and self.has_contents else 3


class Verifier:
    """Follows a log from file to file."""

    def __init__(
        self,
        *,
        vkey: Vkey | None = None,
        base_origin: str = "",
        public: bytes = b"",
        opener: KeyOpener | None = None,
        checkpoints: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Prepare.

        `vkey` pins the key and the origin; `public` and `base_origin` pin the key and the beginning of
        the origin; with neither, the key that the first head names is taken (and only consistency is
        shown). `checkpoints` are signed notes that were kept elsewhere, each with a name for messages.
        """
        self.findings: list[Finding] = []
        self.origin = vkey.name if vkey else ""
        self.tree: Tree | None = Tree()
        self.next_index = 0
        self.next_frame = 1
        self.last_sha256 = NO_HASH
        self.sequences: dict[int, int] = {}
        self.intents: dict[str, int] = {}
        self.tail = 0
        """Offset after the last valid frame of the newest file."""
        self.leftover = b""
        """What follows it, up to the last byte that is not zero."""
        self._file_no = 0
        self._public = vkey.public if vkey else public
        self._base_origin = base_origin
        self._opener = opener
        self._notes = list(checkpoints)
        self._wanted: dict[int, list[tuple[str, Checkpoint]]] = {}
        self._parsed = False
        self._met: list[tuple[int, str]] = []
        self._unread = opener is None
        self._proven = 0
        self._follows = True
        self._files = 0
        self._first_ns = self._last_ns = 0
        self._name = ""
        self._failed = False

    # files

    def resume(self, head: FileHead) -> None:
        """Begin in the middle, at the file that starts with this head, and believe what it says about the past."""
        self.origin = head.origin
        self._adopt(head)
        self._file_no = head.file_no - 1

    def file(self, name: str, data: bytes, next_head: FileHead | None = None) -> None:
        """Check one file. `next_head` is the head of the file after it; None for the newest."""
        self._name = name
        self._files += 1
        head, at = self._begin(data)
        cipher = self._cipher(head) if head else None
        limit = len(data)
        if next_head is not None and next_head.prev_tail <= limit:
            limit = next_head.prev_tail
        end = self._frames(data, at, limit, head, cipher)
        if next_head is not None:
            self._check_closed(data, end, next_head)
        else:
            self._check_newest(data, end, head)
        self._file_no = head.file_no if head is not None else self._file_no + 1

    def _begin(self, data: bytes) -> tuple[FileHead | None, int]:
        try:
            head, length = parse_head(data)
        except FileHeadError as exc:
            kind = Kind.TRUNCATED if len(data) < HEADER.size or "ends inside" in str(exc) else Kind.BITFLIP
            self._find(kind, str(exc), offset=0)
            self._break()
            return None, max(data.find(MAGIC), 0) if MAGIC in data else len(data)
        if not self._public:
            self._public = head.public
        if head.public != self._public:
            self._find(
                Kind.WRONG_KEY_RANGE, "the file names another log key than the one that signs this log", offset=0
            )
        try:
            verify_head(data, length, self._public)
        except FileHeadError as exc:
            self._find(Kind.BAD_SIGNATURE, str(exc), offset=0)
        self._check_origin(head)
        self._check_continues(head)
        return head, length

    def _check_origin(self, head: FileHead) -> None:
        if not self.origin:
            self.origin = head.origin
            if self._base_origin and not head.origin.startswith(self._base_origin + "/"):
                self._find(
                    Kind.INSERTED, f"the file is of the log {head.origin}, not of one of {self._base_origin}", offset=0
                )
        elif head.origin != self.origin:
            self._find(Kind.INSERTED, f"the file is of the log {head.origin}, not of {self.origin}", offset=0)
        if not self._parsed:
            self._parse_notes()

    def _check_continues(self, head: FileHead) -> None:
        if head.file_no != self._file_no + 1:
            lost = (
                f"file {self._file_no + 1}"
                if head.file_no == self._file_no + 2
                else f"files {self._file_no + 1} to {head.file_no - 1}"
            )
            self._missing(self.next_index, head.first_index - 1, f"{lost} of the log before this one")
            self._break()
        elif self._follows and (
            head.first_index != self.next_index
            or head.first_frame != self.next_frame
            or head.prev_sha256 != self.last_sha256
            or (self.tree is not None and list(head.frontier) != self.tree.frontier)
        ):
            if head.first_index > self.next_index:
                self._missing(self.next_index, head.first_index - 1, "the file before it lacks its last frames")
            else:
                self._find(Kind.INSERTED, "the file does not continue the one before it", offset=0)
            self._break()
        if head.first_index.bit_count() != len(head.frontier):
            self._find(Kind.BITFLIP, "the head's frontier does not fit its first index", offset=0)
            self._break()
        elif not self._follows or self.tree is None:
            self._adopt(head)

    def _adopt(self, head: FileHead) -> None:
        """Take over the state that a signed head carries: after damage, or when the beginning is not read."""
        self.tree = Tree(head.first_index, head.frontier)
        self.next_index = head.first_index
        self.next_frame = head.first_frame
        self.last_sha256 = head.prev_sha256
        self.sequences = dict(head.sequences)
        self.intents = dict(head.intents)
        self._follows = True

    def _cipher(self, head: FileHead) -> AESGCM | None:
        if self._opener is None:
            return None
        try:
            return self._opener.open(head)
        except FileHeadError as exc:
            self._find(Kind.WRONG_KEY_RANGE, str(exc), offset=0)
            self._unread = True
            return None

    def _check_closed(self, data: bytes, end: int, next_head: FileHead) -> None:
        tail = next_head.prev_tail
        if len(data) < tail:
            self._find(
                Kind.TRUNCATED,
                f"the file has {len(data)} bytes; the next one says it ended at {tail}",
                offset=len(data),
            )
            return
        if end != tail:
            self._find(Kind.BITFLIP, f"no intact frame up to {tail}, where the next file says it ended", offset=end)
        rest = data[tail:]
        discarded = next_head.prev_discarded
        if discarded:
            self._find(
                Kind.RECOVERED,
                f"{discarded} bytes of an interrupted write were discarded, SHA-256 {next_head.prev_discarded_sha256.hex()}",
                offset=tail,
            )
            if sha256(rest[:discarded]).digest() == next_head.prev_discarded_sha256:
                rest = rest[discarded:]
        if not is_zero(rest):
            self._find(Kind.INSERTED, "bytes after the end of the file's last frame", offset=tail)

    def _check_newest(self, data: bytes, end: int, head: FileHead | None) -> None:
        self.tail = end
        self.leftover = b""
        rest = data[end:]
        if is_zero(rest):
            if head is not None and rest and len(data) != head.capacity:
                self._find(
                    Kind.TRUNCATED, f"the file has {len(data)} bytes, {head.capacity} were allocated", offset=len(data)
                )
            return
        self.leftover = rest.rstrip(b"\0")
        if head is not None and len(data) == head.capacity and self.is_interrupted(self.leftover, head):
            self._find(
                Kind.INTERRUPTED,
                f"{len(self.leftover)} bytes of a write that was never finished or acknowledged; the next start discards them",
                offset=end,
            )
        elif head is not None and len(data) < head.capacity and self.is_interrupted(self.leftover, head):
            self._find(Kind.TRUNCATED, "the file ends inside a frame", offset=end, first=self.next_index)
        elif self.leftover.startswith(MAGIC):
            self._find(Kind.BITFLIP, self._why(data, end), offset=end, first=self.next_index)
        else:
            self._find(
                Kind.UNSIGNED_TAIL, f"{len(self.leftover)} bytes after the last frame that nobody signed", offset=end
            )

    def _why(self, data: bytes, at: int) -> str:
        try:
            parse_frame(data, at)
        except FrameError as exc:
            return str(exc)
        return "the frame does not belong here"

    def is_interrupted(self, rest: bytes, head: FileHead) -> bool:
        """Tell whether bytes are the beginning, and only the beginning, of the frame that would come next.

        A damaged but complete frame must not pass for one: it ends with its end mark, or has all its bytes.
        """
        if rest.endswith(END):
            return False
        seen = Header(self.next_frame, self.next_index, 1, HASH_BYTES, self.last_sha256, head.key_id)
        try:
            written = parse_header(rest + bytes(max(0, HEADER.size - len(rest))), 0)
        except FrameError:
            if len(rest) >= HEADER.size - len(seen.key_id) - HASH_BYTES:
                return False
            return pack_header(seen)[:20][: len(rest)] == rest[:20]
        seen = msgspec.structs.replace(seen, count=written.count, blob_bytes=written.blob_bytes)
        if pack_header(seen)[: len(rest)] != rest[: HEADER.size]:
            return False
        note_at = HEADER.size + written.blob_bytes + NOTE_LENGTH.size
        note_bytes = NOTE_LENGTH.unpack_from(rest, note_at - NOTE_LENGTH.size)[0] if len(rest) >= note_at else 0
        return len(rest) < note_at + note_bytes + HASH_BYTES + len(END)

    # frames

    def _frames(self, data: bytes, at: int, limit: int, head: FileHead | None, cipher: AESGCM | None) -> int:
        """Check the frames from `at` on; return where the last one ends."""
        view = memoryview(data)[:limit]
        numbers = _frame_numbers(data, at, limit)
        seen: set[int] = set()
        end = at
        while at < limit:
            try:
                frame = parse_frame(view, at)
            except FrameError as exc:
                found = _next_frame(data, view, at + 1)
                if found < 0:
                    break
                self._damaged(at, found, view, str(exc))
                at = found
                continue
            if self._place(frame, at, seen, numbers):
                self._check_frame(frame, at, head, cipher)
            seen.add(frame.header.frame_no)
            at = end = frame.end
        return end

    def _damaged(self, at: int, found: int, view: memoryview, why: str) -> None:
        header = parse_frame(view, found).header
        if header.first_index > self.next_index:
            self._find(Kind.BITFLIP, why, offset=at, first=self.next_index, last=header.first_index - 1)
        else:
            self._find(Kind.INSERTED, f"{found - at} bytes that belong to no frame", offset=at)
        if header.frame_no > self.next_frame:
            self._break()
            self.next_frame = header.frame_no
            self.next_index = header.first_index

    def _place(self, frame: Frame, at: int, seen: set[int], numbers: Sequence[int]) -> bool:
        """Tell whether the frame is the one that comes next, or can be taken for it."""
        header = frame.header
        if header.frame_no in seen:
            self._find(
                Kind.DUPLICATE, f"frame {header.frame_no} stands here again", offset=at, first=header.first_index
            )
            return False
        if header.frame_no < self.next_frame:
            self._find(
                Kind.REORDERED, f"frame {header.frame_no} stands after a later one", offset=at, first=header.first_index
            )
            return False
        if header.frame_no > self.next_frame:
            if self.next_frame in numbers:
                self._find(
                    Kind.REORDERED,
                    f"frame {header.frame_no} stands where frame {self.next_frame} belongs",
                    offset=at,
                    first=header.first_index,
                )
            else:
                self._missing(
                    self.next_index,
                    header.first_index - 1,
                    f"frames {self.next_frame} to {header.frame_no - 1} are not there",
                    offset=at,
                )
            self._break()
        elif self._follows and (header.first_index != self.next_index or header.prev_sha256 != self.last_sha256):
            self._find(
                Kind.INSERTED, "the frame does not continue the one before it", offset=at, first=header.first_index
            )
            self._break()
        return True

    def _check_frame(self, frame: Frame, at: int, head: FileHead | None, cipher: AESGCM | None) -> None:
        header = frame.header
        if head is not None and header.key_id != head.key_id:
            self._find(
                Kind.WRONG_KEY_RANGE,
                f"sealed under key {header.key_id.hex()}, which is not this file's",
                offset=at,
                first=header.first_index,
            )
        signed = self._check_note(frame, at)
        self._read(frame, at, cipher, signed)
        self.next_index = header.first_index + header.count
        self.next_frame = header.frame_no + 1
        self.last_sha256 = frame.sha256
        if not self._follows:
            self.tree = None
        self._follows = True
        if signed is not None:
            self._compare(signed)

    def _check_note(self, frame: Frame, at: int) -> Checkpoint | None:
        header = frame.header
        size = header.first_index + header.count
        if not self._public:  # the head that names the key is damaged, which has been said
            return None
        try:
            signed = verify_checkpoint(bytes(frame.note), Vkey(self.origin, self._public))
        except CheckpointError as exc:
            self._find(Kind.BAD_SIGNATURE, str(exc), offset=at, first=header.first_index, last=size - 1)
            return None
        if signed.size != size:
            self._find(
                Kind.INSERTED,
                f"its signature is for {signed.size} entries, not {size}",
                offset=at,
                first=header.first_index,
            )
            return None
        return signed

    def _read(self, frame: Frame, at: int, cipher: AESGCM | None, signed: Checkpoint | None) -> None:
        """Decrypt a frame, hash its entries into the tree and compare the root with the signed one."""
        if not self._follows:
            self.tree = None
        if cipher is None:
            self.tree = None
            return
        header = frame.header
        last = header.first_index + header.count - 1
        try:
            raw = split_bundle(open_frame(cipher, frame), header.count)
            entries = [parse_entry(entry) for entry in raw]
        except (FrameError, EntryError) as exc:
            self._find(Kind.BITFLIP, str(exc), offset=at, first=header.first_index, last=last)
            self.tree = None
            return
        tree = self.tree
        if tree is not None:
            tree.extend([hash_leaf(data) for data in raw])
            if signed is not None and tree.root() != signed.root:
                self._find(
                    Kind.FORK,
                    "its entries give another root than the signed one",
                    offset=at,
                    first=header.first_index,
                    last=last,
                )
                self.tree = None
            elif signed is not None and not self._failed:
                self._proven = tree.size
        for i, entry in enumerate(entries):
            self._notice(entry, header.first_index + i)

    def _notice(self, entry: Entry, index: int) -> None:
        time_ns = entry.time_ns
        if time_ns < self._last_ns - CLOCK_SLACK_NS:
            back = (self._last_ns - time_ns) / 1e9
            self._find(Kind.CLOCK_JUMP, f"the clock went back by {back:.1f} s", first=index)
        self._first_ns = self._first_ns or time_ns
        self._last_ns = time_ns
        if entry.sequence <= self.sequences.get(entry.slot, 0):
            self._find(Kind.DUPLICATE, f"producer {entry.slot} has sequence {entry.sequence} twice", first=index)
        self.sequences[entry.slot] = max(entry.sequence, self.sequences.get(entry.slot, 0))
        note_intent(self.intents, entry.slot, entry.payload)
        if GAP_MARK in entry.payload:
            self._find(Kind.GAP_DECLARED, _gap_text(entry.payload), first=index)

    # checkpoints

    def _parse_notes(self) -> None:
        self._parsed = True
        for name, note in self._notes:
            try:
                checkpoint = verify_checkpoint(note, Vkey(self.origin, self._public))
            except CheckpointError as exc:
                self.findings.append(Finding(kind=Kind.BAD_SIGNATURE, file=name, message=str(exc)))
                continue
            self._wanted.setdefault(checkpoint.size, []).append((name, checkpoint))

    def _compare(self, signed: Checkpoint) -> None:
        for name, checkpoint in self._wanted.pop(signed.size, ()):
            if checkpoint.root != signed.root:
                self._find(
                    Kind.FORK, f"{name} has another root for {signed.size} entries", last=signed.size - 1, first=0
                )
            else:
                self._met.append((signed.size, name))

    def finish(self) -> Verdict:
        """Compare the end with the checkpoints and say what is proven."""
        if not self._parsed and self.origin:
            self._parse_notes()
        if not self._files:
            self._without_files()
        for size, notes in sorted(self._wanted.items()):
            for name, _ in notes:
                if size == 0:
                    self._met.append((0, name))
                elif size > self.next_index:
                    kind = Kind.TRUNCATED if name == "checkpoint" else Kind.ROLLBACK
                    self.findings.append(
                        Finding(
                            kind=kind,
                            message=f"{name} is signed for {size} entries, the log has {self.next_index}",
                            first_index=self.next_index,
                            last_index=size - 1,
                        )
                    )
                else:
                    self.findings.append(
                        Finding(
                            kind=Kind.FORK,
                            message=f"{name} is signed for {size} entries, where no frame of the log ends",
                        )
                    )
        for uid, slot in self.intents.items():
            self.findings.append(
                Finding(kind=Kind.OPEN_INTENT, message=f"request {uid} of producer {slot} has no outcome yet")
            )
        tail = max(self._met, default=(0, ""))
        return Verdict(
            findings=tuple(self.findings),
            origin=self.origin,
            vkey=str(Vkey(self.origin, self._public)) if self.origin and self._public else "",
            size=self.next_index,
            root=self.tree.root() if self.tree is not None else b"",
            proven=self._proven,
            files=self._files,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            has_contents=self._files > 0 and not self._unread,
            tail=f"{tail[1]} at {tail[0]} entries" if tail[1] else "",
        )

    def _without_files(self) -> None:
        for name, note in self._notes:
            try:
                size = int(note.split(b"\n")[1])
            except (IndexError, ValueError):
                self.findings.append(Finding(kind=Kind.BAD_SIGNATURE, file=name, message="not a checkpoint"))
                continue
            if size:
                self.findings.append(
                    Finding(
                        kind=Kind.TRUNCATED,
                        message=f"{name} is signed for {size} entries, there is no log file",
                        first_index=0,
                        last_index=size - 1,
                    )
                )

    # words

    def note(self, kind: Kind, file: str, message: str) -> None:
        """Add a finding of the caller's: a file that should not be there, a name that does not fit."""
        self._failed = self._failed or kind not in DECLARED
        self.findings.append(Finding(kind=kind, file=file, message=message))

    def _find(self, kind: Kind, message: str, *, offset: int = -1, first: int = -1, last: int = -1) -> None:
        self._failed = self._failed or kind not in DECLARED
        self.findings.append(
            Finding(kind=kind, message=message, file=self._name, offset=offset, first_index=first, last_index=last)
        )

    def _missing(self, first: int, last: int, message: str, *, offset: int = 0) -> None:
        if last < first:
            first = last = -1
        self._find(Kind.MISSING, message, offset=offset, first=first, last=last)

    def _break(self) -> None:
        """From here on frames can be checked one by one, but not against what came before."""
        self._follows = False
        self.tree = None


def is_zero(data: bytes | memoryview) -> bool:
    """Tell whether every byte is zero."""
    view = memoryview(data)
    return all(
        view[i : i + len(_ZEROS)] == _ZEROS[: min(len(_ZEROS), len(view) - i)] for i in range(0, len(view), len(_ZEROS))
    )


def note_intent(intents: dict[str, int], slot: int, payload: bytes) -> None:
    """Follow which requests have said what they are about to do and not yet what came of it.

    Looks for two members by their bytes: inside a JSON string a quotation mark is escaped, so no
    value can imitate them.
    """
    # keys are sorted, so it stands near the end: searching from there costs a third
    if payload.startswith(INTENT, payload.rfind(PHASE_MARK) + len(PHASE_MARK)):
        uid = correlation_uid(payload)
        if uid:
            intents[uid] = slot
    elif intents:
        intents.pop(correlation_uid(payload), None)


def correlation_uid(payload: bytes) -> str:
    """Return `metadata.correlation_uid` of a record, empty when it has none."""
    at = payload.find(CORRELATION_MARK)
    if at < 0:
        return ""
    at += len(CORRELATION_MARK)
    return payload[at : payload.find(b'"', at)].decode("utf-8", "replace")


def _gap_text(payload: bytes) -> str:
    try:
        gw: Mapping[str, Any] = orjson.loads(payload)["unmapped"]["gw"]
        gap = gw["gap"]
        return f"{gap['count']} records of producer {gap['slot']} were not stored ({gw['reason']})"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "records were not stored"


def _next_frame(data: bytes, view: memoryview, at: int) -> int:
    """Return where the next intact frame begins, -1 when there is none."""
    while (at := data.find(MAGIC, at, len(view))) >= 0:
        try:
            parse_frame(view, at)
        except FrameError:
            at += 1
        else:
            return at
    return -1


def _frame_numbers(data: bytes, at: int, limit: int) -> list[int]:
    """Return the numbers of all frames by their headers alone, in order."""
    numbers: list[int] = []
    while at < limit:
        try:
            header = parse_header(data, at)
        except FrameError:
            at = data.find(MAGIC, at + 1, limit)
            if at < 0:
                break
            continue
        numbers.append(header.frame_no)
        note_at = at + HEADER.size + header.blob_bytes + NOTE_LENGTH.size
        if note_at > limit:
            break
        at = note_at + NOTE_LENGTH.unpack_from(data, note_at - NOTE_LENGTH.size)[0] + HASH_BYTES + len(END)
    return numbers
