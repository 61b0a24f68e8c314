"""Room that is kept for when the disk is full."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.audit.pressure import Space
from gateway.audit.protocol import CLI_SLOT, Ack
from gateway.ledger.ballast import BALLAST_BYTES
from gateway.ledger.errors import LogUnavailableError
from gateway.ledger.log_file import SMALL_FILE_BYTES
from tests.unit.ledger.running import Running

Bench = Any


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
    bench.assert_intact(7)


def test_without_ballast_a_full_disk_refuses_everyone(bench: Bench) -> None:
    log = bench.open()
    bench.disk.fail_allocate = 1
    with pytest.raises(LogUnavailableError):
        log.append([(CLI_SLOT, [1], [b"{}"])], is_safe=True, now_ns=1, reserved=True)
    log.close()


def test_what_was_taken_from_the_ballast_is_known_and_filled_again_when_there_is_room(bench: Bench) -> None:
    """T-41: what is left decides whose records are taken, and the next full disk finds all of it again."""
    running = Running(bench, capacity=16384, ballast_bytes=4 << 20)
    edge, cli = running.producer(0), running.producer(CLI_SLOT)
    running.store(edge, 1, [b"x" * 9000])
    room, bench.disk.free = bench.disk.free, Space(1 << 40, 0, 0, 0)
    assert running.store(cli, 1, [b"y" * 9000]) == Ack(1)
    tick(running)
    assert running.samples()["gateway_audit_ballast_bytes"].values == [((), 2 << 20)]
    bench.disk.free = room
    tick(running)
    assert running.samples()["gateway_audit_ballast_bytes"].values == [((), 4 << 20)]
    assert bench.layout.ballast.stat().st_size == 4 << 20
    running.daemon.close()


def tick(running: Running) -> None:
    running.clock.now += 1.5
    running.turn()
