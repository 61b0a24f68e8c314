from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.filehead import parse_head
from gateway.audit.pressure import Space
from gateway.audit.protocol import CLI_SLOT, Refusal
from gateway.audit.verify import Kind
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from gateway.ledger.disk import LocalDisk
from gateway.ledger.log import BALLAST_BYTES, SMALL_FILE_BYTES, LogBusyError, LogTamperedError, LogUnavailableError

Bench = Any


def numbers(bench: Bench) -> list[tuple[int, int]]:
    return [(stored.entry.slot, stored.entry.sequence) for stored in bench.stored()]


def assert_intact(bench: Bench, size: int) -> None:
    verdict = bench.verify()
    assert [str(f) for f in verdict.failures] == []
    assert (verdict.exit_code, verdict.size, verdict.proven) == (0, size, size)


def test_what_was_appended_is_there_in_order_and_proven(bench: Bench) -> None:
    log = bench.open()
    assert log.recovery.is_new
    for _ in range(5):
        bench.append(log, 3)
    log.close()
    assert numbers(bench) == [(1, n) for n in range(1, 16)]
    assert [stored.index for stored in bench.stored()] == list(range(15))
    assert_intact(bench, 15)
    assert bench.files()[0].stat().st_mode & 0o777 == 0o600
    assert bench.layout.directory.stat().st_mode & 0o777 == 0o700


def test_every_opening_makes_a_file_of_its_own_and_continues_the_log(bench: Bench) -> None:
    for opened in range(4):
        log = bench.open()
        assert log.recovery.size == opened * 2
        assert log.taken.get(1, 0) == opened * 2
        bench.append(log, 2)
        log.close()
    assert len(bench.files()) == 4
    assert_intact(bench, 8)


def test_a_full_file_is_followed_by_another(bench: Bench) -> None:
    log = bench.open(capacity=8192)
    for _ in range(20):
        bench.append(log, 3, size=400)
    log.close()
    assert len(bench.files()) > 3
    assert all(path.stat().st_size <= 8192 for path in bench.files())
    assert_intact(bench, 60)


def test_a_batch_larger_than_a_frame_and_than_a_file_is_cut_into_frames(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 60, size=30_000)
    bench.append(log, 5000, size=1)
    log.append([(2, range(7, 8), [b"a"]), (3, range(9, 11), [b"b", b"c"])], is_safe=True, now_ns=bench.now_ns)
    log.close()
    assert numbers(bench)[-4:] == [(1, 5060), (2, 7), (3, 9), (3, 10)]
    assert log.sequences == {1: 5060, 2: 7, 3: 10}
    assert_intact(bench, 5063)


def test_a_live_log_verifies_while_it_is_written(bench: Bench) -> None:
    log = bench.open()
    for n in range(1, 6):
        bench.append(log, 2)
        log.publish()
        assert_intact(bench, 2 * n)
    assert bench.files()[0].stat().st_size > 60_000, "allocated ahead"
    log.close()


def test_two_writers_are_impossible(bench: Bench) -> None:
    log = bench.open()
    with pytest.raises(LogBusyError, match="another process"):
        bench.open()
    log.close()
    bench.open().close()


def test_after_a_crash_the_file_is_ended_and_nothing_acknowledged_is_lost(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 3)
    log.publish()
    bench.crash(log)
    assert_intact(bench, 3)
    log = bench.open()
    assert (log.recovery.size, log.recovery.discarded_bytes, log.recovery.boot) == (3, 0, "boot-1")
    bench.append(log, 1)
    log.close()
    assert numbers(bench) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert_intact(bench, 4)


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
    assert numbers(bench) == [(1, 1), (1, 2), (1, 3), (1, 4)]


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
    assert_intact(bench, 1)


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
    assert_intact(bench, 2)


# a disk that fails


def test_an_fsync_error_moves_what_was_not_safe_into_another_file(bench: Bench) -> None:
    """T-05: the file is never written again, and nothing is acknowledged before another one is safe."""
    log = bench.open()
    bench.append(log, 3)
    bench.append(log, 2, is_safe=False)
    bench.disk.fail_sync = 1
    syncs = bench.disk.syncs
    bench.append(log, 1)
    assert bench.disk.syncs == syncs + 3, "one that failed, one of each frame in another file, none repeated"
    assert log.io_errors == 1
    assert len(bench.files()) == 2
    assert log.size == 6
    bench.append(log, 1)
    log.close()
    assert numbers(bench) == [(1, n) for n in range(1, 8)]
    verdict = bench.verify()
    assert verdict.exit_code == 0
    assert {f.kind for f in verdict.findings} == {Kind.RECOVERED}


