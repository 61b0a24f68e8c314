"""One YAML file as a tree that keeps what its values do not: comments, blank lines, and how a number was written.

Reads what `source` accepts. Where a comment belongs is decided here by lines and columns, as a person
sees it; how the file should look is `layout`'s to say.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final, Protocol

import yaml

from gateway.document.scalar import resolve

_BREAK: Final = "\n\x85\u2028\u2029"
_COMMENT = re.compile(rf"#[^{_BREAK}]*")
_HEADER_COMMENT = re.compile(r"[|>][-+1-9]{0,2}[ \t]+(#.*)")
"""Behind the sign of a block: the parser counts it to the text."""


class Mark(Protocol):
    """A place in the text, each number from 0."""

    @property
    def index(self) -> int:
        """Characters before it."""

    @property
    def line(self) -> int:
        """Lines above it."""

    @property
    def column(self) -> int:
        """Characters before it in its line."""


@dataclass(slots=True)
class Remark:
    """A comment that stands on lines of its own."""

    text: str
    blank_before: bool


@dataclass(slots=True)
class Word:
    """A single value."""

    text: str
    """What it says."""
    literal: str
    """How it is written when it is no text: `true`, `0x1F`; empty for text."""


@dataclass(slots=True)
class Entry:
    """One value of a mapping or a list, with the remarks about it."""

    start: int
    """Offset of its key, or of the dash; of the value in a list between brackets."""
    column: int
    line: int
    node: Node
    key: str | None = None
    """None in a list."""
    blank_before: bool = False
    before: list[Remark] = field(default_factory=list)
    after: str = ""
    """The comment at the end of its first line."""


@dataclass(slots=True)
class Collection:
    """A mapping or a list."""

    start: int
    column: int
    is_mapping: bool
    is_flow: bool
    """Written between braces or brackets."""
    end: int = 0
    """Offset behind the closing bracket; of a block, unknown."""
    entries: list[Entry] = field(default_factory=list)
    foot: list[Remark] = field(default_factory=list)

    @property
    def has_remarks(self) -> bool:
        """Whether a comment stands anywhere inside."""
        return bool(self.foot) or any(
            entry.before or entry.after or (isinstance(entry.node, Collection) and entry.node.has_remarks)
            for entry in self.entries
        )


Node = Word | Collection


@dataclass(slots=True)
class Annotated:
    """A file: the remarks above everything, and the tree."""

    head: list[Remark]
    root: Collection


def annotate(text: str) -> Annotated:
    """Read a text that `source.load` has accepted and whose root is a mapping.

    Raises:
        yaml.YAMLError, ValueError: the text is another one after all.

    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    reader = _Reader(text)
    root = reader.read()
    if not isinstance(root, Collection) or not root.is_mapping:
        raise ValueError("the file is not a mapping")
    annotated = Annotated([], root)
    _Attachment(text, annotated, reader).attach()
    return annotated


def _mark(mark: Mark | None) -> Mark:
    """Every token and event of a text has its marks; the types of the library do not know it."""
    if mark is None:
        raise ValueError("a place that the parser does not know")
    return mark


class _Reader:
    """Builds the tree from the events of the parser."""

    def __init__(self, text: str) -> None:
        tokens = list(yaml.scan(text, Loader=yaml.CSafeLoader))
        self._dashes = [_mark(token.start_mark) for token in tokens if isinstance(token, yaml.BlockEntryToken)]
        self._offsets = [mark.index for mark in self._dashes]
        self.gaps = [
            (_mark(before.end_mark).index, _mark(after.start_mark).index) for before, after in pairwise(tokens)
        ]
        """What no token takes: blanks and comments."""
        self.blocks: list[int] = []
        """Offsets of the signs `|` and `>`."""
        self.entries: list[tuple[Entry, Collection]] = []
        """Every entry in the order of the file, with what holds it."""
        self._events = (
            event
            for event in yaml.parse(text, Loader=yaml.CSafeLoader)
            if isinstance(event, (yaml.NodeEvent, yaml.CollectionEndEvent))
        )

    def read(self) -> Node:
        """Read the one document."""
        return self._node(next(self._events))

    def _node(self, event: yaml.Event) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._word(event)
        if not isinstance(event, yaml.CollectionStartEvent):
            raise ValueError("an alias")  # noqa: TRY004 - of what a person wrote, not of a program's types
        found = Collection(
            _mark(event.start_mark).index,
            _mark(event.start_mark).column,
            is_mapping=isinstance(event, yaml.MappingStartEvent),
            is_flow=bool(event.flow_style),
        )
        while not isinstance(inner := next(self._events), yaml.CollectionEndEvent):
            mark = _mark(inner.start_mark)
            if not found.is_mapping and not found.is_flow:
                mark = self._dashes[bisect_left(self._offsets, mark.index) - 1]
            entry = Entry(mark.index, mark.column, mark.line, Word("", ""))
            self.entries.append((entry, found))
            found.entries.append(entry)
            if found.is_mapping:
                entry.key = str(getattr(inner, "value", ""))
                inner = next(self._events)
            entry.node = self._node(inner)
        found.end = _mark(inner.end_mark).index
        return found

    def _word(self, event: yaml.ScalarEvent) -> Word:
        if event.style in {"|", ">"}:
            self.blocks.append(_mark(event.start_mark).index)
        if not event.implicit[0]:
            return Word(event.value, "")
        value = resolve(event.value)
        if isinstance(value, bool):
            return Word("", "true" if value else "false")
        return Word(event.value, "") if isinstance(value, str) else Word("", event.value)


