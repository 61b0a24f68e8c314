"""The custodian verifies the log by itself, and says in three places what it found."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.custody import verifying
from gateway.custody.verifying import VERIFIED_NAME, Verified, VerifyingDuty, VerifyMetrics, last_verified
from gateway.exchange.stream import Stream
from gateway.ledger.layout import Layout
from gateway.ledger.reader import UnreadableLogError
from tests.unit.custody.conftest import Custody, Start
from tests.unit.custody.test_sealing import published

DAY_S = 86_400.0
AT = 1_790_000_000.0


class Clock:
    now = AT

    def __call__(self) -> float:
        return self.now


class Watched:
    """A duty with its station's metrics."""

    def __init__(self, custody: Custody, clock: Clock | None = None) -> None:
        self.station = custody.station()
        self.metrics = VerifyMetrics(self.station.metrics)
        self.clock = clock or Clock()
        self.duty = VerifyingDuty(self.station, every_s=DAY_S, metrics=self.metrics, clock=self.clock, first_s=0.0)

    def shown(self) -> dict[str, float]:
        return {
            sample.name.removeprefix("gateway_audit_verify_"): float(sample.values[0][1])
            for sample in self.station.metrics.dump()
            if sample.name.startswith("gateway_audit_verify_") and sample.values
        }


def said(custody: Custody) -> list[dict[str, Any]]:
    return custody.events("audit.verified")


def flip(custody: Custody) -> Path:
    path = min(custody.directory.glob("security-*.log"))
    data = bytearray(path.read_bytes())
    data[-300] ^= 1
    path.write_bytes(data)
    return path


async def test_an_intact_log_is_said_to_be_in_the_log_and_as_metrics(custody: Custody, daemon: Start) -> None:
    custody.fill()
    daemon()
    watched = Watched(custody)
    await watched.duty.verify()
    assert watched.duty.fault == ""
    assert watched.shown() == {"timestamp_seconds": AT, "exit_code": 0, "last_ok_timestamp_seconds": AT}
    await asyncio.to_thread(published, custody, "audit.verified", 1)
    (event,) = said(custody)
    assert event["verification"]["exit_code"] == 0
    assert event["verification"]["streams"]["security"]["proven"] >= 15
    known = last_verified(custody.bench.layout)
    assert known == Verified(at=AT, last_ok=AT, heads=known.heads)
    assert [head.splitlines()[0].rpartition("/")[2] for head in known.heads] == ["security"]


async def test_a_changed_bit_is_a_critical_record_a_metric_and_a_sentence_of_health(
    custody: Custody, daemon: Start
) -> None:
    custody.fill()
    daemon()
    watched = Watched(custody)
    await watched.duty.verify()
    name = flip(custody).name
    watched.clock.now += DAY_S
    await watched.duty.verify()
    assert watched.duty.fault.startswith("the audit log is not what was written: ")
    assert name in watched.duty.fault
    assert watched.shown() == {"timestamp_seconds": AT + DAY_S, "exit_code": 1, "last_ok_timestamp_seconds": AT}
    flip(custody)  # back: it is read here
    await asyncio.to_thread(published, custody, "audit.verified", 2)
    found = said(custody)[-1]["verification"]
    assert found["exit_code"] == 1
    assert any(name in finding for finding in found["findings"])
    record = [record for record in custody.records() if "verification" in str(record)][-1]
    assert (record["severity_id"], record["status_id"]) == (5, 2)


async def test_a_restart_knows_when_and_with_what_result_it_was_verified(custody: Custody, daemon: Start) -> None:
    custody.fill()
    daemon()
    first = Watched(custody)
    flip(custody)
    await first.duty.verify()
    again = Watched(custody)
    task = asyncio.create_task(again.duty.run())
    while not again.duty.fault:
        await asyncio.sleep(0.01)
    assert again.shown()["exit_code"] == 1
    assert not again.duty._is_due()
    again.clock.now += DAY_S
    assert again.duty._is_due()
    again.clock.now = AT - 10 * DAY_S
    assert again.duty._is_due(), "a clock that was set back does not put it off"
    task.cancel()
    await asyncio.wait([task])
    assert again.shown() == {}, "after a reload that ends it nobody looks any more"


async def test_it_runs_by_itself_when_it_is_time(custody: Custody, daemon: Start) -> None:
    custody.fill()
    daemon()
    watched = Watched(custody)
    task = asyncio.create_task(watched.duty.run())
    await asyncio.to_thread(published, custody, "audit.verified", 1)
    task.cancel()
    await asyncio.wait([task])
    assert len(said(custody)) == 1


