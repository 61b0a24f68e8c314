"""Answers one SELECT about the records, with DuckDB (the extra `query`).

The rows go through a pipe into a table in memory: nothing of them is ever on a disk, and the memory
has a limit. Only columns that the question is about are loaded. DuckDB can open no file, load no
extension and change no setting; a question can read nothing but the view `records`.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from gateway.audit.flat import BY_NAME, COLUMNS, SEALED, opened
from gateway.audit.subject import Keys
from gateway.exchange.errors import GatewayError
from gateway.exchange.subject import ERASED
from gateway.ledger.search import RECORD, Table

MEMORY_BYTES: Final = 1 << 30
_SHOWN: Final = tuple(column for column in COLUMNS if column.is_shown)
VIEW: Final[Sequence[tuple[str, str, str]]] = (
    ("stream", "VARCHAR", "`security`, `access` or `traffic`"),
    ("index", "BIGINT", "where the record stands in its stream"),
    *((column.name, column.kind, column.meaning) for column in _SHOWN),
    (RECORD, "JSON", "the whole record"),
)
"""Name, type and meaning of each column of `records`."""
_KINDS: Final = {name: "BIGINT" if kind == "TIMESTAMP" else kind for name, kind, _ in VIEW}
_SEPARATOR: Final = "\x1f"
_BATCH: Final = 2000
_SETTINGS: Final = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",  # what does not fit in memory is refused, not written to a disk in clear
}
_STRAIGHT: Final = (
    "statistics_propagation,filter_pushdown,compressed_materialization,join_order,top_n,empty_result_pullup"
)
"""What is switched off to see which columns a question needs: nothing may be concluded from a table that is empty yet."""
_TABLE: Final = "record_rows"
_EXPLAIN: Final = "EXPLAIN (FORMAT json) "
_SPACE: Final = re.compile(r"\s+")
_SENTENCE: Final = 500


class SqlError(GatewayError):
    """A question that cannot be answered; the text says why."""


class Sql:
    """One SELECT. A context manager: what was loaded is gone at its end."""

    def __init__(self, question: str, *, memory_bytes: int = MEMORY_BYTES) -> None:
        """Read the question. Raises `SqlError`."""
        self._duckdb = _duckdb()
        self._keys: Keys | None = None
        self._memory_bytes = memory_bytes
        self._question = question
        self._kept: dict[str, dict[str, str]] = {}
        self.names = self._needed()
        """The columns that it is about."""
        self._connection: Any = None
        self._pipe = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._pipe >= 0:  # not before: its path is the one that questions may open, and must stay this drained pipe
            os.close(self._pipe)

    def load(self, tables: Iterable[Table], *, keys: Keys | None = None, output: Path | None = None) -> None:
        """Load what the question is about. Raises `SqlError`, and what `tables` raises.

        `keys` opens what is sealed; `output` is the one file that may be written, by `write_parquet`.
        """
        self._keys = keys
        self._pipe, writing = os.pipe()
        path = f"/dev/fd/{self._pipe}"
        feeder = _Feeder(writing, tables, self._row_texts)
        try:
            self._connection = self._open([path, *([str(output)] if output is not None else [])])
            feeder.start()
            names = ", ".join(f"'{name}': '{_KINDS[name]}'" for name in self._loaded)
            self._execute(
                f"INSERT INTO {_TABLE} BY NAME SELECT * FROM read_csv('{path}', delim = '{_SEPARATOR}', quote = '', escape = '', "  # noqa: S608 - of our own names
                f"header = false, auto_detect = false, nullstr = '', max_line_size = 4194304, columns = {{{names}}})"
            )
        except BaseException:
            feeder.give_up(self._pipe)
            self._pipe = -1
            raise
        finally:
            feeder.join()
        if feeder.error is not None:
            raise feeder.error

    def rows(self) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Return the names of the answer's columns, and its rows. Raises `SqlError`, also while rows are taken."""
        self._execute(self._question)
        return [str(column[0]) for column in self._connection.description], self._fetch()

    def write_parquet(self, path: Path) -> None:
        """Write the answer into the file that `load` was told of. Raises `SqlError`."""
        quoted = str(path).replace("'", "''")
        self._execute(f"COPY (\n{self._question.rstrip().rstrip(';')}\n) TO '{quoted}' (FORMAT parquet)")

    @property
    def _loaded(self) -> list[str]:
        """What stands in the table; `stream` always does, so that there are rows to count."""
        return [name for name, _, _ in VIEW if name in self.names or name == "stream"]

    def _fetch(self) -> Iterator[tuple[Any, ...]]:
        while True:
            try:
                rows = self._connection.fetchmany(_BATCH)
            except (self._duckdb.Error, ModuleNotFoundError) as exc:
                raise SqlError(_said(exc)) from exc
            if not rows:
                return
            yield from rows

    def _execute(self, text: str) -> None:
        try:
            self._connection.execute(text)
        except self._duckdb.OutOfMemoryException as exc:
            raise SqlError(
                f"the question needs more than {self._memory_bytes >> 20} MiB of memory: narrow it with --since, --user or another filter, "
                "ask for fewer columns, or give more with query --memory"
            ) from exc
        except self._duckdb.Error as exc:
            raise SqlError(_said(exc)) from exc

    def _open(self, allowed: list[str]) -> Any:
        connection = self._duckdb.connect(":memory:", config={**_SETTINGS, "memory_limit": f"{self._memory_bytes}B"})
        _declare(connection)
        connection.execute("SET allowed_paths = ?", [allowed])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection

    def _needed(self) -> tuple[str, ...]:
        """Ask DuckDB itself which columns it would read, of a table that is empty and cannot reach anything."""
        with self._duckdb.connect(":memory:", config={**_SETTINGS, "enable_external_access": "false"}) as connection:
            _declare(connection)
            connection.execute(f"SET disabled_optimizers = '{_STRAIGHT}'")
            connection.execute("SET lock_configuration = true")
            try:
                statements = connection.extract_statements(self._question)
                if len(statements) != 1 or statements[0].type != self._duckdb.StatementType.SELECT:
                    raise SqlError("the question must be one SELECT about the view records")
                connection.execute(_EXPLAIN + statements[0].query)
                plans = [json.loads(row[1]) for row in connection.fetchall()]
            except self._duckdb.Error as exc:
                raise SqlError(_said(exc)) from exc
        return tuple(sorted(_scanned(plans)))

    def _row_texts(self, table: Table) -> Iterator[str]:
        """Yield the rows of a table in the form that goes through the pipe."""
        chosen = table.rows
        columns: list[Iterable[str]] = []
        for name in self._loaded:
            if name == "stream":
                columns.append([table.stream.value] * len(chosen))
            elif name == "index":
                first = table.columns.first_index
                columns.append([str(first + row) for row in chosen])
            elif name == RECORD:
                columns.append(table.records)
            else:
                values = table.columns.values(name)
                columns.append(
                    self._open_values(name, values if len(chosen) == len(values) else [values[row] for row in chosen])
                )
        return map(_SEPARATOR.join, zip(*columns, strict=True))

    def _open_values(self, name: str, values: list[str]) -> list[str]:
        column = BY_NAME[name]
        if column.kind != "VARCHAR":
            strange = {value for value in set(values) if value and not value.removeprefix("-").isdecimal()}
            return ["" if value in strange else value for value in values] if strange else values
        if not column.personal or not any(value.startswith(SEALED) for value in values):
            return values
        known = self._kept.setdefault(name, {})
        return [known.get(value) or self._remember(known, column.personal, value) for value in values]

    def _remember(self, known: dict[str, str], path: str, value: str) -> str:
        if len(known) > 100_000:  # noqa: PLR2004 - what it costs is memory alone
            known.clear()
        text = value if not value.startswith(SEALED) else opened(path, value, self._keys) if self._keys else ERASED
        known[value] = text
        return text


