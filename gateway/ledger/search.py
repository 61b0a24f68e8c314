"""Finds records in the log, of all streams, in the order in which they were taken in.

A closed file is read once; after that its columns stand in the index (`search_index`), and a search opens a
file only where they say that something in it is asked for. What is shown to whom, and that the
search itself is recorded, is the caller's part. A file that cannot be read is told and left out:
`verify` is there to judge it.
"""

from __future__ import annotations

import heapq
import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from gateway.audit.columns import Builder, Columns
from gateway.audit.entry import EntryError, parse_entry
from gateway.audit.filehead import FileHead, FileHeadError, head_length, parse_head
from gateway.audit.flat import AND, BY_NAME, NAMES, flatten, opened, token_of, visible
from gateway.audit.frame import FrameError
from gateway.audit.segment import SegmentError, entries_of, parse_segment
from gateway.audit.subject import Keys, may_be_sealed, reveal
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout, file_name, segment_name
from gateway.ledger.reader import FileReader, Stored
from gateway.ledger.search_index import SearchIndex
from gateway.ledger.spool import numbers, open_file, read_front

Progress = Callable[[int, int], None]
"""Is told how many bytes of the log were looked at, and how many there are."""
FOR_EVER: Final = float("inf")
RECORD: Final = "record"
"""Names the whole record among the columns."""
WORTH_AN_INDEX: Final = 1024
"""Entries; a file with fewer is read as fast as its index."""
_PLACED: Final = frozenset({"stream", "index", RECORD})
"""Columns that stand in no index."""
_TIME: Final = NAMES.index("time")
_HEAD_GUESS_BYTES: Final = 4096
_UNREADABLE: Final = (OSError, FileHeadError, FrameError, EntryError, SegmentError)


