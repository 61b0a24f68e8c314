"""Archives that are not unpacked here: 7z and RAR. What their heads say: members, names, encryption.

Which of their members are harmless is not known; a route that lists them relies on the antivirus.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from gateway.inspection.upload.examination import Examination, broken, whole
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.source import Source

_AES_OF_7Z: Final = b"\x06\xf1\x07\x01"
_RAR_4: Final = b"Rar!\x1a\x07\x00"
_RAR_5: Final = b"Rar!\x1a\x07\x01\x00"
_MAX_HEADER: Final = 2 << 20


def examine_7z(source: Source, examination: Examination) -> None:
    """Check the start header and look for encryption (7zFormat.txt). Raises `UploadRefusedError`."""
    head = source.read(0, 32)
    if len(head) < 32 or zlib.crc32(head[12:32]) != int.from_bytes(head[8:12], "little"):
        raise broken()
    at, length = (int.from_bytes(head[start : start + 8], "little") for start in (12, 20))
    if length == 0 or length > _MAX_HEADER or 32 + at + length > source.size:
        raise broken()
    if 32 + at + length < source.size:
        raise UploadRefusedError(Objection.POLYGLOT)
    header = source.read(32 + at, length)
    if zlib.crc32(header) != int.from_bytes(head[28:32], "little") or header[0] not in {0x01, 0x17}:
        raise broken()
    if _AES_OF_7Z in header:
        examination.encrypted()


def rar_names(source: Source, examination: Examination) -> Iterator[str]:
    """Yield the names of the members (RAR 4 and 5 technotes). Raises `UploadRefusedError`."""
    data = whole(source)
    if data.startswith(_RAR_5):
        return _of_5(data, examination)
    return _of_4(data, examination)


def _of_4(data: bytes, examination: Examination) -> Iterator[str]:
    at = len(_RAR_4)
    while at + 7 <= len(data):
        kind = data[at + 2]
        flags, length = (int.from_bytes(data[at + start : at + start + 2], "little") for start in (3, 5))
        if length < 7 or at + length > len(data):
            raise broken()
        extra = int.from_bytes(data[at + 7 : at + 11], "little") if flags & 0x8000 or kind == 0x74 else 0
        if (kind == 0x73 and flags & 0x80) or (kind == 0x74 and flags & 0x04):
            examination.encrypted()
            if kind == 0x73:
                return
        if kind == 0x74:
            examination.count(1)
            name_length = int.from_bytes(data[at + 26 : at + 28], "little")
            name_at = at + (40 if flags & 0x100 else 32)
            if flags & 0x100:
                extra += int.from_bytes(data[at + 32 : at + 36], "little") << 32
            yield data[name_at : name_at + name_length].partition(b"\0")[0].decode("utf-8", "replace")
        at += length + extra
        if kind == 0x7B:
            if data[at:].strip(b"\0"):
                raise UploadRefusedError(Objection.POLYGLOT)
            return


def _of_5(data: bytes, examination: Examination) -> Iterator[str]:
    at = len(_RAR_5)
    while at < len(data):
        length, begins = _variable(data, at + 4)
        kind, next_at = _variable(data, begins)
        flags, next_at = _variable(data, next_at)
        end = begins + length
        if not length or end > len(data):
            raise broken()
        if flags & 0x1:
            extra_length, next_at = _variable(data, next_at)
        else:
            extra_length = 0
        size, next_at = _variable(data, next_at) if flags & 0x2 else (0, next_at)
        if kind == 4:
            examination.encrypted()
            return
        if kind == 2:
            examination.count(1)
            yield _file_name_5(data, next_at, end)
            if _is_encrypted_5(data, end - extra_length, end):
                examination.encrypted()
        at = end + size
        if kind == 5:
            if data[at:].strip(b"\0"):
                raise UploadRefusedError(Objection.POLYGLOT)
            return


def _file_name_5(data: bytes, at: int, end: int) -> str:
    flags, at = _variable(data, at)
    for _ in range(2):  # unpacked size, attributes
        _, at = _variable(data, at)
    at += (4 if flags & 0x2 else 0) + (4 if flags & 0x4 else 0)
    for _ in range(2):  # compression, host
        _, at = _variable(data, at)
    length, at = _variable(data, at)
    if at + length > end:
        raise broken()
    return data[at : at + length].decode("utf-8", "replace")


def _is_encrypted_5(data: bytes, at: int, end: int) -> bool:
    while at < end:
        length, begins = _variable(data, at)
        kind, _ = _variable(data, begins)
        if kind == 1:
            return True
        at = begins + length
    return False


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it and what follows."""
    value = 0
    for index in range(10):
        if at + index >= len(data):
            break
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise broken()
