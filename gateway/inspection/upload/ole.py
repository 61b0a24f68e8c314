r"""The compound files of older Office programs (MS-CFB): which streams they have, and what some of them say.

Macros are told by the streams that a VBA project must have and by Excel 4 macro sheets; embedded programs
by `\\x01Ole10Native`, the equation editor by its own stream (CVE-2017-11882).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from gateway.inspection.upload.examination import DEEP_BYTES, Examination, broken, whole
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.pattern import searcher
from gateway.inspection.upload.source import Source

_FREE: Final = 0xFFFFFFFA
_NO_STREAM: Final = 0xFFFFFFFF
_HEADER_ENTRIES: Final = 109
_MAX_ENTRIES: Final = 20_000
_STORAGE: Final = 1
_STREAM: Final = 2
_ROOT: Final = 5
_INSTALLER: Final = bytes.fromhex("84100c0000000000c000000000000046")
_MACROS: Final = frozenset(("_vba_project_cur", "_vba_project", "vba", "macros", "vbacompat"))
_EMBEDDED: Final = frozenset(("\x01ole10native", "\x03linkinfo", "equation native"))
_ENCRYPTED: Final = frozenset(("encryptedpackage", "encryptioninfo", "encryptedsummary"))
_MAIN: Final = (
    ("worddocument", "doc"),
    ("workbook", "xls"),
    ("book", "xls"),
    ("powerpoint document", "ppt"),
    ("__properties_version1.0", "msg"),
)
_DDE: Final = searcher(
    rb"(?i)\x13[\s\"]*(?:DDE(?:AUTO)?)[\s\"]|\x13\x00(?:[\s\"]\x00)*D\x00D\x00E\x00(?:A\x00U\x00T\x00O\x00)?[\s\"]\x00"
)
_ATTACHED_NAME: Final = frozenset(("__substg1.0_3707001f", "__substg1.0_3704001f"))
_ATTACHED_BYTES: Final = "__substg1.0_37010102"
_BOUND_SHEET: Final = 0x0085
_END_OF_PART: Final = 0x000A
_ENCRYPTED_BOOK: Final = 0x002F


class Entry(NamedTuple):
    """A storage or a stream."""

    name: str
    kind: int
    start: int
    size: int
    parent: int
    """Index of the storage it is in; 0 = the root."""


class Compound:
    """One compound file, its sectors followed through the tables, each at most once."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 512 or data[28:30] != b"\xfe\xff":
            raise broken()
        shift, small_shift = struct.unpack_from("<2H", data, 30)
        if shift not in {9, 12} or small_shift != 6:
            raise broken()
        self._data, self._sector = data, 1 << shift
        self._cutoff = int.from_bytes(data[56:60], "little")
        self._table = self._read_table()
        self.root_class = b""
        self._small: bytes | None = None
        small_start = int.from_bytes(data[60:64], "little")
        self._small_table = self._numbers(self._chain(small_start, DEEP_BYTES)) if small_start < _FREE else ()
        self.entries = self._read_entries(int.from_bytes(data[48:52], "little"))

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of a stream. Raises `UploadRefusedError`."""
        if entry.size >= self._cutoff:
            return self._chain(entry.start, entry.size)[: entry.size]
        if self._small is None:
            root = self.entries[0]
            self._small = self._chain(root.start, root.size) if root.size else b""
        found, at, steps = [], entry.start, 0
        while at < _FREE and steps * 64 < entry.size:
            if at >= len(self._small_table):
                raise broken()
            found.append(self._small[at * 64 : at * 64 + 64])
            at, steps = self._small_table[at], steps + 1
        return b"".join(found)[: entry.size]

    def _at(self, number: int) -> bytes:
        start = (number + 1) * self._sector
        return self._data[start : start + self._sector]

    def _numbers(self, data: bytes) -> tuple[int, ...]:
        return struct.unpack(f"<{len(data) // 4}L", data[: len(data) & ~3])

    def _read_table(self) -> tuple[int, ...]:
        count, next_list = int.from_bytes(self._data[44:48], "little"), int.from_bytes(self._data[68:72], "little")
        sectors = len(self._data) // self._sector
        if count > sectors:
            raise broken()
        listed = list(self._numbers(self._data[76 : 76 + 4 * _HEADER_ENTRIES]))
        for _ in range(sectors):
            if next_list >= _FREE or len(listed) >= count:
                break
            more = self._numbers(self._at(next_list))
            if not more:
                raise broken()
            listed += more[:-1]
            next_list = more[-1]
        return self._numbers(b"".join(self._at(number) for number in listed[:count] if number < _FREE))

    def _chain(self, start: int, most: int) -> bytes:
        found, at, length, seen = [], start, 0, 0
        while at < _FREE and length < most:
            seen += 1
            if at >= len(self._table) or seen > len(self._table):
                raise broken()
            found.append(self._at(at))
            length += self._sector
            at = self._table[at]
        return b"".join(found)

    def _read_entries(self, start: int) -> list[Entry]:
        data = self._chain(start, _MAX_ENTRIES * 128 + 1)
        if len(data) > _MAX_ENTRIES * 128:
            raise UploadRefusedError(Objection.TOO_COMPLEX)
        raw, links = [], []
        for at in range(0, len(data) - 127, 128):
            length = int.from_bytes(data[at + 64 : at + 66], "little")
            name = data[at : at + max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
            left, right, child = struct.unpack_from("<3L", data, at + 68)
            start_at = int.from_bytes(data[at + 116 : at + 120], "little")
            raw.append(Entry(name, data[at + 66], start_at, int.from_bytes(data[at + 120 : at + 124], "little"), 0))
            links.append((left, right, child))
        if not raw or raw[0].kind != _ROOT:
            raise broken()
        self.root_class = data[80:96]
        return [entry._replace(parent=parent) for entry, parent in zip(raw, _parents(links), strict=True)]


def _parents(links: list[tuple[int, int, int]]) -> list[int]:
    """Find the storage each entry is in, by the trees of siblings."""
    parents = [0] * len(links)
    waiting, seen = [(links[0][2], 0)], {0}
    while waiting:
        index, parent = waiting.pop()
        if index >= len(links) or index in seen:
            continue
        seen.add(index)
        parents[index] = parent
        left, right, child = links[index]
        waiting += [(left, parent), (right, parent), (child, index)]
    return parents


class Attached(NamedTuple):
    """A file in a message."""

    name: str
    data: bytes


def kind_of_compound(names: set[str]) -> str:
    """Name the kind by its main stream: `doc`, `xls`, `ppt`, `msg`; `ole` = another program's."""
    return next((kind for name, kind in _MAIN if name in names), "ole")


