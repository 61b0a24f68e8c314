"""Room that is kept for when the disk is full."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.audit.protocol import CLI_SLOT
from gateway.ledger.ballast import BALLAST_BYTES
from gateway.ledger.errors import LogUnavailableError
from gateway.ledger.log_file import SMALL_FILE_BYTES

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
