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
from gateway.audit.protocol import Refusal
from gateway.audit.verify import Kind
from gateway.exchange.errors import AuditUnavailableError
from gateway.ledger.disk import LocalDisk
from gateway.ledger.errors import LogBusyError, LogUnavailableError
from tests.machine import cannot_run

Bench = Any


def test_what_was_appended_is_there_in_order_and_proven(bench: Bench) -> None:
    log = bench.open()
    assert log.recovery.is_new
    for _ in range(5):
        bench.append(log, 3)
    log.close()
    assert bench.numbers() == [(1, n) for n in range(1, 16)]
    assert [stored.index for stored in bench.stored()] == list(range(15))
    bench.assert_intact(15)
    assert bench.files()[0].stat().st_mode & 0o777 == 0o600
    assert bench.layout.directory.stat().st_mode & 0o777 == 0o700


def test_a_full_file_is_followed_by_another(bench: Bench) -> None:
    log = bench.open(capacity=8192)
    for _ in range(20):
        bench.append(log, 3, size=400)
    log.close()
    assert len(bench.files()) > 3
    assert all(path.stat().st_size <= 8192 for path in bench.files())
    bench.assert_intact(60)


def test_a_batch_larger_than_a_frame_and_than_a_file_is_cut_into_frames(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 60, size=30_000)
    bench.append(log, 5000, size=1)
    log.append([(2, range(7, 8), [b"a"]), (3, range(9, 11), [b"b", b"c"])], is_safe=True, now_ns=bench.now_ns)
    log.close()
    assert bench.numbers()[-4:] == [(1, 5060), (2, 7), (3, 9), (3, 10)]
    assert log.sequences == {1: 5060, 2: 7, 3: 10}
    bench.assert_intact(5063)


def test_a_live_log_verifies_while_it_is_written(bench: Bench) -> None:
    log = bench.open()
    for n in range(1, 6):
        bench.append(log, 2)
        log.publish()
        bench.assert_intact(2 * n)
    assert bench.files()[0].stat().st_size > 60_000, "allocated ahead"
    log.close()


def test_two_writers_are_impossible(bench: Bench) -> None:
    log = bench.open()
    with pytest.raises(LogBusyError, match="another process"):
        bench.open()
    log.close()
    bench.open().close()


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
    assert bench.numbers() == [(1, n) for n in range(1, 8)]
    verdict = bench.verify()
    assert verdict.exit_code == 0
    assert {f.kind for f in verdict.findings} == {Kind.RECOVERED}


def test_a_short_write_that_fails_is_moved_too(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 3)
    bench.disk.fail_write = 1
    bench.append(log, 2)
    log.close()
    assert bench.numbers() == [(1, n) for n in range(1, 6)]
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
    assert bench.numbers() == [(1, n) for n in range(1, 5)]
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
    assert bench.numbers() == [(1, n) for n in range(1, 5)]
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
    bench.assert_intact(3 * 10)
    assert [n for _, n in bench.numbers()] == list(range(1, 31))


def test_a_full_tmpfs_refuses_and_recovers(tmp_path: Path, bench: Bench) -> None:
    """The kernel's own ENOSPC, not an armed one."""
    if os.geteuid() != 0:
        cannot_run("mounting needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True).returncode:
        cannot_run("mounting is not possible here")
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
        small.assert_intact(size + 3)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_file_size_limit_of_the_system_is_a_full_disk(bench: Bench) -> None:
    """RLIMIT_FSIZE in a process of its own: EFBIG from the kernel."""
    program = """
import resource, sys
from pathlib import Path
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.errors import LogUnavailableError
from gateway.ledger.log import open_log
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
    bench.assert_intact(1)


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
    bench.assert_intact(2)


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
    monkeypatch.setattr("gateway.ledger.chunk.FILE_ENTRIES", 16)
    log = bench.open()
    for count in (3, 40, 13, 8, 1):
        bench.append(log, count)
    log.close()
    log = bench.open()
    bench.append(log, 20)
    log.close()
    heads = [parse_head(path.read_bytes())[0] for path in bench.files()]
    assert [head.first_index for head in heads] == [0, 16, 32, 48, 64, 65, 80]
    bench.assert_intact(85)


def test_what_was_stored_before_the_next_file_had_no_room_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.chunk.FILE_ENTRIES", 16)
    log = bench.open()
    bench.append(log, 10)
    bench.disk.fail_allocate = 1
    with pytest.raises(LogUnavailableError):
        bench.append(log, 10)
    assert log.taken == {1: 16}
    bench.append(log, 4)
    log.close()
    assert bench.numbers() == [(1, n) for n in range(1, 21)]
    bench.assert_intact(20)


def test_records_kept_after_an_error_end_with_their_file_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.chunk.FILE_ENTRIES", 16)
    log = bench.open()
    bench.append(log, 14)
    bench.append(log, 2, is_safe=False)
    bench.disk.fail_sync = 1
    bench.append(log, 5)
    log.close()
    heads = [parse_head(path.read_bytes())[0] for path in bench.files()]
    assert [head.first_index for head in heads] == [0, 14, 16]
    assert bench.numbers() == [(1, n) for n in range(1, 22)]
    bench.assert_intact(21)


def test_a_file_leaves_a_small_disk_room_for_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.disk.free = Space(64 << 20, 32 << 20, 0, 0)
    log = bench.open(capacity=128 << 20)
    bench.append(log)
    assert bench.files()[0].stat().st_size == 4 << 20
    log.close()
