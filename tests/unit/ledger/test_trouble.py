"""Disks that are full, slow to fail or lie, clocks that are set, and processes that were taken over."""

from __future__ import annotations

import errno
import json
import os
import random
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit import protocol
from gateway.audit.frame import MAGIC, parse_header
from gateway.audit.intent import MAX_OPEN
from gateway.audit.pressure import Space, Watermarks
from gateway.audit.protocol import CLI_SLOT, RESERVED, Ack, Refusal, Refused, Shipped
from gateway.audit.verify import Kind
from gateway.exchange.stream import STREAMS_BY_NUMBER, Stream
from gateway.ledger.disk import LocalDisk
from gateway.ledger.errors import LogUnavailableError
from tests.mounts import run_apart
from tests.unit.ledger.conftest import Bench
from tests.unit.ledger.running import Producer, Running, intent

SECTOR = 512
GIB = 1 << 30
MARKS = Watermarks(warn=0.3, high=0.15, critical=0.05)


class PowerDisk(LocalDisk):
    """Remembers what was synced, so that the power can be cut."""

    def __init__(self) -> None:
        self.paths: dict[int, Path] = {}
        self.durable: dict[Path, bytes] = {}
        self.frames: dict[tuple[bytes, int], set[bytes]] = {}

    def write(self, fd: int, data: bytes, offset: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if data.startswith(MAGIC):
            header = parse_header(data, 0)
            self.frames.setdefault((header.key_id, header.frame_no), set()).add(data)
            self.durable.setdefault(path, path.read_bytes())  # what was there when the file got its name
        self.paths[fd] = path
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        self.durable[path] = path.read_bytes()

    def cut_power(self, random: random.Random) -> None:
        """Keep what was synced, and any of the sectors that were not."""
        for path, durable in self.durable.items():
            if not path.exists():
                continue
            written = path.read_bytes()
            kept = bytearray(durable[: len(written)].ljust(len(written), b"\0"))
            for at in range(0, len(written), SECTOR):
                if random.random() < 0.5:
                    kept[at : at + SECTOR] = written[at : at + SECTOR]
            path.write_bytes(kept)
            self.durable[path] = bytes(kept)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=12), seed=st.integers(0, 1 << 32)
)
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]], seed: int
) -> None:
    """T-03: any unsynced sector may be there or not, in a file of this run or of the one before; no nonce seals two frames."""
    bench = Bench(tmp_path_factory.mktemp("power") / "state")
    chance = random.Random(seed)
    disk = bench.disk = PowerDisk()  # type: ignore[assignment]
    acked = 0
    for _ in range(3):
        log = bench.open(capacity=32 * 1024)
        assert log.size >= acked, "it was acknowledged before the power went"
        for count, is_safe in steps:
            bench.append(log, count, is_safe=is_safe, size=300)
            acked = log.size
        bench.crash(log)
        if chance.random() < 0.7:  # else only the process died, and the power goes the next time
            disk.cut_power(chance)
    log = bench.open()
    assert log.size >= acked
    bench.append(log, 1)
    log.close()
    verdict = bench.verify()
    assert [str(finding) for finding in verdict.failures] == []
    assert all(len(contents) == 1 for contents in disk.frames.values()), "two frames under one nonce"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE])
def test_whatever_keeps_files_from_being_made_is_a_full_disk_and_passes(bench: Any, error: int) -> None:
    """T-42: space, quota, a read-only mount, descriptors."""
    bench.disk.no_room = error
    running = Running(bench, capacity=16384)
    edge = running.producer(0)
    assert running.store(edge, 1, [b"x" * 6000]) == Ack(1)
    bench.disk.fail_allocate = 1
    assert running.store(edge, 2, [b"y" * 6000] * 2) == Refused(3, Refusal.DISK_FULL)
    assert os.strerror(error).lower() in running.daemon.health()["detail"]
    assert running.store(edge, 4, [b"z" * 6000]) == Ack(4)
    assert running.daemon.health()["ok"]
    running.daemon.close()
    assert bench.verify().exit_code == 0


