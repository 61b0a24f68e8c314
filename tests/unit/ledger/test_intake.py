"""What becomes of a batch: stored, refused, left out."""

from __future__ import annotations

import errno
from typing import Any

import orjson
import pytest

from gateway.audit import protocol
from gateway.audit.protocol import ASYNC, GROUP, STRICT, Ack, Farewell, Records, Refusal, Refused, ReplyDecoder
from gateway.exchange.stream import Stream
from gateway.ledger import chunk
from gateway.ledger.errors import LogTamperedError
from gateway.ledger.streams import open_logs
from tests.unit.ledger.running import Producer, Running, sequences

Bench = Any


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


def waiting(running: Running) -> int:
    """Return how many records are taken in and not safe yet."""
    ((_, value),) = running.samples()["gateway_audit_queue_entries"].values
    return int(value)


def gathered(bench: Bench, *, records: int = 1, **more: Any) -> tuple[Running, Producer]:
    """Return a daemon that has asynchronous records of slot 0, and has not stored them yet."""
    running = Running(bench, **more)
    producer = running.producer(0)
    producer.send(1, [b"a"] * records, ASYNC)
    running.turn()
    assert waiting(running) == records
    return running, producer


def test_asynchronous_records_of_a_moment_cost_one_sync(bench: Bench) -> None:
    running, producer = gathered(bench)
    other = running.producer(1)
    syncs = bench.disk.syncs
    for sequence in (2, 3):
        producer.send(sequence, [b"a"], ASYNC)
        other.send(sequence, [b"a"], ASYNC)
        running.clock.now += 0.01
        running.turn()
    assert (bench.disk.syncs, waiting(running)) == (syncs, 5)
    running.clock.now += 0.006
    running.turn()
    assert (producer.next(), other.next()) == (Ack(3), Ack(3))
    assert (bench.disk.syncs, waiting(running)) == (syncs + 1, 0)
    running.daemon.close()
    assert sequences(bench, 0) == [1, 2, 3]


@pytest.mark.parametrize("grade", [GROUP, STRICT])
def test_a_record_that_somebody_waits_for_is_stored_at_once_with_what_gathered(bench: Bench, grade: int) -> None:
    running, producer = gathered(bench)
    other = running.producer(1)
    syncs = bench.disk.syncs
    assert running.store(other, 1, [b"a"], grade) == Ack(1)
    assert producer.next() == Ack(1)
    assert (bench.disk.syncs, waiting(running)) == (syncs + 1, 0)
    running.daemon.close()


def test_what_gathered_of_a_producer_that_goes_is_stored_at_once(bench: Bench) -> None:
    running, producer = gathered(bench)
    producer.sock.close()
    running.turn()
    assert waiting(running) == 0
    assert running.producer(0).bench.stored(Stream.SECURITY)[-1].entry.sequence == 1
    running.daemon.close()


def test_a_stop_stores_what_gathered_and_gathers_no_more(bench: Bench) -> None:
    running, producer = gathered(bench)
    running.daemon.stop()
    running.turn()
    assert producer.next() == Ack(1)
    assert running.store(producer, 2, [b"last words"], ASYNC) == Ack(2)
    assert waiting(running) == 0
    running.daemon.close()


def test_a_daemon_that_hands_over_or_closes_keeps_nothing_back(bench: Bench) -> None:
    running, producer = gathered(bench)
    running.daemon.hand_over(1.0)
    assert (producer.next(), waiting(running)) == (Ack(1), 0)
    producer.send(2, [b"in the socket"], ASYNC)
    running.daemon.close()
    assert isinstance(producer.next(), Farewell)
    assert producer.next() == Ack(2)
    assert sequences(bench, 0) == [1, 2]


def test_what_gathered_while_the_disk_filled_is_refused_and_accounted_for(bench: Bench) -> None:
    running, producer = gathered(bench, capacity=4096, records=2, ballast_bytes=0)
    producer.send(3, [b"x" * 6000], ASYNC)
    running.turn()
    bench.disk.fail_allocate = 1
    running.clock.now += 0.025
    running.turn()
    assert producer.next() == Refused(3, Refusal.DISK_FULL)
    running.daemon.close()
    assert sequences(bench, 0) == []
    assert [f.message for f in bench.verify().findings] == ["3 records of producer 0 were not stored (refused)"]


