from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import subject
from gateway.audit.subject import Sealing
from gateway.exchange.stream import Stream
from gateway.exchange.subject import SubjectKey
from gateway.ledger.keys import AuditKeys
from gateway.ledger.search import Filters, Search, Table
from gateway.ledger.sql import VIEW, Sql, SqlError
from tests.fakes.evidence import access, make_keys, write


@pytest.fixture(scope="module")
def keys() -> AuditKeys:
    return make_keys()


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory, keys: AuditKeys) -> Search:
    state_dir = tmp_path_factory.mktemp("sql") / "state"
    hostile = access(99, http_request={"user_agent": "a\x1fb\n\"'c\\", "http_method": "GET", "url": {"path": "/é"}})
    write(state_dir, keys, Stream.ACCESS, [*map(access, range(50)), hostile])
    write(state_dir, keys, Stream.SECURITY, map(access, range(50, 60)))
    return Search(state_dir, keys, on_damage=pytest.fail)


def ask(search: Search, question: str, filters: Filters | None = None, **more: Any) -> list[tuple[Any, ...]]:
    with Sql(question, **more) as sql:
        sql.load(search.tables(filters or Filters(), sql.names))
        return list(sql.rows()[1])


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("SELECT count(*) FROM records", [(61,)]),
        ("select stream, count(*) from records group by 1 order by 1", [("access", 51), ("security", 10)]),
        ("FROM records SELECT max(index) WHERE stream = 'access'", [(50,)]),
        ("SELECT epoch_ms(min(time)), count(*) FILTER (status = 200) FROM records", [(1_700_000_000_000, 61)]),
        ("SELECT actor FROM records WHERE request_id = 'req-9'", [("person2",)]),
        ("SELECT user_agent, path FROM records WHERE user_agent IS NOT NULL", [("a\\x1fb\\n\"'c\\", "/é")]),
        (
            "SELECT count(DISTINCT a.ip) FROM records a JOIN records b USING (request_id) WHERE b.actor_id = 'u-1'",
            [(5,)],
        ),
        ("SELECT record->>'$.resources[0].owner.uid' FROM records WHERE resource_id = '7'", [("c-1",)]),
        ("SELECT count(*) FROM records WHERE latency_ms IS NULL", [(61,)]),
        ("WITH x AS (SELECT * FROM records) SELECT count(path) FROM x;", [(61,)]),
        ("SELECT 1 -- nothing of the log", [(1,)]),
    ],
)
def test_a_question_is_answered(search: Search, question: str, answer: Sequence[Any]) -> None:
    assert ask(search, question) == list(answer)


def test_filters_choose_what_the_view_holds(search: Search) -> None:
    assert ask(search, "SELECT count(*) FROM records", Filters(request_id="req-9")) == [(1,)]
    assert ask(search, "SELECT count(*) FROM records", Filters(request_id="nobody")) == [(0,)]


def test_only_what_the_question_is_about_is_loaded() -> None:
    assert Sql("SELECT path FROM records WHERE actor = 'x' ORDER BY time").names == ("actor", "path", "time")
    assert Sql("SELECT count(*) FROM records").names == ()
    assert "record" not in Sql("SELECT * EXCLUDE (record) FROM records").names
    assert len(Sql("FROM records LIMIT 1").names) == len(VIEW)
    assert len(Sql("SELECT r FROM records r").names) == len(VIEW)
    assert len(Sql("SUMMARIZE records").names) == len(VIEW)


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_text('/dev/fd/0')",
        "SELECT * FROM read_parquet('https://attacker.example/x.parquet')",
        "COPY records TO '/tmp/stolen.csv'",
        "SELECT 1; COPY records TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/stolen.db'",
        "EXPORT DATABASE '/tmp/stolen'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA enable_external_access",
        "CREATE TABLE x AS SELECT 1",
        "DROP VIEW records",
        "DELETE FROM records",
        "EXPLAIN ANALYZE SELECT 1",
        "SELECT nothing FROM records",
        "SELEC",
        "",
        "SELECT 1; SELECT 2",
        "SELECT getenv('HOME')",
    ],
)
def test_a_question_can_read_nothing_but_the_records(question: str) -> None:
    """Refused before anything is loaded."""
    with pytest.raises(SqlError):
        Sql(question)