def test_a_live_file_on_a_disk_that_became_read_only_refuses_until_it_is_not(bench: Any) -> None:
    """T-16, T-42: every write and every new file fails with EROFS."""
    running = Running(bench)
    edge = running.producer(0)
    assert running.store(edge, 1, [b"a"]) == Ack(1)
    bench.disk.error = bench.disk.no_room = errno.EROFS
    bench.disk.fail_write, bench.disk.fail_allocate = 1, 1
    assert running.store(edge, 2, [b"b"]) == Refused(2, Refusal.DISK_FULL)
    assert "read-only" in running.daemon.health()["detail"]
    assert running.store(edge, 3, [b"c"]) == Ack(3)
    running.daemon.close()
    verdict = bench.verify()
    assert (verdict.exit_code, [s.entry.sequence for s in bench.stored() if s.entry.slot == 0]) == (0, [1, 3])


def on_a_small_disk(tmp_path: Path, system: str, options: str, kind: str) -> dict[str, Any]:
    found = run_apart(
        "tests.unit.ledger.small_disk", tmp_path / "small", system, options, kind, is_root=system == "ext4"
    )
    told: dict[str, Any] = json.loads(found)
    assert told["failures"] == []
    assert told["stored"] == told["acked"]
    assert len(told["acked"]) + told["refused"] <= told["sent"]
    assert told["health"]
    return told


@pytest.mark.parametrize(
    ("kind", "why"),
    [("descriptors", "too many open files"), ("read-only", "read-only file system")],
    ids=["T-42 EMFILE", "T-42 read-only"],
)
def test_where_no_file_can_be_made_the_file_that_is_there_is_filled_and_intake_resumes(
    tmp_path: Path, kind: str, why: str
) -> None:
    """T-42, from the kernel itself: no descriptor is left, the directory was mounted read-only."""
    told = on_a_small_disk(tmp_path, "tmpfs", "size=64m", kind)
    assert why in told["health"]
    assert told["refused"] > 0
    assert len(told["acked"]) > 2, "until the file is full"


@pytest.mark.parametrize(
    ("system", "options", "kind"),
    [("tmpfs", "size=32m", "bytes"), ("ext4", "size=32m", "bytes"), ("tmpfs", "size=64m,nr_inodes=64", "files")],
    ids=["T-40 tmpfs", "T-40 ext4", "T-42 inodes"],
)
def test_a_small_disk_fills_and_empties_under_load(tmp_path: Path, system: str, options: str, kind: str) -> None:
    """T-40, T-42: levels in order, no acknowledged record lost, intake resumes without anybody."""
    told = on_a_small_disk(tmp_path, system, options, kind)
    order = [level for level in told["levels"] if level != "full"]
    worst = order.index("critical")
    assert order[: worst + 1] == [level for level in ("warn", "high", "critical") if level in order[: worst + 1]]
    assert told["levels"][-1] in {"normal", "warn"}
    if kind == "bytes":
        assert told["refused"] > 0
        assert "full" in told["levels"]
        assert told["operator"], "an operator's record is taken from the ballast"


def test_levels_begin_in_order_are_told_once_and_end(bench: Any) -> None:
    """T-40: with records, metrics and readiness."""
    running = Running(bench, marks=MARKS)
    edge = running.producer(0)
    for free in (90, 31, 29, 29, 20, 14, 10, 5, 4, 5, 7, 17, 60):
        bench.disk.free = Space(100 * GIB, free * GIB, 0, 0)
        running.clock.now += 1.5
        running.turn()
        assert running.daemon.health()["ok"] is (free not in {4, 5} or (free == 5 and running.daemon.health()["ok"]))
        level = running.samples()["gateway_audit_disk_level"].values[0][1]
        assert level == (3 if free == 4 else level)
    assert running.store(edge, 1, [b"a"]) == Ack(1)
    running.daemon.close()
    told = [
        (gw["disk"]["before"], gw["disk"]["level"])
        for gw in map(details, bench.stored())
        if gw and gw["event"] == "audit.disk_level"
    ]
    assert told == [
        ("normal", "warn"),
        ("warn", "high"),
        ("high", "critical"),
        ("critical", "high"),
        ("high", "warn"),
        ("warn", "normal"),
    ]


def test_a_nearly_full_disk_makes_the_gateway_not_ready_and_refuses_nothing(bench: Any) -> None:
    running = Running(bench, marks=MARKS)
    edge = running.producer(0)
    bench.disk.free = Space(100 * GIB, 4 * GIB, 0, 0)
    running.clock.now += 1.5
    running.turn()
    assert running.daemon.health()["detail"] == "the disk of the audit log is nearly full"
    assert running.store(edge, 1, [b"a"]) == Ack(1)
    running.daemon.close()


