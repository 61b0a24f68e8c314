from __future__ import annotations

import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson
import pytest

from gateway.audit import protocol
from gateway.audit.protocol import (
    ASYNC,
    GROUP,
    STRICT,
    Ack,
    Farewell,
    Refusal,
    Refused,
    Reply,
    ReplyDecoder,
    Welcome,
)
from gateway.audit.verify import Kind
from gateway.exchange.metrics import Sample
from gateway.exchange.stream import Stream
from gateway.ledger.daemon import INHERITANCE_S, SEGMENT_AGE_S, Daemon
from gateway.ledger.errors import LogBusyError, LogTamperedError
from gateway.ledger.intake import NEW_PROCESS_JUMP
from gateway.ledger.streams import open_logs

Bench = Any
Start = Callable[..., "subprocess.Popen[bytes]"]


class Producer:
    """A client that speaks the protocol, and keeps what is not acknowledged."""

    def __init__(self, bench: Bench, slot: int) -> None:
        self.bench = bench
        self.sock = socket.socket(socket.AF_UNIX)
        bench.sockets.append(self.sock)
        self.sock.settimeout(20)
        self.sock.connect(str(bench.layout.socket))
        self.slot = slot
        self.decoder = ReplyDecoder()
        self.ready: list[Reply] = []

    def hello(self) -> int:
        self.sock.sendall(self.bench.hello(self.slot))
        return self.welcome()

    def welcome(self) -> int:
        reply = self.next()
        assert isinstance(reply, Welcome)
        return reply.last_seq

    def send(self, first: int, payloads: list[bytes], grade: int = GROUP, streams: bytes = b"") -> None:
        """Without `streams`, all of them are for the first."""
        self.sock.sendall(b"".join(protocol.pack_records(grade, first, payloads, streams or b"\1" * len(payloads))))

    def next(self) -> Reply:
        while not self.ready:
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionResetError
            self.ready = self.decoder.feed(data)
        return self.ready.pop(0)

    def store(self, first: int, payloads: list[bytes], grade: int = GROUP) -> None:
        self.send(first, payloads, grade)
        assert self.next() == Ack(first + len(payloads) - 1)


