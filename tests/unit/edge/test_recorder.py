"""The edge's end of the audit socket: one frame a tick, nothing lost, nothing released early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.audit.protocol import ASYNC, BADGE_BYTES, GROUP, REMOTE, pack_ack, pack_refused, pack_shipped
from gateway.edge.recorder import MAX_UNACKED_RECORDS, Recorder
from tests.fakes.audit_daemon import FakeAuditDaemon
from tests.unit.edge.conftest import until


class Waiter:
    def __init__(self) -> None:
        self.verdicts: list[bool] = []

    def recorded(self, *, safe: bool) -> None:
        self.verdicts.append(safe)

    def receipted(self, receipt: bytes) -> None:
        raise AssertionError("nobody asked for a receipt")

    def failed(self) -> None:
        raise AssertionError("telling a waiter must not fail here")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[FakeAuditDaemon]:
    made = FakeAuditDaemon()
    await made.start(tmp_path / "audit.sock")
    yield made
    await made.stop()


@pytest.fixture
async def recorder(tmp_path: Path, daemon: FakeAuditDaemon) -> AsyncIterator[Recorder]:
    loop = asyncio.get_running_loop()
    made = Recorder(
        3,
        bytes(BADGE_BYTES),
        lambda factory: loop.create_unix_connection(factory, str(tmp_path / "audit.sock")),
        time.time,
    )
    await made.start()
    yield made
    await made.stop()
    await asyncio.sleep(0)


async def test_sequences_begin_above_everything_the_slot_ever_sent(recorder: Recorder) -> None:
    assert recorder.sequence >= (int(time.time() * 1000) - 60_000) << 20


async def test_a_waiter_is_told_once_and_only_after_the_acknowledgement(
    recorder: Recorder, daemon: FakeAuditDaemon
) -> None:
    daemon.acknowledges = False
    waiter = Waiter()
    recorder.add(b'{"a":1}', 2, GROUP, waiter)
    await until(lambda: daemon.payloads)
    assert waiter.verdicts == []
    daemon.acknowledge_all()
    await until(lambda: waiter.verdicts)
    assert waiter.verdicts == [True]
    assert recorder.unacked == 0


async def test_an_async_waiter_is_told_when_the_record_was_handed_over(
    recorder: Recorder, daemon: FakeAuditDaemon
) -> None:
    daemon.acknowledges = False
    waiter = Waiter()
    recorder.add(b'{"a":1}', 2, ASYNC, waiter)
    assert waiter.verdicts == []
    await until(lambda: waiter.verdicts)
    assert waiter.verdicts == [True]


async def test_a_refused_record_is_told_as_unsafe(recorder: Recorder, daemon: FakeAuditDaemon) -> None:
    daemon.refuses = True
    waiter = Waiter()
    recorder.add(b'{"a":1}', 2, GROUP, waiter)
    await until(lambda: waiter.verdicts)
    assert waiter.verdicts == [False]
    assert recorder.refused == 1


async def test_what_was_not_acknowledged_is_sent_again_and_kept_once(
    recorder: Recorder, daemon: FakeAuditDaemon
) -> None:
    daemon.acknowledges = False
    waiters = [Waiter() for _ in range(50)]
    for number, waiter in enumerate(waiters):
        recorder.add(b'{"n":%d}' % number, 2, GROUP, waiter)
    await until(lambda: len(daemon.payloads) == 50)
    daemon.acknowledges = True
    daemon.hang_up()
    recorder.add(b'{"n":50}', 2, GROUP, None)
    await until(lambda: all(waiter.verdicts for waiter in waiters) and len(daemon.payloads) == 51)
    assert [record["n"] for record in daemon.records] == list(range(51))


async def test_the_edge_stops_taking_requests_when_too_much_is_unacknowledged(
    recorder: Recorder, daemon: FakeAuditDaemon
) -> None:
    daemon.acknowledges = False
    for _ in range(MAX_UNACKED_RECORDS):
        recorder.add(b"{}", 2, GROUP, None)
    assert not recorder.available
    await until(lambda: len(daemon.payloads) == MAX_UNACKED_RECORDS)
    daemon.acknowledge_all()
    await until(lambda: recorder.available)


async def test_a_daemon_that_speaks_nonsense_is_left_and_found_again(
    recorder: Recorder, daemon: FakeAuditDaemon
) -> None:
    first = set(daemon._connections)
    for connection in first:
        connection.transport.write(b"\xff" * 16)
    await until(lambda: daemon._connections and not first & daemon._connections and recorder.available)
    waiter = Waiter()
    recorder.add(b"{}", 2, GROUP, waiter)
    await until(lambda: waiter.verdicts)
    assert waiter.verdicts == [True]


async def test_records_wait_for_the_successor_of_a_daemon_that_said_farewell(
    recorder: Recorder, daemon: FakeAuditDaemon, tmp_path: Path
) -> None:
    daemon.acknowledges = False
    before, meanwhile = Waiter(), Waiter()
    recorder.add(b"{}", 2, GROUP, before)
    await until(lambda: daemon.payloads)
    daemon.say_farewell(60_000)
    await until(lambda: recorder._transport is None)
    assert recorder.available, "requests go on"
    recorder.add(b"{}", 2, GROUP, meanwhile)
    await asyncio.sleep(0)
    assert (before.verdicts, meanwhile.verdicts) == ([], []), "and no answer leaves"
    successor = FakeAuditDaemon()
    successor.last = dict(daemon.last)
    await successor.start(tmp_path / "audit.sock")
    await until(lambda: meanwhile.verdicts)
    assert (before.verdicts, meanwhile.verdicts) == ([True], [True])
    assert len(successor.payloads) == 1, "what its predecessor took is not taken again"
    await successor.stop()


async def test_a_successor_that_does_not_come_is_no_daemon(recorder: Recorder, daemon: FakeAuditDaemon) -> None:
    daemon.say_farewell(1)
    await until(lambda: recorder._transport is None)
    await until(lambda: not recorder.available)


async def test_one_record_of_a_frame_can_be_refused_and_is_not_sent_again(
    recorder: Recorder, daemon: FakeAuditDaemon
) -> None:
    daemon.acknowledges = False
    waiters = [Waiter() for _ in range(3)]
    first = recorder.sequence
    for number, waiter in enumerate(waiters):
        recorder.add(b'{"n":%d}' % number, 1 + number, GROUP, waiter)
    await until(lambda: len(daemon.payloads) == 3)
    daemon.reply(pack_ack(first) + pack_refused(first + 1, 1))
    await until(lambda: waiters[1].verdicts)
    assert [waiter.verdicts for waiter in waiters] == [[True], [False], []]
    assert (recorder.unacked, recorder.unacked_bytes, recorder.refused) == (1, len(b'{"n":2}'), 1)
    daemon.payloads.clear()
    daemon.last.clear()
    daemon.acknowledges = True
    daemon.hang_up()
    await until(lambda: waiters[2].verdicts)
    assert daemon.payloads == [b'{"n":2}']
    assert (recorder.unacked, recorder.unacked_bytes) == (0, 0)


async def test_strict_and_remote_is_told_when_a_sink_has_the_record_and_others_before(
    recorder: Recorder, daemon: FakeAuditDaemon
) -> None:
    remote, plain = Waiter(), Waiter()
    first = recorder.sequence
    recorder.add(b'{"r":1}', 2, REMOTE, remote)
    recorder.add(b'{"p":1}', 2, GROUP, plain)
    await until(lambda: plain.verdicts)
    assert (remote.verdicts, recorder.unacked) == ([], 0)
    daemon.reply(pack_shipped(first))
    await until(lambda: remote.verdicts)
    assert (plain.verdicts, remote.verdicts) == ([True], [True])


async def test_what_no_sink_has_when_the_daemon_goes_is_not_called_safe(
    recorder: Recorder, daemon: FakeAuditDaemon
) -> None:
    waiter, refused = Waiter(), Waiter()
    recorder.add(b'{"r":1}', 2, REMOTE, waiter)
    await until(lambda: daemon.payloads and not recorder.unacked)
    daemon.hang_up()
    await until(lambda: waiter.verdicts)
    assert waiter.verdicts == [False]
    await until(lambda: recorder.available)
    daemon.refuses = True
    recorder.add(b'{"r":2}', 2, REMOTE, refused)
    await until(lambda: refused.verdicts)
    assert refused.verdicts == [False]