def test_few_free_files_are_a_short_disk_too_and_a_large_disk_is_judged_as_a_smaller_one(bench: Any) -> None:
    running = Running(bench, marks=MARKS)
    for space, level in (
        (Space(100 * GIB, 90 * GIB, 1000, 40), 3),
        (Space(10_000 * GIB, 100 * GIB, 0, 0), 0),
        (Space(0, 0, 0, 0), 3),
    ):
        bench.disk.free = space
        running.clock.now += 1.5
        running.turn()
        assert running.samples()["gateway_audit_disk_level"].values == [((), level)]
    running.daemon.close()


def test_a_day_is_left_at_the_present_rate_is_a_warning(bench: Any) -> None:
    bench.disk.free = Space(100 * GIB, 90 * GIB, 0, 0)
    running = Running(bench, marks=MARKS, capacity=1 << 20)
    edge = running.producer(0)
    for minute in range(12):
        running.log.written_bytes += 100 << 20  # as fast as no test can write
        assert running.store(edge, minute + 1, [b"a"]) == Ack(minute + 1)
        running.clock.now += 61.0
        running.turn()
    assert running.samples()["gateway_audit_disk_level"].values == [((), 1)]
    running.daemon.close()


@pytest.mark.parametrize("seed", range(4))
def test_every_record_that_is_not_stored_is_counted_exactly(bench: Any, seed: int) -> None:
    """T-43, T-44: refusals and what was left out, against the account in the log."""
    chance = random.Random(seed)
    running = Running(bench, capacity=8192, may_gap=[Stream.TRAFFIC], ballast_bytes=0)
    edge = running.producer(0)
    sent, refused, acked = {1: 0, 2: 0, 3: 0}, 0, 0
    sequence = 1
    for _ in range(80):
        bench.disk.fail_allocate = chance.choice((0, 0, 1, 2, 3))
        streams = bytes(chance.choice((1, 2, 3)) for _ in range(chance.randint(1, 6)))
        for stream in streams:
            sent[stream] += 1
        edge.send(sequence, [b"p" * chance.randint(100, 3000) for _ in streams], streams=streams)
        end = sequence + len(streams) - 1
        running.turn()
        at = sequence
        while at <= end:
            reply = edge.next()
            assert isinstance(reply, Ack | Refused)
            count = reply.seq - at + 1
            refused, acked = (refused + count, acked) if isinstance(reply, Refused) else (refused, acked + count)
            at = reply.seq + 1
        sequence = end + 1
    bench.disk.fail_allocate = 0
    running.clock.now += 2.0
    running.turn(2)
    dropped = dict(running.samples()["gateway_audit_dropped_records_total"].values).get(("traffic",), 0)
    running.daemon.close()
    gaps = {"refused": 0, "when_full": 0, "producer_jump": 0}
    for gw in map(details, bench.stored()):
        if gw and gw["event"] == "audit.gap":
            gaps[gw["reason"]] += gw["gap"]["count"]
    stored = dict.fromkeys(sent, 0)
    for one in bench.stored():
        if one.entry.slot == 0:
            stored[{"security": 1, "access": 2, "traffic": 3}[one.stream]] += 1
    assert refused > 0
    assert dropped > 0
    assert gaps == {"refused": refused, "when_full": dropped, "producer_jump": 0}
    assert acked == sum(stored.values()) + dropped
    assert sent[3] - stored[3] == dropped, "requests of a stream that may lack records are never refused"


def test_at_critical_what_may_be_left_out_is_and_everything_else_is_stored(bench: Any) -> None:
    """T-44."""
    running = Running(bench, may_gap=[Stream.TRAFFIC], marks=MARKS)
    edge = running.producer(0)
    bench.disk.free = Space(100 * GIB, 4 * GIB, 0, 0)
    running.clock.now += 1.5
    running.turn()
    edge.send(1, [b"a", b"b", b"c"], streams=bytes([3, 2, 3]))
    running.turn()
    assert edge.next() == Ack(3)
    bench.disk.free = Space(100 * GIB, 90 * GIB, 0, 0)
    running.clock.now += 1.5
    running.turn(2)
    edge.send(4, [b"d"], streams=bytes([3]))
    running.turn()
    assert edge.next() == Ack(4)
    running.daemon.close()
    assert [s.entry.sequence for s in bench.stored(Stream.ACCESS)] == [2]
    assert [s.entry.sequence for s in bench.stored(Stream.TRAFFIC) if s.entry.slot == 0] == [4]
    gaps = [gw["gap"] for gw in map(details, bench.stored(Stream.TRAFFIC)) if gw]
    assert gaps == [{"count": 2, "first": "1", "last": "3", "slot": 0}]


