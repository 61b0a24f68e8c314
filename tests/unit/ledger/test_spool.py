"""Entries by index, over log files and the segments they become."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.audit.filehead import parse_head
from gateway.audit.segment import seal
from gateway.exchange.stream import Stream
from gateway.ledger.layout import file_name, segment_name
from gateway.ledger.spool import PrunedError, SpoolError, SpoolReader, numbers, read_head
from tests.unit.ledger.conftest import Bench

STREAM = Stream.SECURITY


def fill(bench: Bench, files: int = 3, records: int = 5) -> int:
    for _ in range(files):
        log = bench.open()
        bench.append(log, records)
        log.close()
    return files * records


def seal_file(bench: Bench, number: int) -> None:
    directory = bench.layout.directory
    path = directory / file_name(STREAM, number)
    data = path.read_bytes()
    following = read_head(directory, STREAM, number + 1)
    cipher = bench.keys.open(parse_head(data)[0])
    (directory / segment_name(STREAM, number)).write_bytes(
        seal(data, following, cipher, bench.keys.public, salt=os.urandom(6))
    )
    path.unlink()


def payloads(bench: Bench, start: int, end: int) -> list[bytes]:
    reader = SpoolReader(bench.layout.directory, bench.keys, STREAM, start)
    try:
        return [raw[40:] for raw in reader.read(1000, end)]
    finally:
        reader.close()


@pytest.mark.parametrize("sealed", [(), (1,), (1, 2)])
def test_entries_are_read_from_any_index_whatever_files_they_are_in(bench: Bench, sealed: tuple[int, ...]) -> None:
    size = fill(bench)
    whole = [stored.entry.payload for stored in bench.stored()]
    for number in sealed:
        seal_file(bench, number)
    for start in range(size + 1):
        assert payloads(bench, start, size) == whole[start:]


def test_nothing_is_returned_from_the_given_end_on(bench: Bench) -> None:
    fill(bench)
    assert len(payloads(bench, 2, 9)) == 7


def test_a_reader_goes_on_where_it_stopped_while_files_are_sealed_behind_it(bench: Bench) -> None:
    size = fill(bench)
    whole = [stored.entry.payload for stored in bench.stored()]
    reader = SpoolReader(bench.layout.directory, bench.keys, STREAM, 0)
    found = [raw[40:] for raw in reader.read(3, size)]
    seal_file(bench, 1)
    seal_file(bench, 2)
    while reader.next_index < size:
        found += [raw[40:] for raw in reader.read(2, size)]
    reader.close()
    assert found == whole


def test_what_is_appended_is_read_next(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 4)
    reader = SpoolReader(bench.layout.directory, bench.keys, STREAM, 0)
    assert len(reader.read(100, 4)) == 4
    bench.append(log, 3)
    assert len(reader.read(100, 7)) == 3
    log.turn_over(now_ns=bench.now_ns)
    bench.append(log, 2)
    assert len(reader.read(100, 9)) == 2
    reader.close()
    log.close()


def test_pruned_entries_are_said_to_be_pruned(bench: Bench) -> None:
    fill(bench)
    (bench.layout.directory / file_name(STREAM, 1)).unlink()
    with pytest.raises(PrunedError, match="the oldest is 5") as caught:
        payloads(bench, 2, 9)
    assert caught.value.first == 5


def test_a_damaged_file_is_an_error_and_no_entry(bench: Bench) -> None:
    fill(bench)
    path = bench.layout.directory / file_name(STREAM, 2)
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(SpoolError, match="security log, entry 5"):
        payloads(bench, 5, 9)


def test_a_missing_file_is_an_error_and_no_entry(bench: Bench) -> None:
    fill(bench)
    (bench.layout.directory / file_name(STREAM, 2)).unlink()
    with pytest.raises(SpoolError, match="entry 5"):
        payloads(bench, 0, 15)


def test_only_files_of_the_stream_are_counted(bench: Bench) -> None:
    fill(bench, files=2)
    (bench.layout.directory / file_name(Stream.ACCESS, 9)).touch()
    (bench.layout.directory / (file_name(STREAM, 7) + ".new")).touch()
    assert numbers(bench.layout.directory, STREAM) == [1, 2]


def test_the_oldest_file_is_known_while_it_is_sealed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large directory the system shows one part after the other: what is not in any counts as pruned, and sinks skip it."""
    fill(bench)
    looks = 0
    listdir = os.listdir

    def in_parts(folder: Path) -> list[str]:
        nonlocal looks
        looks += 1
        return [name for name in listdir(folder) if looks > 1 or not name.startswith("security-000000000001")]

    monkeypatch.setattr(os, "listdir", in_parts)
    monkeypatch.setattr(os, "scandir", None)
    assert numbers(bench.layout.directory, STREAM) == [1, 2, 3]
