"""The end of a log after its writer died: what a crash leaves is discarded and said, and nothing else ever is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.frame import parse_frame
from gateway.audit.verify import Kind
from gateway.exchange.stream import Stream
from gateway.ledger.errors import LogTamperedError, LogUnavailableError
from tests.unit.ledger import conftest
from tests.unit.ledger.test_spool import seal_file

Bench = Any


def spans(log: Any) -> list[tuple[int, int, int]]:
    """Return where each frame of the file that is written stands, and how many entries the log has with it."""
    data = log._file.path.read_bytes()
    begin = int.from_bytes(data[4:8], "little")
    found: list[tuple[int, int, int]] = []
    while begin < log._file.offset:
        frame = parse_frame(data, begin)
        found.append((begin, frame.end, frame.header.first_index + frame.header.count))
        begin = frame.end
    return found


def written(bench: Bench, sizes: list[tuple[int, bool]]) -> tuple[Path, list[tuple[int, int, int]]]:
    """A log whose writer was killed after one frame for each of `sizes`."""
    log = bench.open()
    bench.append(log, 1)
    log.publish()
    for count, is_safe in sizes:
        bench.append(log, count, is_safe=is_safe, size=60)
    found = spans(log)
    bench.crash(log)
    return bench.files()[0], found


def contents(bench: Bench) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bench.files()}


def test_every_opening_makes_a_file_of_its_own_and_continues_the_log(bench: Bench) -> None:
    for opened in range(4):
        log = bench.open()
        assert log.recovery.size == opened * 2
        assert log.taken.get(1, 0) == opened * 2
        bench.append(log, 2)
        log.close()
    assert len(bench.files()) == 4
    bench.assert_intact(8)


def test_after_a_crash_the_file_is_ended_and_nothing_acknowledged_is_lost(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 3)
    log.publish()
    bench.crash(log)
    bench.assert_intact(3)
    log = bench.open()
    assert (log.recovery.size, log.recovery.discarded_bytes, log.recovery.boot) == (3, 0, "boot-1")
    bench.append(log, 1)
    log.close()
    assert bench.numbers() == [(1, 1), (1, 2), (1, 3), (1, 4)]
    bench.assert_intact(4)


@pytest.mark.parametrize("kept", [1, 30, 68, 90, 200, -3])
def test_a_torn_frame_is_discarded_said_and_written_over_nowhere(bench: Bench, kept: int) -> None:
    log = bench.open()
    bench.append(log, 3)
    log.publish()
    safe = log._safe.offset
    bench.append(log, 2)
    end = log._file.offset if log._file else 0
    bench.crash(log)
    path = bench.files()[0]
    data = path.read_bytes()
    torn = (end - safe + kept) % (end - safe)
    path.write_bytes(data[: safe + torn] + bytes(len(data) - safe - torn))
    assert bench.verify().exit_code == 0
    log = bench.open()
    assert log.recovery.size == 3
    assert log.recovery.discarded_bytes == len(data[safe : safe + torn].rstrip(b"\0"))
    assert log.recovery.was_interrupted
    bench.append(log, 1)
    log.close()
    assert path.stat().st_size == safe, "cut, never appended to"
    verdict = bench.verify()
    assert verdict.exit_code == 0
    assert {f.kind for f in verdict.findings} == {Kind.RECOVERED}
    assert bench.numbers() == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_a_crash_between_recovery_and_cutting_the_old_file_is_harmless(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 3)
    log.publish()
    safe = log._safe.offset
    bench.crash(log)
    path = bench.files()[0]
    data = path.read_bytes()
    torn = data[:safe] + b"GWB1\x02\0" + bytes(len(data) - safe - 6)
    path.write_bytes(torn)
    log = bench.open()
    bench.append(log, 1)
    bench.crash(log)
    path.write_bytes(torn)
    log = bench.open()
    bench.append(log, 1)
    log.close()
    assert bench.verify().exit_code == 0


def test_garbage_after_the_end_is_discarded_and_called_what_it_is(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 1)
    log.publish()
    safe = log._safe.offset
    bench.crash(log)
    with bench.files()[0].open("r+b") as file:
        file.seek(safe + 7)
        file.write(b"garbage")
    assert bench.verify().exit_code == 1
    log = bench.open()
    assert not log.recovery.was_interrupted
    assert log.recovery.discarded_bytes == 14
    bench.append(log, 1)
    log.close()
    assert bench.verify().exit_code == 0


@pytest.mark.parametrize("attack", ["flip", "truncate", "remove", "remove all", "checkpoint", "head", "foreign"])
def test_a_tampered_log_is_not_continued(bench: Bench, attack: str, tmp_path: Path) -> None:
    log = bench.open()
    bench.append(log, 2)
    log.close()
    log = bench.open()
    bench.append(log, 2)
    log.close()
    path = bench.files()[-1]
    data = path.read_bytes()
    match attack:
        case "flip":
            path.write_bytes(data[:-200] + bytes([data[-200] ^ 1]) + data[-199:])
        case "truncate":
            path.write_bytes(data[:-300])
        case "remove":
            path.unlink()
        case "remove all":
            for file in bench.files():
                file.unlink()
        case "checkpoint":
            bench.layout.checkpoint(Stream.SECURITY).write_bytes(b"junk\n")
        case "head":
            path.write_bytes(b"\0" + data[1:])
        case _:
            (tmp_path / "other").mkdir()
            other = type(bench)(tmp_path / "other" / "state")
            log = other.open()
            other.append(log, 9)
            log.close()
            path.write_bytes(other.files()[0].read_bytes())
    with pytest.raises(LogTamperedError, match="as evidence"):
        bench.open()
    assert bench.verify().exit_code == 1
    bench.layout.directory.rename(tmp_path / "evidence")
    if attack != "nothing":
        bench.layout.checkpoint(Stream.SECURITY).rename(tmp_path / "evidence-checkpoint")
    log = bench.open()
    assert log.recovery.is_new
    bench.append(log, 1)
    log.close()
    bench.assert_intact(1)


def test_a_lost_older_file_does_not_stop_the_log_but_is_said(bench: Bench) -> None:
    for _ in range(3):
        log = bench.open()
        bench.append(log, 1)
        log.close()
    bench.files()[1].unlink()
    log = bench.open()
    assert log.recovery.missing_files == (2,)
    bench.append(log, 1)
    log.close()
    assert Kind.MISSING in {f.kind for f in bench.verify().failures}


def test_a_leftover_of_an_unfinished_file_is_removed(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 1)
    log.close()
    leftover = bench.layout.directory / "security-000000000002.log.new"
    leftover.write_bytes(b"half a head")
    assert bench.verify().exit_code == 0
    log = bench.open()
    assert not leftover.exists()
    bench.append(log, 1)
    log.close()
    bench.assert_intact(2)


def test_what_a_killed_writer_had_not_published_is_published_by_its_successor(bench: Bench) -> None:
    log = bench.open()
    bench.append(log)
    log.publish()
    bench.append(log, 2)
    bench.crash(log)
    log = bench.open(boot="boot-2")
    log.publish()
    assert bench.layout.checkpoint(Stream.SECURITY).read_bytes().split(b"\n")[1] == b"3"
    log.close()
    assert bench.verify().exit_code == 0


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_byte_a_frame_is_torn_at_no_whole_frame_is_thrown_away(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Only the last frame can be torn by a crash: the one before was made safe first. Any other torn frame stops the log."""
    bench = conftest.Bench(tmp_path_factory.mktemp("torn") / "state")
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=5))
    path, frames = written(bench, sizes)
    victim = data.draw(st.integers(1, len(frames) - 1), label="frame")
    begin, end, _ = frames[victim]
    torn_at = data.draw(st.integers(begin, end - 1), label="byte")
    before = path.read_bytes()
    if data.draw(st.booleans(), label="zeros to the end of the frame"):
        after = before[:torn_at] + bytes(end - torn_at) + before[end:]
    else:
        after = before[:torn_at] + bytes([before[torn_at] ^ 1 << data.draw(st.integers(0, 7))]) + before[torn_at + 1 :]
    path.write_bytes(after)
    known = contents(bench)
    if victim < len(frames) - 1:
        with pytest.raises(LogTamperedError, match="are intact, but what stands before them is not"):
            bench.open()
        assert contents(bench) == known, "nothing is cut, nothing is written"
        assert bench.verify().exit_code == 1
        return
    log = bench.open()
    assert log.size == frames[victim - 1][2]
    assert log.recovery.discarded_bytes == len(after[begin:].rstrip(b"\0"))
    bench.append(log, 1)
    log.close()
    assert bench.verify().exit_code == 0