def test_a_producer_that_comes_back_after_a_refusal_has_jumped_over_nothing(bench: Any) -> None:
    running = Running(bench, capacity=16384, ballast_bytes=0)
    edge = running.producer(0)
    assert running.store(edge, 1, [b"x" * 6000]) == Ack(1)
    bench.disk.fail_allocate = 1
    assert running.store(edge, 2, [b"y" * 9000]) == Refused(2, Refusal.DISK_FULL)
    assert running.store(edge, 3, [b"z"]) == Ack(3)
    bench.disk.fail_allocate = 1
    assert running.store(edge, 4, [b"y" * 9000]) == Refused(4, Refusal.DISK_FULL)
    running.clock.now += 1.5
    running.turn(2)
    edge.sock.close()
    running.turn(2)
    again = running.producer(0)
    assert running.store(again, 5, [b"a"]) == Ack(5)
    assert running.samples()["gateway_audit_producer_jump_total"].values == [((), 0)]
    running.daemon.close()


def test_with_a_full_disk_people_can_still_sign_in_and_administer(bench: Any) -> None:
    """T-41: signing in, an operator's verb, the end of the gateway; and nobody else's request."""
    running = Running(bench, capacity=16384)
    edge, cli = running.producer(0), running.producer(CLI_SLOT)
    assert running.store(edge, 1, [b"x" * 9000]) == Ack(1)
    bench.disk.fail_allocate = 1
    edge.send(2, [b"i" * 9000, b"sign-in", b"y" * 9000], streams=bytes([1, 1 | RESERVED, 1]))
    running.turn()
    replies = [edge.next() for _ in range(3)]
    assert replies == [Refused(2, Refusal.DISK_FULL), Ack(3), Refused(4, Refusal.DISK_FULL)]
    bench.disk.fail_allocate = 1
    assert running.store(cli, 1, [b"hold"]) == Ack(1)
    bench.disk.fail_allocate = 0
    running.daemon.close()
    assert [s.entry.sequence for s in bench.stored() if s.entry.slot == 0] == [1, 3]
    assert running.daemon.health is not None
    assert bench.verify().exit_code == 0


def test_the_last_of_the_ballast_is_for_operators_and_the_log_itself(bench: Any) -> None:
    """T-41: whoever can knock at the sign-in page must not be able to lock operators out."""
    running = Running(bench, capacity=16384, ballast_bytes=4 << 20)
    edge, cli = running.producer(0), running.producer(CLI_SLOT)
    assert running.store(edge, 1, [b"x" * 9000]) == Ack(1)
    bench.disk.free = Space(100 * GIB, 0, 0, 0)
    os.truncate(bench.layout.ballast, 3 << 19)
    running.daemon._intake.keep_ballast()
    bench.disk.fail_allocate = 99
    edge.send(2, [b"s" * 9000], streams=bytes([1 | RESERVED]))
    running.turn()
    assert edge.next() == Refused(2, Refusal.DISK_FULL)
    bench.disk.fail_allocate = 0
    assert running.store(cli, 1, [b"hold"]) == Ack(1)
    running.daemon.close()


@pytest.mark.parametrize("seconds", [-3600, 3600, -10 * 365 * 86_400, 10 * 365 * 86_400], ids=str)
def test_a_clock_that_is_set_refuses_nothing_and_is_told(bench: Any, seconds: int) -> None:
    """T-20: order is by index; the verdict declares the jump."""
    running = Running(bench)
    edge = running.producer(0)
    assert running.store(edge, 1, [b"before"]) == Ack(1)
    running.clock.set_by_s += seconds
    assert running.store(edge, 2, [b"after"]) == Ack(2)
    running.clock.now += 1.5
    running.turn(2)
    assert running.samples()["gateway_audit_clock_jumps_total"].values == [((), 1)]
    assert running.samples()["gateway_audit_clock_offset_seconds"].values == [((), seconds)]
    fresh = running.producer(5)
    first = protocol.first_sequence(running.clock.wall_ns() / 1e9, 0)
    assert running.store(fresh, first, [b"a process that starts now"]) == Ack(first)
    running.daemon.close()
    stored = bench.stored()
    assert [one.entry.sequence for one in stored if one.entry.slot == 0] == [1, 2]
    changes = [gw["clock"] for gw in map(details, stored) if gw and gw["event"] == "audit.time_changed"]
    assert [change["by_ms"] for change in changes] == [seconds * 1000]
    verdict = bench.verify()
    assert (verdict.exit_code, verdict.failures) == (0, [])
    if seconds < 0:
        assert Kind.CLOCK_JUMP in {finding.kind for finding in verdict.findings}


