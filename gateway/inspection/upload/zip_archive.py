"""A zip archive, read as strictly as its laxest reader could be fooled (PKWARE APPNOTE 6.3.10).

Readers disagree wherever the two lists of a zip do: the central directory at its end and the local headers
before each member. Here both must say the same, lie end to end without overlap, and leave room for nothing
else: a second archive, a hidden member, an overlapping bomb, a program in front.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.inspection.upload.examination import DEEP_BYTES, Examination, broken
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.source import PIECE_BYTES, Source

_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_CENTRAL: Final = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL: Final = struct.Struct("<4s2B4HL2L2H")
_MAX_COMMENT: Final = 0xFFFF
_LARGE: Final = 0xFFFFFFFF
_SHORT: Final = 0xFFFF
OUT_BYTES: Final = 256 * 1024
_DESCRIPTOR_BYTES: Final = 24
_STORED: Final = 0
_DEFLATED: Final = 8
_AES: Final = 99
_EXTRA_64: Final = 0x0001
_EXTRA_UNICODE_PATH: Final = 0x7075
_EXTRA_AES: Final = 0x9901
_FLAG_ENCRYPTED: Final = 0x1
_FLAG_DESCRIPTOR: Final = 0x8
_FLAG_STRONG: Final = 0x40
_FLAG_UTF8: Final = 0x800
_FLAG_MASKED: Final = 0x2000
_LINKS: Final = frozenset((0xA000, 0x6000, 0x2000, 0x1000, 0xC000))  # S_IFLNK, S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK


class Member(NamedTuple):
    """One member, as both lists have it."""

    name: str
    other_name: str
    """What a reader of the Unicode extra field sees; empty = the same."""
    method: int
    crc: int
    packed: int
    size: int
    start: int
    """Where its bytes begin."""
    is_encrypted: bool
    is_link: bool

    @property
    def is_directory(self) -> bool:
        """Names nothing but a directory."""
        return self.name.endswith("/") and not self.size


def read_directory(source: Source, examination: Examination) -> list[Member]:
    """Read both lists and compare them. Raises `UploadRefusedError`."""
    directory_at, directory_length, count = _end(source)
    examination.count(count)
    data = source.read(directory_at, directory_length)
    members, bounds, at = [], [], 0
    for _ in range(count):
        entry, header_at, at = _entry(data, at)
        length, has_descriptor = _local(source, header_at, entry)
        start = header_at + length
        members.append(_member(entry, start))
        bounds.append((header_at, start + entry.packed, has_descriptor))
    if at != len(data):
        raise broken()
    _require_end_to_end(source, sorted(bounds), directory_at)
    names = {member.name for member in members}
    if len(names) != len(members):
        raise UploadRefusedError(Objection.ARCHIVE_NAME)
    return members


class _Entry(NamedTuple):
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    extras: dict[int, bytes]


def _end(source: Source) -> tuple[int, int, int]:
    """Find the end record; return where the directory begins, its length and the number of its entries."""
    tail_at = max(0, source.size - _END.size - _MAX_COMMENT)
    tail = source.read(tail_at, source.size - tail_at)
    found = tail.find(b"PK\x05\x06")
    while found >= 0 and found + _END.size + int.from_bytes(tail[found + 20 : found + 22], "little") != len(tail):
        found = tail.find(b"PK\x05\x06", found + 1)
    if found < 0:
        raise broken()
    if b"PK\x05\x06" in tail[found + 4 :]:
        raise UploadRefusedError(Objection.POLYGLOT)  # readers that search from the end find another one
    fields = _END.unpack_from(tail, found)
    _, disk, first_disk, here, count, length, start, _ = fields
    end_at = tail_at + found
    if _SHORT in {disk, here, count} or _LARGE in {length, start}:
        locator = source.read(max(0, end_at - _LOCATOR_64.size), _LOCATOR_64.size)
        if len(locator) == _LOCATOR_64.size and locator.startswith(b"PK\x06\x07"):
            end_at = _LOCATOR_64.unpack(locator)[2]
            record = source.read(end_at, _END_64.size)
            if len(record) != _END_64.size or record[:4] != b"PK\x06\x06":
                raise broken()
            disk, first_disk, here, count, length, start = _END_64.unpack(record)[4:]
    if disk or first_disk or here != count:
        raise broken()
    if start + length != end_at:
        raise UploadRefusedError(Objection.POLYGLOT)  # something stands in front of the archive, or within it
    if count * _CENTRAL.size > length or length > DEEP_BYTES:
        raise broken()
    return start, length, count


def _entry(data: bytes, at: int) -> tuple[_Entry, int, int]:
    """Read one entry of the directory; return it, where its local header is, and where the next entry begins."""
    if len(data) - at < _CENTRAL.size:
        raise broken()
    (
        signature, _, _, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length, disk, _, attributes, header_at,
    ) = _CENTRAL.unpack_from(data, at)  # fmt: skip
    name_at = at + _CENTRAL.size
    extra_at = name_at + name_length
    next_at = extra_at + extra_length + comment_length
    if signature != b"PK\x01\x02" or next_at > len(data) or disk not in {0, _SHORT}:
        raise broken()
    extras = _extras(data[extra_at : extra_at + extra_length])
    size, packed, header_at = _sizes_64(extras, size, packed, header_at)
    host = data[at + 5]
    mode = attributes >> 16 if host in {3, 19} else 0  # Unix, macOS
    return _Entry(data[name_at:extra_at], flags, method, crc, packed, size, mode, extras), header_at, next_at


def _extras(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        tag, length = struct.unpack_from("<2H", data, at)
        if tag in found and tag in {_EXTRA_64, _EXTRA_UNICODE_PATH}:
            raise broken()
        found[tag] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def _sizes_64(extras: dict[int, bytes], size: int, packed: int, header_at: int) -> tuple[int, int, int]:
    """Take the sizes that did not fit from the extra field, in its order (APPNOTE 4.5.3)."""
    values = [size, packed, header_at]
    extra, at = extras.get(_EXTRA_64, b""), 0
    for index, value in enumerate(values):
        if value == _LARGE and extra:
            if len(extra) < at + 8:
                raise broken()
            values[index] = int.from_bytes(extra[at : at + 8], "little")
            at += 8
    return values[0], values[1], values[2]


def _local(source: Source, header_at: int, entry: _Entry) -> tuple[int, bool]:
    """Compare the local header with the entry; return its length, and whether sizes follow the data."""
    header = source.read(header_at, _LOCAL.size + len(entry.raw_name))
    if len(header) < _LOCAL.size + len(entry.raw_name):
        raise broken()
    signature, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(header)
    has_descriptor = bool(flags & _FLAG_DESCRIPTOR)
    if (
        signature != b"PK\x03\x04"
        or method != entry.method
        or (flags ^ entry.flags) & (_FLAG_ENCRYPTED | _FLAG_DESCRIPTOR)
    ):
        raise broken()
    if header[_LOCAL.size :] != entry.raw_name or name_length != len(entry.raw_name):
        raise UploadRefusedError(Objection.ARCHIVE_NAME)
    extras = _extras(source.read(header_at + _LOCAL.size + name_length, extra_length)) if extra_length else {}
    if extras.get(_EXTRA_UNICODE_PATH, b"") not in {b"", entry.extras.get(_EXTRA_UNICODE_PATH, b"")}:
        raise UploadRefusedError(Objection.ARCHIVE_NAME)  # readers of a stream see this list alone
    if not has_descriptor:
        size, packed, _ = _sizes_64(extras, size, packed, 0)
        if (crc, packed, size) != (entry.crc, entry.packed, entry.size):
            raise broken()
    return _LOCAL.size + name_length + extra_length, has_descriptor


def _member(entry: _Entry, start: int) -> Member:
    name = _decoded(entry.raw_name)
    other = entry.extras.get(_EXTRA_UNICODE_PATH, b"")[5:]
    is_encrypted = bool(entry.flags & (_FLAG_ENCRYPTED | _FLAG_STRONG | _FLAG_MASKED)) or entry.method == _AES
    return Member(
        name,
        _decoded(other) if other and other != entry.raw_name else "",
        entry.method,
        entry.crc,
        entry.packed,
        entry.size,
        start,
        is_encrypted or _EXTRA_AES in entry.extras,
        entry.mode & 0xF000 in _LINKS,
    )


def _decoded(name: bytes) -> str:
    """Many write UTF-8 without saying so."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("cp437")