def test_a_whole_frame_behind_a_damaged_one_is_evidence_and_stays(bench: Bench) -> None:
    """Attack: one bit of a record of the last second is changed and the daemon killed; all that followed would be discarded."""
    path, frames = written(bench, [(2, True), (3, True), (1, True)])
    data = bytearray(path.read_bytes())
    data[frames[1][0] + 120] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogTamperedError, match="entries 3 to 5 are intact") as caught:
        bench.open()
    assert "as evidence" in str(caught.value)
    assert path.read_bytes() == data


def test_somebodys_bytes_in_the_form_of_a_frame_are_garbage(bench: Bench, tmp_path: Path) -> None:
    """They have a SHA-256 of their own and the end mark, but not the file's key."""
    (tmp_path / "other").mkdir()
    other_path, other_frames = written(conftest.Bench(tmp_path / "other" / "state"), [(2, True)])
    path, frames = written(bench, [(2, True)])
    forged = other_path.read_bytes()[other_frames[1][0] : other_frames[1][1]]
    data = path.read_bytes()
    end = frames[-1][1]
    path.write_bytes(data[: end + 5] + forged + data[end + 5 + len(forged) :])
    log = bench.open()
    assert (log.size, log.recovery.was_interrupted) == (3, False)
    assert log.recovery.discarded_bytes == len(forged) + 5
    log.close()