class Somebody(msgspec.Struct, frozen=True, kw_only=True):
    """A person, as records may name them."""

    names: frozenset[str] = frozenset()
    """Name and id, in clear."""
    tokens: frozenset[str] = frozenset()
    """The pseudonyms under which their fields are sealed."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; every filter that is given must fit."""

    since: float = 0.0
    """Unix seconds."""
    until: float = FOR_EVER
    streams: tuple[Stream, ...] = tuple(Stream)
    person: Somebody | None = None
    """Whom the record names in any part."""
    actor: Somebody | None = None
    """Who did it."""
    subject: Somebody | None = None
    """Whose data it was."""
    tenant: str | None = None
    route: str | None = None
    action: str | None = None
    decision: str | None = None
    """`allow` or `deny`."""
    status: int | None = None
    resource: str | None = None
    """`type` or `type/id`."""
    resource_tokens: frozenset[str] = frozenset()
    """Under these pseudonyms its id may be sealed, where it is a person."""
    hidden_routes: frozenset[str] = frozenset()
    """What is recorded under these is left out."""
    request_id: str | None = None
    ip: str | None = None
    reason: str | None = None
    event: str | None = None
    """`request`, or the name of an event or operation."""
    uid: str | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A record and where it stands."""

    stored: Stored
    """What is in the log, and what the proofs are about."""
    record: dict[str, Any]
    """The same, with what is sealed opened as far as that is possible."""

    @property
    def stream(self) -> Stream:
        """The stream that it is in."""
        return self.stored.stream

    @property
    def index(self) -> int:
        """Where it stands in its stream."""
        return self.stored.index


class Table(NamedTuple):
    """Rows of one file, column by column."""

    stream: Stream
    columns: Columns
    rows: Sequence[int]
    """Which of them are asked for."""
    records: Iterable[str]
    """The whole record of each of them as JSON, where that was asked for; read as it is taken."""


class _Test(NamedTuple):
    column: str
    fits: Callable[[str], bool]
    traces: tuple[bytes, ...] = ()
    """One of these bytes is in every record that fits; nothing is known where there are none."""
    parts: tuple[str, ...] = ()
    """One of these is in every value that fits; nothing is known where there are none."""


class _Part(NamedTuple):
    """A file of a stream, as a log file or the segment it became."""

    stream: Stream
    number: int
    head: FileHead
    bytes: int
    end: int
    """Index after its last entry, -1 = not known: it may still grow."""
    tail: int
    """Where a log file ends by what the next one says, -1 = not known."""

    @property
    def stem(self) -> str:
        """Its name, whether sealed or not."""
        return Path(file_name(self.stream, self.number)).stem

    @property
    def is_indexed(self) -> bool:
        """Tell whether its columns are worth keeping: it never changes again, and is not read in no time."""
        return self.end - self.head.first_index >= WORTH_AN_INDEX


class Search:
    """Searches the log of one gateway. Every method blocks. Raises `UnreadableLogError`, `KeyringError`."""

    def __init__(
        self,
        state_dir: Path,
        keys: AuditKeys,
        *,
        subject_keys: Keys | None = None,
        on_damage: Callable[[str], None],
        index: SearchIndex | None = None,
    ) -> None:
        self._directory = Layout(state_dir).directory
        self._keys = keys
        self._subject_keys = subject_keys
        self._on_damage = on_damage
        self._index = index or SearchIndex(state_dir, keys)

    def find(
        self,
        filters: Filters,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Found]:
        """Yield what is asked for, by the time it was taken in; with `limit`, not more than that.

        Holds at most the matches of one file of each stream, and at most `limit` of those.
        """
        tests = compile_filters(filters, self._subject_keys)
        watch = _Watch(progress)
        sources = [
            self._of_stream(parts, filters, tests, limit, newest_first=newest_first, watch=watch)
            for _, parts in self._parts(filters, watch)
        ]
        merged = heapq.merge(*sources, key=_taken_in, reverse=newest_first)
        for stored in merged if limit is None else islice(merged, limit):
            yield Found(stored=stored, record=self.record_of(stored.entry.payload))

    def tables(self, filters: Filters, names: Sequence[str], *, progress: Progress | None = None) -> Iterator[Table]:
        """Yield the columns of `names`, file by file and stream by stream, with the rows that are asked for."""
        tests = compile_filters(filters, self._subject_keys)
        deciding = {*(test.column for test in tests), *_time_column(filters)}
        wanted = {*names, *deciding} - _PLACED
        watch = _Watch(progress)
        for stream, parts in self._parts(filters, watch):
            for part in parts:
                is_known = bool(deciding) and part.is_indexed
                columns = self._columns(part, deciding if is_known else wanted)
                rows = rows_of(columns, filters, tests)
                if rows:
                    if is_known:  # only now: most files hold nothing that is asked for
                        columns = self._columns(part, wanted)
                    indexes = {columns.first_index + row for row in rows} if RECORD in names else set()
                    yield Table(stream, columns, rows, map(self._record_text, self._pick(part, indexes)))
                watch.done(part.bytes)

    def index(self, *, given_up: set[str] | None = None) -> int:
        """Make the index of every closed file that has none; return how many were made.

        `given_up` names files that are left alone, and is told of those whose index could not be kept.
        """
        made = 0
        hopeless = given_up if given_up is not None else set()
        for _, parts in self._parts(Filters(), _Watch(None)):
            for part in parts:
                if (
                    not part.is_indexed
                    or part.stem in hopeless
                    or self._index.load(part.stem, part.head, ()) is not None
                ):
                    continue
                self._read_columns(part)
                if self._index.has(part.stem):
                    made += 1
                else:
                    hopeless.add(part.stem)
        return made

    def record_of(self, payload: bytes) -> dict[str, Any]:
        """Return the record of a payload, opened as far as that is possible."""
        record = parse_payload(payload)
        if self._subject_keys is not None and may_be_sealed(payload):
            return reveal(record, self._subject_keys)
        return record

    def _record_text(self, stored: Stored) -> str:
        payload = stored.entry.payload
        if self._subject_keys is None or not may_be_sealed(payload):
            return payload.decode("utf-8", "backslashreplace")
        return orjson.dumps(self.record_of(payload), option=orjson.OPT_SORT_KEYS).decode()

    def origins(self) -> dict[Stream, str]:
        """Return the name of the log of each stream, as its newest file says it."""
        if not self._directory.exists():
            return {}
        return {stream: parts[-1].head.origin for stream in Stream if (parts := self._of_directory(stream))}

    def _parts(self, filters: Filters, watch: _Watch) -> list[tuple[Stream, list[_Part]]]:
        """List the files that may hold what is asked for, by stream."""
        if not self._directory.exists():
            return []
        found: list[tuple[Stream, list[_Part]]] = []
        stems: set[str] = set()
        for stream in Stream:
            parts = self._of_directory(stream)
            stems.update(part.stem for part in parts)
            if stream not in filters.streams:
                continue
            recent = [
                part
                for part, following in zip_longest(parts, parts[1:])
                if following is None or following.head.created_ns >= filters.since * 1e9
            ]
            watch.total += sum(part.bytes for part in recent)
            found.append((stream, recent))
        self._index.sweep(stems)
        return found

    def _of_directory(self, stream: Stream) -> list[_Part]:
        parts: list[_Part] = []
        for number in numbers(self._directory, stream):
            try:
                head, size, end = _front(self._directory, stream, number)
            except FileNotFoundError:
                continue  # it was pruned meanwhile
            except _UNREADABLE as exc:
                self._on_damage(f"{file_name(stream, number)}: {exc}")
                continue
            before = parts[-1] if parts else None
            if before is not None and before.number + 1 == number:
                parts[-1] = before._replace(end=head.first_index, tail=head.prev_tail)
            parts.append(_Part(stream, number, head, size, end, -1))
        return parts

    def _of_stream(
        self,
        parts: list[_Part],
        filters: Filters,
        tests: Sequence[_Test],
        limit: int | None,
        *,
        newest_first: bool,
        watch: _Watch,
    ) -> Iterator[Stored]:
        for part in reversed(parts) if newest_first else parts:
            matches = self._matches(part, filters, tests)
            if newest_first:  # a file is read forwards
                matches = reversed(deque(matches, maxlen=limit))
            yield from matches
            watch.done(part.bytes)

    def _matches(self, part: _Part, filters: Filters, tests: Sequence[_Test]) -> Iterator[Stored]:
        names = {*(test.column for test in tests), *_time_column(filters)}
        if names and part.is_indexed:
            columns = self._columns(part, names)
            rows = rows_of(columns, filters, tests)
            if len(rows) < columns.rows:
                yield from self._pick(part, {columns.first_index + row for row in rows})
                return
            tests, filters = (), Filters()
        fits = partial(_fits, filters=filters, tests=tests)
        yield from filter(fits, self._read(part))

    def _pick(self, part: _Part, wanted: set[int]) -> Iterator[Stored]:
        if not wanted:
            return
        last = max(wanted)
        order = sorted(wanted)

        def holds(first: int, count: int) -> bool:
            at = bisect_left(order, first)
            return at < len(order) and order[at] < first + count

        for stored in self._read(part, holds):
            if stored.index in wanted:
                yield stored
            if stored.index >= last:
                return

    def _columns(self, part: _Part, names: set[str]) -> Columns:
        """Return the columns of a file: from the index, or read now, and kept where the file is closed."""
        known = self._index.load(part.stem, part.head, names) if part.is_indexed else None
        return known or self._read_columns(part)

    def _read_columns(self, part: _Part) -> Columns:
        builder = Builder(part.head.first_index)
        count = 0
        for stored in self._read(part):
            builder.add(flatten(parse_payload(stored.entry.payload)))
            count += 1
        columns = builder.columns()
        if part.is_indexed and part.end == part.head.first_index + count:
            self._index.save(part.stem, part.head, columns)
        return columns

    def _read(self, part: _Part, holds: Callable[[int, int], bool] | None = None) -> Iterator[Stored]:
        """Yield the entries of a file; with `holds`, at least those of spans of indexes that it says yes to."""
        reader = FileReader(self._directory / file_name(part.stream, part.number), self._keys)
        try:
            yield from reader.poll(holds)
        except FileNotFoundError:
            yield from self._read_sealed(part)
            return
        except _UNREADABLE as exc:
            self._on_damage(f"{reader.path.name}: {exc}")
            return
        if reader.is_damaged and (part.tail < 0 or reader.offset < part.tail):
            self._on_damage(f"{reader.path.name}: not readable from byte {reader.offset} on")

    def _read_sealed(self, part: _Part) -> Iterator[Stored]:
        path = self._directory / segment_name(part.stream, part.number)
        try:
            segment = parse_segment(path.read_bytes())
            for i, raw in enumerate(entries_of(segment, self._keys.open(segment.head))):
                entry = parse_entry(raw)
                yield Stored(entry.stream, segment.head.first_index + i, entry)
        except _UNREADABLE as exc:
            self._on_damage(f"{path.name}: {exc}")


def _front(directory: Path, stream: Stream, number: int) -> tuple[FileHead, int, int]:
    """Return the head of a file, its bytes, and the index after its last entry, -1 for a log file that may grow."""
    fd, is_sealed = open_file(directory, stream, number)
    try:
        size = os.fstat(fd).st_size
        if is_sealed:
            front = read_front(fd)
            return front.head, size, front.next_index
        data = os.pread(fd, _HEAD_GUESS_BYTES, 0)
        return parse_head(data + os.pread(fd, max(0, head_length(data) - len(data)), len(data)))[0], size, -1
    finally:
        os.close(fd)


class _Watch:
    """Adds up what was looked at."""

    def __init__(self, progress: Progress | None) -> None:
        self.total = 0
        self._done = 0
        self._progress = progress

    def done(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self.total)


def parse_payload(payload: bytes) -> dict[str, Any]:
    """Return the record of a payload; one that is no JSON object is shown as what it is, never left out."""
    try:
        read = orjson.loads(payload)
    except orjson.JSONDecodeError:
        read = None
    return read if isinstance(read, dict) else {"raw": payload.decode("utf-8", "backslashreplace")}


def compile_filters(filters: Filters, keys: Keys | None) -> list[_Test]:
    """Return the tests of a row, those that settle most first. Times are not among them."""
    tests: list[_Test] = []
    for column, wanted in (
        ("request_id", filters.request_id),
        ("uid", filters.uid),
        ("route", filters.route),
        ("tenant", filters.tenant),
        ("reason", filters.reason),
        ("action", filters.action),
        ("event", None if filters.event is None or " " in filters.event else filters.event),
        ("operation", filters.event if filters.event is not None and " " in filters.event else None),
    ):
        if wanted is not None:
            traces = _traces(wanted) if column != "event" else ()  # `request` stands in no record
            tests.append(_Test(column, visible(wanted).__eq__, traces, (visible(wanted),)))
    for column, somebody in (("people", filters.person), ("actors", filters.actor), ("owners", filters.subject)):
        if somebody is not None:
            tests.append(_person(column, somebody))
    if filters.resource is not None:
        kind, _, uid = filters.resource.partition("/")
        parts = (f"{visible(kind)}/",)
        fits = partial(_is_resource, visible(kind), visible(uid), filters.resource_tokens, keys)
        tests.append(_Test("resources", fits, _traces(kind), parts))
    if filters.ip is not None:
        tests.append(_Test("ip", partial(_is_text, "ip", filters.ip, keys)))
    if filters.status is not None:
        tests.append(_Test("status", str(filters.status).__eq__))
    if filters.decision is not None:
        tests.append(_Test("decision", filters.decision.__eq__))
    if filters.hidden_routes:
        tests.append(_Test("route", partial(_is_none_of, filters.hidden_routes)))
    return tests


def _traces(*values: str) -> tuple[bytes, ...]:
    return tuple(orjson.dumps(value) for value in values if value.isprintable())


def _person(column: str, somebody: Somebody) -> _Test:
    names = frozenset(map(visible, somebody.names))
    return _Test(
        column,
        partial(_is_person, names, somebody.tokens),
        _traces(*sorted(somebody.names), *sorted(somebody.tokens)),
        (*sorted(names), *sorted(somebody.tokens)),
    )


def _is_person(names: frozenset[str], tokens: frozenset[str], value: str) -> bool:
    return any(each in names or token_of(each) in tokens for each in value.split(AND))


def _is_text(column: str, wanted: str, keys: Keys | None, value: str) -> bool:
    return value == wanted or (
        keys is not None and bool(token_of(value)) and opened(BY_NAME[column].personal, value, keys) == wanted
    )


def _is_resource(kind: str, uid: str, tokens: frozenset[str], keys: Keys | None, value: str) -> bool:
    for each in value.split(AND):
        its_kind, _, its_uid = each.partition("/")
        if its_kind == kind and (not uid or token_of(its_uid) in tokens or _is_text("resource_id", uid, keys, its_uid)):
            return True
    return False


def _is_none_of(hidden: frozenset[str], value: str) -> bool:
    return value not in hidden


def rows_of(columns: Columns, filters: Filters, tests: Sequence[_Test]) -> Sequence[int]:
    """Return which rows fit. A column is looked at by its different values, not by its rows."""
    since_ms, until_ms = filters.since * 1000, filters.until * 1000
    rows: Sequence[int] = range(columns.rows)
    for test in tests:
        if test.parts and not any(part in columns.text(test.column) for part in test.parts):
            return ()
        values = columns.values(test.column)
        fitting = {value for value in set(values) if test.fits(value)}
        if not fitting:
            return ()
        rows = [row for row in rows if values[row] in fitting]
    if columns.first_ms < since_ms or columns.last_ms >= until_ms:
        times = columns.values("time")
        rows = [row for row in rows if since_ms <= _milliseconds(times[row]) < until_ms]
    return rows


def _fits(stored: Stored, filters: Filters, tests: Sequence[_Test]) -> bool:
    payload = stored.entry.payload
    for test in tests:  # what lacks a trace of what is asked for need not be parsed
        if test.traces and not any(trace in payload for trace in test.traces):
            return False
    if not tests and not filters.since and filters.until == FOR_EVER:
        return True
    row = flatten(parse_payload(payload))
    if not filters.since * 1000 <= _milliseconds(row[_TIME]) < filters.until * 1000:
        return False
    return all(test.fits(row[NAMES.index(test.column)]) for test in tests)


def _time_column(filters: Filters) -> tuple[str, ...]:
    return ("time",) if filters.since or filters.until != FOR_EVER else ()


def _milliseconds(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _taken_in(stored: Stored) -> tuple[int, int]:
    return stored.entry.time_ns, stored.index
