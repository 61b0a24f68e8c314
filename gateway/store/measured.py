"""Rows whose every use is timed. It changes nothing about them, and errors count as they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from gateway.store.rows import Backend, Result, Row, Table, Transaction

Observe = Callable[[float, str], None]
"""Takes seconds and the operation: read, find, list, change, upkeep."""


class MeasuredRows:
    """A `Backend` around another."""

    def __init__(self, rows: Backend, observe: Observe) -> None:
        self._rows = rows
        self._observe = observe

    @property
    def place(self) -> str:
        """Where the rows are."""
        return self._rows.place

    def get(self, table: Table, row_id: bytes) -> Row | None:
        """Return a row as it is now."""
        with self._timed("read"):
            return self._rows.get(table, row_id)

    def get_many(self, table: Table, row_ids: Sequence[bytes]) -> dict[bytes, Row]:
        """Return those of the rows that there are."""
        with self._timed("read"):
            return self._rows.get_many(table, row_ids)

    def find(self, table: Table, index: str, token: bytes) -> list[Row]:
        """Return the rows with that look-up token."""
        with self._timed("find"):
            return self._rows.find(table, index, token)

    def all(self, table: Table) -> list[Row]:
        """Return every row of a table."""
        with self._timed("list"):
            return self._rows.all(table)

    def transact(
        self, work: Callable[[Transaction], Result], *, durable: bool = True, confirmed: bool = False
    ) -> Result:
        """Run `work` in one transaction."""
        with self._timed("change"):
            return self._rows.transact(work, durable=durable, confirmed=confirmed)

    def clear(self, table: Table, index: str = "", token: bytes = b"") -> int:
        """Remove every row with that look-up token, or all of the table."""
        with self._timed("change"):
            return self._rows.clear(table, index, token)

    def sweep(self, table: Table, now: float) -> list[bytes]:
        """Remove the rows whose time is over."""
        with self._timed("upkeep"):
            return self._rows.sweep(table, now)

    def outdated(self, table: Table, newest: int, limit: int) -> list[Row]:
        """Return some rows that are sealed under an older key."""
        with self._timed("upkeep"):
            return self._rows.outdated(table, newest, limit)

    def keys(self, table: Table) -> dict[int, int]:
        """Count the rows under each key version."""
        with self._timed("upkeep"):
            return self._rows.keys(table)

    def heal(self) -> int:
        """Put right what a killed process left half done."""
        with self._timed("upkeep"):
            return self._rows.heal()

    def scrub(self) -> str:
        """Overwrite what was removed."""
        with self._timed("upkeep"):
            return self._rows.scrub()

    def close(self) -> None:
        """Let go of the rows."""
        self._rows.close()

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self._observe(perf_counter() - began, operation)
