"""Closed files become segments; whenever the process is killed, nothing is lost and nothing is there twice."""

from __future__ import annotations

import asyncio
import errno
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from gateway.custody import sealing as sealing_module
from gateway.custody.sealing import NoRoomError, SealError, Sealing, SealingDuty, closed_files
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from gateway.ledger.layout import file_name, segment_name
from tests.unit.custody.conftest import STREAM, Custody, Start

STEPS = ["written", "checked", "named", "durable", "recorded", "removed"]

DYING = """
import os, signal, sys
from pathlib import Path
from gateway.audit.protocol import CUSTODIAN_SLOT
from gateway.custody.sealing import Sealing
from gateway.custody.trail import Trail
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout

state_dir, keys, place = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Dying(Trail):
    saved = 0

    def _save(self, journal):
        super()._save(journal)
        self.saved += 1
        if place == f"saved {self.saved}":
            die()

    def _settle(self, journal, connection):
        if place == "sent":
            connection.send(journal.sequence, journal.pending, journal.stream)
            die()
        super()._settle(journal, connection)

layout = Layout(state_dir)
audit_keys = AuditKeys.load(keys)
badge = audit_keys.badge(CUSTODIAN_SLOT)
trail = Dying(layout, node="node", boot_uid="boot", version="0", badge=badge)
for step in Sealing(layout, audit_keys, Stream.SECURITY, 1, trail=trail).steps():
    if step == place:
        die()
"""


def seal(custody: Custody, number: int = 1) -> Sealing:
    sealing = Sealing(custody.bench.layout, custody.bench.keys, STREAM, number, trail=custody.trail())
    assert list(sealing.steps())[-1] == "removed"
    return sealing