@pytest.mark.parametrize(
    "question",
    [
        "SELECT count(*) FROM read_text((SELECT '/etc/passwd'))",
        "SELECT (SELECT content FROM read_text('/etc/' || 'passwd'))",
        "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
        "SELECT * FROM query_table('/etc/passwd')",
    ],
)
def test_a_path_that_is_put_together_is_refused_too(search: Search, question: str) -> None:
    with pytest.raises(SqlError):
        ask(search, question)


def test_objects_of_the_program_are_no_tables(search: Search) -> None:
    secret = [("password",)]
    with pytest.raises(SqlError, match="secret"):
        ask(search, "SELECT * FROM secret")
    assert secret


def test_the_pipe_gives_nothing_a_second_time(search: Search) -> None:
    with Sql("SELECT 1") as sql:
        sql.load(search.tables(Filters(), sql.names))
        path = sql._connection.execute("SELECT current_setting('allowed_paths')").fetchone()[0][0]
        assert os.readlink(path).startswith("pipe:"), "what it names must stay the drained pipe"


def test_more_than_the_memory_is_refused_and_nothing_goes_to_disk(search: Search) -> None:
    with pytest.raises(SqlError, match=r"needs more than 16 MiB of memory: narrow it with --since"):
        ask(search, "SELECT count(DISTINCT md5(i::VARCHAR)) FROM range(3000000) t(i)", memory_bytes=16 << 20)


def test_parquet_is_written_to_the_named_file_alone(search: Search, tmp_path: Path) -> None:
    path = tmp_path / "it's.parquet"
    with Sql("SELECT path, time FROM records -- all of them\n;") as sql:
        sql.load(search.tables(Filters(), sql.names), output=path)
        sql.write_parquet(path)
        with pytest.raises(SqlError, match="disabled by configuration"):
            sql.write_parquet(tmp_path / "other.parquet")
    assert path.read_bytes()[:4] == b"PAR1"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_fails_while_it_is_loaded_is_raised_and_every_descriptor_closed(search: Search) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def failing() -> Iterator[Table]:
        yield from search.tables(Filters(), ("path",))
        raise OSError("the disk is gone")

    with Sql("SELECT path FROM records") as sql, pytest.raises(OSError, match="the disk is gone"):
        sql.load(failing())
    with pytest.raises(SqlError), Sql("SELECT path FROM records", memory_bytes=1 << 20) as sql:
        sql.load(table for _ in range(100_000) for table in search.tables(Filters(), ("path",)))
    assert len(os.listdir("/proc/self/fd")) == before


def test_sealed_columns_are_opened_for_whoever_has_the_key(tmp_path: Path, keys: AuditKeys) -> None:
    alice = SubjectKey(os.urandom(16), os.urandom(32))
    sealed = Sealing(alice, os.urandom).value(subject.USER_NAME, "alice")
    write(tmp_path, keys, Stream.ACCESS, [access(1, actor={"user": {"name": sealed}})])
    search = Search(tmp_path, keys, on_damage=pytest.fail)
    with Sql("SELECT actor FROM records") as sql:
        sql.load(search.tables(Filters(), sql.names), keys=lambda _: alice)
        assert list(sql.rows()[1]) == [("alice",)]
    assert ask(search, "SELECT actor FROM records") == [("(erased)",)]


def test_a_time_zone_is_refused_with_the_way_out(search: Search) -> None:
    with pytest.raises(SqlError, match="cast it"):
        ask(search, "SELECT now() FROM records")


def test_without_duckdb_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(SqlError, match=r"pip install 'gateway\[query\]'"):
        Sql("SELECT 1")
