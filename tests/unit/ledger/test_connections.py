"""Who may speak to the audit daemon, and what is answered when."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from gateway.audit import protocol
from gateway.audit.protocol import ASYNC, GROUP, Ack, Reply
from tests.unit.ledger.running import Producer, Running, sequences

Bench = Any


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
        running.clock.now += 0.025
        running.turn()
    assert not running.daemon._connections.open
    running.daemon.close()


def test_replies_that_do_not_fit_the_socket_are_sent_later(bench: Bench) -> None:
    running = Running(bench)
    slow = running.producer(0)
    deafen(running)
    last = 60
    for sequence in range(1, last + 1):
        slow.send(sequence, [b"a"], GROUP)
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