def published(custody: Custody, event: str, count: int) -> None:
    """Wait until the daemon has published so many records of an event."""
    deadline = time.monotonic() + 20
    while len(custody.events(event)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("place", [*STEPS, "saved 1", "sent", "saved 2"])
def test_a_kill_between_any_two_steps_loses_and_doubles_nothing(custody: Custody, daemon: Start, place: str) -> None:
    custody.fill()
    before = [record for record in custody.records() if "n" in record]
    daemon()
    script = [sys.executable, "-c", DYING, str(custody.bench.state_dir), str(custody.bench.keys_path), place]
    assert subprocess.run(script, check=False, timeout=60).returncode == -signal.SIGKILL
    assert [record for record in custody.records() if "n" in record] == before
    if file_name(STREAM, 1) in custody.names():
        seal(custody)
    assert custody.names()[0] == segment_name(STREAM, 1)
    assert file_name(STREAM, 1) not in custody.names()
    published(custody, "audit.segment_sealed", 1)
    published(custody, "audit.started", 1)
    custody.trail().write(lambda stamp: {"event": "last", "uid": stamp.uid, "unmapped": {"gw": {"event": "last"}}})
    published(custody, "last", 1)
    assert len(custody.events("audit.segment_sealed")) == 1
    assert [record for record in custody.records() if "n" in record] == before
    assert custody.bench.verify(checkpoint=False).failures == []


def test_the_record_says_which_segment_holds_what(custody: Custody, daemon: Start) -> None:
    custody.fill()
    daemon()
    sealed = seal(custody, 2).sealed
    assert sealed is not None
    published(custody, "audit.segment_sealed", 1)
    [gw] = custody.events("audit.segment_sealed")
    assert gw["segment"] == {
        "bytes": (custody.directory / segment_name(STREAM, 2)).stat().st_size,
        "file": segment_name(STREAM, 2),
        "from": 5,
        "log_bytes": sealed.log_bytes,
        "root": gw["segment"]["root"],
        "sha256": sealed.sha256.hex(),
        "stream": "security",
        "to": 9,
    }


def test_the_newest_file_is_never_sealed(custody: Custody) -> None:
    custody.fill(files=3)
    assert closed_files(custody.bench.layout, STREAM) == [1, 2]
    assert closed_files(custody.bench.layout, Stream.ACCESS) == []


def test_a_damaged_file_stays_as_it_is(custody: Custody, daemon: Start) -> None:
    custody.fill()
    path = custody.directory / file_name(STREAM, 1)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    daemon()
    with pytest.raises(SealError, match="is not what was signed and is not sealed"):
        seal(custody)
    assert path.read_bytes() == data
    assert segment_name(STREAM, 1) not in custody.names()


def test_a_segment_that_somebody_put_there_does_not_replace_the_log_file(custody: Custody, daemon: Start) -> None:
    """attack: a segment of another file, or junk, under the name of the one to come."""
    custody.fill()
    daemon()
    seal(custody, 2)
    target = custody.directory / segment_name(STREAM, 1)
    for junk in (b"junk", (custody.directory / segment_name(STREAM, 2)).read_bytes()):
        target.write_bytes(junk)
        with pytest.raises(SealError):
            seal(custody)
        assert file_name(STREAM, 1) in custody.names()


def test_without_the_daemon_the_log_file_stays(custody: Custody) -> None:
    custody.fill()
    with pytest.raises(AuditUnavailableError, match=r"daemon did not take|daemon does not answer"):
        seal(custody)
    assert file_name(STREAM, 1) in custody.names()
    assert segment_name(STREAM, 1) in custody.names()


def test_a_file_whose_end_nobody_knows_is_not_sealed(custody: Custody, daemon: Start) -> None:
    custody.fill()
    (custody.directory / file_name(STREAM, 2)).unlink()
    daemon()
    with pytest.raises(SealError, match="how it ended is not known"):
        seal(custody)


def run_duty(custody: Custody, is_done: Callable[[], bool]) -> SealingDuty:
    async def run() -> SealingDuty:
        duty = SealingDuty(custody.station())
        task = asyncio.create_task(duty.run())
        async with asyncio.timeout(30):
            while not is_done():
                assert not task.done() or task.result() is None
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return duty

    return asyncio.run(run())


def test_the_duty_seals_every_closed_file_of_every_stream(custody: Custody, daemon: Start) -> None:
    custody.fill()
    custody.fill(stream=Stream.ACCESS)
    leftover = custody.directory / (segment_name(STREAM, 1) + ".new")
    leftover.write_bytes(b"half")
    daemon()
    layout = custody.bench.layout
    run_duty(custody, lambda: not any(closed_files(layout, stream) for stream in Stream))
    assert [name for name in custody.names() if name.startswith("access")] == [
        "access-000000000001.seg",
        "access-000000000002.seg",
        "access-000000000003.log",
    ]
    assert not leftover.exists()


def test_the_duty_goes_on_past_a_file_that_cannot_be_sealed_and_says_so_in_the_log(
    custody: Custody, daemon: Start
) -> None:
    custody.fill()
    path = custody.directory / file_name(STREAM, 1)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    daemon()
    run_duty(custody, lambda: segment_name(STREAM, 2) in custody.names())
    station = custody.station()
    tail = station.tails[STREAM]
    deadline = time.monotonic() + 20
    while True:
        tail.look()
        extent = tail.extent()
        assert extent is not None
        raws = asyncio.run(tail.read(10, extent.size))
        if any(b"audit.seal_refused" in raw and file_name(STREAM, 1).encode() in raw for raw in raws):
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert file_name(STREAM, 1) in custody.names()


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_sealed(custody: Custody, daemon: Start) -> None:
    """attack: one bad sector, and the disk fills with log files until nobody is served."""
    custody.fill()
    custody.fill(stream=Stream.ACCESS)
    path = custody.directory / file_name(STREAM, 1)
    contents = path.read_bytes()
    path.unlink()
    path.mkdir()
    daemon()

    async def run() -> None:
        duty = SealingDuty(custody.station())
        with pytest.raises(AuditUnavailableError, match=r"security-000000000001\.log: Is a directory"):
            await duty.run()

    asyncio.run(run())
    assert {"access-000000000001.seg", "access-000000000002.seg", "security-000000000002.seg"} <= set(custody.names())
    path.rmdir()
    path.write_bytes(contents)
    seal(custody)
    published(custody, "audit.segment_sealed", 5)
    assert file_name(STREAM, 1) not in custody.names()
    said = [gw["segment"]["file"] for gw in custody.events("audit.segment_sealed")]
    assert said.count(segment_name(STREAM, 1)) == 1, "a file that was passed over is recorded when its turn comes"


def test_a_segment_never_takes_the_room_that_the_log_needs(
    custody: Custody, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """attack: a disk that is nearly full; requests would be refused for the sake of a compression."""
    custody.fill()
    daemon()
    before = custody.names()
    monkeypatch.setattr(sealing_module, "SPARED_BYTES", 1 << 60)
    with pytest.raises(NoRoomError, match="waits, because"):
        seal(custody)
    assert custody.names() == before


def test_a_segment_that_found_no_room_leaves_nothing_behind(
    custody: Custody, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    custody.fill()
    daemon()
    before = custody.names()

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            seal(custody)
    assert custody.names() == before
    seal(custody)
