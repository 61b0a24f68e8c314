"""The audit daemon in the process of the test, turned by hand, and producers that speak its protocol."""

from __future__ import annotations

import socket
from typing import Any

import orjson

from gateway.audit import protocol
from gateway.audit.protocol import GROUP, Ack, Reply, ReplyDecoder, Welcome
from gateway.exchange.metrics import Sample
from gateway.exchange.stream import Stream
from gateway.ledger.daemon import Daemon
from gateway.ledger.streams import open_logs

Bench = Any


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


def intent(uid: str, phase: str = "intent") -> bytes:
    return orjson.dumps({"metadata": {"correlation_uid": uid}, "unmapped": {"gw": {"phase": phase}}})
