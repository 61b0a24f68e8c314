"""Checks what a sink kept: records as they were delivered, against tree heads of the log that they came from.

A delivered record holds everything its entry had, so that the leaf can be hashed again. It holds no
signature: only a tree head that was kept beside the copy, signed by the log's key, proves how many of
them are the log's. Records come at least once; the same one twice is no finding, another one under its number is.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import orjson

from gateway.audit.checkpoint import Checkpoint, CheckpointError, Vkey, verify_checkpoint
from gateway.audit.delivery import DeliveryError, restore_entry
from gateway.audit.finding import Finding, Kind
from gateway.audit.merkle import HASH_BYTES, Tree
from gateway.audit.verdict import Verdict, Vouched
from gateway.exchange.errors import GatewayError

MAX_AHEAD = 1 << 22
"""A record may stand so many places from every other: beyond, its number is not believed."""
_BLOCK = 4096
"""Records that are kept together."""
_TIME_AT = 8
_TIME_END = 16


class UnreadableLineError(GatewayError):
    """A line that no record can be restored from."""


def read_line(line: bytes) -> tuple[str, int, bytes]:
    """Return origin, index and entry of a delivered record. Raises `UnreadableLineError`."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise UnreadableLineError("the line is no JSON") from exc
    if not isinstance(record, dict):
        raise UnreadableLineError("the line is no record")
    try:
        return restore_entry(record)
    except DeliveryError as exc:
        raise UnreadableLineError(str(exc)) from exc


class DeliveredLog:
    """The records of one log."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.findings: list[Finding] = []
        self._blocks: dict[int, tuple[bytearray, bytearray]] = {}
        """Which records are there, and their hashes; a copy may begin anywhere (attack: memory for what is not there)."""
        self._low = self._size = 0
        self._first_ns = self._last_ns = 0

    def take(self, index: int, entry: bytes, place: str) -> None:
        """Add one record; `place` says where it stood."""
        low, high = (self._low, self._size) if self._size else (index, index)
        if not max(0, low - MAX_AHEAD) <= index <= high + MAX_AHEAD:
            self._find(Kind.INSERTED, f"its number {index} is far beyond every other", place, index)
            return
        leaf = sha256(b"\0" + entry).digest()
        self._low, self._size = min(low, index), max(high, index + 1)
        block, place_in = divmod(index, _BLOCK)
        there, leaves = self._blocks.setdefault(block, (bytearray(_BLOCK), bytearray(_BLOCK * HASH_BYTES)))
        at = place_in * HASH_BYTES
        if there[place_in]:
            if leaves[at : at + HASH_BYTES] != leaf:
                self._find(Kind.FORK, "another record of this number came before", place, index)
            return
        there[place_in] = 1
        leaves[at : at + HASH_BYTES] = leaf
        time_ns = int.from_bytes(entry[_TIME_AT:_TIME_END], "little")
        self._first_ns = min(self._first_ns or time_ns, time_ns)
        self._last_ns = max(self._last_ns, time_ns)

    @property
    def first(self) -> int:
        """The lowest number there is; 0 where there is none."""
        return self._low

    @property
    def size(self) -> int:
        """One more than the highest number; 0 where there is none."""
        return self._size

    def leaf(self, index: int) -> bytes | None:
        """Return the hash of a record's leaf; None where it is not there."""
        block, place = divmod(index, _BLOCK)
        found = self._blocks.get(block)
        if found is None or not found[0][place]:
            return None
        return bytes(found[1][place * HASH_BYTES : (place + 1) * HASH_BYTES])

    def refuse(self, sentence: str, place: str) -> None:
        """Note a line that says it is of this log and is not."""
        self._find(Kind.BITFLIP, sentence, place, -1)

    def finish(self, vkey: Vkey | None, notes: Sequence[tuple[str, bytes]]) -> Verdict:
        """Hold the records against tree heads and say what is proven."""
        size, begin = self._size, self._low
        self._holes()
        vouched: list[Vouched] = []
        doubts: list[str] = []
        if vkey is None:
            doubts.append("no key of the log was given (--vkey, --policy or -c)")
        elif begin > 0:
            doubts.append(f"the copy begins at entry {begin}; without those before it no tree head can be computed")
        else:
            vouched = self._compare(self._heads(vkey, notes))
        proven = vouched[-1].size if vouched else 0
        if vouched and proven < size:
            doubts.append(f"entries {proven} to {size - 1} stand behind no tree head that was given")
        return Verdict(
            findings=tuple(self.findings),
            origin=self.origin,
            vkey=str(vkey) if vkey is not None else "",
            first=begin,
            size=size,
            root=b"",
            proven=proven,
            files=1,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            has_contents=True,
            vouched=tuple(vouched),
            doubts=tuple(doubts),
        )

    def _holes(self) -> None:
        at = self._next(self._low, 0)
        while at < self._size:
            stop = self._next(at, 1)
            self.findings.append(
                Finding(kind=Kind.MISSING, message="the copy lacks these records", first_index=at, last_index=stop - 1)
            )
            at = self._next(stop, 0)

    def _next(self, index: int, wanted: int) -> int:
        """Return the first index from here on whose record is there (1) or is not (0); the size where there is none."""
        while index < self._size:
            block, place = divmod(index, _BLOCK)
            found = self._blocks[block][0].find(wanted, place) if block in self._blocks else -1 if wanted else place
            if found >= 0:
                return min(block * _BLOCK + found, self._size)
            index = (block + 1) * _BLOCK
        return self._size

    def _heads(self, vkey: Vkey, notes: Sequence[tuple[str, bytes]]) -> dict[int, list[tuple[str, Checkpoint, bytes]]]:
        wanted: dict[int, list[tuple[str, Checkpoint, bytes]]] = {}
        for name, note in notes:
            try:
                checkpoint = verify_checkpoint(note, vkey)
            except CheckpointError as exc:
                self.findings.append(Finding(kind=Kind.BAD_SIGNATURE, file=name, message=str(exc)))
                continue
            wanted.setdefault(checkpoint.size, []).append((name, checkpoint, note))
        return wanted

    def _compare(self, wanted: dict[int, list[tuple[str, Checkpoint, bytes]]]) -> list[Vouched]:
        whole = self._next(0, 0)
        tree = Tree()
        vouched: list[Vouched] = []
        for size, heads in sorted(wanted.items()):
            for name, checkpoint, note in heads:
                if size > self._size:
                    message = f"{name} is signed for {size} entries, the copy has {self._size}"
                    first, last = self._size, size - 1
                    self.findings.append(
                        Finding(kind=Kind.TRUNCATED, message=message, first_index=first, last_index=last)
                    )
                elif size <= whole:
                    self._grow(tree, size)
                    if tree.root() == checkpoint.root:
                        vouched.append(Vouched(size, name, note=note))
                    else:
                        message = f"{name} has another root for {size} entries"
                        self.findings.append(
                            Finding(kind=Kind.FORK, message=message, first_index=0, last_index=size - 1)
                        )
        return vouched

    def _grow(self, tree: Tree, size: int) -> None:
        while tree.size < size:
            block, place = divmod(tree.size, _BLOCK)
            stop = min(size - block * _BLOCK, _BLOCK)
            view = self._blocks[block][1][place * HASH_BYTES : stop * HASH_BYTES]
            tree.extend([bytes(view[at : at + HASH_BYTES]) for at in range(0, len(view), HASH_BYTES)])

    def _find(self, kind: Kind, message: str, place: str, index: int) -> None:
        self.findings.append(Finding(kind=kind, message=message, file=place, first_index=index))
