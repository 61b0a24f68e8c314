"""A stream of the log in memory, and what a shipper needs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from gateway.audit import record
from gateway.audit.canonical import encode
from gateway.audit.delivery import Batch, Format, deliver_entry
from gateway.audit.entry import pack_entry
from gateway.custody.sinks.cursor import CursorFile
from gateway.custody.sinks.shipping import Limits, Shipper
from gateway.custody.sinks.sink import Sink
from gateway.custody.sinks.standing import Retry, ShippingMetrics
from gateway.custody.tail import Extent
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import Stream

ORIGIN = "gateway/node-a/0a0b0c0d/access"
TIME_NS = 1_790_000_000_000_000_000


def stamp(sequence: int) -> record.Stamp:
    """Make a stamp that depends on nothing."""
    return record.Stamp(
        uid=record.uuid7(TIME_NS // 1_000_000, bytes(10)),
        sequence=sequence,
        time_ms=TIME_NS // 1_000_000,
        mono_ns=sequence,
        boot_uid="boot",
        node="node-a",
        version="1.0",
    )


def entry(index: int, detail: str = "") -> bytes:
    """Make an entry as the daemon would."""
    payload = encode(record.lifecycle(stamp(index), event="gateway.reloaded", detail=detail or f"nummer {index} é"))
    return pack_entry(Stream.ACCESS, 3, TIME_NS + index * 1_000_000_123, index + 1, bytes([index % 256]) * 16, payload)


def batch(first: int, count: int, form: Format = Format.OCSF, origin: str = ORIGIN) -> Batch:
    """Make a batch of entries."""
    deliveries = [deliver_entry(entry(i), origin=origin, index=i, form=form) for i in range(first, first + count)]
    return Batch(origin, "access", deliveries)


class MemorySource:
    """A `Source` that grows when a test says so."""

    def __init__(self, entries: Sequence[bytes] = (), origin: str = ORIGIN) -> None:
        self.entries = list(entries)
        self.origin = origin
        self.first = 0
        self._grown = asyncio.Event()

    def add(self, *entries: bytes) -> None:
        """Let the log grow."""
        self.entries += entries
        self._grown.set()
        self._grown = asyncio.Event()

    def extent(self) -> Extent | None:
        """Return what is there."""
        return Extent(self.origin, self.first, len(self.entries), b"") if self.entries else None

    async def read(self, first: int, most: int) -> Sequence[bytes]:
        """Return entries."""
        return self.entries[first : first + most]

    async def grown(self, size: int, origin: str = "") -> None:
        """Wait for more than `size`."""
        while len(self.entries) <= size and not (origin and origin != self.origin):
            await self._grown.wait()


async def at_once(work: Callable[[], Any]) -> Any:
    """Run blocking work here: a test has time."""
    return work()


class Recorded:
    """What a shipper put into the log."""

    def __init__(self) -> None:
        self.records: list[Mapping[str, Any]] = []

    async def __call__(self, build: Callable[[record.Stamp], Mapping[str, Any]]) -> None:
        """Take a record."""
        self.records.append(build(stamp(0)))

    def events(self) -> list[tuple[str, str]]:
        """Return event and reason of each."""
        return [(r["unmapped"]["gw"]["event"], r["unmapped"]["gw"].get("reason", "")) for r in self.records]


class Shipment:
    """A shipper with everything around it, and its task."""

    def __init__(self, sink: Sink, source: MemorySource, directory: Path, **changes: Any) -> None:
        self.registry = Registry()
        self.recorded = Recorded()
        self.cursors = CursorFile(directory, "siem", "access")
        self.sink = sink
        self.shipper = Shipper(
            sink,
            source,
            self.cursors,
            **{
                "limits": Limits(records=10),
                "retry": Retry(first_s=0.02, longest_s=0.05),
                "timeout_s": 5.0,
                "recorder": self.recorded,
                "threads": at_once,
                "metrics": ShippingMetrics(self.registry),
                "clock": lambda: TIME_NS / 1e9 + 3600,
                "random": lambda: 0.5,
                **changes,
            },
        )
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.shipper.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.sink.close()

    async def until(self, true: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        """Wait until something is so, and fail when it does not become so or the shipper ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 60
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            assert self.task is None or not self.task.done(), self.task
            assert loop.time() < deadline, f"never: {what}"
            await asyncio.sleep(0.02)

    async def until_acknowledged(self, count: int) -> None:
        """Wait until the receiver has so many."""
        await self.until(lambda: self.shipper.acknowledged() >= count, f"{count} acknowledged")

    def value(self, name: str, labels: tuple[str, ...] = ("siem", "access")) -> float:
        """Return a metric."""
        self.shipper.measure()
        for sample in self.registry.dump():
            if sample.name == name:
                return dict(sample.values).get(labels, 0)
        raise AssertionError(name)
