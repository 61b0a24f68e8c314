"""Room that the state file already has, so that changes go on while the disk has none to give.

A write-ahead log whose blocks are allocated, and free pages in the file for what is added: a disk that others
filled then keeps nobody from signing in, being signed out or disabled. It neither makes room elsewhere nor says who may use it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.database import Database

LOG_BYTES: Final = 8 << 20
"""SQLite begins the log anew after 4 MiB; the rest is for changes that are made while it cannot yet."""
PAGES_BYTES: Final = 2 << 20
"""Several hundred sessions; what is changed or removed needs none of it."""
RESERVE_BYTES: Final = LOG_BYTES + PAGES_BYTES


class Reserve:
    """The reserve of one state file, kept by one process. Blocking, from one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = Path(f"{database.path}-wal")

    def keep(self) -> int:
        """Bring the reserve back to its size unless the disk is short already; returns how many bytes it has.

        Raises:
            StoreUnavailableError: the state cannot be used.

        """
        if self._has_plenty():
            if self._free_bytes() < PAGES_BYTES // 2:
                self._add_pages()
            if self._log_bytes() < LOG_BYTES:
                self._extend_log()
        if not self._is_written():
            with suppress(StoreUnavailableError):  # a full disk
                self._database.read("PRAGMA wal_checkpoint(PASSIVE)")
            if not self._is_written():
                return 0  # the log cannot begin anew before what is in it is in the file
        return self._log_bytes() + min(self._free_bytes(), PAGES_BYTES)

    def _log_bytes(self) -> int:
        try:
            return min(self._log.stat().st_size, LOG_BYTES)
        except OSError:
            return 0

    def _free_bytes(self) -> int:
        ((free, size),) = self._database.read(
            "SELECT freelist_count, page_size FROM pragma_freelist_count, pragma_page_size"
        )
        return int(free * size)

    def _is_written(self) -> bool:
        """Whether every page has its blocks in the file: one that is in the log alone may find none later."""
        ((total, size),) = self._database.read("SELECT page_count, page_size FROM pragma_page_count, pragma_page_size")
        try:
            return self._database.path.stat().st_size >= int(total * size)
        except OSError:
            return False

    def _has_plenty(self) -> bool:
        status = os.statvfs(self._database.path.parent)
        return status.f_bavail * status.f_frsize > 2 * RESERVE_BYTES

    def _add_pages(self) -> None:
        with self._database.write() as connection:
            connection.execute("CREATE TABLE reserve (filler BLOB)")
            connection.execute("INSERT INTO reserve VALUES (zeroblob(?))", (PAGES_BYTES,))
            connection.execute("DROP TABLE reserve")

    def _extend_log(self) -> None:
        """Allocate what the log lacks. Under the write lock: where the C library writes zeros itself, nobody else writes."""
        with self._database.write():
            try:
                descriptor = os.open(self._log, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                return
            try:
                os.posix_fallocate(descriptor, 0, LOG_BYTES)
            except OSError:
                return  # `keep` says how much there is
            finally:
                os.close(descriptor)