def examine_compound(source: Source, examination: Examination) -> tuple[str, list[Attached]]:
    """Look at a compound file; return its kind and, of a message, what is attached. Raises `UploadRefusedError`."""
    data = whole(source)
    compound = Compound(data)
    names = {entry.name.lower() for entry in compound.entries if entry.kind in {_STORAGE, _STREAM}}
    if compound.root_class == _INSTALLER:
        raise UploadRefusedError(Objection.TYPE_EXECUTABLE)
    if names & _ENCRYPTED:
        examination.encrypted()
        return "encrypted", []
    if examination.refuses_active and (names & (_MACROS | _EMBEDDED) or _DDE(data)):
        examination.active()
    kind = kind_of_compound(names)
    if kind == "xls":
        _examine_book(compound, examination)
    return kind, _attachments(compound) if kind == "msg" else []


def _examine_book(compound: Compound, examination: Examination) -> None:
    """Look for Excel 4 macro sheets among the sheets of a workbook (MS-XLS 2.4.28)."""
    for entry in compound.entries:
        if entry.kind != _STREAM or entry.name.lower() not in {"workbook", "book"} or entry.size > DEEP_BYTES:
            continue
        data, at = compound.read(entry), 0
        while at + 4 <= len(data):
            record, length = struct.unpack_from("<2H", data, at)
            if record == _ENCRYPTED_BOOK:
                examination.encrypted()
            if record == _BOUND_SHEET and length > 5 and data[at + 9] in {1, 6}:
                examination.active()
            at += 4 + length
            if record == _END_OF_PART:
                break


def _attachments(compound: Compound) -> list[Attached]:
    """Pair names and bytes by the storage they are in (MS-OXMSG 2.2.2)."""
    names: dict[int, str] = {}
    bodies: dict[int, bytes] = {}
    for entry in compound.entries:
        name = entry.name.lower()
        if entry.kind == _STREAM and entry.size <= DEEP_BYTES:
            if name in _ATTACHED_NAME:
                names.setdefault(entry.parent, compound.read(entry).decode("utf-16-le", "replace").rstrip("\0"))
            elif name == _ATTACHED_BYTES:
                bodies[entry.parent] = compound.read(entry)
    return [Attached(names.get(parent, ""), data) for parent, data in bodies.items()]
