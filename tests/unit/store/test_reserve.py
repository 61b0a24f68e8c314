"""The room that a state file already has: made once, used when the disk is full, and never at the cost of what is stored."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.store.database import Database
from gateway.store.reserve import LOG_BYTES, PAGES_BYTES, RESERVE_BYTES, Reserve
from tests.mounts import run_apart
from tests.unit.store.full_disk import ADDED, AGAIN, CHANGED

SCHEMA = ["CREATE TABLE things (name TEXT PRIMARY KEY, value BLOB) STRICT"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "state.sqlite3", schema=SCHEMA, version=1, create=True)
    yield database
    database.close()


def put(database: Database, name: str, value: bytes = b"") -> None:
    with database.write() as connection:
        connection.execute("INSERT OR REPLACE INTO things VALUES (?, ?)", (name, value))


def names(database: Database) -> list[str]:
    return [name for (name,) in database.read("SELECT name FROM things ORDER BY name")]


def is_sound(database: Database) -> bool:
    return database.read("PRAGMA integrity_check") == [("ok",)]


def on_a_full_disk(tmp_path: Path, kind: str, way: str) -> dict[str, Any]:
    module = "tests.unit.store.full_disk"
    told: dict[str, Any] = json.loads(run_apart(module, tmp_path / "small", kind, way, is_root=kind == "ext4"))
    assert told["check"] == [["ok"]]
    assert told["sessions"] == told["added"], "what was stored is there, and nothing else"
    assert told["is_well"], "it ends by itself"
    assert told["left"] >= RESERVE_BYTES - PAGES_BYTES // 2
    return told


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_on_a_full_disk_people_sign_in_and_what_is_there_can_be_changed_without_end(tmp_path: Path, kind: str) -> None:
    """T-41."""
    told = on_a_full_disk(tmp_path, kind, "kept")
    assert told["kept"] == RESERVE_BYTES
    assert (told["added"], told["changed"]) == (ADDED, CHANGED)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_without_the_reserve_changes_fail_again_and_again_but_not_for_good(tmp_path: Path, kind: str) -> None:
    """A log that cannot grow is written over from its beginning, once what is in it is in the file."""
    told = on_a_full_disk(tmp_path, kind, "bare")
    assert told["added"] < ADDED
    assert told["changed"] < CHANGED
    assert told["again"] >= AGAIN // 4


def test_the_reserve_is_made_once_and_costs_nothing_afterwards(database: Database) -> None:
    put(database, "a")
    kept = Reserve(database)
    assert kept.keep() == RESERVE_BYTES == LOG_BYTES + PAGES_BYTES
    size, log = database.path.stat().st_size, Path(f"{database.path}-wal").read_bytes()
    assert kept.keep() == RESERVE_BYTES
    assert (database.path.stat().st_size, Path(f"{database.path}-wal").read_bytes()) == (size, log)
    assert (names(database), is_sound(database)) == (["a"], True)


def test_what_was_used_is_made_good(database: Database) -> None:
    kept = Reserve(database)
    kept.keep()
    put(database, "large", bytes(PAGES_BYTES - 8192))
    database.scrub()
    assert kept.keep() == RESERVE_BYTES
    assert (names(database), is_sound(database)) == (["large"], True)


def test_a_log_that_was_longer_made_is_read_as_before_after_a_kill(database: Database, tmp_path: Path) -> None:
    """Zeros behind the last commit are no commits."""
    kept = Reserve(database)
    put(database, "a")
    kept.keep()
    put(database, "b")
    put(database, "c")
    copy = tmp_path / "copy.sqlite3"
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{database.path}{suffix}").read_bytes())
    with closing(sqlite3.connect(copy)) as other:
        assert other.execute("SELECT name FROM things ORDER BY name").fetchall() == [("a",), ("b",), ("c",)]
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_others_write_while_the_reserve_is_made(database: Database) -> None:
    others = [database.twin(durable=False) for _ in range(2)]
    stop = threading.Event()

    def work(other: Database, letter: str) -> None:
        number = 0
        while not stop.is_set() or number < 50:
            put(other, f"{letter}{number:04}", bytes(500))
            number += 1

    threads = [threading.Thread(target=work, args=pair) for pair in zip(others, "xy", strict=True)]
    for thread in threads:
        thread.start()
    kept = Reserve(database)
    for _ in range(20):
        kept.keep()
        database.read("PRAGMA wal_checkpoint(TRUNCATE)")
    stop.set()
    for thread in threads:
        thread.join()
    for letter in "xy":
        found = [name for name in names(database) if name.startswith(letter)]
        assert found == [f"{letter}{number:04}" for number in range(len(found))]
        assert len(found) >= 50
    assert is_sound(database)
    for other in others:
        other.close()


class _Status(NamedTuple):
    f_bavail: int
    f_frsize: int


def test_a_disk_that_is_short_already_is_left_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of it is the log's."""
    monkeypatch.setattr("gateway.store.reserve.os.statvfs", lambda _: _Status(2 * RESERVE_BYTES, 1))
    assert Reserve(database).keep() < RESERVE_BYTES // 2
    assert Path(f"{database.path}-wal").stat().st_size < 1 << 20
