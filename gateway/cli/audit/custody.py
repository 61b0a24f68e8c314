"""What the verbs that change closed files share: the custody of the log where no gateway has it, and who asks."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from gateway import __version__
from gateway.audit import record
from gateway.custody.custodian import CustodyLock
from gateway.custody.places import writable_places
from gateway.custody.station import Station
from gateway.custody.tiling import TilingDuty, TilingGauges
from gateway.custody.trail import DirectLog, Trail
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import Stream
from gateway.ledger import producer
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.promise_reader import PromiseReader, Standing
from gateway.ledger.retention import changing
from gateway.server.progress import Progress
from gateway.server.settings import Settings


@contextmanager
def custody(settings: Settings) -> Iterator[Station]:
    """Have the custody of a log that no gateway writes. Raises `CustodyBusyError`, `LogBusyError`, `OSError`."""
    layout = Layout(settings.state_dir)
    keys = AuditKeys.load(settings.audit.keys)
    layout.create()
    for place in writable_places(settings.state_dir):
        layout.give(place)
    lock = CustodyLock(layout)
    try:
        log = DirectLog(layout, keys)
        try:
            boot_uid = record.uuid7(0, os.urandom(10))
            trail = Trail(
                layout, node=socket.gethostname(), boot_uid=boot_uid, version=__version__, connect=log.connect
            )
            station = Station.open(layout, keys, trail, Registry())
            try:
                yield station
            finally:
                station.close()
                _give_all(layout)
        finally:
            log.close()
    finally:
        lock.release()


def promises(settings: Settings) -> PromiseReader:
    """Return who reads what the log promised. Raises `KeyringError`."""
    return PromiseReader(Layout(settings.state_dir), AuditKeys.load(settings.audit.keys))


def standing(settings: Settings) -> Standing:
    """Return the holds and rules in force. Raises `UnreadableLogError`, `HoldsError`, `RetentionError`, `OSError`."""
    layout = Layout(settings.state_dir)
    layout.create()
    with Progress("reading what the log says of holds"), changing(layout):
        return promises(settings).standing()


def prove(station: Station, stream: Stream, first: int) -> None:
    """Bring the tiles of a stream up to its checkpoint and let go of those before an index. Raises `TilesError`."""
    tail = station.tails[stream]
    tail.look()
    asyncio.run(TilingDuty(station, tail, TilingGauges(station)).prune(first))


def person() -> tuple[str, str]:
    """Return who asks, as rules about two persons know them, and the name for people."""
    user = producer.operator()["user"]
    return f"os:{user['uid']}", str(user["name"])


def record_act(settings: Settings, event: str, *, detail: str = "", more: Mapping[str, Any] | None = None) -> None:
    """Record what a person does to the custody of the log, before it is done. Raises `AuditUnavailableError`."""
    build = partial(record_person, event=event, actor=producer.operator(), detail=detail, more=more)
    producer.append(settings.state_dir, settings.audit.keys, [build])


def record_person(
    stamp: record.Stamp, event: str, *, actor: Mapping[str, Any], detail: str, more: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the record of an event that a person caused."""
    made = record.lifecycle(stamp, event, detail=detail, severity=record.MEDIUM, more=more)
    made["actor"] = dict(actor)
    return made


def _give_all(layout: Layout) -> None:
    """Hand what was made to the owner of `state_dir`: the command line must not lock the custodian out."""
    if os.geteuid() == 0:
        for place in (layout.tiles, layout.custody, layout.directory):
            for path in (place, *place.rglob("*")):
                layout.give(path)