def test_producers_whose_clocks_disagree_leave_an_intact_log(bench: Any) -> None:
    """T-21: a leap second, or a clock that steps for one process only; the daemon's order is what counts."""
    running = Running(bench)
    producers = [running.producer(slot) for slot in range(3)]
    for turn in range(4):
        for slot, producer in enumerate(producers):
            payload = b'{"time":%d}' % (1_800_000_000_000 - 1000 * turn * slot)
            assert running.store(producer, turn + 1, [payload]) == Ack(turn + 1)
    running.clock.set_by_s -= 0.9  # slewed, not set
    running.clock.now += 1.5
    running.turn()
    running.daemon.close()
    verdict = bench.verify()
    assert (verdict.exit_code, [f.kind for f in verdict.findings]) == (0, [])


def test_nothing_is_acknowledged_between_a_failed_sync_and_the_next_file(bench: Any) -> None:
    """T-05."""
    log = bench.open()
    bench.append(log, 2)
    bench.disk.fail_sync, bench.disk.fail_allocate = 1, 1
    with pytest.raises(LogUnavailableError):
        bench.append(log, 1)
    assert log.size == 2
    bench.append(log, 1)
    assert (log.size, log.io_errors) == (3, 1)
    log.close()
    assert bench.verify().exit_code == 0


def test_a_producer_that_was_taken_over_harms_nobody_else(bench: Any) -> None:
    """T-81: a second HELLO for another's slot waits; junk in its frames ends its own connection."""
    running = Running(bench)
    honest = running.producer(0)
    thief = Producer(bench, 0)
    thief.sock.sendall(bench.hello(0))
    running.turn(2)
    frames = b"".join(protocol.pack_records(protocol.GROUP, 1, [b"forged"], b"\1"))
    thief.sock.sendall(frames)
    running.turn()
    assert running.store(honest, 1, [b"honest"]) == Ack(1)
    with suppress(ConnectionError), pytest.raises(ConnectionResetError):
        thief.next()
    running.daemon.close()
    assert [s.entry.payload for s in bench.stored() if s.entry.slot == 0] == [b"honest"]


@pytest.mark.parametrize(
    "slot", [protocol.CUSTODIAN_SLOT, protocol.SUPERVISOR_SLOT, protocol.CLI_SLOT, protocol.PAGES_SLOT, 1]
)
def test_a_worker_that_was_taken_over_cannot_speak_as_another(bench: Any, slot: int) -> None:
    """Attack: it says in the custodian's name that a beginning was pruned, which would excuse what is missing."""
    running = Running(bench)
    for badge in (bench.keys.badge(0), bytes(protocol.BADGE_BYTES)):
        thief = Producer(bench, slot)
        thief.sock.sendall(protocol.pack_hello(slot, badge))
        thief.sock.sendall(b"".join(protocol.pack_records(protocol.STRICT, 1, [b"forged"], b"\1")))
        running.turn(3)
        with suppress(ConnectionError), pytest.raises(ConnectionResetError):
            thief.next()
    running.clock.now += 2
    running.turn()
    assert running.samples()["gateway_audit_producers_rejected_total"].values == [((), 2)]
    running.daemon.close()
    stored = bench.stored()
    assert b"forged" not in [s.entry.payload for s in stored]
    said = [gw["claimed"] for gw in map(details, stored) if gw and gw["event"] == "audit.impostor"]
    assert said == [{"count": 2, "slots": [slot]}], "somebody tried, and the log says so, once"


