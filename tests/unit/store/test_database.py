"""Every way in which the state file can be unusable: one error, an operator's sentence, and recovery."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.database import Database

SCHEMA = ["CREATE TABLE things (name TEXT PRIMARY KEY, value BLOB) STRICT"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state.sqlite3"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = opened(path, create=True)
    yield database
    database.close()


def opened(path: Path, *, create: bool = False) -> Database:
    return Database(path, schema=SCHEMA, version=1, create=create)


def put(database: Database, name: str, value: bytes = b"") -> None:
    with database.write() as connection:
        connection.execute("INSERT OR REPLACE INTO things VALUES (?, ?)", (name, value))


def names(database: Database) -> list[str]:
    return [name for (name,) in database.read("SELECT name FROM things ORDER BY name")]


def test_directory_and_files_are_the_owners_alone(path: Path) -> None:
    old = os.umask(0)
    try:
        database = opened(path, create=True)
        put(database, "a")
        assert {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()} == {
            "state.sqlite3": 0o600,
            "state.sqlite3-wal": 0o600,
            "state.sqlite3-shm": 0o600,
        }
        assert path.parent.stat().st_mode & 0o777 == 0o700
        database.close()
    finally:
        os.umask(old)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_creates_belongs_to_the_owner_of_the_directory(path: Path) -> None:
    path.parent.mkdir()
    os.chown(path.parent, 65534, 65534)
    database = opened(path, create=True)
    put(database, "a")
    assert {entry.stat().st_uid for entry in path.parent.iterdir()} == {65534}
    database.close()


def test_a_second_creation_keeps_what_is_there(path: Path, database: Database) -> None:
    put(database, "a")
    assert names(opened(path, create=True)) == ["a"]


def test_many_first_starts_at_once_make_one_schema(path: Path) -> None:
    failed: list[BaseException] = []

    def start() -> None:
        try:
            opened(path, create=True).close()
        except StoreUnavailableError as exc:
            failed.append(exc)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert names(opened(path)) == []


def test_commits_are_synced_and_the_journal_is_a_wal(database: Database) -> None:
    assert database.read("PRAGMA synchronous") == [(2,)]
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    twin = database.twin(durable=False)
    assert twin.read("PRAGMA synchronous") == [(1,)]
    twin.close()


def test_a_read_leaves_no_snapshot_behind(path: Path, database: Database) -> None:
    other = opened(path)
    assert names(other) == []
    put(database, "a")
    assert names(other) == ["a"]
    with pytest.raises(StoreUnavailableError):
        other.read("SELECT nonsense")
    put(database, "b")
    assert names(other) == ["a", "b"]


def test_a_body_that_fails_commits_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            connection.execute("INSERT INTO things VALUES ('a', NULL)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(database) == []
    put(database, "b")


def test_a_locked_file_is_waited_for_briefly_and_then_said(path: Path, database: Database) -> None:
    other = opened(path)
    put(database, "a")
    with other.write():
        assert names(database) == ["a"]  # readers go on
        with pytest.raises(StoreUnavailableError, match="is locked by another process"):
            put(database, "b")
    put(database, "b")


def test_a_file_locked_against_readers_is_said_too(path: Path, database: Database) -> None:
    put(database, "a")
    database.close()
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("PRAGMA locking_mode=EXCLUSIVE")
    shell.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError, match="is locked by another process"):
        names(database)
    shell.execute("ROLLBACK")
    shell.close()
    assert names(database) == ["a"]


def test_a_full_disk_is_said_and_nothing_is_half_written(database: Database) -> None:
    put(database, "a")
    (pages,) = database.read("PRAGMA page_count")[0]
    database.read(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailableError, match=r"the disk is full; free space .*SQLITE_FULL"):
        put(database, "b", bytes(1_000_000))
    assert names(database) == ["a"]
    database.read("PRAGMA max_page_count=1000000")
    put(database, "b", bytes(1_000_000))
    assert names(database) == ["a", "b"]


FILL = """
import resource, signal, sys
from pathlib import Path
from gateway.store.database import Database
from gateway.exchange.errors import StoreUnavailableError
database = Database(Path(sys.argv[1]), schema=[], version=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
def put(size):
    with database.write() as connection:
        connection.execute("INSERT OR REPLACE INTO things VALUES ('big', ?)", (bytes(size),))
try:
    put(2_000_000)
except StoreUnavailableError as exc:
    print(exc)
print(database.read("SELECT name FROM things"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
put(2_000_000)
print(database.read("SELECT name FROM things ORDER BY name"))
"""


def test_a_file_that_may_not_grow_recovers_when_it_may(path: Path, database: Database) -> None:
    """The kernel's refusal, not SQLite's: RLIMIT_FSIZE, in a process of its own."""
    assert resource.RLIMIT_FSIZE
    assert signal.SIGXFSZ
    put(database, "a")
    lines = output(FILL, path)
    assert "disk" in lines[0]
    assert lines[1:] == ["[('a',)]", "[('a',), ('big',)]"]


READ_ONLY = """
import os, sys
from pathlib import Path
from gateway.store.database import Database
from gateway.exchange.errors import StoreUnavailableError
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    database = Database(Path(sys.argv[1]), schema=[], version=1)
    print("opened")
    with database.write() as connection:
        connection.execute("INSERT INTO things VALUES ('b', NULL)")
except StoreUnavailableError as exc:
    print(exc)
"""


def test_a_read_only_file_is_said_by_writers(path: Path, database: Database) -> None:
    put(database, "a")
    for directory in path.parents:
        if directory == Path(tempfile.gettempdir()):
            break
        directory.chmod(0o755)
    for entry in path.parent.iterdir():
        entry.chmod(0o444)
    try:
        lines = output(READ_ONLY, path)
    finally:
        for entry in path.parent.iterdir():
            entry.chmod(0o600)
    assert "read-only for this process; check its owner and mode" in lines[-1]


def output(script: str, path: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_rubbish_is_said_and_not_overwritten(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"rubbish " * 1000)
    for create in (False, True):
        with pytest.raises(StoreUnavailableError, match="restore it from a backup"):
            opened(path, create=create)
    assert path.read_bytes() == b"rubbish " * 1000


def test_a_damaged_page_is_said(path: Path, database: Database) -> None:
    for number in range(200):
        put(database, f"name {number:04d}", bytes(500))
    database.read("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(StoreUnavailableError, match="restore it from a backup"):
        names(database)


def test_a_missing_file_is_said_and_never_created_by_a_reader(path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        opened(path)
    assert not path.parent.exists()


def test_a_file_that_vanishes_is_an_error_and_its_return_a_recovery(path: Path, database: Database) -> None:
    put(database, "a")
    for entry in list(path.parent.iterdir()):
        entry.rename(path.parent.parent / entry.name)
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        names(database)
    for name in ("state.sqlite3", "state.sqlite3-wal", "state.sqlite3-shm"):
        if (path.parent.parent / name).exists():
            (path.parent.parent / name).rename(path.parent / name)
    assert names(database) == ["a"]


def test_a_restored_file_is_read_instead_of_the_old_one(path: Path, database: Database, tmp_path: Path) -> None:
    put(database, "old")
    database.read("PRAGMA wal_checkpoint(TRUNCATE)")
    restored = tmp_path / "backup.sqlite3"
    other = opened(restored, create=True)
    put(other, "new")
    other.read("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    database.close()
    restored.replace(path)
    assert names(database) == ["new"]


def test_another_schema_is_refused(path: Path, database: Database) -> None:
    database.close()
    with pytest.raises(StoreUnavailableError, match="has schema 1, this gateway reads 2"):
        Database(path, schema=SCHEMA, version=2)
    with pytest.raises(StoreUnavailableError, match="has schema 1, this gateway reads 2"):
        Database(path, schema=SCHEMA, version=2, create=True)


def test_a_foreign_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    sqlite3.connect(path).execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(StoreUnavailableError, match="is empty or not the gateway's"):
        opened(path)


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError, match="cannot be created"):
        opened(tmp_path / "file" / "state.sqlite3", create=True)


def test_threads_take_turns_on_one_connection(database: Database) -> None:
    def write(name: str) -> None:
        for number in range(20):
            put(database, f"{name}{number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(database)) == 60
