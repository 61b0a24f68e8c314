"""How a YAML file of ours looks: the order of its keys, what stands between braces, quotes, blanks.

Changes nothing that a file says: what comes out reads as what went in, value for value and comment for
comment, or nothing comes out. Which keys come first is said by the caller.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import yaml
from yaml.resolver import Resolver

from gateway.document.annotated import Annotated, Collection, Entry, Node, Remark, Word, annotate
from gateway.document.diagnostic import Diagnostic, DocumentError
from gateway.document.scalar import resolve
from gateway.document.source import Loc, load

WIDTH: Final = 120
"""Columns of a line; a text without blanks may be longer."""

_PLAIN_START = re.compile(r"[^\s\-?:,\[\]{}#&*!|>'\"%@`=]")
_TEMPLATE = re.compile(r"/.*[*{}].*")
"""Paths with wildcards stand in quotes everywhere, as they must between braces."""
_NOT_PRINTABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What `source` refuses as it is, and what ends a line to some reader."""
_OF_FLOW = re.compile(r"[,\[\]{}?]")
_LITERAL = re.compile(r"\S(?:.*\S)?\n?", re.DOTALL)
"""A text of several lines that stands as it is behind `|`."""
_BREAKABLE = re.compile(r"(?<=\S) (?=\S)")
_READER_OF_1_1: Final[Any] = Resolver()
_TEXT_OF_1_1: Final = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"})
"""What a word without quotes may be to tools that read YAML 1.1, to which NO is false and 12:30 a number."""


class KeyOrder(Protocol):
    """In which order the keys of a mapping stand."""

    def __call__(self, loc: Loc) -> Sequence[str]:
        """List the known keys of the mapping at `loc`; others follow in the order of the file. Empty = as in the file."""


def laid_out(text: str, path: str, order: KeyOrder) -> str:
    """Write a file in its canonical form, which is its own canonical form.

    Raises:
        DocumentError: the file cannot be read, or cannot be written otherwise without changing what it says.

    """
    before = load(text, path)
    if not isinstance(before.data, dict):
        raise DocumentError((before.finding((), "the file is not a mapping of keys to values", name="wrong-kind"),))
    try:
        annotated = annotate(text)
        written = "\n".join(_Writer(order).lines(annotated)) + "\n"
        kept = load(written, path).data == before.data and _comments(annotate(written)) == _comments(annotate(text))
    except (DocumentError, yaml.YAMLError, ValueError):
        written, kept = "", False
    if not kept:
        sentence = "this file cannot be laid out without changing what it says; it stays as it is"
        raise DocumentError((Diagnostic(path=path, line=1, column=1, message=sentence, name="not-laid-out"),))
    return written


def _comments(annotated: Annotated) -> Counter[str]:
    def within(collection: Collection) -> Iterator[str]:
        for entry in collection.entries:
            yield from (remark.text for remark in entry.before)
            yield entry.after
            if isinstance(entry.node, Collection):
                yield from within(entry.node)
        yield from (remark.text for remark in collection.foot)

    texts = (*(remark.text for remark in annotated.head), *within(annotated.root))
    return Counter(text for text in texts if text)