@pytest.mark.parametrize("slot", [-1, 0, protocol.CUSTODIAN_SLOT])
def test_only_the_custodian_says_what_sinks_have(bench: Any, slot: int) -> None:
    """Attack: a worker says that everything is elsewhere, and answers leave that no sink has."""
    running = Running(bench)
    edge = running.producer(3)
    edge.send(1, [b"a"], protocol.REMOTE, streams=bytes([2]))
    running.turn()
    assert edge.next() == Ack(1)
    thief = running.producer(slot) if slot >= 0 else Producer(bench, slot)
    thief.sock.sendall(protocol.pack_elsewhere(2, 1 << 40, running.logs[Stream.ACCESS].origin.encode()))
    running.turn(3)
    with suppress(ConnectionError), pytest.raises(ConnectionResetError):
        thief.next()
    edge.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        edge.next()
    edge.sock.settimeout(20)
    elsewhere(running, 2, 1)
    assert edge.next() == Shipped(1)
    running.daemon.close()


def test_the_custodian_that_watches_its_sinks_keeps_no_daemon_from_ending(bench: Any) -> None:
    running = Running(bench)
    running.producer(protocol.SHIPPING_SLOT)
    running.daemon.stop()
    assert running.daemon.is_done
    running.daemon.close()


def test_connections_leave_descriptors_for_the_next_file(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack, T-42: a process that was taken over connects until the daemon can open nothing more."""
    monkeypatch.setattr("gateway.ledger.connections.resource.getrlimit", lambda _: (8, 8))
    running = Running(bench)
    honest = running.producer(0)
    others = [Producer(bench, 1) for _ in range(6)]
    running.turn(2)
    refused = 0
    for other in others:
        other.sock.setblocking(False)
        with suppress(BlockingIOError):
            refused += not other.sock.recv(1)
    assert refused == 3
    assert running.samples()["gateway_audit_producers_rejected_total"].values == [((), 3)]
    assert running.store(honest, 1, [b"a"]) == Ack(1)
    running.daemon.close()


def test_no_producer_can_use_up_the_numbers_of_its_slot(bench: Any) -> None:
    """Attack: a worker that was taken over sends the last sequence there is; whoever gets its slot could never record again."""
    running = Running(bench)
    for first in (1 << 64) - 1, 1 << 63:
        thief = running.producer(0)
        thief.send(first, [b"last"])
        running.turn(2)
        with suppress(ConnectionError), pytest.raises(ConnectionResetError):
            thief.next()
    honest = running.producer(0)
    first = protocol.first_sequence(running.clock.wall_ns() / 1e9, 0)
    assert running.store(honest, first, [b"a"]) == Ack(first)
    running.clock.set_by_s -= 10 * 366 * 86_400  # whose clock was ten years ahead goes on
    running.clock.now += 2
    running.turn()
    assert running.store(honest, first + 1, [b"b"]) == Ack(first + 1)
    running.daemon.close()
    assert [s.entry.payload for s in bench.stored() if s.entry.slot == 0] == [b"a", b"b"]


def test_no_announcement_can_keep_the_log_from_its_next_file(bench: Any) -> None:
    """Attack: the head of each file repeats what is open; uids without end made one that nobody could write or read."""

    def announce(uid: bytes) -> bytes:
        return b'{"metadata":{"correlation_uid":"%b"},"unmapped":{"gw":{"phase":"intent"}}}' % uid

    log = bench.open(capacity=4 << 20)
    log.append([(1, [1], [announce(b"\xff" * 40_000)])], is_safe=True, now_ns=1)
    first, most = 2, MAX_OPEN + 2
    payloads = [announce(b"%d" % n) for n in range(most)]
    log.append([(1, range(first, first + most), payloads)], is_safe=True, now_ns=2)
    log.turn_over(now_ns=3)
    known = dict(log.intents)
    assert MAX_OPEN // 2 <= len(known) <= MAX_OPEN
    log.close()
    again = bench.open()
    assert again.intents == known
    assert list(known)[-1] == str(most - 1)
    again.close()
    assert bench.verify().exit_code == 0


def test_no_worker_can_close_the_announcement_of_another(bench: Any) -> None:
    """Attack: it learned the id of a request of another worker, and says that this ended well, or that it is its own."""
    running = Running(bench)
    honest, thief = running.producer(0), running.producer(1)
    running.store(honest, 1, [intent("r1"), intent("r2")])
    running.store(thief, 1, [intent("r1", "outcome"), intent("r2"), intent("r2", "outcome")])
    assert running.log.intents == {"r1": 0, "r2": 0}
    running.store(honest, 3, [intent("r1", "outcome")])
    running.daemon.close()
    assert [f.message for f in bench.verify().findings] == ["request r2 of producer 0 has no outcome yet"]
    successor = Running(bench, boot="boot-2")
    assert successor.log.intents == {}, "the daemon says it for who is gone"
    successor.daemon.close()
    assert bench.verify().findings == ()


def test_no_worker_can_crowd_out_the_announcements_of_another(bench: Any) -> None:
    """Attack: announcements without end, so that those of others are not followed any more."""
    log = bench.open(capacity=4 << 20)
    log.append([(0, [1], [intent("mine")])], is_safe=True, now_ns=1)
    for start in (1, 1 + MAX_OPEN):
        payloads = [intent(f"r{n}") for n in range(start, start + MAX_OPEN)]
        log.append([(1, range(start, start + MAX_OPEN), payloads)], is_safe=True, now_ns=2)
    log.append([(2, [1], [intent("late")])], is_safe=True, now_ns=1)
    assert (log.intents["mine"], log.intents["late"]) == (0, 2)
    assert len(log.intents) <= MAX_OPEN
    log.close()


def test_nothing_is_acknowledged_that_went_into_a_file_without_a_name(bench: Any) -> None:
    """T-16: rm, and a record before anybody looks."""
    running = Running(bench)
    producer = running.producer(0)
    running.store(producer, 1, [b"a"])
    next(path for path in bench.files() if path.name.startswith("security")).unlink()
    assert running.store(producer, 2, [b"b"]) == Refused(2, Refusal.IO_ERROR)
    assert "removed or replaced" in running.daemon.health()["detail"]
    with suppress(LogUnavailableError):
        running.daemon.close()


def test_a_file_whose_name_may_not_last_is_taken_back(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory cannot be synced: the file before goes on, and no later one may say that it had ended."""
    log = bench.open()
    bench.append(log, 1)

    sync = os.fsync

    def fail(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, "armed")
        sync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(LogUnavailableError):
            log.turn_over(now_ns=bench.now_ns)
    bench.append(log, 1)
    bench.crash(log)
    again = bench.open()
    assert again.size == 2, "acknowledged records are there"
    again.turn_over(now_ns=bench.now_ns)
    bench.append(again, 1)
    again.close()
    assert bench.verify().exit_code == 0


def details(stored: Any) -> dict[str, Any]:
    """The gateway's own members of a record of the daemon's; nothing for other records."""
    if stored.entry.slot != protocol.DAEMON_SLOT:
        return {}
    found: dict[str, Any] = orjson.loads(stored.entry.payload)["unmapped"]["gw"]
    return found


def elsewhere(running: Running, stream: int, size: int, origin: str = "") -> None:
    """As the custodian says it."""
    origin = origin or running.logs[STREAMS_BY_NUMBER[stream]].origin
    custodian = Producer(running.bench, protocol.SHIPPING_SLOT)
    custodian.sock.sendall(
        running.bench.hello(protocol.SHIPPING_SLOT) + protocol.pack_elsewhere(stream, size, origin.encode())
    )
    running.turn(2)
    custodian.sock.close()
    running.turn()


def test_strict_and_remote_waits_for_a_required_sink_and_nobody_else_does(bench: Any) -> None:
    running = Running(bench)
    edge, other = running.producer(0), running.producer(1)
    edge.send(1, [b"a", b"b"], protocol.REMOTE, streams=bytes([2, 3]))
    running.turn()
    assert edge.next() == Ack(2)
    assert running.store(other, 1, [b"c"]) == Ack(1)
    edge.send(3, [b"d"], protocol.REMOTE, streams=bytes([2]))
    running.turn()
    assert edge.next() == Ack(3)
    elsewhere(running, 2, 2, "gateway/node/0000aaaa/access")
    elsewhere(running, 3, 1, "gateway/node/0000aaaa/traffic")
    assert running.daemon._connections._elsewhere == {}, (
        "what sinks have of a log that was moved away says nothing of this one"
    )
    elsewhere(running, 2, 2)
    assert not edge.ready, "the record in traffic is nowhere else yet"
    elsewhere(running, 3, 1)
    assert edge.next() == Shipped(3)
    edge.send(4, [b"e"], protocol.REMOTE, streams=bytes([2]))
    running.turn()
    assert edge.next() == Ack(4)
    elsewhere(running, 2, 3)
    assert edge.next() == Shipped(4)
    running.daemon.close()