class Clock:
    """The time that only runs; the wall clock follows it, and can be set."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.set_by_s = 1_800_000_000.0

    def wall_ns(self) -> int:
        return int((self.now + self.set_by_s) * 1e9)

    def __call__(self) -> float:
        return self.now


class Running:
    """The daemon in this process, turned by hand."""

    def __init__(
        self, bench: Bench, *, boot: str = "boot-1", control: Any = None, capacity: int = 1 << 20, **more: Any
    ) -> None:
        self.clock = Clock()
        self.logs = open_logs(bench.state_dir, bench.keys, boot=boot, disk=bench.disk, capacity=capacity)
        self.log = self.logs[Stream.SECURITY]
        self.daemon = Daemon(
            self.logs,
            bench.layout,
            node="node",
            version="0",
            boot_id=boot,
            badge=bench.keys.badge,
            receipt_key=bench.keys.receipt_key,
            control=control,
            clock_ns=self.clock.wall_ns,
            monotonic=self.clock,
            **{"ballast_bytes": 4 << 20, **more},
        )
        self.daemon.start()
        self.bench = bench

    def producer(self, slot: int, *, hello: bool = True) -> Producer:
        producer = Producer(self.bench, slot)
        if hello:
            producer.sock.sendall(self.bench.hello(slot))
            self.turn(2)
            producer.welcome()
        return producer

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.daemon.turn(0.0)

    def store(self, producer: Producer, first: int, payloads: list[bytes], grade: int = GROUP) -> Reply:
        producer.send(first, payloads, grade)
        self.turn()
        return producer.next()

    def events(self) -> list[str]:
        return [
            orjson.loads(stored.entry.payload)["unmapped"]["gw"]["event"]
            for stored in self.bench.stored()
            if stored.entry.slot == protocol.DAEMON_SLOT
        ]

    def samples(self) -> dict[str, Sample]:
        found: list[Sample] = self.daemon.stats()["samples"]
        return {sample.name: sample for sample in found}


def sequences(bench: Bench, slot: int) -> list[int]:
    return [stored.entry.sequence for stored in bench.stored() if stored.entry.slot == slot]


def done(running: Running) -> bool:
    return running.daemon.is_done


def intent(uid: str, phase: str = "intent") -> bytes:
    return orjson.dumps({"metadata": {"correlation_uid": uid}, "unmapped": {"gw": {"phase": phase}}})


def test_records_of_several_producers_are_stored_in_one_batch_and_acknowledged(bench: Bench) -> None:
    running = Running(bench)
    producers = [running.producer(slot) for slot in (0, 1, 2)]
    syncs = bench.disk.syncs
    for producer in producers:
        producer.send(1, [b"a", b"b"])
    running.turn()
    assert bench.disk.syncs == syncs + 1
    assert [producer.next() for producer in producers] == [Ack(2)] * 3
    running.daemon.close()
    assert bench.verify().exit_code == 0
    assert running.events() == ["audit.started", "audit.stopped"]
    assert not bench.layout.socket.exists()


def test_asynchronous_records_are_acknowledged_at_once_and_safe_a_moment_later(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    syncs = bench.disk.syncs
    assert running.store(producer, 1, [b"a"], ASYNC) == Ack(1)
    assert bench.disk.syncs == syncs
    assert running.samples()["gateway_audit_queue_entries"].values == [((), 1)]
    running.clock.now += 0.11
    running.turn()
    assert bench.disk.syncs == syncs + 1
    assert running.samples()["gateway_audit_queue_entries"].values == [((), 0)]
    running.daemon.close()


def test_a_resend_is_acknowledged_and_not_stored_twice(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    running.store(producer, 1, [b"a", b"b", b"c"])
    producer.sock.close()
    running.turn()
    again = Producer(bench, 0)
    again.sock.sendall(bench.hello(0))
    running.turn(2)
    assert again.welcome() == 3
    assert running.store(again, 2, [b"b", b"c", b"d"]) == Ack(4)
    assert running.store(again, 1, [b"a"]) == Ack(1)
    running.daemon.close()
    assert sequences(bench, 0) == [1, 2, 3, 4]


def test_two_frames_of_one_turn_follow_each_other(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    producer.send(1, [b"a"])
    producer.send(2, [b"b"], STRICT)
    producer.send(2, [b"b", b"c"])
    running.turn()
    assert producer.next() == Ack(3)
    running.daemon.close()
    assert sequences(bench, 0) == [1, 2, 3]


def test_a_jump_inside_a_connection_is_declared_as_a_gap(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    running.store(producer, 1, [b"a"])
    running.store(producer, 5, [b"b"])
    running.daemon.close()
    verdict = bench.verify()
    assert verdict.exit_code == 0
    assert [f.message for f in verdict.findings] == ["3 records of producer 0 were not stored (producer_jump)"]
    assert running.samples()["gateway_audit_gap_records_total"].values == [((), 3)]


def test_a_slot_belongs_to_one_connection_at_a_time_first_come_first_served(bench: Bench) -> None:
    """Two commands at once: with one sequence between them, records of the slower would pass for resends."""
    running = Running(bench)
    first = running.producer(protocol.CLI_SLOT)
    second = Producer(bench, protocol.CLI_SLOT)
    second.sock.sendall(bench.hello(protocol.CLI_SLOT))
    impatient = Producer(bench, protocol.CLI_SLOT)
    impatient.sock.sendall(bench.hello(protocol.CLI_SLOT))
    running.turn(2)
    impatient.sock.close()
    running.turn()
    first.send(1, [b"a"])
    first.sock.close()
    running.turn(3)
    assert second.welcome() == 1
    assert running.store(second, 2, [b"b"]) == Ack(2)
    running.daemon.close()
    assert sequences(bench, protocol.CLI_SLOT) == [1, 2]


@pytest.mark.parametrize(
    "junk",
    [
        lambda bench: struct.pack("<I", 0xFFFFFFFF),
        lambda bench: bench.hello(0) + struct.pack("<I", 0xFFFFFFFF),
        lambda bench: b"".join(protocol.pack_records(GROUP, 1, [b"x"], b"\1")),
        lambda bench: bench.hello(0) + bench.hello(0),
        lambda bench: bench.hello(protocol.DAEMON_SLOT),
        lambda bench: bench.hello(protocol.SHIPPING_SLOT) + b"".join(protocol.pack_records(GROUP, 1, [b"x"], b"\1")),
        lambda bench: b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_junk_costs_its_producer_the_connection_and_nobody_else(bench: Bench, junk: Callable[[Bench], bytes]) -> None:
    """T-81: junk, a forged slot, a length of 4 GiB; the others go on."""
    running = Running(bench)
    good = running.producer(7)
    bad = running.producer(0, hello=False)
    bad.sock.sendall(junk(bench))
    running.turn(3)
    while answer := bad.sock.recv(4096):
        assert answer == protocol.pack_welcome(0)
    assert running.store(good, 1, [b"a"]) == Ack(1)
    assert running.samples()["gateway_audit_producers_rejected_total"].values == [((), 1)]
    running.daemon.close()


def deafen(running: Running) -> None:
    """Leave the daemon room for a few replies to each producer."""
    for producer in running.daemon._connections.open.values():
        producer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


def test_a_producer_that_never_reads_is_cut_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.connections.MAX_UNREAD_REPLY_BYTES", 10 * protocol.REPLY_BYTES)
    running = Running(bench)
    deaf = running.producer(0)
    deafen(running)
    for sequence in range(1, 400):
        try:
            deaf.send(sequence, [b"a"], ASYNC)
        except OSError:
            break
        running.turn()
    assert not running.daemon._connections.open
    running.daemon.close()


def test_replies_that_do_not_fit_the_socket_are_sent_later(bench: Bench) -> None:
    running = Running(bench)
    slow = running.producer(0)
    deafen(running)
    last = 60
    for sequence in range(1, last + 1):
        slow.send(sequence, [b"a"], ASYNC)
        running.turn()
    assert next(iter(running.daemon._connections.open.values())).out
    got: list[Reply] = []
    while Ack(last) not in got:
        got += slow.decoder.feed(slow.sock.recv(1 << 16))
        running.turn()
    assert got == [Ack(sequence) for sequence in range(1, last + 1)]
    running.daemon.close()


def test_nobody_is_told_of_the_daemon_over_the_socket_of_records(bench: Bench) -> None:
    """Attack: frames of five bytes that each cost the daemon a summary of everything kept all others waiting."""
    running = Running(bench)
    curious = running.producer(0, hello=False)
    curious.sock.sendall(struct.pack("<IB", 1, 4) * 1000)
    running.turn(2)
    with suppress(ConnectionError), pytest.raises(ConnectionResetError):
        curious.next()
    running.daemon.close()


def test_stats_hold_samples_and_health(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    running.store(producer, 1, [b"a", b"b"])
    answer = running.daemon.stats()
    samples: list[Sample] = answer["samples"]
    names = {sample.name: sample for sample in samples}
    assert names["gateway_audit_records_total"].values == [(("security",), 2)]
    assert names["gateway_audit_log_entries"].values == [(("security",), 3), (("access",), 0), (("traffic",), 0)]
    health = answer["health"]
    assert (health["ok"], health["detail"]) == (True, "")
    assert health["logs"]["security"] == {
        "size": 3,
        "origin": running.log.origin,
        "root": b64encode(running.log.root).decode(),
    }
    assert {name: log["size"] for name, log in health["logs"].items()} == {"security": 3, "access": 0, "traffic": 0}
    running.daemon.close()


# faults


def test_a_full_disk_refuses_edges_keeps_administrators_and_recovers(bench: Bench) -> None:
    running = Running(bench, capacity=16384)
    edge, cli = running.producer(0), running.producer(protocol.CLI_SLOT)
    big = [b"x" * 6000]
    assert running.store(edge, 1, big) == Ack(1)
    bench.disk.fail_allocate = 1
    edge.send(2, [b"y" * 6000] * 2)
    cli.send(1, big)
    running.turn()
    assert edge.next() == Refused(3, Refusal.DISK_FULL)
    assert cli.next() == Ack(1)
    assert running.daemon.health()["detail"] == "the audit log cannot be written: no space left on device"
    assert running.samples()["gateway_audit_refused_total"].values == [(("disk_full",), 2)]
    assert running.store(edge, 4, big) == Ack(4)
    assert running.daemon.health()["ok"]
    running.daemon.close()
    assert sequences(bench, 0) == [1, 4]
    assert sequences(bench, protocol.CLI_SLOT) == [1]
    verdict = bench.verify()
    assert verdict.exit_code == 0
    assert [f.message for f in verdict.findings] == ["2 records of producer 0 were not stored (refused)"]


def test_the_account_of_refused_records_is_written_even_if_nobody_speaks_again(bench: Bench) -> None:
    running = Running(bench)
    edge = running.producer(0)
    bench.disk.fail_sync = 2
    assert running.store(edge, 1, [b"a"]) == Refused(1, Refusal.IO_ERROR)
    assert not running.daemon.health()["ok"]
    running.clock.now += 1.1
    running.turn()
    assert running.daemon.health()["ok"]
    assert "audit.gap" in running.events()
    assert "audit.io_error" in running.events()
    running.daemon.close()


def test_an_io_error_is_recorded_and_nothing_is_refused_when_another_file_works(bench: Bench) -> None:
    running = Running(bench)
    edge = running.producer(0)
    bench.disk.fail_sync = 1
    assert running.store(edge, 1, [b"a"]) == Ack(1)
    running.clock.now += 1.1
    running.turn()
    assert running.events() == ["audit.started", "audit.io_error"]
    assert running.samples()["gateway_audit_fsync_errors_total"].values == [((), 1)]
    running.daemon.close()
    assert bench.verify().exit_code == 0


def test_a_failing_disk_keeps_asynchronous_records_until_it_works(bench: Bench) -> None:
    running = Running(bench)
    edge = running.producer(0)
    running.store(edge, 1, [b"a"], ASYNC)
    bench.disk.fail_sync = 2
    running.clock.now += 0.11
    running.turn()
    assert not running.daemon.health()["ok"]
    running.clock.now += 0.11
    running.turn()
    running.daemon.close()
    assert sequences(bench, 0) == [1]


def test_a_removed_live_file_refuses_everything_within_a_second(bench: Bench) -> None:
    """T-16: within a second."""
    running = Running(bench)
    edge = running.producer(0)
    bench.files()[0].unlink()
    running.clock.now += 1.1
    running.turn()
    assert running.store(edge, 1, [b"a"]) == Refused(1, Refusal.IO_ERROR)
    assert "removed or replaced" in running.daemon.health()["detail"]
    running.daemon.close()
    assert bench.verify().exit_code == 1


def test_the_checkpoint_follows_within_a_second(bench: Bench) -> None:
    running = Running(bench)
    edge = running.producer(0)
    running.turn()
    running.store(edge, 1, [b"a"])
    running.clock.now += 1.1
    running.turn()
    assert bench.layout.checkpoint(Stream.SECURITY).read_bytes().split(b"\n")[1] == b"2"
    bench.disk.fail_write = 1
    bench.disk.error = 28
    running.store(edge, 2, [b"a"])
    running.clock.now += 1.1
    running.daemon._publish(running.clock.now)
    running.clock.now += 61
    assert running.daemon.health()["ok"] in {True, False}
    running.daemon.close()


@pytest.mark.parametrize("grade", [ASYNC, GROUP])
def test_a_kill_in_the_first_second_of_a_stream_and_a_cut_after_it_are_noticed(bench: Bench, grade: int) -> None:
    running = Running(bench)
    edge = running.producer(0)
    edge.send(1, [b"a"], grade, streams=b"\2")
    running.turn()
    assert edge.next() == Ack(1)
    running.clock.now += 0.11
    running.turn()
    assert bench.layout.checkpoint(Stream.ACCESS).read_bytes().split(b"\n")[1] == b"1"
    assert not bench.layout.checkpoint(Stream.TRAFFIC).exists(), "of nothing there is nothing to say"
    running.daemon.close()
    for path in bench.layout.directory.glob("access-*.log"):
        path.unlink()
    with pytest.raises(LogTamperedError, match="a checkpoint says that there were some"):
        open_logs(bench.state_dir, bench.keys, boot="boot-2", disk=bench.disk)


def test_an_idle_log_has_a_heartbeat(bench: Bench) -> None:
    running = Running(bench)
    running.clock.now += 901
    running.turn()
    assert running.events() == ["audit.started", "audit.heartbeat"]
    running.turn()
    assert running.events() == ["audit.started", "audit.heartbeat"]
    running.daemon.close()


# intents


def test_intents_of_an_earlier_run_are_closed_as_unknown_at_start(bench: Bench) -> None:
    running = Running(bench)
    edge = running.producer(0)
    running.store(edge, 1, [intent("r1"), intent("r2"), intent("r1", "outcome")])
    running.daemon.close()
    assert {f.kind for f in bench.verify().findings} == {Kind.OPEN_INTENT}
    running = Running(bench, boot="boot-2")
    assert running.events()[-2:] == ["audit.recovery", "audit.intent_closed"]
    running.daemon.close()
    assert bench.verify().findings == ()


def test_intents_of_the_same_run_wait_for_their_producer_to_come_back(bench: Bench) -> None:
    running = Running(bench)
    alive, dead, replaced = (running.producer(slot) for slot in (0, 1, 2))
    running.store(alive, 1, [intent("r0")])
    running.store(dead, 1, [intent("r1")])
    running.store(replaced, 1, [intent("r2")])
    running.daemon.close()
    running = Running(bench)
    assert set(running.log.intents) == {"r0", "r1", "r2"}
    alive, replaced = running.producer(0), running.producer(2)
    running.store(alive, 2, [b"{}"])
    running.store(replaced, 2 + NEW_PROCESS_JUMP, [b"{}"])
    assert set(running.log.intents) == {"r0", "r1"}, "another process has slot 2 now"
    running.clock.now += INHERITANCE_S + 1
    running.turn()
    assert set(running.log.intents) == {"r0"}, "nobody came for slot 1"
    running.store(alive, 3, [intent("r0", "outcome")])
    running.daemon.close()
    assert bench.verify().findings == ()


# processes


class Line:
    """The supervisor's end, as a pipe: a byte asks for stats, its end means stop."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        self.seen: list[Mapping[str, Any]] = []
        self.hands_over_s = 0.0

    def fileno(self) -> int:
        return self.read_fd

    def handle(self, stats: Callable[[], Mapping[str, Any]]) -> bool:
        if not os.read(self.read_fd, 1):
            return False
        self.seen.append(stats())
        return True


