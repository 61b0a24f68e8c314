"""Compares the log with what a receiver has of it: which records it lacks, and which are not the same.

A difference says that one of the two was changed; which one, `verification` says by the signatures. What the receiver
has is read first, so that a log that goes on meanwhile is never too short. Where the copy begins, it may have been
rotated away: that is said and is no finding. Writes nothing.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from gateway.audit.checkpoint import CheckpointError, parse_checkpoint, split_note
from gateway.audit.delivered import DeliveredLog, UnreadableLineError, read_line
from gateway.audit.finding import Finding, Kind
from gateway.audit.merkle import hash_leaf
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import UnreadableLogError
from gateway.ledger.spool import SpoolError, SpoolReader, numbers, read_head

LINES: Final = (".ndjson", ".jsonl")
MOST_FINDINGS: Final = 1000
"""Of one copy; what is beyond is counted."""
_AT_ONCE: Final = 4096


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink is known to have acknowledged of one log."""

    origin: str
    next_index: int
    dead: frozenset[int] = frozenset()
    """Records that the receiver refused for good."""
    unlisted: range = range(0)
    """Where there are more of those than are listed."""
    unlisted_count: int = 0


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one stream and one copy."""

    name: str
    """Of the sink, or where its copy is."""
    stream: Stream
    origin: str
    first: int
    stop: int
    """Entries `first` to `stop - 1` were compared."""
    same: int
    refused: int
    """Of those, the receiver refused for good, and does not have."""
    size: int
    """Entries of the log."""
    begins: int
    """First entry of the log that is still here."""
    findings: tuple[Finding, ...] = ()
    more: int = 0
    """Findings beyond `MOST_FINDINGS`."""
    others: tuple[str, ...] = ()
    """Other logs of this node and stream that the receiver knows of, and that are not here."""

    def sentence(self) -> str:
        """Say what was compared and how it came out."""
        where = f"{self.name}: {self.origin}"
        others = f"; it has records of {', '.join(self.others)} too, which is not the log here" if self.others else ""
        if self.stop <= self.first:
            return f"{where}: nothing to compare; the log has {self.size} entries{others}"
        span = f"entries {self.first} to {self.stop - 1}"
        lacking = []
        if self.refused:
            lacking.append(f"{self.refused} of them refused for good (gateway audit cursors --dead-letters)")
        if self.first > self.begins:
            lacking.append(f"the copy begins at entry {self.first}, the log at {self.begins}")
        if self.stop < self.size:
            lacking.append(f"entries {self.stop} to {self.size - 1} are not there yet")
        more = ("; " + "; ".join(lacking) if lacking else "") + others
        count = len(self.findings) + self.more
        if count:
            return (
                f"{where}: NOT THE SAME: {count} finding{'s' * (count > 1)} in {span}; {self.same} are the same{more}"
            )
        return f"{where}: {span} are the same in the log and there{more}"


Told = Callable[[str, int, int], None]
"""Is told what is compared, entries done and in all."""


def files_of(path: Path) -> list[Path]:
    """Return the files of delivered records at a path: itself, or those below it. Raises `UnreadableLogError`."""
    try:
        if not path.is_dir():
            return [path]
        found = sorted(each for each in path.rglob("*") if each.is_file() and _holds_lines(each.name))
    except OSError as exc:
        raise UnreadableLogError(f"{path}: cannot be read: {os.strerror(exc.errno or 0).lower()}") from exc
    if not found:
        raise UnreadableLogError(f"{path}: holds no records of a sink ({', '.join(LINES)})")
    return found


def rotated(path: Path) -> list[Path]:
    """Return the file that a sink writes, and those beside it that it wrote before. Raises `UnreadableLogError`."""
    try:
        names = [each for each in path.parent.iterdir() if each.name.startswith(path.name) and each.is_file()]
    except OSError as exc:
        raise UnreadableLogError(f"{path.parent}: cannot be read: {os.strerror(exc.errno or 0).lower()}") from exc
    return sorted(names)


def _holds_lines(name: str) -> bool:
    return any(suffix in name for suffix in LINES)


def compare(
    layout: Layout,
    keys: AuditKeys,
    *,
    name: str,
    files: Sequence[Path],
    streams: Iterable[Stream],
    received: Mapping[Stream, Received],
    growing: Path | None = None,
    told: Told | None = None,
) -> list[Compared]:
    """Compare some streams with what a receiver has of them; `growing` is a file that its sink may be writing just now.

    Raises `UnreadableLogError`, `SpoolError`.
    """
    logs, unread = _read(files, growing)
    found: list[Compared] = []
    for stream in streams:
        one = received.get(stream)
        known = _of_node(keys, stream, {*logs, *([one.origin] if one is not None and one.next_index else [])})
        if layout.checkpoint(stream).exists():
            compared = _Comparison(layout, keys, name, stream, one).run(logs, told)
            others = tuple(origin for origin in known if origin != compared.origin)
            found.append(msgspec.structs.replace(compared, others=others))
        else:  # attack: all of a stream is removed, and its checkpoint with it
            found += [_gone(name, stream, origin, logs.get(origin), one) for origin in known]
    if unread and found:
        found[0] = msgspec.structs.replace(found[0], findings=(*unread, *found[0].findings)[:MOST_FINDINGS])
    return found


def _of_node(keys: AuditKeys, stream: Stream, origins: Iterable[str]) -> list[str]:
    """Return those of the logs that are of this node and stream: a receiver may have those of many nodes."""
    form = re.compile(rf"{re.escape(keys.origin)}/[0-9a-f]+/{stream}")
    return sorted(origin for origin in origins if form.fullmatch(origin))


def _gone(name: str, stream: Stream, origin: str, copy: DeliveredLog | None, received: Received | None) -> Compared:
    copy = copy or DeliveredLog(origin)
    stop = max(copy.size, received.next_index if received is not None and received.origin == origin else 0)
    message = f"{name} has {stop} entries, and there is no such log here"
    missing = Finding(kind=Kind.ROLLBACK, message=message, file=stream, first_index=0, last_index=stop - 1)
    findings = (missing, *copy.findings)
    return Compared(
        name=name,
        stream=stream,
        origin=origin,
        first=copy.first,
        stop=stop,
        same=0,
        refused=0,
        size=0,
        begins=0,
        findings=findings[:MOST_FINDINGS],
        more=max(0, len(findings) - MOST_FINDINGS),
    )


def _read(files: Sequence[Path], growing: Path | None) -> tuple[dict[str, DeliveredLog], list[Finding]]:
    logs: dict[str, DeliveredLog] = {}
    unread = DeliveredLog("")
    for path in files:
        for place, line in _lines(path):
            try:
                origin, index, entry = read_line(line)
            except UnreadableLineError as exc:
                if path == growing and not line.endswith(b"\n"):
                    continue  # its sink is in the middle of it, and has acknowledged nothing of it
                unread.refuse(str(exc), place)
                continue
            logs.setdefault(origin, DeliveredLog(origin)).take(index, entry, place)
    if unread.findings and not logs:
        raise UnreadableLogError(
            f"{unread.findings[0].file}: {unread.findings[0].message}; only records in OCSF can be compared"
        )
    return logs, unread.findings


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path.name}:{number}", line
    except (OSError, EOFError) as exc:
        what = os.strerror(exc.errno).lower() if isinstance(exc, OSError) and exc.errno else str(exc)
        raise UnreadableLogError(f"{path}: cannot be read: {what}") from exc


class _Comparison:
    def __init__(self, layout: Layout, keys: AuditKeys, name: str, stream: Stream, received: Received | None) -> None:
        self._layout = layout
        self._keys = keys
        self._name = name
        self._stream = stream
        self._findings: list[Finding] = []
        self._more = 0
        self._same = 0
        self._refused = 0
        self._missing = -1
        """First of the entries in a row that the copy lacks; -1 = none just now."""
        self._origin, self._size = self._end()
        self._received = received if received is not None and received.origin == self._origin else None
        self._unlisted = self._received.unlisted_count if self._received is not None else 0
        """So many that the copy lacks may be refused ones that nobody listed."""

    def run(self, logs: Mapping[str, DeliveredLog], told: Told | None) -> Compared:
        copy = logs.get(self._origin) or DeliveredLog(self._origin)
        begins = self._begins()
        self._findings += copy.findings[:MOST_FINDINGS]
        self._more += max(0, len(copy.findings) - MOST_FINDINGS)
        if copy.size > self._size:  # attack: the log was cut off, and its checkpoint with it
            message = f"{self._name} has {copy.size} entries, the log has {self._size}"
            self._find(Kind.ROLLBACK, message, self._size, copy.size - 1)
        stop = min(self._size, copy.size if self._received is None else max(copy.size, self._received.next_index))
        first = max(begins, copy.first if copy.size else begins)
        if first < stop:
            self._walk(copy, first, stop, told)
        return Compared(
            name=self._name,
            stream=self._stream,
            origin=self._origin,
            first=first,
            stop=stop,
            same=self._same,
            refused=self._refused,
            size=self._size,
            begins=begins,
            findings=tuple(self._findings),
            more=self._more,
        )

    def _walk(self, copy: DeliveredLog, first: int, stop: int, told: Told | None) -> None:
        index = first
        with closing(SpoolReader(self._layout.directory, self._keys, self._stream, first)) as reader:
            while index < stop:
                found = reader.read(_AT_ONCE, stop)
                if not found:
                    raise SpoolError(f"the {self._stream} log ends at entry {index}, before its checkpoint")
                for raw in found:
                    self._judge(index, raw, copy.leaf(index))
                    index += 1
                if told is not None:
                    told(self._stream, index - first, stop - first)
        self._end_of_gap(stop)

    def _judge(self, index: int, raw: bytes, leaf: bytes | None) -> None:
        is_refused = leaf is None and self._is_dead(index)
        if leaf is None and not is_refused:
            self._missing = index if self._missing < 0 else self._missing
            return
        self._end_of_gap(index)
        if leaf is None:
            self._refused += 1
        elif leaf == hash_leaf(raw):
            self._same += 1
        else:
            self._find(Kind.FORK, f"{self._name} has another record under this number", index, index)

    def _is_dead(self, index: int) -> bool:
        """Tell whether the receiver refused a record that it does not have, as far as that is known."""
        received = self._received
        if received is None:
            return False
        if index in received.dead:
            return True
        if index not in received.unlisted or not self._unlisted:
            return False
        self._unlisted -= 1
        return True

    def _end_of_gap(self, index: int) -> None:
        if self._missing >= 0:
            self._find(Kind.MISSING, f"{self._name} lacks these records", self._missing, index - 1)
            self._missing = -1

    def _find(self, kind: Kind, message: str, first: int, last: int) -> None:
        if len(self._findings) >= MOST_FINDINGS:
            self._more += 1
            return
        self._findings.append(
            Finding(kind=kind, message=message, file=self._stream, first_index=first, last_index=last)
        )

    def _end(self) -> tuple[str, int]:
        path = self._layout.checkpoint(self._stream)
        try:
            checkpoint = parse_checkpoint(split_note(path.read_bytes())[0])
        except OSError as exc:
            raise UnreadableLogError(f"{path}: cannot be read: {os.strerror(exc.errno or 0).lower()}") from exc
        except CheckpointError as exc:
            raise UnreadableLogError(f"{path}: {exc}") from exc
        return checkpoint.origin, checkpoint.size

    def _begins(self) -> int:
        known = numbers(self._layout.directory, self._stream)
        return read_head(self._layout.directory, self._stream, known[0]).first_index if known else self._size