def _require_end_to_end(source: Source, bounds: list[tuple[int, int, bool]], end: int) -> None:
    """Every byte before the directory belongs to one member, or describes it."""
    at, may_describe = 0, False
    for start, stop, has_descriptor in [*bounds, (end, end, False)]:
        if start < at:
            raise broken()  # overlapping: the better zip bomb, quines
        gap = start - at
        if gap > (_DESCRIPTOR_BYTES if may_describe else 0) and (
            gap > PIECE_BYTES or source.read(at, gap).strip(b"\0")
        ):
            raise UploadRefusedError(Objection.POLYGLOT)
        at, may_describe = stop, has_descriptor


def unpacked(source: Source, member: Member, examination: Examination) -> Iterator[bytes]:
    """Yield what a member becomes, in pieces, within the budget; it must be what its entry says it is.

    Raises:
        UploadRefusedError: too much, another size or checksum, or a method that is not read here.

    """
    if member.method not in {_STORED, _DEFLATED}:
        raise broken()
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
    length = crc = 0
    for at in range(0, member.packed, PIECE_BYTES):
        packed = source.read(member.start + at, min(PIECE_BYTES, member.packed - at))
        has_more = True
        while has_more:
            try:
                piece = inflate.decompress(packed, OUT_BYTES) if inflate is not None else packed
            except zlib.error:
                raise broken() from None
            length += len(piece)
            if length > member.size:
                raise broken()
            examination.unpack(len(piece))
            examination.check_ratio(at + PIECE_BYTES, length)
            crc = zlib.crc32(piece, crc)
            if piece:
                yield piece
            packed = inflate.unconsumed_tail if inflate is not None else b""
            has_more = inflate is not None and not inflate.eof and (bool(packed) or len(piece) == OUT_BYTES)
    if length != member.size or crc != member.crc or (inflate is not None and (not inflate.eof or inflate.unused_data)):
        raise broken()
