"""Rows in SQLite: one table of SQL per `Table`, one column and index per look-up token.

Whatever changes or removes a row of a cached table does it inside `Generations.changing`: the copies of
other processes are void before the commit, and stay void if it fails. The file is `database`'s business.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from gateway.store.database import Database
from gateway.store.generations import Generations, slot_of
from gateway.store.rows import Result, Row, Table, Transaction
from gateway.store.tables import TABLES

STATE_NAME: Final = "state.sqlite3"
GENERATIONS_NAME: Final = "generations"
SCHEMA_VERSION: Final = 2
"""Moves when a table gets other columns; a table that is missing is made when the state is opened with `create`."""


class _Statements:
    """The SQL of one table."""

    __slots__ = ("clear", "columns", "count", "delete", "expired", "find", "get", "indexes", "keys", "outdated", "put")

    def __init__(self, table: Table) -> None:
        name, self.indexes = table.name, table.indexes
        columns = ("id", "value", "key", "expires", *(f"by_{index}" for index in table.indexes))
        listed = ", ".join(columns)
        select = f"SELECT {listed} FROM {name}"  # noqa: S608 - names of ours, here and below
        self.get = f"{select} WHERE id = ?"
        self.find = {index: f"{select} WHERE by_{index} = ?" for index in table.indexes} | {"": select}
        self.count = {index: f"SELECT count(*) FROM {name} WHERE by_{index} = ?" for index in table.indexes}  # noqa: S608
        self.put = f"REPLACE INTO {name} ({listed}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
        self.delete = f"DELETE FROM {name} WHERE id = ?"  # noqa: S608
        self.clear = {
            index: f"DELETE FROM {name} WHERE by_{index} = ? RETURNING id"  # noqa: S608
            for index in table.indexes
        } | {"": f"DELETE FROM {name} RETURNING id"}  # noqa: S608
        self.expired = f"DELETE FROM {name} WHERE expires <= ? RETURNING id"  # noqa: S608
        self.outdated = f"{select} WHERE key > 0 AND key < ? LIMIT ?"
        self.keys = f"SELECT key, count(*) FROM {name} GROUP BY key"  # noqa: S608

    def row(self, found: tuple[Any, ...]) -> Row:
        tokens = {index: token for index, token in zip(self.indexes, found[4:], strict=True) if token is not None}
        return Row(id=found[0], value=found[1], key=found[2], expires=found[3], tokens=tokens)

    def values(self, row: Row) -> tuple[Any, ...]:
        return (row.id, row.value, row.key, row.expires, *(row.tokens.get(index) for index in self.indexes))


def definitions(tables: Iterable[Table]) -> dict[str, str]:
    """Return the statements that make tables and indexes, by the name of what they make."""
    made: dict[str, str] = {}
    for table in tables:
        columns = "".join(f", by_{index} BLOB" for index in table.indexes)
        made[table.name] = (
            f"CREATE TABLE IF NOT EXISTS {table.name} "
            f"(id BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL, key INTEGER NOT NULL, expires REAL{columns}) STRICT"
        )
        for column in ("expires", *(f"by_{index}" for index in table.indexes)):
            made[f"{table.name}_{column}"] = (
                f"CREATE INDEX IF NOT EXISTS {table.name}_{column} ON {table.name} ({column}) WHERE {column} IS NOT NULL"
            )
    return made


class SQLiteRows:
    """A `Backend` in the state directory of one node."""

    def __init__(
        self,
        state_dir: Path,
        *,
        tables: Iterable[Table] = TABLES,
        create: bool = False,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open the file; with `create` make what is missing of it. Raises `StoreUnavailableError`."""
        self._statements: Mapping[str, _Statements] = {table.name: _Statements(table) for table in tables}
        self.database = Database(
            state_dir / STATE_NAME, schema=(), version=SCHEMA_VERSION, additions=definitions(tables), create=create
        )
        # What a power cut may undo without harm is not synced.
        self._passing = self.database.twin(durable=False)
        self.generations = Generations(state_dir / GENERATIONS_NAME, create=create, random=random)

    @property
    def place(self) -> str:
        """The file."""
        return str(self.database.path)

    def get(self, table: Table, row_id: bytes) -> Row | None:
        """Return a row as it is now."""
        statements = self._statements[table.name]
        found = self.database.read(statements.get, (row_id,))
        return statements.row(found[0]) if found else None

    def get_many(self, table: Table, row_ids: Sequence[bytes]) -> dict[bytes, Row]:
        """Return those of the rows that there are."""
        return {row.id: row for row_id in row_ids if (row := self.get(table, row_id)) is not None}

    def find(self, table: Table, index: str, token: bytes) -> list[Row]:
        """Return the rows with that look-up token."""
        statements = self._statements[table.name]
        return [statements.row(found) for found in self.database.read(statements.find[index], (token,))]

    def all(self, table: Table) -> list[Row]:
        """Return every row of a table."""
        statements = self._statements[table.name]
        return [statements.row(found) for found in self.database.read(statements.find[""])]

    def transact(
        self, work: Callable[[Transaction], Result], *, durable: bool = True, confirmed: bool = False
    ) -> Result:
        """Run `work` once, under the write lock. There is no replica to wait for."""
        del confirmed
        database = self.database if durable else self._passing
        with ExitStack() as after, database.write() as connection:  # the numbers of `after` change behind the commit
            return work(_SQLiteTransaction(self._statements, connection, self.generations, after, durable=durable))

    def clear(self, table: Table, index: str = "", token: bytes = b"") -> int:
        """Remove every row with that look-up token, or all of the table, in one transaction."""
        statement = self._statements[table.name].clear[index]
        with ExitStack() as after, self.database.write() as connection:
            gone = connection.execute(statement, (token,) if index else ()).fetchall()
            if table.cached and gone:
                after.enter_context(self.generations.changing())(slot_of(row_id) for (row_id,) in gone)
            return len(gone)

    def sweep(self, table: Table, now: float) -> list[bytes]:
        """Remove the rows whose time is over. Their copies know it themselves."""
        statement = self._statements[table.name].expired
        with (self.database if table.durable else self._passing).write() as connection:
            return [row_id for (row_id,) in connection.execute(statement, (now,)).fetchall()]

    def outdated(self, table: Table, newest: int, limit: int) -> list[Row]:
        """Return some rows that are sealed under an older key."""
        statements = self._statements[table.name]
        return [statements.row(found) for found in self.database.read(statements.outdated, (newest, limit))]

    def keys(self, table: Table) -> dict[int, int]:
        """Count the rows under each key version."""
        return dict(self.database.read(self._statements[table.name].keys))

    def heal(self) -> int:
        """Give numbers to generation slots that a killed writer left closed."""
        return self.generations.heal()

    def scrub(self) -> str:
        """Overwrite what was removed, in the file and its log."""
        return self.database.scrub()

    def close(self) -> None:
        """Let go of the files."""
        self.database.close()
        self._passing.close()
        self.generations.close()


