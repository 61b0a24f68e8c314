"""The rows of one closed file of the log, column by column: what a search reads instead of the records.

It can be made again from the file at any time, and proves nothing. On disk every column is compressed
and encrypted by itself, so that a search opens only those it asks about:

    "GWI1" | head_len u32 | head (JSON: which file, how many rows, times, length of each column)
    | AES-256-GCM tag of the head 16 | AES-256-GCM(column)*

Each column is sealed under a key of this file's own with its number as the nonce and the head as additional
data: what was changed, cut or swapped does not open, and the searcher then reads the records instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.flat import NAMES
from gateway.exchange.errors import GatewayError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC: Final = b"GWI1"
VERSION: Final = 1
SALT_BYTES: Final = 16
_LENGTH: Final = Struct("<I")
_LEVEL: Final = 3
_CHUNK_ROWS: Final = 1024
MAX_HEAD_BYTES: Final = 16 * 1024
_TAG_BYTES: Final = 16
_NO_COLUMN: Final = 0xFFFF
"""The number that stands for the head."""


class ColumnsError(GatewayError):
    """Bytes that are no columns of this file."""


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clear part. It says nothing about anybody."""

    version: int
    file: str
    """SHA-256 of the head of the log file, hexadecimal."""
    salt: str
    """From which the key of this file is derived, hexadecimal."""
    first_index: int
    rows: int
    first_ms: int
    """Earliest time of a record; 0 = one has none."""
    last_ms: int
    columns: dict[str, int]
    """Name -> bytes on disk, in their order."""


class Columns:
    """Rows, column by column."""

    def __init__(self, *, first_index: int, rows: int, first_ms: int, last_ms: int, texts: Mapping[str, str]) -> None:
        self.first_index = first_index
        self.rows = rows
        self.first_ms = first_ms
        self.last_ms = last_ms
        self._texts = texts

    def text(self, name: str) -> str:
        """Return a column, its values separated by line feeds."""
        return self._texts[name]

    def values(self, name: str) -> list[str]:
        """Return a column, a value for each row."""
        return self._texts[name].split("\n") if self.rows else []

    def encode(self, key: AESGCM, *, file: str, salt: bytes) -> bytes:
        """Return the bytes for the disk. `key` belongs to `salt` and to nothing else."""
        packed = [zstd.compress(text.encode(), _LEVEL) for text in self._texts.values()]
        head = msgspec.json.encode(
            Head(
                version=VERSION,
                file=file,
                salt=salt.hex(),
                first_index=self.first_index,
                rows=self.rows,
                first_ms=self.first_ms,
                last_ms=self.last_ms,
                columns={name: len(data) + _TAG_BYTES for name, data in zip(self._texts, packed, strict=True)},
            )
        )
        sealed = [key.encrypt(_nonce(number), data, head) for number, data in enumerate(packed)]
        tag = key.encrypt(_nonce(_NO_COLUMN), b"", head)
        return b"".join([MAGIC, _LENGTH.pack(len(head)), head, tag, *sealed])


class Builder:
    """Takes rows, one after the other, and keeps no more than their columns."""

    def __init__(self, first_index: int) -> None:
        self._first_index = first_index
        self._rows: list[tuple[str, ...]] = []
        self._chunks: list[list[str]] = [[] for _ in NAMES]
        self._count = 0
        self._first_ms = self._last_ms = 0

    def add(self, row: tuple[str, ...]) -> None:
        """Take the row of the next record."""
        self._rows.append(row)
        if len(self._rows) == _CHUNK_ROWS:
            self._fold()

    def _fold(self) -> None:
        for chunks, values in zip(self._chunks, zip(*self._rows, strict=True), strict=True):
            chunks.append("\n".join(values))
        times = [int(row[0]) if row[0].isdecimal() else 0 for row in self._rows]
        self._first_ms = min([*times, self._first_ms] if self._count else times)
        self._last_ms = max([*times, self._last_ms])
        self._count += len(self._rows)
        self._rows = []

    def columns(self) -> Columns:
        """Return what was taken."""
        if self._rows:
            self._fold()
        return Columns(
            first_index=self._first_index,
            rows=self._count,
            first_ms=self._first_ms,
            last_ms=self._last_ms,
            texts={name: "\n".join(chunks) for name, chunks in zip(NAMES, self._chunks, strict=True)},
        )


def read_head(data: bytes) -> Head:
    """Read the head at the beginning of a file. It is not to be believed before `decode`. Raises `ColumnsError`."""
    if len(data) < len(MAGIC) + _LENGTH.size or data[: len(MAGIC)] != MAGIC:
        raise ColumnsError("the file does not begin as an index does")
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    at = len(MAGIC) + _LENGTH.size
    if length > MAX_HEAD_BYTES or len(data) < at + length:
        raise ColumnsError("the head of the index is not whole")
    try:
        head = msgspec.json.decode(data[at : at + length], type=Head)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ColumnsError("the head of the index cannot be read") from exc
    if head.version != VERSION or tuple(head.columns) != NAMES or min(head.rows, *head.columns.values()) < 0:
        raise ColumnsError("an index of another version")
    return head


def decode(read: Callable[[int, int], bytes], begin: bytes, key: AESGCM, names: Iterable[str]) -> Columns:
    """Open the columns that are asked for and read nothing else: `read` is given offset and length.

    `begin` is the beginning of the file, with the whole head. Raises `ColumnsError`.
    """
    head = read_head(begin)
    at = len(MAGIC) + _LENGTH.size
    (length,) = _LENGTH.unpack_from(begin, len(MAGIC))
    additional = begin[at : at + length]
    at += length
    _open(key, _NO_COLUMN, read(at, _TAG_BYTES), additional, "head")  # attack: times that hide a file
    at += _TAG_BYTES
    wanted = frozenset(names)
    texts: dict[str, str] = {}
    for number, (name, size) in enumerate(head.columns.items()):
        if name in wanted:
            packed = _open(key, number, read(at, size), additional, name)
            try:
                text = zstd.decompress(packed).decode()
            except (zstd.ZstdError, UnicodeDecodeError) as exc:
                raise ColumnsError(f"the {name} of the index cannot be unpacked") from exc
            if text.count("\n") + 1 != max(1, head.rows):
                raise ColumnsError(f"the {name} of the index has another number of rows")
            texts[name] = text
        at += size
    return Columns(
        first_index=head.first_index, rows=head.rows, first_ms=head.first_ms, last_ms=head.last_ms, texts=texts
    )


def _open(key: AESGCM, number: int, data: bytes, additional: bytes, what: str) -> bytes:
    try:
        return key.decrypt(_nonce(number), data, additional)
    except (InvalidTag, ValueError) as exc:
        raise ColumnsError(f"the {what} of the index does not open") from exc


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")
