"""Checks one file of a log, a log file or the segment that became of it, on its own.

What a file says of itself, and who signed it, is judged here; `verify` puts the files together.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.checkpoint import CheckpointError, Vkey, verify_checkpoint
from gateway.audit.entry import EntryError
from gateway.audit.filehead import FileHead, FileHeadError, parse_head, verify_head
from gateway.audit.finding import Finding, Kind
from gateway.audit.frame import HEADER, MAGIC
from gateway.audit.merkle import Tree
from gateway.audit.passage import Passage, Position, Trust
from gateway.audit.segment import MAGIC as SEGMENT_MAGIC
from gateway.audit.segment import Segment, SegmentError, bundle_slices, parse_front, parse_segment
from gateway.audit.tally import Tally
from gateway.audit.walk import Walk


class KeyOpener(Protocol):
    """Opens the data key of a file."""

    def open(self, head: FileHead) -> AESGCM:
        """Return the file's cipher. Raises `FileHeadError` when the key is not ours."""
        ...


def check_file(
    name: str,
    data: bytes,
    trust: Trust,
    *,
    opener: KeyOpener | None,
    before: Position,
    next_head: FileHead | None,
) -> Passage:
    """Check one file. `before` is where the file before it ended, for a file whose own head is damaged."""
    if data[: len(SEGMENT_MAGIC)] == SEGMENT_MAGIC:
        return _check_segment(name, data, trust, opener=opener, before=before)
    return _check_log(name, data, trust, opener=opener, before=before, next_head=next_head)


def read_head(data: bytes) -> FileHead | None:
    """Return the head of a log file or segment; None when it is damaged."""
    try:
        if data[: len(SEGMENT_MAGIC)] == SEGMENT_MAGIC:
            return parse_front(data).head
        return parse_head(data)[0]
    except (FileHeadError, SegmentError):
        return None


def _check_log(
    name: str, data: bytes, trust: Trust, *, opener: KeyOpener | None, before: Position, next_head: FileHead | None
) -> Passage:
    try:
        head, at = parse_head(data)
    except FileHeadError as exc:
        kind = Kind.TRUNCATED if len(data) < HEADER.size or "ends inside" in str(exc) else Kind.BITFLIP
        walk = Walk(name, trust, None, _lost(before), cipher=None)
        walk.note(Finding(kind=kind, message=str(exc), file=name, offset=0))
        return walk.file(data, max(data.find(MAGIC), 0) if MAGIC in data else len(data), next_head)
    findings = _check_head(name, data, at, head, trust)
    cipher, refused = _open(name, opener, head)
    walk = Walk(name, trust, head, Position.at_head(head), cipher=cipher)
    for finding in (*findings, *refused):
        walk.note(finding)
    return walk.file(data, at, next_head)


def _lost(before: Position) -> Position:
    """Return a place where frames can be looked for, but not held against what came before."""
    return Position(
        next_index=before.next_index,
        next_frame=before.next_frame,
        last_sha256=before.last_sha256,
        frontier=None,
        follows=False,
        sequences=before.sequences,
        intents=before.intents,
    )


def _check_head(name: str, data: bytes, length: int, head: FileHead, trust: Trust) -> list[Finding]:
    findings: list[Finding] = []
    if head.public != trust.public:
        findings.append(
            Finding(
                kind=Kind.WRONG_KEY_RANGE,
                message="the file names another log key than the one that signs this log",
                file=name,
                offset=0,
            )
        )
    try:
        verify_head(data, length, trust.public)
    except FileHeadError as exc:
        findings.append(Finding(kind=Kind.BAD_SIGNATURE, message=str(exc), file=name, offset=0))
    if head.origin != trust.origin:
        findings.append(
            Finding(
                kind=Kind.INSERTED,
                message=f"the file is of the log {head.origin}, not of {trust.origin}",
                file=name,
                offset=0,
            )
        )
    if head.first_index.bit_count() != len(head.frontier):
        findings.append(
            Finding(
                kind=Kind.BITFLIP,
                message="the head's frontier does not fit its first index",
                file=name,
                offset=0,
            )
        )
    return findings


def _open(name: str, opener: KeyOpener | None, head: FileHead) -> tuple[AESGCM | None, list[Finding]]:
    if opener is None:
        return None, []
    try:
        return opener.open(head), []
    except FileHeadError as exc:
        return None, [Finding(kind=Kind.WRONG_KEY_RANGE, message=str(exc), file=name, offset=0)]


# segments


def _check_segment(name: str, data: bytes, trust: Trust, *, opener: KeyOpener | None, before: Position) -> Passage:
    findings: list[Finding] = []
    try:
        segment = parse_segment(data)
    except SegmentError as exc:
        kind = Kind.TRUNCATED if "ends" in str(exc) else Kind.BITFLIP
        try:
            front = parse_front(data)
        except SegmentError:
            findings.append(Finding(kind=kind, message=str(exc), file=name, offset=0))
            return _unread(name, None, findings, _lost(before), _lost(before))
        first, last = front.head.first_index, front.next_index - 1
        findings.append(Finding(kind=kind, message=str(exc), file=name, first_index=first, last_index=last))
        return _unread(name, front, findings, Position.at_head(front.head), _after(front, None, None))
    head = segment.head
    findings += _check_head(name, segment.head_bytes, len(segment.head_bytes), head, trust)
    signed = _check_note(name, segment, trust, findings)
    cipher, refused = _open(name, opener, head)
    findings += refused
    begin = Position.at_head(head)
    if cipher is None:
        return _unread(name, segment, findings, begin, _after(segment, None, None), signed=signed)
    return _read(name, segment, trust, cipher, findings=findings, signed=signed)


