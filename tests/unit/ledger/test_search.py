from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import subject
from gateway.audit.filehead import parse_head
from gateway.audit.segment import seal
from gateway.audit.subject import Sealing
from gateway.exchange.stream import Stream
from gateway.exchange.subject import ERASED, SubjectKey
from gateway.ledger import search as search_module
from gateway.ledger import search_index
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import file_name, segment_name
from gateway.ledger.reader import FileReader
from gateway.ledger.search import Filters, Found, Search, Somebody
from gateway.ledger.search_index import SearchIndex
from tests.fakes.evidence import BEGIN_S, access, make_keys, write

PER_FILE = 60


class Log:
    """Three files in each stream; seconds of the access stream follow those of security, and traffic's those of access."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.keys: AuditKeys = make_keys()
        self.damages: list[str] = []
        second = 0
        for stream in Stream:
            for _ in range(3):
                write(
                    state_dir,
                    self.keys,
                    stream,
                    map(access, range(second, second + PER_FILE)),
                    begin_s=BEGIN_S + second,
                )
                second += PER_FILE

    def search(self, **more: Any) -> Search:
        return Search(self.state_dir, self.keys, on_damage=self.damages.append, **more)

    def seconds(self, filters: Filters, **more: Any) -> list[int]:
        return [second(found) for found in self.search().find(filters, **more)]

    @property
    def index(self) -> Path:
        return self.state_dir / "index"


def second(found: Found) -> int:
    return int(found.record["time"]) // 1000 - BEGIN_S


def person(*names: str) -> Somebody:
    return Somebody(names=frozenset(names))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    monkeypatch.setattr(search_module, "WORTH_AN_INDEX", 1)
    monkeypatch.setattr(search_index, "FREE", 0.0)  # whatever else fills the disk of this machine
    log = Log(tmp_path / "state")
    yield log
    assert log.damages == []


ALL = range(9 * PER_FILE)


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        (Filters(), lambda n: True),
        (Filters(request_id="req-77"), lambda n: n == 77),
        (Filters(uid="e-500"), lambda n: n == 500),
        (Filters(request_id="req-7"), lambda n: n == 7),
        (Filters(person=person("person3")), lambda n: n % 7 == 3),
        (Filters(actor=person("u-3")), lambda n: n % 7 == 3),
        (Filters(person=person("c-1")), lambda n: n % 3 == 1),
        (Filters(actor=person("c-1")), lambda n: False),
        (Filters(subject=person("c-1")), lambda n: n % 3 == 1),
        (Filters(subject=person("c-1"), actor=person("u-0")), lambda n: n % 21 == 7),
        (Filters(resource="invoice/5"), lambda n: n == 5),
        (Filters(resource="invoice"), lambda n: True),
        (Filters(resource="file"), lambda n: False),
        (Filters(ip="10.0.0.4", route="invoice", decision="allow"), lambda n: n % 5 == 4),
        (Filters(status=404), lambda n: False),
        (Filters(event="request", tenant="acme"), lambda n: True),
        (Filters(event="GET /invoices/{id}"), lambda n: True),
        (Filters(streams=(Stream.ACCESS,)), lambda n: 180 <= n < 360),
        (Filters(since=BEGIN_S + 100, until=BEGIN_S + 103), lambda n: 100 <= n < 103),
        (Filters(since=BEGIN_S + 530, person=person("u-1")), lambda n: n >= 530 and n % 7 == 1),
    ],
)
def test_a_search_finds_what_was_asked_for_with_an_index_and_without(
    log: Log, filters: Filters, fits: Callable[[int], bool]
) -> None:
    expected = list(filter(fits, ALL))
    assert log.seconds(filters) == expected
    assert log.seconds(filters) == expected, "from the index"
    assert log.seconds(filters, newest_first=True) == expected[::-1]
    assert log.seconds(filters, newest_first=True, limit=2) == expected[::-1][:2]
    assert log.seconds(filters, limit=2) == expected[:2]


def test_closed_files_are_indexed_once_and_the_open_one_never(log: Log) -> None:
    assert log.search().index() == 6
    assert log.search().index() == 0
    assert sorted(path.name for path in log.index.iterdir()) == [
        f"{stream}-{number:012d}.index" for stream in sorted(Stream) for number in (1, 2)
    ]


def test_the_index_is_for_its_owner_alone_and_says_nothing(log: Log) -> None:
    log.search().index()
    assert log.index.stat().st_mode & 0o077 == 0
    for path in log.index.iterdir():
        assert path.stat().st_mode & 0o077 == 0
        data = path.read_bytes()
        assert not [word for word in (b"person3", b"invoice", b"10.0.0.4", b"acme", b"req-") if word in data]


def test_a_search_opens_only_files_in_which_something_is_asked_for(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.search().index()
    opened: list[str] = []
    real = FileReader

    def reader(path: Path, keys: AuditKeys) -> Any:
        opened.append(path.name)
        return real(path, keys)

    monkeypatch.setattr(search_module, "FileReader", reader)
    assert log.seconds(Filters(request_id="req-190", streams=(Stream.ACCESS,))) == [190]
    assert opened == ["access-000000000001.log", "access-000000000003.log"]


@pytest.mark.parametrize("damage", ["bit", "junk", "empty", "another"])
def test_an_index_that_was_changed_hides_nothing(log: Log, damage: str) -> None:
    log.search().index()
    path = log.index / "access-000000000001.index"
    data = bytearray(path.read_bytes())
    if damage == "bit":
        data[-5] ^= 1
        data[100] ^= 1
    elif damage == "junk":
        data = bytearray(b"junk")
    elif damage == "empty":
        data = bytearray()
    else:
        data = bytearray((log.index / "access-000000000002.index").read_bytes())
    path.write_bytes(data)
    assert log.seconds(Filters(request_id="req-190")) == [190]
    assert log.seconds(Filters(request_id="req-190")) == [190], "it was made again"


def test_what_was_pruned_does_not_live_on_in_the_index(log: Log) -> None:
    log.search().index()
    (log.state_dir / "audit" / "access-000000000001.log").unlink()
    assert log.seconds(Filters(request_id="req-190")) == []
    assert not (log.index / "access-000000000001.index").exists()


def test_what_was_never_finished_is_cleared_away(log: Log) -> None:
    log.search().index()
    old, fresh = log.index / ".x.index.1.new", log.index / ".x.index.2.new"
    old.touch()
    os.utime(old, (1, 1))
    fresh.touch()
    log.seconds(Filters(request_id="req-190"))
    assert (old.exists(), fresh.exists()) == (False, True)


def test_without_room_or_permission_a_search_works_and_keeps_nothing(log: Log) -> None:
    index = SearchIndex(log.state_dir, log.keys, free=1.1)
    assert [second(found) for found in log.search(index=index).find(Filters(request_id="req-190"))] == [190]
    assert not list(log.index.glob("*"))
    log.index.rmdir()
    log.index.write_text("in the way")
    assert log.seconds(Filters(request_id="req-190")) == [190]


def test_progress_is_told_in_bytes(log: Log) -> None:
    told: list[tuple[int, int]] = []
    list(log.search().find(Filters(request_id="none"), progress=lambda done, total: told.append((done, total))))
    assert len(told) == 9
    assert told[-1][0] == told[-1][1] > 0


def test_tables_hold_the_columns_and_rows_that_are_asked_for(log: Log) -> None:
    tables = list(log.search().tables(Filters(person=person("u-2")), ("path", "record")))
    assert sum(len(table.rows) for table in tables) == len([n for n in ALL if n % 7 == 2])
    table = tables[0]
    assert [table.columns.values("path")[row] for row in table.rows][:2] == ["/invoices/2", "/invoices/9"]
    assert '"req-2"' in next(iter(table.records))


def test_what_cannot_be_read_is_told_and_the_rest_is_found(log: Log) -> None:
    path = log.state_dir / "audit" / "access-000000000001.log"
    data = bytearray(path.read_bytes())
    data[-300] ^= 1
    path.write_bytes(bytes(data))
    assert 190 not in log.seconds(Filters())
    assert log.seconds(Filters(request_id="req-250")) == [250]
    assert log.damages[0].startswith("access-000000000001.log: not readable from byte")
    assert not (log.index / path.with_suffix(".index").name).exists(), "what was not read whole is not kept"
    log.damages.clear()


def test_a_damaged_head_is_told(log: Log) -> None:
    (log.state_dir / "audit" / "traffic-000000000003.log").write_bytes(b"junk")
    assert log.seconds(Filters(request_id="req-500")) == []
    assert log.damages[0].startswith("traffic-000000000003.log: the file does not begin")
    log.damages.clear()


def test_a_log_that_was_not_begun_holds_nothing(tmp_path: Path) -> None:
    search = Search(tmp_path / "nowhere", make_keys(), on_damage=pytest.fail)
    assert list(search.find(Filters())) == []
    assert search.origins() == {}


def test_every_stream_says_its_origin(log: Log) -> None:
    origins = log.search().origins()
    assert set(origins) == set(Stream)
    assert all(
        origin.startswith("gateway/node/") and origin.endswith(f"/{stream}") for stream, origin in origins.items()
    )


def sealed_log(state_dir: Path, keys: AuditKeys, alice: SubjectKey) -> None:
    sealing = Sealing(alice, os.urandom)
    user = {"name": sealing.value(subject.USER_NAME, "alice"), "uid": sealing.value(subject.USER_UID, "u-alice")}
    source = {"ip": sealing.value(subject.ADDRESS, "192.0.2.9")}
    resources = [{"type": "patient", "uid": sealing.value(subject.RESOURCE_UID, "p-1")}]
    payloads = [access(n, actor={"user": user}, src_endpoint=source, resources=resources) for n in (0, 1)]
    for part in ([*payloads, access(3)], [access(4)]):
        write(state_dir, keys, Stream.ACCESS, part)


def test_a_person_is_found_by_pseudonym_and_shown_to_whoever_has_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "WORTH_AN_INDEX", 1)
    keys, alice = make_keys(), SubjectKey(os.urandom(16), os.urandom(32))
    sealed_log(tmp_path, keys, alice)
    pseudonym = Somebody(names=frozenset(["alice"]), tokens=frozenset([alice.token.hex()]))
    for _ in range(2):
        search = Search(tmp_path, keys, subject_keys=lambda _: alice, on_damage=pytest.fail)
        found = list(search.find(Filters(actor=pseudonym)))
        assert [each.record["actor"]["user"]["name"] for each in found] == ["alice", "alice"]
        assert b"alice" not in found[0].stored.entry.payload
        assert len(list(search.find(Filters(ip="192.0.2.9")))) == 2
        assert len(list(search.find(Filters(resource="patient/p-1")))) == 2
        assert list(search.find(Filters(resource="patient/p-2"))) == []
        assert list(search.find(Filters(actor=person("alice")))) == [], "the name alone stands in no record"
    erased = Search(tmp_path, keys, subject_keys=lambda _: ERASED, on_damage=pytest.fail)
    found = list(erased.find(Filters(person=pseudonym)))
    assert [each.record["actor"]["user"]["name"] for each in found] == [ERASED, ERASED]
    assert list(erased.find(Filters(ip="192.0.2.9"))) == []
    without = next(iter(Search(tmp_path, keys, on_damage=pytest.fail).find(Filters(person=pseudonym))))
    assert without.record["actor"]["user"]["name"]["t"] == alice.token.hex()
    data = b"".join(path.read_bytes() for path in (tmp_path / "index").iterdir())
    assert alice.token.hex().encode() not in data


def test_text_that_looks_like_what_is_asked_for_does_not_count(tmp_path: Path) -> None:
    """A user agent that quotes a request id is no record of that request."""
    keys = make_keys()
    quoted = access(1, http_request={"user_agent": '"req-77"'}, status_detail='"req-77"')
    write(tmp_path, keys, Stream.TRAFFIC, [quoted, b'no JSON "req-77"'])
    search = Search(tmp_path, keys, on_damage=pytest.fail)
    assert list(search.find(Filters(request_id="req-77"))) == []
    assert [found.record for found in search.find(Filters())][1] == {"raw": 'no JSON "req-77"'}
    assert [found.index for found in search.find(Filters(since=BEGIN_S))] == [0], "what has no time is in no span"


def sealed(log: Log) -> None:
    """Make segments of all closed files, as the custodian does."""
    directory = log.state_dir / "audit"
    for stream in Stream:
        for number in (1, 2):
            path = directory / file_name(stream, number)
            head = parse_head(path.read_bytes())[0]
            following = parse_head((directory / file_name(stream, number + 1)).read_bytes())[0]
            data = seal(path.read_bytes(), following, log.keys.open(head), log.keys.public, salt=os.urandom(6))
            (directory / segment_name(stream, number)).write_bytes(data)
            path.unlink()


def test_segments_are_searched_like_the_files_they_were(log: Log) -> None:
    assert log.seconds(Filters(person=person("u-4"))) == [n for n in ALL if n % 7 == 4]
    made = {path: path.read_bytes() for path in log.index.iterdir()}
    sealed(log)
    assert log.seconds(Filters(person=person("u-4"))) == [n for n in ALL if n % 7 == 4]
    assert {path: path.read_bytes() for path in log.index.iterdir()} == made, "the index is that of the same entries"
    for path in made:
        path.unlink()
    assert log.search().index() == 6
    assert log.seconds(Filters(request_id="req-190")) == [190]
    assert log.seconds(Filters()) == list(ALL)


def test_a_damaged_segment_is_told(log: Log) -> None:
    sealed(log)
    path = log.state_dir / "audit" / segment_name(Stream.ACCESS, 1)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    assert 190 not in log.seconds(Filters())
    assert log.damages[0].startswith(path.name)
    log.damages.clear()