class _SQLiteTransaction:
    """A `Transaction` between BEGIN IMMEDIATE and COMMIT."""

    __slots__ = ("_after", "_connection", "_generations", "_invalidate", "_is_durable", "_statements")

    def __init__(
        self,
        statements: Mapping[str, _Statements],
        connection: sqlite3.Connection,
        generations: Generations,
        after: ExitStack,
        *,
        durable: bool,
    ) -> None:
        self._statements = statements
        self._connection = connection
        self._generations = generations
        self._after = after
        self._is_durable = durable
        self._invalidate: Callable[[Iterable[int]], None] | None = None

    def get(self, table: Table, row_id: bytes) -> Row | None:
        statements = self._statements[table.name]
        found = self._connection.execute(statements.get, (row_id,)).fetchall()
        return statements.row(found[0]) if found else None

    def get_many(self, table: Table, row_ids: Sequence[bytes]) -> dict[bytes, Row]:
        return {row.id: row for row_id in row_ids if (row := self.get(table, row_id)) is not None}

    def find(self, table: Table, index: str, token: bytes) -> list[Row]:
        statements = self._statements[table.name]
        return [statements.row(found) for found in self._connection.execute(statements.find[index], (token,))]

    def count(self, table: Table, index: str, token: bytes) -> int:
        number: int = self._connection.execute(self._statements[table.name].count[index], (token,)).fetchone()[0]
        return number

    def put(self, table: Table, row: Row) -> None:
        self._changes(table, row.id)
        statements = self._statements[table.name]
        self._connection.execute(statements.put, statements.values(row))

    def delete(self, table: Table, row_id: bytes) -> bool:
        self._changes(table, row_id)
        return self._connection.execute(self._statements[table.name].delete, (row_id,)).rowcount == 1

    def _changes(self, table: Table, row_id: bytes) -> None:
        if table.durable and not self._is_durable:
            raise ValueError(f"a power cut would undo a change of {table.name}")
        if table.cached:
            if self._invalidate is None:  # once this is held, whoever caches reads again until the commit is over
                self._invalidate = self._after.enter_context(self._generations.changing())
            self._invalidate((slot_of(row_id),))