def _check_note(name: str, segment: Segment, trust: Trust, findings: list[Finding]) -> tuple[int, bytes] | None:
    if not segment.count:
        return None
    span = {"first_index": segment.head.first_index, "last_index": segment.next_index - 1}
    try:
        signed = verify_checkpoint(segment.note, Vkey(trust.origin, trust.public))
    except CheckpointError as exc:
        findings.append(Finding(kind=Kind.BAD_SIGNATURE, message=str(exc), file=name, **span))
        return None
    if signed.size != segment.next_index:
        message = f"its signature is for {signed.size} entries, not {segment.next_index}"
        findings.append(Finding(kind=Kind.INSERTED, message=message, file=name, **span))
        return None
    return signed.size, signed.root


def _read(
    name: str,
    segment: Segment,
    trust: Trust,
    cipher: AESGCM,
    *,
    findings: list[Finding],
    signed: tuple[int, bytes] | None,
) -> Passage:
    """Decrypt a segment, hash its entries into the tree and compare the root with the signed one."""
    head = segment.head
    begin = Position.at_head(head)
    tree = Tree(begin.next_index, begin.frontier) if begin.frontier is not None else None
    tally = Tally(stream=trust.stream, file=name, sequences=head.sequences, intents=head.intents)
    first, last = head.first_index, segment.next_index - 1
    roots: list[tuple[int, bytes]] = []
    try:
        roots = _follow(segment, cipher, tally, tree, trust.sizes)
    except (SegmentError, EntryError) as exc:
        findings.append(Finding(kind=Kind.BITFLIP, message=str(exc), file=name, first_index=first, last_index=last))
        tree = None
    if tree is not None and signed is not None and tree.root() != signed[1]:
        message = "its entries give another root than the signed one"
        findings.append(Finding(kind=Kind.FORK, message=message, file=name, first_index=first, last_index=last))
        tree = None
    if tree is not None and (tally.earliest_ns, tally.latest_ns) != (segment.first_ns, segment.last_ns):
        findings.append(Finding(kind=Kind.BITFLIP, message="its entries are of other times than it says", file=name))
    findings += tally.findings
    is_whole = tree is not None and not any(finding.is_failure for finding in findings)
    return Passage(
        name=name,
        head=head,
        is_sealed=True,
        findings=tuple(findings),
        begin=begin,
        end=_after(segment, tree, tally),
        tail=segment.tail,
        proven=segment.next_index if is_whole else 0,
        signed=(*(roots if is_whole else ()), *(() if signed is None else (signed,))),
        first_ns=tally.first_ns,
        last_ns=tally.last_ns,
        prunes=tuple(tally.prunes),
        holds=tuple(tally.holds),
    )


def _follow(
    segment: Segment, cipher: AESGCM, tally: Tally, tree: Tree | None, sizes: frozenset[int]
) -> list[tuple[int, bytes]]:
    """Take every entry of a segment, slice by slice; return the roots at sizes inside it that were asked for.

    Raises `SegmentError`, `EntryError`.
    """
    index = segment.head.first_index
    inside = sorted(size for size in sizes if index < size < segment.next_index)
    roots: list[tuple[int, bytes]] = []
    rest = b""
    for fresh in bundle_slices(segment, cipher):
        bundle = rest + fresh
        leaves, end = tally.take(bundle, index)
        rest = bundle[end:]
        index += len(leaves)
        if tree is None:
            continue
        while inside and inside[0] <= index:
            size = inside.pop(0)
            cut = size - tree.size
            tree.extend(leaves[:cut])
            leaves = leaves[cut:]
            roots.append((size, tree.root()))
        tree.extend(leaves)
    if rest or index != segment.next_index:
        raise SegmentError(f"{index - segment.head.first_index} entries where the segment says {segment.count}")
    return roots


def _after(segment: Segment, tree: Tree | None, tally: Tally | None) -> Position:
    return Position(
        next_index=segment.next_index,
        next_frame=segment.next_frame,
        last_sha256=segment.last_sha256,
        frontier=tuple(tree.frontier) if tree is not None else None,
        sequences=tally.sequences if tally is not None else segment.head.sequences,
        intents=tally.intents if tally is not None else segment.head.intents,
    )


def _unread(
    name: str,
    segment: Segment | None,
    findings: list[Finding],
    begin: Position,
    end: Position,
    *,
    signed: tuple[int, bytes] | None = None,
) -> Passage:
    return Passage(
        name=name,
        head=None if segment is None else segment.head,
        is_sealed=True,
        findings=tuple(findings),
        begin=begin,
        end=end,
        tail=0 if segment is None else segment.tail,
        is_unread=True,
        signed=() if signed is None else (signed,),
        first_ns=0 if segment is None else segment.first_ns,
        last_ns=0 if segment is None else segment.last_ns,
    )
