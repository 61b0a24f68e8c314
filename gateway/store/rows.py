"""The seam between what the gateway remembers and where: tables of sealed values, changed in transactions.

Everything that is stored goes through here, so that a feature is written once and holds on SQLite and on Redis alike;
both pass `tests/contract/test_rows.py`. A backend knows tables, look-up tokens and times of removal. It opens
no value, and decides nothing about people or sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import msgspec

Result = TypeVar("Result")
NO_TOKENS: Final[Mapping[str, bytes]] = MappingProxyType({})


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of row. All of them stand in `tables.TABLES`."""

    name: str
    indexes: tuple[str, ...] = ()
    """Names of the look-up tokens by which rows are found, beside their id."""
    durable: bool = True
    """False: what a power cut may undo without harm (counts of attempts, secrets nobody has proven yet).
    A transaction that is not durable must not write a table that is."""
    cached: bool = False
    """Other processes keep copies of its rows: a backend that lets them makes each copy void before a change is true."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it stands in a table."""

    id: bytes
    """Unique in its table: a digest, a look-up token or an opaque id, never anything readable about a person."""
    value: bytes
    """Sealed, except where the table holds nothing but numbers."""
    key: int = 0
    """Version of the key that sealed it; 0 = not sealed."""
    tokens: Mapping[str, bytes] = NO_TOKENS
    """Look-up token by index; an index that is left out does not find this row."""
    expires: float | None = None
    """Unix seconds after which the row is as good as gone; None = it stays."""


class Transaction(Protocol):
    """All or nothing, and as if alone: what was read is what was true when the changes became true."""

    def get(self, table: Table, row_id: bytes) -> Row | None:
        """Return a row, as this transaction would leave it; expired ones too, until they are swept."""
        ...

    def get_many(self, table: Table, row_ids: Sequence[bytes]) -> dict[bytes, Row]:
        """Return those of the rows that there are, by id."""
        ...

    def find(self, table: Table, index: str, token: bytes) -> list[Row]:
        """Return the rows with that look-up token, in no certain order."""
        ...

    def count(self, table: Table, index: str, token: bytes) -> int:
        """Count the rows with that look-up token, without reading them."""
        ...

    def put(self, table: Table, row: Row) -> None:
        """Store a row, in place of the one with the same id."""
        ...

    def delete(self, table: Table, row_id: bytes) -> bool:
        """Remove a row; False when there was none."""
        ...


class Rows(Protocol):
    """A place where rows are kept. Usable from any thread.

    Every method raises `StoreUnavailableError` when the place cannot be used; of a transaction nothing happened then,
    except where a network broke between the commit and its confirmation: the error says "may have happened".
    """

    def get(self, table: Table, row_id: bytes) -> Row | None:
        """Return a row as it is now."""
        ...

    def get_many(self, table: Table, row_ids: Sequence[bytes]) -> dict[bytes, Row]:
        """Return those of the rows that there are now, by id."""
        ...

    def find(self, table: Table, index: str, token: bytes) -> list[Row]:
        """Return the rows with that look-up token as they are now, in no certain order."""
        ...

    def all(self, table: Table) -> list[Row]:
        """Return every row of a table. Costs what it says."""
        ...

    def transact(
        self, work: Callable[[Transaction], Result], *, durable: bool = True, confirmed: bool = False
    ) -> Result:
        """Run `work` in one transaction and commit it; an exception of `work` undoes everything.

        `work` may run more than once (another writer was faster), so it must have no effect of its own.
        `durable=False` where a power cut may undo it; `confirmed=True` waits until a replica has it, where there is one.
        """
        ...


class Backend(Rows, Protocol):
    """What a place does beside: clearing, and the upkeep of a whole table."""

    @property
    def place(self) -> str:
        """Where it is, for a person; without secrets."""
        ...

    def clear(self, table: Table, index: str = "", token: bytes = b"") -> int:
        """Remove every row with that look-up token, or all of the table; returns how many.

        It ends when none is left, rows that came meanwhile included; it is not one transaction everywhere.
        """
        ...

    def sweep(self, table: Table, now: float) -> list[bytes]:
        """Remove the rows whose time is over; returns their ids."""
        ...

    def outdated(self, table: Table, newest: int, limit: int) -> list[Row]:
        """Return some rows that are sealed under an older key than `newest`; what is not sealed has no key."""
        ...

    def keys(self, table: Table) -> dict[int, int]:
        """Count the rows under each key version."""
        ...

    def heal(self) -> int:
        """Put right what a killed process left half done beside the rows; returns how much that was."""
        ...

    def scrub(self) -> str:
        """Overwrite what was removed, wherever the place itself still has it; returns what it could not, or nothing."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
