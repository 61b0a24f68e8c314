"""What keys in Redis are called, and how a row is written there.

    {prefix}:TABLE:ID            a row: MessagePack [value, key version, expires or nil, tokens]
    {prefix}:TABLE/INDEX:TOKEN   a sorted set: ids of the rows with that look-up token, by their end
    {prefix}:TABLE#              a set: the key versions of the rows
    {prefix}:TABLE#VERSION       a sorted set: ids of all rows under that key version, by their end

Ids and tokens are hexadecimal. The braces are the hash tag of Redis Cluster: every key of one gateway is in one slot,
so one script can change them together (docs/decisions/0017).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.rows import NO_TOKENS, Row, Table

FORGET_S: Final = 60.0
"""Redis forgets a row so long after its end: its clock may be ahead of ours."""
NEVER: Final = "inf"


class _StoredRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A row as it stands in Redis. A format."""

    value: bytes
    key: int
    expires: float | None
    tokens: dict[str, bytes]


_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_DECODER: Final = msgspec.msgpack.Decoder(_StoredRow)


class Keys:
    """The names of one gateway's keys."""

    __slots__ = ("tag",)

    def __init__(self, prefix: str) -> None:
        self.tag = b"{%s}:" % prefix.encode()

    def row(self, table: Table, row_id: bytes) -> bytes:
        """Return the key of a row."""
        return self.tag + table.name.encode() + b":" + row_id.hex().encode()

    def index(self, table: Table, index: str, token: bytes) -> bytes:
        """Return the key of the ids that a look-up token finds."""
        return self.tag + f"{table.name}/{index}:{token.hex()}".encode()

    def versions(self, table: Table) -> bytes:
        """Return the key of the key versions of a table."""
        return self.tag + table.name.encode() + b"#"

    def ids(self, table: Table, version: int) -> bytes:
        """Return the key of all ids under a key version; what is not sealed has version 0."""
        return self.tag + f"{table.name}#{version:d}".encode()


def write_row(row: Row) -> bytes:
    """Write a row as Redis keeps it, without its id; the same row is always the same bytes."""
    return _ENCODER.encode(_StoredRow(row.value, row.key, row.expires, dict(row.tokens)))


def read_row(row_id: bytes, stored: bytes) -> Row:
    """Read what `write_row` wrote. Raises `StoreUnavailableError` when something else wrote it."""
    try:
        found = _DECODER.decode(stored)
    except msgspec.DecodeError:
        raise StoreUnavailableError("redis: a row was not written by this version of the gateway") from None
    return Row(id=row_id, value=found.value, key=found.key, expires=found.expires, tokens=found.tokens or NO_TOKENS)


def score(expires: float | None) -> str:
    """Write an end as the score of a sorted set; numbers are compared by Redis, so no digit may be lost."""
    return NEVER if expires is None else repr(expires)


def forget_at(expires: float | None) -> str:
    """Return the unix milliseconds at which Redis forgets by itself; empty = never."""
    return "" if expires is None or math.isinf(expires) else str(math.ceil((expires + FORGET_S) * 1000))