def test_the_supervisors_line_asks_for_stats_and_its_end_stops_the_daemon(bench: Bench) -> None:
    line = Line()
    running = Running(bench, control=line)
    producer = running.producer(0)
    os.write(line.write_fd, b"?")
    running.turn()
    assert line.seen[0]["health"]["ok"]
    os.close(line.write_fd)
    running.turn()
    assert done(running) is False, "a producer may still have something to say"
    running.store(producer, 1, [b"last words"])
    producer.sock.close()
    running.turn()
    assert done(running)
    running.daemon.close()
    os.close(line.read_fd)


def test_a_stop_does_not_wait_for_ever(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    running.daemon.stop()
    running.turn()
    assert not done(running)
    running.clock.now += 2.1
    assert done(running)
    producer.send(1, [b"just in time"])
    running.daemon.close()
    assert producer.next() == Ack(1)
    assert sequences(bench, 0) == [1]


@pytest.mark.fault
def test_sigterm_drains_and_publishes_a_final_checkpoint(bench: Bench, daemon: Start) -> None:
    process = daemon()
    producer = Producer(bench, 0)
    assert producer.hello() == 0
    producer.store(1, [b"{}"] * 10)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    producer.store(11, [b"{}"])
    producer.sock.close()
    assert process.wait(20) == 0
    verdict = bench.verify()
    assert (verdict.exit_code, verdict.size, verdict.tail) == (0, 13, "checkpoint at 13 entries")


@pytest.mark.fault
def test_nobody_else_writes_while_the_daemon_runs(bench: Bench, daemon: Start) -> None:
    daemon()
    with pytest.raises(LogBusyError):
        bench.open()
    producer = Producer(bench, 0)
    producer.hello()
    producer.store(1, [b"{}"])


@pytest.mark.fault
def test_what_was_acknowledged_survives_kill_9_at_any_moment(bench: Bench, daemon: Start) -> None:
    """The daemon is killed at random moments; the producer sends again what was not acknowledged."""
    chance = random.Random(1)
    acknowledged = 0
    process = daemon()
    producer = Producer(bench, 0)
    next_seq = producer.hello() + 1
    for _ in range(8):
        killer = threading.Timer(chance.uniform(0.001, 0.03), process.kill)
        killer.start()
        try:
            while True:
                count = chance.randint(1, 40)
                payloads = [
                    b'{"n":%d,"pad":"%b"}' % (next_seq + i, b"x" * chance.randint(0, 900)) for i in range(count)
                ]
                producer.send(next_seq, payloads, chance.choice((GROUP, STRICT, ASYNC)))
                reply = producer.next()
                assert isinstance(reply, Ack)
                acknowledged = max(acknowledged, reply.seq)
                next_seq += count
        except (ConnectionError, OSError):
            pass
        killer.join()
        process.wait()
        producer.sock.close()
        verdict = bench.verify()
        assert verdict.exit_code == 0, [str(f) for f in verdict.findings]
        process = daemon()
        producer = Producer(bench, 0)
        last = producer.hello()
        assert last >= acknowledged
        next_seq = acknowledged + 1
    producer.store(next_seq, [b"{}"])
    producer.sock.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    verdict = bench.verify()
    assert verdict.exit_code == 0, [str(f) for f in verdict.findings]
    stored = sequences(bench, 0)
    assert stored == list(range(1, len(stored) + 1)), "nothing twice, nothing lost"
    assert len(stored) >= acknowledged


@pytest.mark.fault
def test_a_log_verifies_again_and_again_while_the_daemon_writes(bench: Bench, daemon: Start) -> None:
    process = daemon(capacity=1 << 18)
    producer = Producer(bench, 0)
    producer.hello()
    ended = threading.Event()

    def write() -> None:
        seq = 1
        while not ended.is_set():
            producer.store(seq, [b'{"pad":"%b"}' % (b"x" * 600)] * 7)
            seq += 7

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 1.5
        sizes: list[int] = []
        while time.monotonic() < deadline or len(sizes) < 3:
            verdict = bench.verify()
            assert [str(f) for f in verdict.failures] == []
            if bench.layout.checkpoint(Stream.SECURITY).exists():
                sizes.append(verdict.size)
    finally:
        ended.set()
        writer.join()
    assert sizes[-1] > sizes[0]
    producer.sock.close()
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    assert bench.verify().exit_code == 0


def test_a_hand_over_writes_everything_and_tells_producers_that_somebody_comes(bench: Bench) -> None:
    line = Line()
    running = Running(bench, control=line)
    producer = running.producer(0)
    running.store(producer, 1, [intent("r0")])
    files = len(bench.files())
    producer.send(2, [b"on its way"])
    line.hands_over_s = 7.0
    os.close(line.write_fd)
    running.turn()
    assert done(running), "at once: its producers stay"
    running.daemon.close()
    assert len(bench.files()) == files + 1, "the successor has little to read"
    replies = [producer.next(), producer.next()]
    assert Farewell(wait_ms=7000) in replies
    assert Ack(2) in replies
    with pytest.raises(ConnectionResetError):
        producer.next()

    successor = Running(bench, boot="boot-1")
    assert "r0" in successor.log.intents, "its producer lives and will say what became of it"
    again = Producer(bench, 0)
    again.sock.sendall(bench.hello(0))
    successor.turn(2)
    assert again.welcome() == 2
    successor.store(again, 2, [b"on its way", intent("r0", "outcome")])
    assert not successor.log.intents
    successor.daemon.close()
    os.close(line.read_fd)
    assert [stored.entry.sequence for stored in bench.stored() if stored.entry.slot == 0] == [1, 2, 3], "nothing twice"
    assert bench.verify().findings == ()


MIXED = bytes([1, 3, 1, 2])


def placed(bench: Bench, slot: int) -> dict[str, list[int]]:
    return {stream.value: [s.entry.sequence for s in bench.stored(stream) if s.entry.slot == slot] for stream in Stream}


def test_the_records_of_a_frame_go_to_their_streams_under_one_series_of_sequences(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    producer.send(1, [b"a", b"b", b"c", b"d"], streams=MIXED)
    running.turn()
    assert producer.next() == Ack(4)
    running.daemon.close()
    assert placed(bench, 0) == {"security": [1, 3], "access": [4], "traffic": [2]}
    for stream in Stream:
        assert bench.verify(stream=stream).exit_code == 0


def test_what_a_stream_has_is_dropped_when_it_comes_again_and_the_rest_is_stored(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    producer.send(1, [b"a", b"b"], streams=bytes([1, 3]))
    running.turn()
    assert producer.next() == Ack(2)
    producer.sock.close()
    running.turn(2)
    again = running.producer(0)
    again.send(1, [b"a", b"b", b"c", b"d"], streams=MIXED)
    running.turn()
    assert again.next() == Ack(4)
    running.daemon.close()
    assert placed(bench, 0) == {"security": [1, 3], "access": [4], "traffic": [2]}


def test_a_frame_that_is_replayed_in_one_turn_is_stored_once(bench: Bench) -> None:
    """T-81: a process that was taken over sends old bytes again."""
    running = Running(bench)
    producer = running.producer(0)
    for _ in range(2):
        producer.send(1, [b"a", b"b", b"c", b"d"], streams=MIXED)
    running.turn()
    assert producer.next() == Ack(4)
    running.daemon.close()
    assert placed(bench, 0) == {"security": [1, 3], "access": [4], "traffic": [2]}


def test_a_stream_without_room_is_refused_alone_and_says_so_in_itself(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    bench.disk.fail_allocate = 1  # the file of the stream that comes next
    producer.send(1, [b"a", b"b", b"c"], streams=bytes([1, 3, 1]))
    running.turn()
    replies = [producer.next() for _ in range(3)]
    assert replies == [Ack(1), Refused(2, Refusal.DISK_FULL), Ack(3)]
    producer.send(4, [b"d", b"e"], streams=bytes([3, 2]))
    running.turn()
    assert producer.next() == Ack(5)
    running.daemon.close()
    assert placed(bench, 0) == {"security": [1, 3], "access": [5], "traffic": [4]}
    gaps = [
        (stored.stream, orjson.loads(stored.entry.payload)["unmapped"]["gw"]["gap"])
        for stored in bench.stored()
        if b"audit.gap" in stored.entry.payload
    ]
    assert gaps == [(Stream.TRAFFIC, {"count": 1, "first": "2", "last": "2", "slot": 0})]


def test_an_intent_is_closed_in_its_own_stream(bench: Bench) -> None:
    running = Running(bench, boot="boot-1")
    producer = running.producer(0)
    intent = b'{"metadata":{"correlation_uid":"r0"},"unmapped":{"gw":{"phase":"intent"}}}'
    producer.send(1, [intent], streams=b"\2")
    running.turn()
    assert producer.next() == Ack(1)
    running.daemon.close()
    after = Running(bench, boot="boot-2")
    after.daemon.close()
    closed = [s.stream for s in bench.stored() if b"audit.intent_closed" in s.entry.payload]
    assert closed == [Stream.ACCESS]
    assert not [f for f in bench.verify(stream=Stream.ACCESS).findings if f.kind is Kind.OPEN_INTENT]


def test_a_file_that_is_old_enough_is_followed_by_another_when_it_has_entries(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    running.store(producer, 1, [b"a"])
    running.turn()
    for _ in range(3):
        running.clock.now += SEGMENT_AGE_S + 2
        running.turn(2)
    running.daemon.close()
    names = [path.name for path in bench.files()]
    assert [name for name in names if name.startswith("security-")][1:], "the heartbeats of an idle day are entries"
    assert not [name for name in names if name.startswith(("access-", "traffic-"))], "nothing was ever recorded there"
    assert bench.verify().exit_code == 0
