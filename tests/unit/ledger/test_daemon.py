from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.audit.protocol import ASYNC, GROUP, STRICT, Ack, Farewell, Refusal, Refused
from gateway.audit.verify import Kind
from gateway.exchange.metrics import Sample
from gateway.exchange.stream import Stream
from gateway.ledger.daemon import INHERITANCE_S, SEGMENT_AGE_S
from gateway.ledger.errors import LogBusyError
from gateway.ledger.intake import NEW_PROCESS_JUMP
from tests.unit.ledger.running import Producer, Running, intent, sequences

Bench = Any
Start = Callable[..., "subprocess.Popen[bytes]"]


def done(running: Running) -> bool:
    return running.daemon.is_done


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


def test_an_idle_log_has_a_heartbeat(bench: Bench) -> None:
    running = Running(bench)
    running.clock.now += 901
    running.turn()
    assert running.events() == ["audit.started", "audit.heartbeat"]
    running.turn()
    assert running.events() == ["audit.started", "audit.heartbeat"]
    running.daemon.close()


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
