"""Reads from the security stream what was promised, and holds the files beside the log against it.

Only what is new is read again: closed files once, by their search index where there is one (it is sealed under the
audit keys), the newest from where the last look ended. Nothing of that is kept on disk. A stream that is not whole
says nothing: then everything counts as held, and nothing is removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from gateway.audit.checkpoint import CheckpointError, verify_checkpoint
from gateway.audit.entry import EntryError
from gateway.audit.filehead import FileHead, FileHeadError
from gateway.audit.frame import FrameError
from gateway.audit.segment import SegmentError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger import retention
from gateway.ledger.checkpoint_file import read_checkpoint
from gateway.ledger.holds import Hold, Holds
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout, file_name
from gateway.ledger.promises import EVENTS, Promise, Promises, Said, read_said, widest
from gateway.ledger.reader import FileReader, LogFile, UnreadableLogError, list_files
from gateway.ledger.retention import Rule, Rules, is_shorter
from gateway.ledger.search import WORTH_AN_INDEX
from gateway.ledger.search_index import SearchIndex, identity

_UNREADABLE: Final = (OSError, FileHeadError, FrameError, EntryError, SegmentError)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A file beside the log that promises less than the log does. What the log says counts."""

    event: str
    """`hold.differs` or `retention.differs`."""
    name: str
    """The case, or the stream."""
    message: str
    file_sha256: str
    """Of the file as it was found; empty where there was none."""
    is_told: bool
    """The log says already that this file differs in it."""


class Standing(msgspec.Struct, frozen=True):
    """What is in force, and where the files say less."""

    holds: Holds
    rules: Rules
    differences: tuple[Difference, ...] = ()
    unsaid: tuple[Hold, ...] = ()
    """Holds of which this log says nothing: it was begun anew, and the file is older."""


class _Part:
    """What a file of the stream says, as far as it was read."""

    def __init__(self, path: Path, head: FileHead, keys: AuditKeys) -> None:
        self.next_index = head.first_index
        self.said: list[Said] = []
        self._reader = FileReader(path, keys)

    def read_on(self) -> None:
        for stored in self._reader.poll():
            if stored.index != self.next_index:
                raise FrameError(f"entry {self.next_index} is not where it should be")
            self.next_index += 1
            said = read_said(stored)
            if said is not None:
                self.said.append(said)


class PromiseReader:
    """Reads the promises of one log, again and again. Blocking, not thread-safe."""

    def __init__(self, layout: Layout, keys: AuditKeys) -> None:
        self._layout = layout
        self._keys = keys
        self._index = SearchIndex(layout.state_dir, keys)
        self._parts: dict[str, _Part] = {}

    def standing(self) -> Standing:
        """Return what is in force. Raises `UnreadableLogError`, `HoldsError`, `RetentionError`: nothing may be removed.

        Whoever acts on it has `retention.changing`, so that nobody is between a record and the file.
        """
        promises = self.read()
        holds, of_holds = _merge_holds(promises, self._layout)
        rules, of_rules = _merge_rules(promises, self._layout)
        unsaid = tuple(hold for hold in holds.holds if hold.case not in {*promises.holds, *promises.ended})
        return Standing(holds, rules, (*of_holds, *of_rules), unsaid)

    def holds(self) -> tuple[Holds, list[Difference]]:
        """Return the holds in force, and where the file says less.

        Raises `UnreadableLogError`, `HoldsError`: then everything counts as held.
        """
        return _merge_holds(self.read(), self._layout)

    def read(self) -> Promises:
        """Return what the log promises. Raises `UnreadableLogError`."""
        if not self._layout.directory.exists():
            return Promises()
        try:
            size = self._published()
            return self._read(size)
        except _UNREADABLE as exc:
            what = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) and exc.filename else str(exc)
            raise UnreadableLogError(f"what the log says of holds and retention cannot be read: {what}") from exc

    def _published(self) -> int:
        """Return how many entries there are at least. Raises `OSError`, `FrameError`."""
        note = read_checkpoint(self._layout, Stream.SECURITY)
        if not note:
            return 0
        origin = note.split(b"\n", 1)[0].decode("utf-8", "replace")
        try:
            return verify_checkpoint(note, self._keys.vkey(origin)).size
        except CheckpointError as exc:
            raise FrameError(f"{self._layout.checkpoint(Stream.SECURITY)}: {exc}") from exc

    def _read(self, size: int) -> Promises:
        files, _ = list_files(self._layout.directory, Stream.SECURITY)
        parts: dict[str, _Part] = {}
        end = first = 0
        origin = ""
        for i, (file, following) in enumerate(zip_longest(files, files[1:])):
            head = _head_of(file)
            if i == 0:
                first, origin = head.first_index, head.origin
            elif head.first_index != end or head.origin != origin or file.number != files[i - 1].number + 1:
                raise FrameError(f"{file.path.name} does not continue the file before it")
            name = identity(head)
            part = self._parts.get(name) or self._begin(file, head, following)
            if following is None or part.next_index != _head_of(following).first_index:
                part.read_on()
            parts[name] = part
            end = part.next_index
        self._parts = parts
        promises = Promises(said for part in parts.values() for said in part.said)
        if end < size:
            raise FrameError(f"the security stream has {size} entries by its checkpoint, and {end} can be read")
        # attack: the files that say what is held, removed by hand
        if first and not any(_excuses(prune, origin, first) for prune in promises.pruned):
            raise FrameError(f"entries 0 to {first - 1} of the security stream are not there, and it does not say why")
        return promises

    def _begin(self, file: LogFile, head: FileHead, following: LogFile | None) -> _Part:
        """Return what is known of a file before it is read: all, where it is closed and its index can be had."""
        part = _Part(file.path, head, self._keys)
        count = 0 if following is None else _head_of(following).first_index - head.first_index
        if count < WORTH_AN_INDEX:
            return part
        stem = Path(file_name(Stream.SECURITY, file.number)).stem
        columns = self._index.load(stem, head, ("event",))
        if columns is None or (columns.first_index, columns.rows) != (head.first_index, count):
            return part
        text = columns.text("event")
        rows = (
            {head.first_index + row for row, event in enumerate(text.split("\n")) if event in EVENTS}
            if any(event in text for event in EVENTS)
            else set()
        )
        if rows:
            part.said += _pick(FileReader(file.path, self._keys), rows)
        part.next_index = head.first_index + count
        return part