def test_a_frame_that_stands_there_again_stops_the_log(bench: Bench) -> None:
    """Attack: an old frame is copied behind the last one."""
    path, frames = written(bench, [(2, True)])
    data = path.read_bytes()
    begin, end, _ = frames[0]
    path.write_bytes(data[: frames[-1][1]] + data[begin:end] + data[frames[-1][1] + end - begin :])
    with pytest.raises(LogTamperedError, match="entries 0 to 0 are intact"):
        bench.open()


def test_nothing_is_written_behind_what_is_not_on_stable_storage(bench: Bench) -> None:
    """So that a power cut can tear the last frame alone, however many were not waited for."""
    log = bench.open()
    syncs = bench.disk.syncs
    for _ in range(4):
        bench.append(log, 2, is_safe=False)
    assert (bench.disk.syncs, log.unsafe_records) == (syncs + 3, 2)
    bench.append(log, 9000, is_safe=False, size=1)
    assert log.unsafe_records <= 4096, "of a batch of several frames too"
    log.close()
    assert bench.verify().exit_code == 0


def test_what_was_stored_of_a_batch_before_the_disk_failed_is_known(bench: Bench) -> None:
    """Each frame is stored or not: the first of three is safe when the disk dies under the second."""
    log = bench.open(capacity=1 << 20)
    bench.append(log, 1)
    bench.disk.fail_sync_after = 1
    bench.disk.fail_sync = 2
    with pytest.raises(LogUnavailableError):
        bench.append(log, 9000, size=1)
    assert (log.taken, log.size) == ({1: 4097}, 4097)
    bench.append(log, 4904, size=1)
    log.close()
    assert [one.entry.sequence for one in bench.stored(Stream.SECURITY)] == list(range(1, 9002))
    assert bench.verify().exit_code == 0


def test_a_newest_file_that_was_removed_is_tampering_and_not_an_error_of_the_disk(bench: Bench) -> None:
    """Attack: the files that are not sealed yet are removed; the start has to say what it is and what to do."""
    for _ in range(2):
        log = bench.open()
        bench.append(log, 2)
        log.close()
    seal_file(bench, 1)
    bench.files()[-1].unlink()
    with pytest.raises(
        LogTamperedError, match=r"the file after number 1, which was sealed, is gone; .*moving all of them away"
    ):
        bench.open()
