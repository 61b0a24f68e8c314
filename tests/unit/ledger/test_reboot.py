"""T-04: everything is killed at once and the page cache is lost, at any call that the daemon made to its files.

What dm-log-writes replays for a block device is replayed here for calls; `GATEWAY_SOAK=1` replays far more points.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audit.protocol import ASYNC, GROUP, Ack, ReplyDecoder
from gateway.ledger.connection import Connection
from gateway.ledger.connections import Connections
from tests.unit.ledger.conftest import Bench
from tests.unit.ledger.reboot import Journal, Platter
from tests.unit.ledger.running import Running, intent

POINTS = 1200 if os.environ.get("GATEWAY_SOAK") else 40
BALLAST = 1 << 20


def worked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, chance: random.Random
) -> tuple[Journal, set[tuple[int, int]]]:
    """Have a daemon take in records of two producers, over several files, and leave it as a kill does.

    Returns what it did, and slot and sequence of each record that was to be safe when it was acknowledged.
    """
    promised: set[tuple[int, int]] = set()
    bench.layout.create()
    with monkeypatch.context() as patches:
        journal = Journal(bench.state_dir, patches)
        send = Connections._send

        def told(connections: Connections, producer: Connection, data: bytes) -> None:
            for reply in ReplyDecoder().feed(bytes(data)):
                if isinstance(reply, Ack):
                    journal.calls.append(("ack", producer.slot, reply.seq))
            send(connections, producer, data)

        patches.setattr(Connections, "_send", told)
        running = Running(bench, capacity=24 * 1024, ballast_bytes=BALLAST)
        producers = [running.producer(slot) for slot in (0, 1)]
        first = [1, 1]
        for turn in range(24):
            for slot, producer in enumerate(producers):
                payloads = [intent(f"{slot}-{turn}"), b'{"pad":"%b"}' % (b"x" * chance.randint(1, 1500))]
                streams = bytes(chance.choice([1, 2]) for _ in payloads)
                grade = chance.choice([ASYNC, GROUP, GROUP])
                producer.send(first[slot], payloads, grade, streams)
                if grade == GROUP:
                    promised.update((slot, first[slot] + i) for i in range(len(payloads)))
                first[slot] += len(payloads)
            running.clock.now += chance.choice([0.05, 0.2, 1.1])
            running.turn(2)
        abandon(running)
    return journal, promised


@pytest.fixture
def closing() -> Iterator[list[Bench]]:
    """Benches whose sockets are closed after the test."""
    made: list[Bench] = []
    yield made
    for bench in made:
        for sock in bench.sockets:
            sock.close()


def abandon(running: Running) -> None:
    """Close what the kernel would, and nothing else."""
    connections = running.daemon._connections
    for producer in connections.open.values():
        producer.sock.close()
    assert connections._listener is not None
    connections._listener.close()
    for log in running.logs.values():
        if log._file is not None:
            os.close(log._file.fd)
        os.close(log._lock_fd)


def platter(journal: Journal, upto: int) -> tuple[Platter, dict[int, int]]:
    disk, acked = Platter(), dict.fromkeys((0, 1), 0)
    for call in journal.calls[:upto]:
        if call[0] == "ack":
            acked[call[1]] = call[2]
        else:
            disk.take(call)
    return disk, acked


@pytest.mark.timeout(1800 if os.environ.get("GATEWAY_SOAK") else 120)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_t04_whatever_call_the_machine_stops_at_nothing_that_was_acknowledged_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closing: list[Bench], seed: int
) -> None:
    chance = random.Random(seed)
    bench = Bench(tmp_path / "state")
    closing.append(bench)
    journal, promised = worked(bench, monkeypatch, chance)
    whole = platter(journal, len(journal.calls))[0].whole()
    there = {
        str(path.relative_to(bench.state_dir)): path.read_bytes()
        for path in bench.state_dir.rglob("*")
        if path.is_file() and path.parent.name != "run"
    }
    assert whole == there, "the journal missed a call"

    for number, upto in enumerate(chance.sample(range(len(journal.calls) + 1), min(POINTS, len(journal.calls)))):
        disk, acked = platter(journal, upto)
        again = Bench(tmp_path / "state")
        again.state_dir = tmp_path / f"after-{number}"
        again.layout = type(again.layout)(again.state_dir)
        closing.append(again)
        again.layout.create()
        for name, contents in disk.after_a_power_cut(chance).items():
            path = again.state_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents)
            path.chmod(0o600)
        running = Running(again, boot="boot-2", capacity=24 * 1024, ballast_bytes=BALLAST)
        for log in running.logs.values():
            verdict = again.verify(stream=log.stream)
            assert [str(finding) for finding in verdict.failures] == [], f"seed {seed}, call {upto}, before"
        after = running.producer(7)
        after.send(1, [b"after", b"after"], GROUP, b"\1\2")
        running.turn()
        assert after.next() == Ack(2)
        running.daemon.close()
        kept = {(stored.entry.slot, stored.entry.sequence) for stored in again.stored()}
        owed = {(slot, sequence) for slot, sequence in promised if sequence <= acked[slot]}
        assert owed - kept == set(), f"seed {seed}, call {upto}"
        for log in running.logs.values():
            assert log.intents == {}, "an announcement of before is closed as unknown"
            verdict = again.verify(stream=log.stream)
            assert [str(finding) for finding in verdict.failures] == [], f"seed {seed}, call {upto}"
