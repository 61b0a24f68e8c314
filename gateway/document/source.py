"""One YAML file as plain values, each with the place where it stands.

Reads a strict subset: one document, text keys, no duplicate keys, no anchors, aliases, merge
keys, tags or directives, no empty values, bounded size and depth. What the values mean is for
others to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from gateway.document.diagnostic import UNNAMED, Diagnostic, DocumentError, did_you_mean, nearest
from gateway.document.scalar import NULL, Scalar, resolve

__all__ = ["Diagnostic", "Document", "DocumentError", "Loc", "did_you_mean", "load", "nearest"]

Loc = tuple[str | int, ...]
"""Where a value stands: `("routes", 3, "match", "path")`."""

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
"""Deeper nesting is an attack on the reader's stack, not a configuration."""

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Everything but c-printable (YAML 1.2.2 section 5.1), and a byte order mark anywhere but first."""


_COLLECTIONS: Final = (dict, list)
_NO_CHILDREN: Final[dict[str | int, _Node]] = {}
_NO_KEYS: Final[dict[str, tuple[int, int]]] = {}


class _Node:
    """One value of the file, its place, and its children by key or index."""

    __slots__ = ("children", "column", "keys", "line", "style", "value")

    def __init__(self, line: int, column: int, value: Any, style: str = "") -> None:
        self.line = line
        self.column = column
        self.value = value
        self.style = style
        # Most nodes are words: two dictionaries for each would be half the memory of a large policy.
        self.children: dict[str | int, _Node] = {} if type(value) in _COLLECTIONS else _NO_CHILDREN
        self.keys: dict[str, tuple[int, int]] = {} if type(value) is dict else _NO_KEYS


class Document:
    """The values of one file and their positions.

    `data` is made of dict, list, str, int, float and bool only; `path` is the name for messages.
    """

    def __init__(self, path: str, text: str, root: _Node) -> None:
        self.path = path
        self.data: Any = root.value
        self._root = root
        self._lines = text.split("\n")

    def position(self, loc: Loc, *, key: bool = False) -> tuple[int, int]:
        """Find line and column of the value at `loc`, or of its nearest ancestor that exists.

        With `key` the place of the key that leads to the value, where there is one.
        """
        node, last = self._root, len(loc) - 1
        for index, part in enumerate(loc):
            if key and index == last and part in node.keys:
                return node.keys[str(part)]
            child = node.children.get(part)
            if child is None:
                break
            node = child
        return node.line, node.column

    def inside(self, loc: Loc, line: int, column: int) -> tuple[int, int]:
        """Find the place in the file of a place inside the text at `loc`; both count from 1.

        Exact for text on one line without escapes and for `|` blocks; otherwise the start of the value.
        """
        node = self._root
        for part in loc:
            node = node.children[part]
        if node.style == "|":
            return self._inside_block(node, line, column)
        quote = 1 if node.style in {"'", '"'} else 0
        start = node.column - 1 + quote
        row = self._lines[node.line - 1]
        if line == 1 and row[start : start + len(node.value)] == node.value:
            return node.line, node.column + quote + column - 1
        return node.line, node.column

    def _inside_block(self, node: _Node, line: int, column: int) -> tuple[int, int]:
        wanted = node.value.split("\n")[line - 1]
        row = node.line + line  # the header `|` is one line above the first
        if row <= len(self._lines) and wanted and self._lines[row - 1].rstrip("\r").endswith(wanted):
            return row, len(self._lines[row - 1].rstrip("\r")) - len(wanted) + column
        return node.line, node.column

    def finding(self, loc: Loc, message: str, *, key: bool = False, name: str = UNNAMED) -> Diagnostic:
        """Make an error about the value at `loc`, or about its key."""
        line, column = self.position(loc, key=key)
        return Diagnostic(path=self.path, line=line, column=column, message=message, name=name)


_HINTS: Final = {
    "expected '-' indicator": "; it is not indented like the list that began in {begun}",
    "did not find expected key": "; it is not indented like what began in {begun}, or a quote is missing",
    "could not find expected ':'": "; {begun} lacks a colon, or its text needs quotes",
    "did not find expected ',' or": "; the bracket of {begun} is not closed, or a text in it needs quotes",
}
"""What a message of the parser mostly comes from."""


def load(text: str, path: str) -> Document:
    """Read one strict YAML document; `path` is its name in messages.

    Raises:
        DocumentError: with every finding; after a syntax error the rest of the file is not read.

    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DocumentError((_finding(path, 1, 1, f"the file is larger than {MAX_BYTES >> 20} MiB", "too-large"),))
    text = text.removeprefix("\ufeff")
    control = _FORBIDDEN.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        column = control.start() - text.rfind("\n", 0, control.start())
        sentence = f"the character U+{ord(control[0]):04X} is not allowed"
        raise DocumentError((_finding(path, line, column, sentence, "control-character"),))
    composer = _Composer(path)
    try:
        root = composer.compose(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        composer.findings.append(_finding(path, *place, f"not YAML: {_unreadable(error, text, *place)}", "not-yaml"))
        root = None
    if root is None and not composer.findings:
        composer.findings.append(_finding(path, 1, 1, "the file is empty", "empty-file"))
    if root is None or composer.findings:
        raise DocumentError(tuple(sorted(composer.findings)))
    return Document(path, text, root)


def _unreadable(error: yaml.MarkedYAMLError, text: str, line: int, column: int) -> str:
    """Say what the parser did not understand, in words of whoever wrote the file."""
    lines = text.splitlines()
    rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    if rest.startswith("\t"):
        return "a tab; YAML is indented with spaces"
    problem = str(error.problem or error.context)
    hint = next((hint for sign, hint in _HINTS.items() if sign in problem), "")
    begun = error.context_mark.line + 1 if error.context_mark else line
    return problem + (hint.format(begun=f"line {begun}") if hint else "")


def _finding(path: str, line: int, column: int, message: str, name: str) -> Diagnostic:
    return Diagnostic(path=path, line=line, column=column, message=message, name=name)


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Composer:
    """Builds nodes from parser events and collects what the subset does not allow."""

    def __init__(self, path: str) -> None:
        self.findings: list[Diagnostic] = []
        self._path = path

    def _report(self, event: yaml.Event, message: str, name: str) -> None:
        self.findings.append(_finding(self._path, *_start(event), message, name))

    def compose(self, events: Iterator[yaml.Event]) -> _Node | None:
        """Read the one document; None when there is none or it cannot be read on."""
        root: _Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._report(event, "a second document starts here; one file holds one", "second-document")
                    return None
                if event.version or event.tags:
                    self._report(event, "directives (%YAML, %TAG) are not accepted", "beyond-plain-yaml")
            elif isinstance(
                event, (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent, yaml.AliasEvent)
            ):
                root = self._node(event, events, 1)
                if root is None:
                    return None
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> _Node | None:
        """Read one value; None when nesting is too deep to go on."""
        line, column = _start(event)
        if isinstance(event, yaml.AliasEvent):
            self._report(event, f"aliases (*{event.anchor}) are not accepted; write the value out", "beyond-plain-yaml")
            return _Node(line, column, "")
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            sentence = f"anchors (&{event.anchor}) are not accepted; write the value out where it is used"
            self._report(event, sentence, "beyond-plain-yaml")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._report(event, f"tags ({tag}) are not accepted", "beyond-plain-yaml")
        if isinstance(event, yaml.ScalarEvent):
            return _Node(line, column, self._scalar(event), event.style or "")
        if depth > MAX_DEPTH:
            self._report(event, f"nested more than {MAX_DEPTH} deep", "too-deep")
            return None
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(_Node(line, column, {}), events, depth)
        return self._sequence(_Node(line, column, []), events, depth)

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        if not event.implicit[0]:  # quoted or a block: always text
            return str(event.value)
        try:
            return resolve(event.value)
        except ValueError as error:
            self._report(event, str(error), "empty-value" if event.value in NULL else "odd-number")
            return ""

    def _sequence(self, node: _Node, events: Iterator[yaml.Event], depth: int) -> _Node | None:
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            child = self._node(event, events, depth + 1)
            if child is None:
                return None
            node.children[len(node.value)] = child
            node.value.append(child.value)
        return node

    def _mapping(self, node: _Node, events: Iterator[yaml.Event], depth: int) -> _Node | None:
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, events, depth)
            if key is None:
                return None
            child = self._node(next(events), events, depth + 1)
            if child is None:
                return None
            if key in node.keys:
                line, _ = node.keys[key]
                self._report(
                    event, f"the key {key!r} stands here a second time; the first is in line {line}", "duplicate-key"
                )
                continue
            node.keys[key] = _start(event)
            node.children[key] = child
            node.value[key] = child.value
        return node

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> str | None:
        """Read a key as the text it is written as: `NO: x` has the key "NO"."""
        if not isinstance(event, yaml.ScalarEvent):
            self._report(event, "a key must be one word or a quoted text", "odd-key")
            return None if self._node(event, events, depth + 1) is None else ""
        if event.anchor or event.tag:
            self._report(event, "anchors and tags are not accepted", "beyond-plain-yaml")
        if not event.value:
            self._report(event, "empty key", "odd-key")
        elif event.value == "<<" and event.implicit[0]:
            self._report(event, "merge keys (<<) are not accepted; write the values out", "beyond-plain-yaml")
        return str(event.value)
