"""Decode the header blocks of one HTTP/2 connection (HPACK, RFC 7541).

The grammar of an encoding alone: names and values come out as they were sent. The Huffman table and the
static table are `hpack`'s. Everything is bounded: integers, strings, fields, and the size of what comes out.
"""

from __future__ import annotations

from typing import Final

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

TABLE_BYTES: Final = 4096
"""SETTINGS_HEADER_TABLE_SIZE, as everybody assumes it before a word was said (RFC 9113 §6.5.2)."""
ENTRY_OVERHEAD: Final = 32  # RFC 7541 §4.1
MAX_SIZE_UPDATES: Final = 2  # RFC 7541 §4.2: the smallest that was in force, and the final one
_MAX_INTEGER_BYTES: Final = 4
_STATIC: Final = tuple(HeaderTable.STATIC_TABLE)

Header = tuple[bytes, bytes]


class HpackError(ValueError):
    """The block is no HPACK: what follows on this connection cannot be understood."""


class HeaderBombError(ValueError):
    """A small block that becomes a large list (CVE-2016-6581)."""


class HeaderDecoder:
    """The dynamic table of one direction of one connection."""

    __slots__ = ("_entries", "_limit", "_size", "changes")

    def __init__(self) -> None:
        self._entries: list[Header] = []
        """Oldest first."""
        self._size = 0
        self._limit = TABLE_BYTES
        self.changes = 0
        """Grows whenever the table changes: while it stands, equal blocks mean equal lists."""

    def decode(self, block: bytes, max_size: int) -> tuple[list[Header], int]:
        """Decode one whole block; returns its fields and the size of the list (RFC 9113 §6.5.2).

        A list beyond `max_size` is returned cut off, with its true size: the table must follow all the same.

        Raises:
            HpackError: the connection ends with COMPRESSION_ERROR.
            HeaderBombError: it is four times as large as `max_size`.

        """
        fields: list[Header] = []
        at, end, size, updates = 0, len(block), 0, 0
        while at < end:
            byte = block[at]
            if byte & 0x80:  # RFC 7541 §6.1
                index = byte & 0x7F
                at += 1
                if index == 0x7F:
                    index, at = _integer(block, at, index)
                field = self._entry(index)
            elif byte & 0xE0 == 0x20:  # RFC 7541 §6.3
                updates += 1
                if size or updates > MAX_SIZE_UPDATES:
                    raise HpackError("a size update after a field")
                at = self._resize(block, at)
                continue
            else:  # RFC 7541 §6.2
                mask = 0x3F if byte & 0x40 else 0x0F
                index = byte & mask
                at += 1
                if index == mask:
                    index, at = _integer(block, at, index)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                field = (name, value)
                if byte & 0x40:
                    self._insert(field)
            size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if size <= max_size:
                fields.append(field)
            elif size > 4 * max_size:
                raise HeaderBombError("a header list beyond all bounds")
        return fields, size

    def _entry(self, index: int) -> Header:
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        at = index - len(_STATIC)
        if not 0 < at <= len(self._entries):
            raise HpackError("an index that stands for nothing")
        return self._entries[-at]

    def _insert(self, field: Header) -> None:
        self.changes += 1
        size = len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        if size > self._limit:  # RFC 7541 §4.4: not an error
            self._entries.clear()
            self._size = 0
            return
        self._size += size
        self._entries.append(field)
        if self._size > self._limit:
            self._evict()

    def _evict(self) -> None:
        gone = 0
        while self._size > self._limit:
            name, value = self._entries[gone]
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD
            gone += 1
        del self._entries[:gone]

    def _resize(self, block: bytes, at: int) -> int:
        limit = block[at] & 0x1F
        at += 1
        if limit == 0x1F:
            limit, at = _integer(block, at, limit)
        if limit > TABLE_BYTES:
            raise HpackError("a table larger than allowed")
        self._limit = limit
        self.changes += 1
        self._evict()
        return at


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """RFC 7541 §5.1, from the first byte after a full prefix; returns the number and where it ends."""
    for shift in range(0, 7 * _MAX_INTEGER_BYTES, 7):
        if at >= len(block):
            raise HpackError("cut off")
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HpackError("an integer beyond all bounds")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """RFC 7541 §5.2: a string literal and where it ends."""
    if at >= len(block):
        raise HpackError("cut off")
    byte = block[at]
    length = byte & 0x7F
    at += 1
    if length == 0x7F:
        length, at = _integer(block, at, length)
    end = at + length
    if end > len(block):
        raise HpackError("cut off")
    text = block[at:end]
    if byte & 0x80:
        try:
            text = decode_huffman(text)
        except HPACKDecodingError:
            raise HpackError("not Huffman's code") from None
    return text, end