def test_a_short_write_that_fails_is_moved_too(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 3)
    bench.disk.fail_write = 1
    bench.append(log, 2)
    log.close()
    assert numbers(bench) == [(1, n) for n in range(1, 6)]
    assert bench.verify().exit_code == 0


def test_records_that_could_not_be_stored_anywhere_are_refused_and_never_in_the_log(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 3)
    bench.disk.fail_sync = 2
    with pytest.raises(LogUnavailableError) as caught:
        bench.append(log, 2)
    assert caught.value.refusal is Refusal.IO_ERROR
    assert isinstance(caught.value, AuditUnavailableError)
    assert log.taken[1] == 3, "the producer may send them again"
    assert log.size == 3
    bench.append(log, 1)
    log.close()
    assert numbers(bench) == [(1, n) for n in range(1, 5)]
    assert bench.verify().exit_code == 0


def test_records_that_were_acknowledged_without_waiting_survive_a_failing_disk(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 1)
    bench.append(log, 2, is_safe=False)
    bench.disk.fail_sync = 2
    with pytest.raises(LogUnavailableError):
        log.settle()
    assert log.has_unsafe
    assert log.unsafe_records == 2
    assert log.taken[1] == 3
    log.settle()
    assert not log.has_unsafe
    bench.append(log, 1)
    log.close()
    assert numbers(bench) == [(1, n) for n in range(1, 5)]
    assert bench.verify().exit_code == 0


def test_a_full_disk_refuses_when_the_file_is_full_and_recovers_by_itself(bench: Bench) -> None:
    log = bench.open(capacity=8192)
    bench.append(log, 3, size=400)
    bench.disk.fail_allocate = 3
    refused = 0
    for _ in range(12):
        armed = bench.disk.fail_allocate
        with suppress(LogUnavailableError):
            bench.append(log, 3, size=400)
        refused += bench.disk.fail_allocate < armed
    assert refused == 3
    log.close()
    assert_intact(bench, 3 * 10)
    assert [n for _, n in numbers(bench)] == list(range(1, 31))


def test_administrators_records_go_into_the_ballast_when_the_disk_is_full(bench: Bench) -> None:
    log = bench.open(capacity=8192)
    assert log.keep_ballast() == BALLAST_BYTES
    bench.append(log, 3, size=2000)
    bench.disk.fail_allocate = 2
    with pytest.raises(LogUnavailableError):
        bench.append(log, 3, size=2000)
    log.append([(CLI_SLOT, [1], [b"x" * 4000])], is_safe=True, now_ns=bench.now_ns, reserved=True)
    assert bench.layout.ballast.stat().st_size == BALLAST_BYTES - 2 * SMALL_FILE_BYTES
    bench.disk.fail_allocate = 1
    with pytest.raises(LogUnavailableError):
        bench.append(log, 1)
    bench.append(log, 3, size=2000)
    assert log.keep_ballast() == BALLAST_BYTES
    log.close()
    assert_intact(bench, 7)


def test_without_ballast_a_full_disk_refuses_everyone(bench: Bench) -> None:
    log = bench.open()
    bench.disk.fail_allocate = 1
    with pytest.raises(LogUnavailableError):
        log.append([(CLI_SLOT, [1], [b"{}"])], is_safe=True, now_ns=1, reserved=True)
    log.close()


def test_a_full_tmpfs_refuses_and_recovers(tmp_path: Path, bench: Bench) -> None:
    """The kernel's own ENOSPC, not an armed one."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("mounting is not possible here")
    try:
        small = type(bench)(mount / "state")
        log = small.open(capacity=200_000)
        filler = mount / "filler"
        small.append(log, 3, size=30_000)
        with filler.open("wb") as file:
            free = LocalDisk().space(mount).free_bytes
            os.posix_fallocate(file.fileno(), 0, free // 4096 * 4096)
        while log._file.capacity - log._file.offset > 3 * 30_000 + 5000:
            small.append(log, 3, size=30_000)
        with pytest.raises(LogUnavailableError) as caught:
            small.append(log, 3, size=30_000)
        assert caught.value.refusal is Refusal.DISK_FULL
        size = log.size
        filler.unlink()
        small.append(log, 3, size=30_000)
        log.close()
        assert_intact(small, size + 3)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_file_size_limit_of_the_system_is_a_full_disk(bench: Bench) -> None:
    """RLIMIT_FSIZE in a process of its own: EFBIG from the kernel."""
    program = """