class _Attachment:
    """Gives each comment of the text to the entry, or to the end of the collection, that it is about."""

    def __init__(self, text: str, annotated: Annotated, reader: _Reader) -> None:
        self._text = text
        self._lines = re.split(f"[{_BREAK}]", text)
        self._starts = list(accumulate((len(line) + 1 for line in self._lines), initial=0))
        self._annotated = annotated
        self._entries = reader.entries
        self._offsets = [entry.start for entry, _ in reader.entries]
        self._gaps = reader.gaps
        self._blocks = reader.blocks
        self._owners = {id(entry.node): (entry, holder) for entry, holder in reader.entries}

    def attach(self) -> None:
        """Give every comment away."""
        for start, end in self._gaps:
            for found in _COMMENT.finditer(self._text, start, end):
                self._give(found.start(), found[0].rstrip())
        for start in self._blocks:
            header = _HEADER_COMMENT.match(self._text, start)
            if header:
                self._give(header.start(1), header[1].rstrip())
        for entry, _ in self._entries:
            entry.blank_before = self._is_blank(entry.line - 1)

    def _is_blank(self, line: int) -> bool:
        return line >= 0 and not self._lines[line].strip()

    def _give(self, offset: int, text: str) -> None:
        line = bisect_right(self._starts, offset) - 1
        line_start = self._starts[line]
        index = bisect_left(self._offsets, offset)
        previous = self._entries[index - 1] if index else None
        if self._text[line_start:offset].strip() and previous is not None:
            entry = self._outermost_ended(previous, offset)
            entry.after = f"{entry.after} {text}".strip()
            return
        remark = Remark(text, blank_before=self._is_blank(line - 1))
        following = self._entries[index] if index < len(self._entries) else None
        self._place(offset - line_start, offset, previous, following).append(remark)

    def _place(
        self,
        column: int,
        offset: int,
        previous: tuple[Entry, Collection] | None,
        following: tuple[Entry, Collection] | None,
    ) -> list[Remark]:
        """Find the list that a comment on lines of its own belongs to."""
        if previous is None:
            return self._annotated.head
        inside = self._flow_around(previous, offset)
        if inside is not None:
            return following[0].before if following is not None and following[1] is inside else inside.foot
        if following is not None and column <= following[0].column:
            return following[0].before
        for holder in self._holders(previous):
            if not holder.is_flow and holder.column <= column:
                return holder.foot
        return self._annotated.root.foot

    def _holders(self, at: tuple[Entry, Collection]) -> Iterator[Collection]:
        """Yield what is open at an entry, the innermost first."""
        holder = at[1]
        while True:
            yield holder
            if id(holder) not in self._owners:
                return
            _, holder = self._owners[id(holder)]

    def _flow_around(self, at: tuple[Entry, Collection], offset: int) -> Collection | None:
        """Find the innermost brackets that are open at an offset behind an entry."""
        entry = at[0]
        candidates = [entry.node] if isinstance(entry.node, Collection) else []
        return next(
            (
                holder
                for holder in (*candidates, *self._holders(at))
                if holder.is_flow and holder.start < offset < holder.end
            ),
            None,
        )

    def _outermost_ended(self, at: tuple[Entry, Collection], offset: int) -> Entry:
        """Leave the brackets that have been closed before `offset`."""
        entry, holder = at
        while holder.is_flow and holder.end <= offset and id(holder) in self._owners:
            entry, holder = self._owners[id(holder)]
        return entry
