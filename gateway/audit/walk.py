"""Checks the frames of one log file: chain, signatures, contents, tree, and what follows the last of them.

Begins where the file's signed head says, so that files can be checked in any order and in several
processes; whether the head continues the file before it is `verify`'s to say. Damage is named and
walked past; nothing is repaired.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.checkpoint import Checkpoint, CheckpointError, Vkey, parse_checkpoint, split_note, verify_checkpoint
from gateway.audit.entry import EntryError
from gateway.audit.filehead import FileHead
from gateway.audit.finding import DECLARED, Finding, Kind
from gateway.audit.frame import (
    END,
    HEADER,
    MAGIC,
    NOTE_LENGTH,
    Frame,
    FrameError,
    Header,
    find_frame,
    open_frame,
    pack_header,
    parse_frame,
    parse_header,
)
from gateway.audit.merkle import HASH_BYTES, Tree
from gateway.audit.passage import Passage, Position, Trust
from gateway.audit.tally import Tally

_ZEROS = bytes(1 << 20)
_FRAME_NO_BYTES = 20
"""Of a header: up to and with its first index."""


class Walk:
    """Follows one log file from its first frame to its last."""

    def __init__(
        self, name: str, trust: Trust, head: FileHead | None, begin: Position, *, cipher: AESGCM | None
    ) -> None:
        self.findings: list[Finding] = []
        self._name = name
        self._trust = trust
        self._head = head
        self._begin = begin
        self._cipher = cipher
        self._tree = Tree(begin.next_index, begin.frontier) if begin.frontier is not None else None
        self._next_index = begin.next_index
        self._next_frame = begin.next_frame
        self._last_sha256 = begin.last_sha256
        self._follows = begin.follows
        self._tally = Tally(stream=trust.stream, file=name, sequences=begin.sequences, intents=begin.intents)
        self._signed: list[tuple[int, bytes]] = []
        self._last_signed: Checkpoint | None = None
        self._unproven_notes: list[tuple[int, Header, bytes]] = []
        self._proven = 0
        self._failed = False
        self._tail = 0
        self._leftover = b""
        self._scope = (b"", 0, 0)
        self._numbers: frozenset[int] | None = None

    def file(self, data: bytes, at: int, next_head: FileHead | None) -> Passage:
        """Check the frames from `at` on. `next_head` is the head of the file after it; None for the newest."""
        limit = len(data)
        if next_head is not None and next_head.prev_tail <= limit:
            limit = next_head.prev_tail
        end = self._frames(data, at, limit, is_closed=next_head is not None)
        if next_head is not None:
            self._settle_notes(next_head)
            self._check_closed(data, end, next_head)
        else:
            self._check_newest(data, end)
        self._tail = end
        return self._passage()

    def note(self, finding: Finding) -> None:
        """Take over what was found before the first frame."""
        self._failed = self._failed or finding.is_failure
        self.findings.append(finding)

    def _passage(self) -> Passage:
        last = self._last_signed
        signed = list(self._signed)
        if last is not None and (last.size, last.root) not in signed:
            signed.append((last.size, last.root))
        return Passage(
            name=self._name,
            head=self._head,
            is_sealed=False,
            findings=(*self.findings, *self._tally.findings),
            begin=self._begin,
            end=Position(
                next_index=self._next_index,
                next_frame=self._next_frame,
                last_sha256=self._last_sha256,
                frontier=tuple(self._tree.frontier) if self._tree is not None else None,
                follows=self._follows,
                sequences=self._tally.sequences,
                intents=self._tally.intents,
            ),
            tail=self._tail,
            leftover=self._leftover,
            proven=self._proven,
            is_unread=self._cipher is None,
            signed=tuple(signed),
            first_ns=self._tally.first_ns,
            last_ns=self._tally.last_ns,
            prunes=tuple(self._tally.prunes),
            holds=tuple(self._tally.holds),
        )

    # frames

    def _frames(self, data: bytes, at: int, limit: int, *, is_closed: bool) -> int:
        """Check the frames from `at` on; return where the last one ends."""
        view = memoryview(data)[:limit]
        self._scope = (data, at, limit)
        seen: set[int] = set()
        end = at
        while at < limit:
            try:
                frame = parse_frame(view, at)
            except FrameError as exc:
                found = find_frame(data, at + 1, limit)
                if found is None:
                    break
                self._damaged(at, found, str(exc))
                at = found[0]
                continue
            if frame.header.frame_no == self._next_frame or self._is_later(frame, at, seen):
                self._check_frame(frame, at, is_closed=is_closed)
            seen.add(frame.header.frame_no)
            at = end = frame.end
        return end

    def _damaged(self, at: int, found: tuple[int, Frame], why: str) -> None:
        next_at, header = found[0], found[1].header
        if header.first_index > self._next_index:
            self._find(Kind.BITFLIP, why, offset=at, first=self._next_index, last=header.first_index - 1)
        else:
            self._find(Kind.INSERTED, f"{next_at - at} bytes that belong to no frame", offset=at)
        if header.frame_no > self._next_frame:
            self._break()
            self._next_frame = header.frame_no
            self._next_index = header.first_index

    def _is_later(self, frame: Frame, at: int, seen: set[int]) -> bool:
        """Say what is wrong with a frame that is not the next one; tell whether to go on from it."""
        header = frame.header
        if header.frame_no in seen:
            self._find(
                Kind.DUPLICATE, f"frame {header.frame_no} stands here again", offset=at, first=header.first_index
            )
            return False
        if header.frame_no < self._next_frame:
            self._find(
                Kind.REORDERED, f"frame {header.frame_no} stands after a later one", offset=at, first=header.first_index
            )
            return False
        if self._numbers is None:
            self._numbers = _frame_numbers(*self._scope)
        if self._next_frame in self._numbers:
            self._find(
                Kind.REORDERED,
                f"frame {header.frame_no} stands where frame {self._next_frame} belongs",
                offset=at,
                first=header.first_index,
            )
        else:
            absent = range(self._next_index, header.first_index)
            self._find(
                Kind.MISSING,
                f"frames {self._next_frame} to {header.frame_no - 1} are not there",
                offset=at,
                first=absent[0] if absent else -1,
                last=absent[-1] if absent else -1,
            )
        self._break()
        return True

    def _check_frame(self, frame: Frame, at: int, *, is_closed: bool) -> None:
        header = frame.header
        if self._follows and (header.first_index != self._next_index or header.prev_sha256 != self._last_sha256):
            self._find(
                Kind.INSERTED, "the frame does not continue the one before it", offset=at, first=header.first_index
            )
            self._break()
        if self._head is not None and header.key_id != self._head.key_id:
            self._find(
                Kind.WRONG_KEY_RANGE,
                f"sealed under key {header.key_id.hex()}, which is not this file's",
                offset=at,
                first=header.first_index,
            )
        signed = self._check_note(frame, at, is_closed=is_closed)
        self._read(frame, at, signed)
        self._next_index = header.first_index + header.count
        self._next_frame = header.frame_no + 1
        self._last_sha256 = frame.sha256
        self._follows = True
        if signed is not None:
            self._last_signed = signed
            if signed.size in self._trust.sizes:
                self._signed.append((signed.size, signed.root))

    def _check_note(self, frame: Frame, at: int, *, is_closed: bool) -> Checkpoint | None:
        """Return the tree head of a frame.

        In a closed file its signature can wait: the head of the next file, which is signed, covers every
        byte of the frames through their chain. `_settle_notes` checks it where that is not so.
        """
        header = frame.header
        size = header.first_index + header.count
        note = bytes(frame.note)
        if not self._trust.public:  # the head that names the key is damaged, which has been said
            return None
        try:
            if is_closed:
                signed = parse_checkpoint(split_note(note)[0])
                self._unproven_notes.append((at, header, note))
            else:
                signed = verify_checkpoint(note, self._vkey)
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

    @property
    def _vkey(self) -> Vkey:
        return Vkey(self._trust.origin, self._trust.public)

    def _settle_notes(self, next_head: FileHead) -> None:
        """Check the signatures that waited: the last one, or all where the next head does not cover the frames."""
        if not self._failed and self._follows and self._last_sha256 == next_head.prev_sha256:
            self._unproven_notes = self._unproven_notes[-1:]
        for at, header, note in self._unproven_notes:
            try:
                verify_checkpoint(note, self._vkey)
            except CheckpointError as exc:
                last = header.first_index + header.count - 1
                self._find(Kind.BAD_SIGNATURE, str(exc), offset=at, first=header.first_index, last=last)
                self._proven = min(self._proven, header.first_index)

    def _read(self, frame: Frame, at: int, signed: Checkpoint | None) -> None:
        """Decrypt a frame, hash its entries into the tree and compare the root with the signed one."""
        if not self._follows or self._cipher is None:
            self._tree = None
        if self._cipher is None:
            return
        header = frame.header
        last = header.first_index + header.count - 1
        try:
            leaves = self._leaves(frame, self._cipher)
        except (FrameError, EntryError) as exc:
            self._find(Kind.BITFLIP, str(exc), offset=at, first=header.first_index, last=last)
            self._tree = None
            return
        self._failed = self._failed or self._tally.has_failed
        tree = self._tree
        if tree is None:
            return
        tree.extend(leaves)
        if signed is not None and tree.root() != signed.root:
            self._find(
                Kind.FORK,
                "its entries give another root than the signed one",
                offset=at,
                first=header.first_index,
                last=last,
            )
            self._tree = None
        elif signed is not None and not self._failed:
            self._proven = tree.size

    def _leaves(self, frame: Frame, cipher: AESGCM) -> list[bytes]:
        """Return the leaf hashes of a frame. Raises `FrameError`, `EntryError`."""
        bundle = open_frame(cipher, frame)
        leaves, end = self._tally.take(bundle, frame.header.first_index)
        if len(leaves) != frame.header.count or end != len(bundle):
            raise EntryError(f"a bundle of {len(leaves)} entries where its frame says {frame.header.count}")
        return leaves

    # the end

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

    def _check_newest(self, data: bytes, end: int) -> None:
        head = self._head
        rest = data[end:]
        if is_zero(rest):
            if head is not None and rest and len(data) != head.capacity:
                self._find(
                    Kind.TRUNCATED, f"the file has {len(data)} bytes, {head.capacity} were allocated", offset=len(data)
                )
            return
        self._leftover = rest.rstrip(b"\0")
        is_begun = head is not None and is_interrupted(self._leftover, head, self._position())
        if head is not None and len(data) == head.capacity and is_begun:
            self._find(
                Kind.INTERRUPTED,
                f"{len(self._leftover)} bytes of a write that was never finished or acknowledged; the next start discards them",
                offset=end,
            )
        elif head is not None and len(data) < head.capacity and is_begun:
            self._find(Kind.TRUNCATED, "the file ends inside a frame", offset=end, first=self._next_index)
        elif self._leftover.startswith(MAGIC):
            self._find(Kind.BITFLIP, _why(data, end), offset=end, first=self._next_index)
        else:
            self._find(
                Kind.UNSIGNED_TAIL, f"{len(self._leftover)} bytes after the last frame that nobody signed", offset=end
            )

    def _position(self) -> Position:
        return Position(next_index=self._next_index, next_frame=self._next_frame, last_sha256=self._last_sha256)

    def _find(self, kind: Kind, message: str, *, offset: int = -1, first: int = -1, last: int = -1) -> None:
        self._failed = self._failed or kind not in DECLARED
        self.findings.append(
            Finding(kind=kind, message=message, file=self._name, offset=offset, first_index=first, last_index=last)
        )

    def _break(self) -> None:
        """From here on frames can be checked one by one, but not against what came before."""
        self._follows = False
        self._tree = None


def is_interrupted(rest: bytes, head: FileHead, position: Position) -> bool:
    """Tell whether bytes are the beginning, and only the beginning, of the frame that would come next.

    A damaged but complete frame must not pass for one: it ends with its end mark, or has all its bytes.
    """
    if rest.endswith(END):
        return False
    seen = Header(position.next_frame, position.next_index, 1, HASH_BYTES, position.last_sha256, head.key_id)
    try:
        written = parse_header(rest + bytes(max(0, HEADER.size - len(rest))), 0)
    except FrameError:
        if len(rest) >= HEADER.size - len(seen.key_id) - HASH_BYTES:
            return False
        return pack_header(seen)[:_FRAME_NO_BYTES][: len(rest)] == rest[:_FRAME_NO_BYTES]
    seen = msgspec.structs.replace(seen, count=written.count, blob_bytes=written.blob_bytes)
    if pack_header(seen)[: len(rest)] != rest[: HEADER.size]:
        return False
    note_at = HEADER.size + written.blob_bytes + NOTE_LENGTH.size
    note_bytes = NOTE_LENGTH.unpack_from(rest, note_at - NOTE_LENGTH.size)[0] if len(rest) >= note_at else 0
    return len(rest) < note_at + note_bytes + HASH_BYTES + len(END)


def is_zero(data: bytes | memoryview) -> bool:
    """Tell whether every byte is zero."""
    view = memoryview(data)  # parts of it are compared as bytes: views are compared item by item, forty times as slowly
    return all(
        bytes(view[i : i + len(_ZEROS)]) == _ZEROS[: min(len(_ZEROS), len(view) - i)]
        for i in range(0, len(view), len(_ZEROS))
    )


def _why(data: bytes, at: int) -> str:
    try:
        parse_frame(data, at)
    except FrameError as exc:
        return str(exc)
    return "the frame does not belong here"


def _frame_numbers(data: bytes, at: int, limit: int) -> frozenset[int]:
    """Return the numbers of all frames by their headers alone."""
    numbers: set[int] = set()
    while at < limit:
        try:
            header = parse_header(data, at)
        except FrameError:
            at = data.find(MAGIC, at + 1, limit)
            if at < 0:
                break
            continue
        numbers.add(header.frame_no)
        note_at = at + HEADER.size + header.blob_bytes + NOTE_LENGTH.size
        if note_at > limit:
            break
        at = note_at + NOTE_LENGTH.unpack_from(data, note_at - NOTE_LENGTH.size)[0] + HASH_BYTES + len(END)
    return frozenset(numbers)
