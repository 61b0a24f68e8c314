from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.exchange.stream import Stream
from gateway.ledger import reader
from gateway.ledger.reader import FileReader, Follower, UnreadableLogError, entries, read_newest
from tests.unit.ledger.test_spool import seal_file

Bench = Any


def grow(bench: Bench, opens: int = 3, records: int = 2) -> None:
    for _ in range(opens):
        log = bench.open()
        bench.append(log, records)
        log.close()


def test_what_cannot_become_whole_is_damage_and_not_waited_for(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 1)
    path = bench.files()[0]
    before = log._safe.offset
    bench.append(log, 1)
    bench.append(log, 1)
    data = path.read_bytes()
    changed = data[: before + 50] + bytes([data[before + 50] ^ 1]) + data[before + 51 :]
    path.write_bytes(changed)
    pauses: list[float] = []
    assert read_newest(path, pause=pauses.append) == changed
    cut = data[: log._safe.offset - 1]
    path.write_bytes(cut)
    assert read_newest(path, pause=pauses.append) == cut, "what is shorter than its room is not being written"
    assert pauses == []
    path.write_bytes(data)
    log.close()


def test_a_frame_that_is_half_there_is_read_again_until_it_is_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = bench.open()
    bench.append(log, 1)
    path = bench.files()[0]
    before = log._safe.offset
    bench.append(log, 1)
    whole = path.read_bytes()
    torn = whole[: before + 50] + bytes(len(whole) - before - 50)
    path.write_bytes(torn)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            path.write_bytes(whole)

    assert read_newest(path, pause=pause) == whole
    assert len(pauses) == 3
    path.write_bytes(torn)
    assert read_newest(path, pause=lambda _: None) == torn, "it was an interrupted write after all"
    monkeypatch.setattr(reader, "_BLOCK_BYTES", 100)
    assert read_newest(path, pause=lambda _: None) == torn
    path.write_bytes(b"no head")
    assert read_newest(path) == b"no head"
    path.write_bytes(whole)
    log.close()


def test_entries_are_read_in_order_and_old_files_can_be_skipped(bench: Bench) -> None:
    grow(bench)
    damages: list[str] = []
    everything = list(entries(bench.layout.directory, bench.keys, on_damage=damages.append))
    assert [stored.index for stored in everything] == list(range(6))
    since = everything[4].entry.time_ns
    assert [s.index for s in entries(bench.layout.directory, bench.keys, since_ns=since, on_damage=damages.append)] == [
        2,
        3,
        4,
        5,
    ]
    assert damages == []


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(bench: Bench, tmp_path: Path) -> None:
    grow(bench)
    data = bytearray(bench.files()[0].read_bytes())
    data[-100] ^= 1
    bench.files()[0].write_bytes(bytes(data))
    bench.files()[1].write_bytes(b"junk")
    damages: list[str] = []
    found = list(entries(bench.layout.directory, bench.keys, on_damage=damages.append))
    assert [stored.index for stored in found] == [4, 5]
    assert len(damages) == 2
    with pytest.raises(UnreadableLogError):
        list(entries(tmp_path / "nowhere", bench.keys, on_damage=damages.append))


def test_a_follower_sees_new_entries_and_new_files(bench: Bench) -> None:
    grow(bench, opens=2)
    follower = Follower(bench.layout.directory, bench.keys)
    assert [stored.index for stored in follower.last(3)] == [1, 2, 3]
    assert follower.poll() == []
    log = bench.open()
    bench.append(log, 1)
    assert [stored.index for stored in follower.poll()] == [4]
    bench.append(log, 2)
    assert [stored.index for stored in follower.poll()] == [5, 6]
    log.close()
    grow(bench, opens=2, records=1)
    assert [stored.index for stored in follower.poll()] == [7, 8]
    assert Follower(bench.layout.directory, bench.keys).last(0) == []
    data = bench.files()[-1]
    data.write_bytes(b"junk")
    with pytest.raises(UnreadableLogError):
        Follower(bench.layout.directory, bench.keys).last(1)


def test_a_follower_of_an_empty_log_waits(bench: Bench) -> None:
    bench.layout.create()
    follower = Follower(bench.layout.directory, bench.keys)
    assert follower.last(5) == []
    grow(bench, opens=1)
    assert [stored.index for stored in follower.poll()] == [0, 1]


def test_a_file_reader_goes_over_block_boundaries(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    log = bench.open()
    for _ in range(9):
        bench.append(log, 3, size=900)
    monkeypatch.setattr(reader, "_BLOCK_BYTES", 1024)
    assert len(list(FileReader(bench.files()[0], bench.keys).poll())) == 27
    log.close()


def test_other_peoples_files_cannot_be_read(bench: Bench) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    grow(bench)
    bench.layout.directory.chmod(0)
    with pytest.raises(UnreadableLogError, match="permission denied"):
        bench.verify()
    bench.layout.directory.chmod(0o700)


# segments


def test_entries_of_segments_are_read_with_those_of_log_files(bench: Bench) -> None:
    for _ in range(3):
        log = bench.open()
        bench.append(log, 4)
        log.close()
    before = bench.stored()
    for number in (1, 2):
        seal_file(bench, number)
    assert bench.stored() == before
    assert [path.suffix for path in bench.files()] == [".seg", ".seg", ".log"]


def test_a_follower_goes_on_where_it_was_when_its_file_is_sealed(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 4)
    follower = Follower(bench.layout.directory, bench.keys)
    assert len(follower.last(2)) == 2
    bench.append(log, 3)
    log.turn_over(now_ns=bench.now_ns)
    bench.append(log, 2)
    log.close()
    seal_file(bench, 1)
    assert [stored.index for stored in follower.poll()] == [4, 5, 6, 7, 8]
    assert follower.poll() == []


def test_the_last_entries_are_found_in_segments(bench: Bench) -> None:
    for _ in range(3):
        log = bench.open()
        bench.append(log, 4)
        log.close()
    for number in (1, 2):
        seal_file(bench, number)
    follower = Follower(bench.layout.directory, bench.keys)
    assert [stored.index for stored in follower.last(10)] == list(range(2, 12))


def test_a_file_that_is_sealed_while_the_directory_is_listed_is_searched_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large directory the system shows one part after the other: neither the log file nor its segment may be in any."""
    grow(bench, 3, 2)
    looks = 0
    listdir = os.listdir

    def in_parts(folder: Path) -> list[str]:
        nonlocal looks
        looks += 1
        return [name for name in listdir(folder) if looks > 1 or not name.startswith("security-000000000002")]

    monkeypatch.setattr(os, "listdir", in_parts)
    found = entries(bench.layout.directory, bench.keys, streams=(Stream.SECURITY,), on_damage=pytest.fail)
    assert [stored.index for stored in found] == list(range(6))


def test_a_damaged_segment_is_told_and_left_out(bench: Bench) -> None:
    for _ in range(2):
        log = bench.open()
        bench.append(log, 4)
        log.close()
    seal_file(bench, 1)
    path = bench.files()[0]
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    damages: list[str] = []
    found = list(entries(bench.layout.directory, bench.keys, on_damage=damages.append))
    assert [stored.index for stored in found] == [4, 5, 6, 7]
    assert damages == [f"{path.name}: the segment does not have its SHA-256"]
