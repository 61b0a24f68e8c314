"""Encode answer heads as header blocks (HPACK, RFC 7541).

An answer is composed as text, `HTTP/1.1 200 OK`, then lines. Most lines of most answers are the same, so
what a line becomes is remembered by all connections, and a connection's table takes the lines that come
again. Nothing is ever evicted from the table: when it is full it is full, and no index ever moves but by
what was added.

attack: a compressed secret beside text that an attacker chooses is guessed by length (CRIME). What may hold
a secret is never put into the table, and cookies forbid it to every hop (RFC 7541 §7.1.3).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from hpack.table import HeaderTable

from gateway.wire.hpack_decoder import ENTRY_OVERHEAD, TABLE_BYTES

MAX_LINES: Final = 1024
MAX_LINE_BYTES: Final = 1024
MAX_INSERTED: Final = 60
"""Lines in one table: every index stays one byte."""

_STATIC_LENGTH: Final = HeaderTable.STATIC_TABLE_LENGTH
_NAMES: Final[dict[bytes, int]] = {}
_PAIRS: Final[dict[tuple[bytes, bytes], int]] = {}
for _at, _pair in enumerate(HeaderTable.STATIC_TABLE, 1):
    _NAMES.setdefault(_pair[0], _at)
    _PAIRS[_pair] = _at
_INDEXED: Final = tuple(bytes((0x80 | index,)) for index in range(127))
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: .*)?").fullmatch

# RFC 9113 §8.2.2
CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_SECRET: Final = frozenset((b"set-cookie", b"authorization", b"proxy-authenticate", b"authentication-info"))
# What differs from answer to answer, or may carry a code or a token.
_VARYING: Final = frozenset(
    (b"location", b"refresh", b"date", b"content-length", b"content-range", b"content-disposition", b"etag", b"last-modified",
     b"expires", b"age", b"x-request-id", b"link", b"www-authenticate"),
)  # fmt: skip


class Line(NamedTuple):
    """What one line of a head becomes."""

    text: bytes
    """The line itself, one object for all tables that hold it."""
    plain: bytes
    """Without a trace in any table."""
    inserting: bytes
    """So that the other end puts it into its table; empty for lines that never go there."""
    size: int
    """In the table, bytes."""


_NOTHING: Final = Line(b"", b"", b"", 0)


class KnownLines:
    """What lines become, for all connections of a worker."""

    __slots__ = ("_lines", "get")

    def __init__(self) -> None:
        self._lines: dict[bytes, Line] = {b"": _NOTHING}
        self.get = self._lines.get

    def add(self, line: bytes) -> Line:
        """Encode `line`, and remember it unless it holds what does not come again."""
        encoded, comes_again = _encode(line)
        if comes_again and len(line) <= MAX_LINE_BYTES:
            if len(self._lines) >= MAX_LINES:
                self._lines.clear()
                self._lines[b""] = _NOTHING
            self._lines[line] = encoded
        return encoded


class HeaderEncoder:
    """The dynamic table of one direction of one connection, as the other end has it."""

    __slots__ = ("_inserted", "_known", "_limit", "_prefix", "_size")

    def __init__(self, known: KnownLines) -> None:
        self._known = known
        self._inserted: dict[bytes, int] = {}
        self._size = 0
        self._limit = TABLE_BYTES
        self._prefix = b""

    def resize(self, table_bytes: int) -> None:
        """The other end allows a table of `table_bytes`; what is in it is given up (RFC 7541 §4.2)."""
        limit = min(table_bytes, TABLE_BYTES)
        if limit == self._limit:
            return
        self._limit = limit
        self._inserted.clear()
        self._size = 0
        self._prefix = b"\x20" + _integer(limit, 0x20, 0x1F)  # empty it, then allow it to grow again

    def encode(self, head: bytes) -> bytes:
        """Encode a status line with its field lines, CRLF between them."""
        inserted, known = self._inserted, self._known
        out = [self._prefix] if self._prefix else []
        self._prefix = b""
        for line in head.split(b"\r\n"):
            at = inserted.get(line)
            if at is not None:
                out.append(_INDEXED[_STATIC_LENGTH + len(inserted) - at])
                continue
            encoded = known.get(line)
            if encoded is None:  # the first time it is said at all: perhaps it never is again
                name, _, value = line.partition(b": ")
                prefix = _VARYING_PREFIX.get(name)
                if prefix is not None and len(value) < 0x7F:
                    out.append(prefix[len(value)] + value)
                else:
                    out.append(known.add(line).plain)
            elif encoded.inserting and self._size + encoded.size <= self._limit and len(inserted) < MAX_INSERTED:
                inserted[encoded.text] = len(inserted)
                self._size += encoded.size
                out.append(encoded.inserting)
            else:
                out.append(encoded.plain)
        return b"".join(out)


def _encode(line: bytes) -> tuple[Line, bool]:
    """Encode one line; True if it is likely to come again."""
    status = _STATUS_LINE(line)
    if status is not None:
        name, value = b":status", status[1]
    else:
        raw, _, value = line.partition(b":")
        name, value = raw.lower(), value.strip(b" \t")
    if name in CONNECTION_SPECIFIC:
        return _NOTHING, True
    whole = _PAIRS.get((name, value))
    if whole is not None:
        return Line(line, _INDEXED[whole], b"", 0), True
    if name in _SECRET:
        return Line(line, _literal(0x10, 0x0F, name, value), b"", 0), False
    plain = _literal(0x00, 0x0F, name, value)
    if name in _VARYING:
        return Line(line, plain, b"", 0), False
    return Line(line, plain, _literal(0x40, 0x3F, name, value), len(name) + len(value) + ENTRY_OVERHEAD), True


def _literal(pattern: int, mask: int, name: bytes, value: bytes) -> bytes:
    index = _NAMES.get(name, 0)
    parts = [_integer(index, pattern, mask)]
    if not index:
        parts += (_integer(len(name), 0, 0x7F), name)
    return b"".join((*parts, _integer(len(value), 0, 0x7F), value))


def _integer(value: int, pattern: int, mask: int) -> bytes:
    """RFC 7541 §5.1: an integer behind the bits of `pattern`."""
    if value < mask:
        return bytes((pattern | value,))
    out = bytearray((pattern | mask,))
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_VARYING_PREFIX: Final = {
    name: tuple(
        _literal(0x00, 0x0F, name, bytes(size))[:-size] if size else _literal(0x00, 0x0F, name, b"")
        for size in range(0x7F)
    )
    for name in _VARYING
}
"""What stands before a short value of such a field, by its length: these lines are new on every answer."""