async def test_what_the_log_does_not_take_now_is_recorded_later_without_verifying_again(
    custody: Custody, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_LOOK_S", 0.01)
    custody.fill()
    watched = Watched(custody)
    task = asyncio.create_task(watched.duty.run())
    while not (custody.bench.layout.custody / VERIFIED_NAME).exists():
        await asyncio.sleep(0.01)
    at = last_verified(custody.bench.layout).at
    watched.clock.now += 60
    daemon()
    await asyncio.to_thread(published, custody, "audit.verified", 1)
    task.cancel()
    await asyncio.wait([task])
    assert last_verified(custody.bench.layout).at == at


async def test_a_file_that_cannot_be_read_is_said_and_tried_again_the_next_time(
    custody: Custody, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    custody.fill()
    daemon()

    def refuse(*_: object) -> None:
        raise UnreadableLogError("security-000000000001.log: cannot be read: input/output error")

    monkeypatch.setattr(verifying, "verify_own", refuse)
    watched = Watched(custody)
    await watched.duty.verify()
    assert watched.duty.fault == (
        "the audit log could not be verified: security-000000000001.log: cannot be read: input/output error"
    )
    assert watched.shown()["exit_code"] == 2


async def test_a_stream_that_is_gone_with_its_checkpoint_since_the_last_time_is_missed(
    custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: while the gateway is down, all of one log is removed; what is left verifies."""
    monkeypatch.setattr(verifying, "_LOOK_S", 0.01)
    layout = custody.bench.layout
    custody.fill()
    custody.fill(stream=Stream.ACCESS)
    watched = Watched(custody)
    await watched.duty.verify()
    assert watched.duty.fault == ""
    for path in [*layout.directory.glob("access-*"), layout.checkpoint(Stream.ACCESS)]:
        path.unlink()
    again = Watched(custody)
    again.duty._known = last_verified(layout)
    for _ in range(2):
        await again.duty.verify()
        assert "access" in again.duty.fault, "and it is missed until it is there again"
    custody.fill(stream=Stream.ACCESS)
    await again.duty.verify()
    assert "which is not here" in again.duty.fault
    await again.duty.verify()
    assert again.duty.fault == "", "another log was begun in its place, which was said"


async def test_a_log_that_was_put_back_as_it_once_was_is_noticed(
    custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: while the gateway is down, an older copy of log and checkpoint is put in their place."""
    monkeypatch.setattr(verifying, "_LOOK_S", 0.01)
    layout = custody.bench.layout
    custody.fill()
    older = {path: path.read_bytes() for path in [*layout.directory.iterdir(), layout.checkpoint(Stream.SECURITY)]}
    custody.fill(files=1)
    watched = Watched(custody)
    await watched.duty.verify()
    for path in layout.directory.iterdir():
        path.unlink()
    for path, data in older.items():
        path.write_bytes(data)
        path.chmod(0o600)
    await watched.duty.verify()
    assert "15" in watched.duty.fault
    custody.fill(files=1, records=9)  # longer than it ever was, and another
    await watched.duty.verify()
    assert "another root" in watched.duty.fault or "FORK" in watched.duty.fault
    assert watched.shown()["exit_code"] == 1


async def test_what_was_found_is_said_where_no_note_of_it_can_be_written(
    custody: Custody, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: the log is changed, and the disk filled."""
    custody.fill()
    daemon()
    watched = Watched(custody)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(verifying, "replace_file", full)
    flip(custody)
    await watched.duty.verify()
    assert watched.duty.fault.startswith("the audit log is not what was written: ")
    assert watched.shown()["exit_code"] == 1
    flip(custody)
    await asyncio.to_thread(published, custody, "audit.verified", 1)
    assert said(custody)[0]["verification"]["exit_code"] == 1


async def test_whoever_ends_it_does_not_wait_for_the_whole_log(
    custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    custody.fill()
    begun, ended = threading.Event(), threading.Event()

    def slow(_roots: object, _question: object, told: Any) -> None:
        begun.set()
        try:
            while True:
                told("security", 1, 2)
        finally:
            ended.set()

    monkeypatch.setattr(verifying, "verify_own", slow)
    watched = Watched(custody)
    task = asyncio.create_task(watched.duty.verify())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.wait([task])
    assert await asyncio.to_thread(ended.wait, 20)
    assert watched.shown() == {}


def test_a_note_that_is_damaged_means_that_it_is_verified_anew(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.custody.mkdir(parents=True)
    assert last_verified(layout) == Verified()
    for content in (b"junk", b'{"first":"\xff"}'):
        (layout.custody / VERIFIED_NAME).write_bytes(content)
        assert last_verified(layout) == Verified()
    assert Verified(exit_code=1, findings=1, first="x").fault == (
        "the audit log is not what was written: 1 finding: x; run gateway audit verify"
    )
    assert Verified(exit_code=3).fault == ""