class _Feeder:
    """Writes rows into the pipe, in a thread of its own."""

    def __init__(self, descriptor: int, tables: Iterable[Table], texts: Any) -> None:
        self._descriptor = descriptor
        self._tables = tables
        self._texts = texts
        self._thread = threading.Thread(target=self._feed, name="query", daemon=True)
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def give_up(self, reading: int) -> None:
        """End the thread: nobody reads any more."""
        os.close(reading)

    def join(self) -> None:
        if self._thread.ident is None:
            os.close(self._descriptor)
        else:
            self._thread.join()

    def _feed(self) -> None:
        try:
            with os.fdopen(self._descriptor, "w", encoding="utf-8", newline="", buffering=1 << 18) as pipe:
                for table in self._tables:
                    texts = self._texts(table)
                    while batch := list(islice(texts, _BATCH)):
                        pipe.write("\n".join(batch) + "\n")
        except BrokenPipeError:
            pass  # the reader says itself why it stopped
        except BaseException as exc:  # noqa: BLE001 - raised again by whoever waits
            self.error = exc


def _declare(connection: Any) -> None:
    table = ", ".join(f'"{name}" {kind}' for name, kind in _KINDS.items())
    view = ", ".join(f'epoch_ms("{name}") AS "{name}"' if name == "time" else f'"{name}"' for name in _KINDS)
    connection.execute(f"CREATE TABLE {_TABLE} ({table})")
    connection.execute(f"CREATE VIEW records AS SELECT {view} FROM {_TABLE}")  # noqa: S608 - of our own names


def _scanned(node: Any) -> set[str]:
    """Return the columns that a plan reads. A scan that is not understood reads them all: none may silently be empty."""
    if isinstance(node, list):
        return {name for each in node for name in _scanned(each)}
    found = _scanned(node["children"])
    detail = node["extra_info"]
    if "SCAN" in node["name"] and _TABLE in str(detail):
        projections = detail.get("Projections", [*_KINDS])
        read = {projections} if isinstance(projections, str) else set(projections)
        read.discard("")
        found |= read
        if not read <= _KINDS.keys():
            return set(_KINDS)
    return found


def _said(error: Exception) -> str:
    text = str(error)
    if "pytz" in text:
        return "a value of the answer has a time zone, which is not supported: cast it, for example now()::TIMESTAMP"
    return _SPACE.sub(" ", text.replace(_EXPLAIN, "").partition("\nLINE 1:")[0].strip())[:_SENTENCE]


def _duckdb() -> ModuleType:
    try:
        import duckdb  # noqa: PLC0415 - an extra: what does not ask for it does without
    except ImportError as exc:
        raise SqlError("SQL needs DuckDB, which is not installed: pip install 'gateway[query]'") from exc
    return duckdb
