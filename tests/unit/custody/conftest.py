"""A log with closed files, a real daemon beside it, and a custodian's station."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.audit.protocol import CUSTODIAN_SLOT
from gateway.custody.places import writable_places
from gateway.custody.station import Station
from gateway.custody.trail import Trail
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import Stream
from gateway.ledger.spool import SpoolReader
from tests.unit.ledger.conftest import Bench, bench, daemon

__all__ = ["bench", "daemon"]

STREAM = Stream.SECURITY


class Custody:
    """One log under custody."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.layout.create()
        writable_places(bench.state_dir)
        self.stations: list[Station] = []

    @property
    def directory(self) -> Path:
        return self.bench.layout.directory

    def fill(self, files: int = 3, records: int = 5, stream: Stream = STREAM) -> None:
        """Write closed files, and the one that follows them."""
        for _ in range(files):
            log = self.bench.open(stream=stream)
            self.bench.append(log, records)
            log.close()

    def trail(self) -> Trail:
        return Trail(
            self.bench.layout,
            node="node",
            boot_uid="boot",
            version="0",
            badge=self.bench.keys.badge(CUSTODIAN_SLOT),
        )

    def station(self) -> Station:
        station = Station.open(self.bench.layout, self.bench.keys, self.trail(), Registry())
        self.stations.append(station)
        return station

    def records(self, stream: Stream = STREAM) -> list[dict[str, Any]]:
        """Every record that can be read, in order."""
        station = self.station()
        tail = station.tails[stream]
        tail.look()
        extent = tail.extent()
        assert extent is not None
        reader = SpoolReader(self.directory, self.bench.keys, stream, extent.first)
        try:
            return [orjson.loads(raw[40:]) for raw in reader.read(1 << 20, extent.size)]
        finally:
            reader.close()

    def events(self, event: str) -> list[dict[str, Any]]:
        """The records of one event."""
        found = (record.get("unmapped", {}).get("gw", {}) for record in self.records())
        return [gw for gw in found if gw.get("event") == event]

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def custody(bench: Bench) -> Iterator[Custody]:
    custody = Custody(bench)
    yield custody
    for station in custody.stations:
        station.close()


Start = Callable[..., "subprocess.Popen[bytes]"]