class _Writer:
    """Writes a tree line by line."""

    def __init__(self, order: KeyOrder) -> None:
        self._order = order

    def lines(self, annotated: Annotated) -> Iterator[str]:
        """Write the file without the last line break."""
        if not annotated.root.entries:
            yield from (remark.text for remark in (*annotated.head, *annotated.root.foot))
            yield "{}"
            return
        yield from _remarks(annotated.head, "", first=True)
        yield from self._block(annotated.root, "", (), first=not annotated.head)

    def _block(self, node: Collection, indent: str, loc: Loc, *, first: bool = True) -> Iterator[str]:
        """Write the entries of a collection, each on lines of its own."""
        for index, entry in enumerate(self._ordered(node, loc)):
            where = (*loc, index if entry.key is None else entry.key)
            before = [*entry.before, *self._hoisted(entry, indent, where)]
            yield from _remarks(before, indent, first=first)
            if entry.blank_before and not (first and not before):
                yield ""
            yield from self._entry(entry, indent, where)
            first = False
        yield from _remarks(node.foot, indent, first=False)

    def _ordered(self, node: Collection, loc: Loc) -> list[Entry]:
        order = {key: index for index, key in enumerate(self._order(loc))} if node.is_mapping else {}
        return sorted(node.entries, key=lambda entry: order.get(entry.key or "", len(order)))

    def _hoisted(self, entry: Entry, indent: str, loc: Loc) -> Iterator[Remark]:
        """Find the comments that would stand between the dash of an entry and what it begins with."""
        inner = entry.node
        if entry.key is not None or not isinstance(inner, Collection) or self._flow(entry, indent, loc) is not None:
            return
        if entry.after:
            yield Remark(entry.after, blank_before=False)
        first = self._ordered(inner, loc)[0]
        yield from first.before
        yield from self._hoisted(first, f"{indent}  ", (*loc, 0))

    def _entry(self, entry: Entry, indent: str, loc: Loc) -> Iterator[str]:
        sign = "-" if entry.key is None else f"{_text(entry.key, in_flow=False)}:"
        after = f"  {entry.after}" if entry.after else ""
        node = entry.node
        if isinstance(node, Word):
            first, *more = _word(node, room=WIDTH - len(indent) - len(sign) - 1, indent=f"{indent}  ")
            yield f"{indent}{sign} {first}{after}"
            yield from more
        elif (flow := self._flow(entry, indent, loc)) is not None:
            yield f"{indent}{sign} {flow}{after}"
        elif entry.key is not None:
            yield f"{indent}{sign}{after}"
            yield from self._block(node, f"{indent}  ", loc)
        else:
            first_of_all = self._ordered(node, loc)[0]
            first_of_all.before = []  # hoisted
            first, *more = self._block(node, f"{indent}  ", loc)
            yield f"{indent}- {first.lstrip(' ')}"
            yield from more

    def _flow(self, entry: Entry, indent: str, loc: Loc) -> str | None:
        """Write a collection between braces, or return None where it stands in a block."""
        node = entry.node
        if not isinstance(node, Collection):
            return None
        if not node.entries and not node.foot:
            return "{}" if node.is_mapping else "[]"
        if len(loc) == 1 or (node.is_mapping and entry.key is None) or node.has_remarks or _needs_lines(node):
            return None
        text = self._in_flow(node, loc)
        used = len(indent) + len(_text(entry.key, in_flow=False)) + 2 if entry.key is not None else len(indent) + 2
        return text if used + len(text) <= WIDTH else None

    def _in_flow(self, node: Node, loc: Loc) -> str:
        if isinstance(node, Word):
            return node.literal or _text(node.text, in_flow=True)
        if not node.is_mapping:
            return (
                f"[{', '.join(self._in_flow(entry.node, (*loc, index)) for index, entry in enumerate(node.entries))}]"
            )
        items = (
            f"{_text(entry.key or '', in_flow=True)}: {self._in_flow(entry.node, (*loc, entry.key or ''))}"
            for entry in self._ordered(node, loc)
        )
        return f"{{{', '.join(items)}}}"


def _remarks(remarks: Sequence[Remark], indent: str, *, first: bool) -> Iterator[str]:
    """Write comments on lines of their own; nothing begins with a blank line."""
    for index, remark in enumerate(remarks):
        if remark.blank_before and not (first and index == 0):
            yield ""
        yield f"{indent}{remark.text}"


def _needs_lines(node: Node) -> bool:
    """Tell whether a value cannot stand between braces: a text of several lines, or a list of mappings."""
    if isinstance(node, Word):
        return "\n" in node.text
    return any(
        (not node.is_mapping and isinstance(entry.node, Collection) and entry.node.is_mapping and entry.node.entries)
        or _needs_lines(entry.node)
        for entry in node.entries
    )


def _word(word: Word, *, room: int, indent: str) -> list[str]:
    """Write a single value of a block: its first line, and those below it."""
    if word.literal:
        return [word.literal]
    text = word.text
    if "\n" in text and _LITERAL.fullmatch(text) and not _NOT_PRINTABLE.search(text.replace("\n", "")):
        lines = text.removesuffix("\n").split("\n")
        return ["|" if text.endswith("\n") else "|-", *(line and f"{indent}{line}" for line in lines)]
    written = _text(text, in_flow=False)
    if len(written) <= room or _NOT_PRINTABLE.search(text) or text != text.strip():
        return [written]
    lines = _wrapped(text, WIDTH - len(indent))
    return [">-", *(f"{indent}{line}" for line in lines)] if len(lines) > 1 else [written]


def _wrapped(text: str, width: int) -> list[str]:
    """Break a line at single blanks, which is what reading a folded text joins it with."""
    lines = [""]
    for piece in _BREAKABLE.split(text):
        if lines[-1] and len(lines[-1]) + 1 + len(piece) > width:
            lines.append(piece)
        else:
            lines[-1] += f" {piece}" if lines[-1] else piece
    return lines


def _text(text: str, *, in_flow: bool) -> str:
    """Write a text on one line, without quotes where everybody reads it as the same text."""
    if _is_plain(text, in_flow=in_flow):
        return text
    if ('"' in text or "\\" in text) and "'" not in text and not _NOT_PRINTABLE.search(text):
        return f"'{text}'"
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _is_plain(text: str, *, in_flow: bool) -> bool:
    if not _PLAIN_START.match(text) or text != text.strip() or text.endswith(":") or _TEMPLATE.fullmatch(text):
        return False
    if ": " in text or " #" in text or _NOT_PRINTABLE.search(text) or (in_flow and _OF_FLOW.search(text)):
        return False
    try:
        is_text = isinstance(resolve(text), str)
    except ValueError:
        return False
    return is_text and _READER_OF_1_1.resolve(yaml.ScalarNode, text, (True, False)) in _TEXT_OF_1_1
