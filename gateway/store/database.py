"""The SQLite file: opening it, waiting for it, and saying plainly why it cannot be used.

WAL, one writer at a time, a quarter of a second of patience: then the request is refused with 503
and nobody is signed out. What stands in the tables is `sqlite`'s to say.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.ownership import hand_over, make_directory

BUSY_WAIT_S: Final = 0.25
SCRUB_WAIT_S: Final = 10.0
NO_ADDITIONS: Final[Mapping[str, str]] = MappingProxyType({})
_PRIMARY_CODE: Final = 0xFF
_TEXTS: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another process; if it lasts, look for a backup or a shell that holds it open",
    sqlite3.SQLITE_LOCKED: "is locked by another process; if it lasts, look for a backup or a shell that holds it open",
    sqlite3.SQLITE_READONLY: "is read-only for this process; check its owner and mode, and how the volume is mounted",
    sqlite3.SQLITE_PERM: "is not accessible to this process; check its owner and mode",
    sqlite3.SQLITE_AUTH: "is not accessible to this process; check its owner and mode",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; free space on its volume",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error or is full",
    sqlite3.SQLITE_CORRUPT: "is damaged; stop the gateway and restore it from a backup",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database or is damaged; stop the gateway and restore it from a backup",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its directory exists and belongs to the gateway",
}
_KEEPS_CONNECTION: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT}
)


class Database:
    """One connection to the state file, usable from any thread, one thread at a time.

    A connection that failed is thrown away and the next call opens another, so the gateway recovers
    when the file does.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: Sequence[str],
        version: int,
        additions: Mapping[str, str] = NO_ADDITIONS,
        create: bool = False,
        durable: bool = True,
    ) -> None:
        """Open the file; with `create` make what is missing of it.

        `additions` are statements by the name of what they make. They leave the version as it is, so that
        the gateway of before still reads the file: an upgrade can be taken back.
        """
        self._path = path
        self._place = str(path)
        self._schema = schema
        self._version = version
        self._additions = additions
        self._durable = durable
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        if create:
            self._create()
        self._connected()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of one statement, in a snapshot of its own that ends with the call. Raises `StoreUnavailableError`."""
        with self._lock:
            try:
                return self._connected().execute(sql, parameters).fetchall()
            except sqlite3.Error as exc:
                raise self._failed(exc) from exc

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run the body in one transaction that holds the write lock from the start; commit at its end.

        Raises:
            StoreUnavailableError: nothing of the transaction happened.

        """
        with self._lock:
            try:
                connection = self._connected()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):  # a full disk has rolled back by itself
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as exc:
                raise self._failed(exc) from exc

    def scrub(self) -> str:
        """Write the file anew without what was removed, and empty its log; returns what could not be done, or nothing.

        Other processes may use the file meanwhile: it is tried for a few seconds. Raises `StoreUnavailableError`.
        """
        until = time.monotonic() + SCRUB_WAIT_S
        with self._lock:
            while True:
                try:
                    connection = self._connected()
                    connection.execute("VACUUM")
                    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                except sqlite3.Error as exc:
                    failed = self._failed(exc)
                    if getattr(exc, "sqlite_errorcode", 0) & _PRIMARY_CODE not in _KEEPS_CONNECTION:
                        raise failed from exc
                    busy = 1
                if not busy:
                    return ""
                if time.monotonic() >= until:
                    return f"{self._path}-wal: is in use by another process: what was removed stands in it until it is emptied"
                time.sleep(BUSY_WAIT_S)

    def twin(self, *, durable: bool) -> Database:
        """Open another connection to the same file, for another thread."""
        return Database(self._path, schema=self._schema, version=self._version, durable=durable)

    def close(self) -> None:
        """Close the connection; the next call would open another."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    def _connected(self) -> sqlite3.Connection:
        try:
            status = (
                self._path.stat()
            )  # a file that was moved away or restored must not be read through an old descriptor
        except OSError as exc:
            self.close()
            raise StoreUnavailableError(
                f"{self._path}: {'does not exist' if isinstance(exc, FileNotFoundError) else f'cannot be opened: {exc.strerror}'}"
            ) from exc
        if self._connection is not None and self._identity == (status.st_dev, status.st_ino):
            return self._connection
        self.close()
        try:
            self._connection = self._open()
        except sqlite3.Error as exc:
            raise self._failed(exc) from exc
        self._identity = (status.st_dev, status.st_ino)
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_WAIT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            self._require_schema(connection)
            # A revocation that a power cut undoes would be a revocation that did not hold: FULL syncs each commit.
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA secure_delete=ON")  # a key that was destroyed must not stand in a free page
        except BaseException:
            connection.close()
            raise
        return connection

    def _require_schema(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != self._version:
            what = (
                f"has schema {version}, this gateway reads {self._version}"
                if version
                else "is empty or not the gateway's"
            )
            raise StoreUnavailableError(f"{self._path}: {what}")

    def _create(self) -> None:
        """Make directory and file, owner only, with the schema; a complete file stays as it is."""
        try:
            make_directory(self._path.parent)
            # SQLite gives -wal and -shm the mode and owner of the file, so both are set before SQLite sees it.
            with suppress(FileExistsError):
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    hand_over(descriptor, self._path.parent)
                finally:
                    os.close(descriptor)
        except OSError as exc:
            raise StoreUnavailableError(f"{self._path}: cannot be created: {exc.strerror}") from exc
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_WAIT_S * 8, isolation_level=None)
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN EXCLUSIVE")  # two first starts at once: one makes the tables
                if connection.execute("PRAGMA user_version").fetchone() == (0,):
                    for statement in self._schema:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version={self._version:d}")
                connection.execute("COMMIT")
            known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if not self._additions.keys() <= known:
                connection.execute("BEGIN EXCLUSIVE")
                for statement in self._additions.values():
                    connection.execute(statement)
                connection.execute("COMMIT")
        except sqlite3.Error as exc:
            raise self._failed(exc) from exc
        finally:
            if connection is not None:
                connection.close()

    def _failed(self, exc: sqlite3.Error) -> StoreUnavailableError:
        code = getattr(exc, "sqlite_errorcode", 0) & _PRIMARY_CODE
        if code == sqlite3.SQLITE_FULL and self._connection is not None:
            with suppress(sqlite3.Error):  # then the next change writes the log over from its beginning
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if code not in _KEEPS_CONNECTION:
            self.close()
        name = getattr(exc, "sqlite_errorname", type(exc).__name__)
        return StoreUnavailableError(f"{self._path}: {_TEXTS.get(code, 'cannot be used')} ({name})")
