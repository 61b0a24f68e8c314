"""One kind of remembered thing: values of one type, each sealed for the row it stands in.

This is what stands between a class of `store` that knows a noun and the rows. It keeps no value and
decides nothing; `Rows` says when its methods raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, TypeVar

import msgspec

from gateway.store.rows import NO_TOKENS, Row, Rows, Table, Transaction
from gateway.store.sealing import SealBrokenError, Sealer

Value = TypeVar("Value", bound=msgspec.Struct)
_ENCODER: Final = msgspec.msgpack.Encoder()


class Shelf(Generic[Value]):
    """Sealed values of one table.

    A value that does not open is an error (`SealBrokenError`: 503), never a value that is not there. Where rows
    expire, every read says what time it is, and what is over is not found; a read that forgets to is an error.
    """

    __slots__ = ("_decoder", "_rows", "_sealer", "table")

    def __init__(self, table: Table, type: type[Value], rows: Rows, sealer: Sealer) -> None:  # noqa: A002 - it is one
        self.table = table
        self._decoder = msgspec.msgpack.Decoder(type)
        self._rows = rows
        self._sealer = sealer

    def get(self, row_id: bytes, *, now: float | None = None) -> Value | None:
        """Return the value of a row."""
        row = self._rows.get(self.table, row_id)
        return None if row is None or _is_over(row, now) else self.open(row)

    def find(self, index: str, token: bytes, *, now: float | None = None) -> list[Value]:
        """Return the values that a look-up token finds, in no certain order."""
        return [self.open(row) for row in self._rows.find(self.table, index, token) if not _is_over(row, now)]

    def all(self, *, now: float | None = None) -> list[Value]:
        """Return every value."""
        return [self.open(row) for row in self._rows.all(self.table) if not _is_over(row, now)]

    def get_in(self, tx: Transaction, row_id: bytes, *, now: float | None = None) -> Value | None:
        """Return the value of a row, inside a transaction."""
        row = tx.get(self.table, row_id)
        return None if row is None or _is_over(row, now) else self.open(row)

    def find_in(self, tx: Transaction, index: str, token: bytes, *, now: float | None = None) -> list[Value]:
        """Return the values that a look-up token finds, inside a transaction."""
        return [self.open(row) for row in tx.find(self.table, index, token) if not _is_over(row, now)]

    def put_in(
        self,
        tx: Transaction,
        row_id: bytes,
        value: Value,
        *,
        now: float,
        tokens: Mapping[str, bytes] = NO_TOKENS,
        expires: float | None = None,
    ) -> None:
        """Store a value, in place of what the row held. `tokens` are made by `token`, one for each index that finds it."""
        key, sealed = self._sealer.seal(self.table.name, row_id, _ENCODER.encode(value), now)
        tx.put(self.table, Row(id=row_id, value=sealed, key=key, tokens=tokens, expires=expires))

    def delete_in(self, tx: Transaction, row_id: bytes) -> bool:
        """Remove a row, without opening it; False when there was none."""
        return tx.delete(self.table, row_id)

    def open(self, row: Row) -> Value:
        """Return the value of a row that was read by other means. Raises `SealBrokenError`."""
        return self.unseal(row.id, row.value)

    def unseal(self, row_id: bytes, sealed: bytes) -> Value:
        """Return what was sealed for this row. Raises `SealBrokenError`."""
        value = self._sealer.open(self.table.name, row_id, sealed)
        try:
            return self._decoder.decode(value)
        except msgspec.DecodeError:
            raise SealBrokenError(f"a row of {self.table.name} was written by another version of the gateway") from None

    def token(self, purpose: str, value: str) -> bytes:
        """Return the look-up token of a value; `purpose` keeps the same value apart in different roles."""
        return self._sealer.token(purpose, value)


def _is_over(row: Row, now: float | None) -> bool:
    if row.expires is None:
        return False
    if now is None:
        raise ValueError("rows of this table expire: say what time it is")
    return now >= row.expires