def _head_of(file: LogFile) -> FileHead:
    if file.head is None:
        raise FrameError(f"{file.path.name} has no head that can be read")
    return file.head


def _pick(reader: FileReader, rows: set[int]) -> Iterator[Said]:
    """Yield what these entries say. Raises `FrameError` when one of them is not there."""
    found = 0
    low, high = min(rows), max(rows)
    for stored in reader.poll(lambda first, count: first <= high and low < first + count):
        if stored.index in rows:
            found += 1
            said = read_said(stored)
            if said is not None:
                yield said
    if found != len(rows):
        raise FrameError(f"{reader.path.name} lacks entries that its index has")


def _excuses(prune: object, origin: str, first: int) -> bool:
    """Tell whether a record says that everything before an entry of the security stream was removed."""
    match prune:
        case {"stream": Stream.SECURITY.value, "origin": str(said), "to": int(last)}:
            return said == origin and last >= first - 1
        case _:
            return False


def _merge_holds(promises: Promises, layout: Layout) -> tuple[Holds, list[Difference]]:
    """Return the holds in force: those of the file and those of the log, and of what both know the wider."""
    mark = _mark(layout.holds)
    kept = {hold.case: hold for hold in Holds.load(layout).holds}
    differences: list[Difference] = []
    for case, promise in promises.holds.items():
        before = kept.get(case)
        kept[case] = _merge_hold(before, promise)
        message = ""
        if before is None:
            message = f"holds.json lacks the hold of the case {case}, which is in force by the log"
        elif _is_less(before, kept[case]):
            message = f"holds.json says less of the hold of the case {case} than the log does"
        if message:
            is_told = (case, mark) in promises.told
            differences.append(
                Difference(event="hold.differs", name=case, message=message, file_sha256=mark, is_told=is_told)
            )
    return Holds(kept.values()), differences


def _merge_hold(kept: Hold | None, promise: Promise) -> Hold:
    """Return what is in force of a hold. Whose end was asked for by whom is the log's to say."""
    made = promise.hold
    if kept is None:
        return msgspec.structs.replace(made, everybody=bool(promise.mark))
    return msgspec.structs.replace(
        widest(kept, made),
        subjects=kept.subjects if promise.mark else (),
        everybody=kept.everybody or promise.mark not in {"", kept.mark()},
        release_by=made.release_by,
        release_ns=made.release_ns,
    )


def _is_less(kept: Hold, in_force: Hold) -> bool:
    """Tell whether the file keeps less than is in force, or says that its end was asked for by whom the log does not name."""
    return (
        (set(kept.streams), kept.since_ns, kept.until_ns)
        != (set(in_force.streams), in_force.since_ns, in_force.until_ns)
        or (kept.subjects, kept.everybody) != (in_force.subjects, in_force.everybody)
        or kept.release_by not in {"", in_force.release_by}
    )


def _merge_rules(promises: Promises, layout: Layout) -> tuple[Rules, list[Difference]]:
    """Return the rules in force, which are the log's; the file has only their fractions of a second."""
    path = layout.custody / retention.FILE_NAME
    mark = _mark(path)
    kept = retention.load(layout)
    rules = Rules()
    differences: list[Difference] = []
    for stream in STREAMS:
        before, said = kept.of(stream), promises.rules.get(stream, Rule())
        rule = msgspec.structs.replace(said, seconds=_exact(before.seconds, said.seconds))
        if said.change is not None:
            asked = before.change.seconds if before.change is not None else said.change.seconds
            seconds = _exact(asked, said.change.seconds) or said.change.seconds
            rule = msgspec.structs.replace(rule, change=msgspec.structs.replace(said.change, seconds=seconds))
        rules = rules.with_rule(stream, rule)
        message = ""
        if is_shorter(before.seconds, rule.seconds):
            message = f"retention.json keeps {stream} for less time than the log says was agreed"
        elif _claims_more(before, rule):
            message = f"retention.json says of {stream} that a shorter retention was agreed to, and the log does not"
        if message:
            is_told = (str(stream), mark) in promises.told
            differences.append(
                Difference(event="retention.differs", name=stream, message=message, file_sha256=mark, is_told=is_told)
            )
    return rules, differences


def _exact(kept: float | None, said: float | None) -> float | None:
    """Return what the log says, which is in whole seconds, with the fraction that the file has of it."""
    return kept if kept is not None and said is not None and int(kept) == int(said) else said


def _claims_more(kept: Rule, in_force: Rule) -> bool:
    """Tell whether a file names a word of somebody that the log lacks."""
    change, said = kept.change, in_force.change
    if change is None:
        return False
    return (
        said is None
        or (change.seconds, change.proposed_by) != (said.seconds, said.proposed_by)
        or change.approved_by not in {"", said.approved_by}
    )


def _mark(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal; empty where there is none, or none that can be read."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