def test_a_part_of_a_batch_that_is_kept_is_tried_again_within_the_tenth_of_a_second(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was acknowledged, and nothing but the next record or second would have had it made safe."""
    monkeypatch.setattr(chunk, "FRAME_BUNDLE_BYTES", 1)
    running, producer = gathered(bench, records=2)
    bench.disk.fail_sync = 2
    running.clock.now += 0.025
    running.turn()
    assert [producer.next(), producer.next()] == [Ack(1), Refused(2, Refusal.IO_ERROR)]
    assert waiting(running) == 1
    running.clock.now += 0.1
    running.turn()
    assert waiting(running) == 0
    running.daemon.close()
    assert sequences(bench, 0) == [1]
    assert bench.verify().exit_code == 0


def test_a_stream_that_cannot_be_made_safe_is_not_tried_with_each_batch_of_another(bench: Bench) -> None:
    running, producer = gathered(bench)
    bench.disk.fail_sync = 2
    running.clock.now += 0.025
    running.turn()
    assert (producer.next(), waiting(running)) == (Ack(1), 1)
    for sequence in (2, 3):
        producer.send(sequence, [b"b"], ASYNC, streams=b"\3")
        running.turn()
        running.clock.now += 0.025
        running.turn()
        assert producer.next() == Ack(sequence)
        assert waiting(running) == 1, "a disk that failed is left alone for a moment"
    running.clock.now += 0.1
    running.turn()
    assert waiting(running) == 0
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


def test_a_ballast_that_ends_within_a_lane_acknowledges_nothing_that_is_not_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a full disk, a sign-in that is stored and one that is not, and between them a request that passes for stored."""
    running = Running(bench, capacity=16384)
    edge = running.producer(0)
    assert running.store(edge, 1, [b"a"]) == Ack(1)
    monkeypatch.setattr(chunk, "FRAME_BUNDLE_BYTES", 1)
    allocate, has_room = bench.disk.allocate, iter((False, False, True))

    def full(fd: int, size: int) -> None:
        if not next(has_room, False):
            raise OSError(errno.ENOSPC, "full")
        allocate(fd, size)

    monkeypatch.setattr(bench.disk, "allocate", full)
    common, lane = 1, 1 | protocol.RESERVED
    streams = bytes((common, *[lane] * 20, common))
    connection = next(iter(running.daemon._connections.slots.values()))
    sent = Records(GROUP, 2, [b"b" * 60_000] * 22, streams)
    ((_, answer),) = running.daemon._intake.commit([(connection, sent)])
    replies = ReplyDecoder().feed(answer)
    running.daemon.close()
    stored = sequences(bench, 0)
    assert stored == [1, *range(3, 20)], "the ballast holds a part of the lane"
    assert replies == [Refused(2, Refusal.DISK_FULL), Ack(19), Refused(23, Refusal.DISK_FULL)]


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
    edge.send(1, [b"a"], ASYNC)
    running.turn()
    bench.disk.fail_sync = 2
    running.clock.now += 0.025
    running.turn()
    assert edge.next() == Ack(1)
    assert not running.daemon.health()["ok"]
    running.clock.now += 0.11
    running.turn()
    running.daemon.close()
    assert sequences(bench, 0) == [1]


@pytest.mark.parametrize("grade", [ASYNC, GROUP])
def test_a_kill_in_the_first_second_of_a_stream_and_a_cut_after_it_are_noticed(bench: Bench, grade: int) -> None:
    running = Running(bench)
    edge = running.producer(0)
    edge.send(1, [b"a"], grade, streams=b"\2")
    running.turn()
    running.clock.now += 0.025
    running.turn()
    assert edge.next() == Ack(1)
    assert bench.layout.checkpoint(Stream.ACCESS).read_bytes().split(b"\n")[1] == b"1"
    assert not bench.layout.checkpoint(Stream.TRAFFIC).exists(), "of nothing there is nothing to say"
    running.daemon.close()
    for path in bench.layout.directory.glob("access-*.log"):
        path.unlink()
    with pytest.raises(LogTamperedError, match="a checkpoint says that there were some"):
        open_logs(bench.state_dir, bench.keys, boot="boot-2", disk=bench.disk)


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
