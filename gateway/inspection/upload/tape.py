"""A tar archive: its members in order (POSIX.1-1988 ustar, pax, GNU long names).

Readers disagree where a member has two names, a directory has content, or a header holds for all that follow: all of that is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.inspection.upload.examination import Examination, broken
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.source import Extract, Source

_BLOCK: Final = 512
_MAX_NAME_BYTES: Final = 64 * 1024
_REGULAR: Final = frozenset((b"0", b"\0", b"7"))
_ABOUT_OTHERS: Final = frozenset((b"L", b"K", b"x", b"g"))
_PAX_RECORD: Final = re.compile(rb"([0-9]{1,10}) ([^=]{1,256})=")
_OCTAL: Final = re.compile(rb"[ \0]*([0-7]{1,12})[ \0]*")


class Member(NamedTuple):
    """A file of the archive."""

    name: str
    content: Extract


def members(source: Source, examination: Examination) -> Iterator[Member]:
    """Yield the files. Raises `UploadRefusedError`; a link or a device is refused."""
    at, name, size = 0, None, None
    while True:
        header = source.read(at, _BLOCK)
        if len(header) < _BLOCK:
            raise broken()
        if not header.strip(b"\0"):
            _require_nothing(source, at)
            return
        examination.count(1)
        _require_checksum(header)
        kind = header[156:157]
        length = _number(header[124:136])
        content = Extract(source, at + _BLOCK, size if size is not None and kind not in _ABOUT_OTHERS else length)
        if at + _BLOCK + content.size > source.size:
            raise broken()
        at += _BLOCK + -(-content.size // _BLOCK) * _BLOCK
        if kind in _ABOUT_OTHERS:
            if content.size > _MAX_NAME_BYTES:
                raise broken()
            data = content.read(0, content.size)
            said, size = _said(kind, data, size)
            if said is not None and name is not None:
                raise UploadRefusedError(Objection.ARCHIVE_NAME)
            name = said if said is not None else name
            continue
        if kind not in _REGULAR and kind != b"5":
            raise UploadRefusedError(Objection.ARCHIVE_LINK)
        named = name if name is not None else _name(header, is_directory=kind == b"5")
        if content.size and (kind == b"5" or named.endswith("/")):
            raise broken()  # attack: some readers skip the content of a directory, others find members in it
        yield Member(named, content)
        name = size = None


def _require_nothing(source: Source, at: int) -> None:
    """Behind the end stand zeros alone: what a reader that goes on (`tar -i`) would find is refused."""
    for block in range(at, source.size, 1 << 16):
        if source.read(block, 1 << 16).strip(b"\0"):
            raise UploadRefusedError(Objection.POLYGLOT)


def _said(kind: bytes, data: bytes, size: int | None) -> tuple[str | None, int | None]:
    """Return the name and the size that a header says of the member behind it; `size` is what an earlier one said."""
    if kind == b"L":
        return data.rstrip(b"\0").decode("utf-8", "surrogateescape"), size
    if kind == b"K":
        return None, size
    name, found = _pax(data)
    if kind == b"g" and (name is not None or found is not None):
        raise UploadRefusedError(Objection.ARCHIVE_NAME)  # one name for all that follow, to those who obey it
    if found is not None and size is not None:
        raise broken()
    return name, size if found is None else found


def _name(header: bytes, *, is_directory: bool) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0]
    if prefix and header[257:263] != b"ustar\0":
        raise UploadRefusedError(Objection.ARCHIVE_NAME)  # times to GNU tar, a directory to others
    text = (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")
    return f"{text.rstrip('/')}/" if is_directory else text


def _pax(data: bytes) -> tuple[str | None, int | None]:
    """Read what a header says of a name and a size; each once."""
    name: str | None = None
    size: int | None = None
    at, seen = 0, set()
    while at < len(data):
        record = _PAX_RECORD.match(data, at)
        end = at + int(record[1]) if record is not None else 0
        if record is None or end <= record.end() or end > len(data) or data[end - 1 : end] != b"\n":
            raise broken()
        value = data[record.end() : end - 1]
        if record[2] in seen or record[2].startswith(b"GNU.sparse."):
            raise UploadRefusedError(Objection.ARCHIVE_NAME)
        seen.add(record[2])
        if record[2] == b"path":
            name = value.decode("utf-8", "surrogateescape")
        elif record[2] == b"size":
            if not value.isdigit() or len(value) > 15:
                raise broken()
            size = int(value)
        elif record[2] == b"linkpath":
            raise UploadRefusedError(Objection.ARCHIVE_LINK)
        at = end
    return name, size


def _number(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise broken()
    return int(found[1], 8)


def _require_checksum(header: bytes) -> None:
    if sum(header[:148]) + 8 * 32 + sum(header[156:]) != _number(header[148:156]):
        raise broken()