import resource, sys
from pathlib import Path
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.log import LogUnavailableError, open_log
log = open_log(Path(sys.argv[1]), AuditKeys.load(Path(sys.argv[2])), Stream.SECURITY, boot="b", capacity=1 << 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    log.append([(1, [1], [b"{}"])], is_safe=True, now_ns=1)
except LogUnavailableError as exc:
    print(exc.refusal.name)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
log.append([(1, [1], [b"{}"])], is_safe=True, now_ns=1)
log.close()
"""
    bench.layout.state_dir.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", program, str(bench.state_dir), str(bench.keys_path)], capture_output=True, text=True
    )
    assert result.stderr == ""
    assert result.stdout == "DISK_FULL\n"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    assert_intact(bench, 1)


@pytest.mark.parametrize("attack", ["remove", "move", "replace", "truncate", "open"])
def test_a_live_file_that_is_removed_or_replaced_stops_the_intake(bench: Bench, attack: str) -> None:
    """T-16: rm, mv, a copy put in its place, truncation, chmod."""
    log = bench.open()
    bench.append(log, 1)
    log.check()
    assert not log.is_tampered
    path = bench.files()[0]
    match attack:
        case "remove":
            path.unlink()
        case "move":
            path.rename(path.with_name("elsewhere"))
        case "replace":
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
        case "truncate":
            os.truncate(path, 5000)
        case _:
            path.chmod(0o644)
    log.check()
    assert log.is_tampered
    with pytest.raises(LogUnavailableError, match="removed or replaced"):
        bench.append(log, 1)
    log.close()


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_intake(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 1)
    bench.disk.error = errno.ENOSPC
    bench.disk.fail_write = 1
    with pytest.raises(OSError, match="armed"):
        log.publish()
    bench.append(log, 1)
    log.publish()
    log.close()
    assert_intact(bench, 2)


def test_open_intents_survive_rotation_and_restart(bench: Bench) -> None:
    def intent(n: int, phase: bytes) -> bytes:
        return b'{"metadata":{"correlation_uid":"r%d"},"unmapped":{"gw":{"phase":"%b"}}}' % (n, phase)

    log = bench.open(capacity=4096)
    log.append([(1, [1, 2], [intent(1, b"intent"), intent(2, b"intent")])], is_safe=True, now_ns=1)
    for _ in range(10):
        bench.append(log, 2, size=500)
    log.append([(1, [100], [intent(1, b"outcome")])], is_safe=True, now_ns=2)
    bench.crash(log)
    log = bench.open()
    assert log.intents == {"r2": 1}
    log.append([(1, [101], [intent(2, b"outcome")])], is_safe=True, now_ns=2)
    assert log.intents == {}
    log.close()


def test_a_new_log_has_a_name_of_its_own(bench: Bench, tmp_path: Path) -> None:
    first = bench.open()
    other = type(bench)(tmp_path / "b").open()
    assert first.origin != other.origin
    assert first.origin.startswith("gateway/node/")
    for log in (first, other):
        log.close()


def test_no_file_goes_past_a_multiple_of_a_tile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.log.FILE_ENTRIES", 16)
    log = bench.open()
    for count in (3, 40, 13, 8, 1):
        bench.append(log, count)
    log.close()
    log = bench.open()
    bench.append(log, 20)
    log.close()
    heads = [parse_head(path.read_bytes())[0] for path in bench.files()]
    assert [head.first_index for head in heads] == [0, 16, 32, 48, 64, 65, 80]
    assert_intact(bench, 85)


def test_what_was_stored_before_the_next_file_had_no_room_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.log.FILE_ENTRIES", 16)
    log = bench.open()
    bench.append(log, 10)
    bench.disk.fail_allocate = 1
    with pytest.raises(LogUnavailableError):
        bench.append(log, 10)
    assert log.taken == {1: 16}
    bench.append(log, 4)
    log.close()
    assert numbers(bench) == [(1, n) for n in range(1, 21)]
    assert_intact(bench, 20)


def test_records_kept_after_an_error_end_with_their_file_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.log.FILE_ENTRIES", 16)
    log = bench.open()
    bench.append(log, 14)
    bench.append(log, 2, is_safe=False)
    bench.disk.fail_sync = 1
    bench.append(log, 5)
    log.close()
    heads = [parse_head(path.read_bytes())[0] for path in bench.files()]
    assert [head.first_index for head in heads] == [0, 14, 16]
    assert numbers(bench) == [(1, n) for n in range(1, 22)]
    assert_intact(bench, 21)


def test_a_file_leaves_a_small_disk_room_for_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.disk.free = Space(64 << 20, 32 << 20, 0, 0)
    log = bench.open(capacity=128 << 20)
    bench.append(log)
    assert bench.files()[0].stat().st_size == 4 << 20
    log.close()


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
