"""The custodian as a child process: which duties gateway.yaml asks for, and orders from the supervisor.

It opens the log and changes files that are closed; it does not have the seed that signs. No request
waits for it, and what fails in it keeps nobody from being served.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.custody.custodian import Custodian
from gateway.custody.duty import Duty
from gateway.custody.indexing import IndexingDuty
from gateway.custody.inquiry import InquiryMetrics
from gateway.custody.pruning import RetentionCounters, RetentionDuty, Schedule
from gateway.custody.sealing import SealingDuty
from gateway.custody.sinks.standing import ShippingMetrics
from gateway.custody.station import Station
from gateway.custody.tail import Watch
from gateway.custody.tiling import TilingDuty, TilingGauges
from gateway.custody.trail import Trail
from gateway.custody.verifying import VerifyingDuty, VerifyMetrics
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.server.bundle import Bundle
from gateway.server.control import Boot, Dumped
from gateway.server.inquiries import inquiry_duties
from gateway.server.retention import undelivered, wanted_retention
from gateway.server.settings import Settings, load_settings
from gateway.server.sinks import sink_duties
from gateway.server.witness_metrics import NodeMetrics

_NICENESS: Final = 5
"""Requests come first."""


class CustodyProcess:
    """The custodian among the processes of a gateway."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._custodian: Custodian | None = None
        self._station: Station | None = None
        self._constant: list[Duty] = []
        """Duties that no reload changes."""
        self._prepared: Callable[[], Sequence[Duty]] | None = None
        self._places = self._prepared_places = _sink_directories(boot.bundle)
        """Where file sinks may write: the kernel was told when this process began."""
        self._witness_metrics: NodeMetrics | None = None
        self._shipping_metrics: ShippingMetrics | None = None
        self._retention_counters: RetentionCounters | None = None
        self._retention_schedule = Schedule()
        self._inquiry_metrics: InquiryMetrics | None = None
        self._verify_metrics: VerifyMetrics | None = None
        self._verifying: VerifyingDuty | None = None
        self._tiling: dict[Stream, TilingDuty] = {}

    async def start(self) -> None:
        """Begin, as soon as no other custodian does. Raises GatewayError."""
        boot = self._boot
        with suppress(OSError):
            os.nice(_NICENESS)
        layout = Layout(Path(boot.state_dir))
        trail = Trail(layout, node=boot.node, boot_uid=boot.boot_id, version=boot.version, badge=boot.badge)
        keys = AuditKeys.parse_for_reading(boot.bundle.audit_keys or b"")
        registry = Registry()
        self._witness_metrics = NodeMetrics(registry)
        self._shipping_metrics = ShippingMetrics(registry)
        self._inquiry_metrics = InquiryMetrics(registry)
        self._verify_metrics = VerifyMetrics(registry)
        self._station = Station.open(layout, keys, trail, registry)
        gauges = TilingGauges(self._station)
        self._tiling = {stream: TilingDuty(self._station, tail, gauges) for stream, tail in self._station.tails.items()}
        self._retention_counters = RetentionCounters(self._station)
        self._constant = [
            *map(Watch, self._station.tails.values()),
            SealingDuty(self._station),
            *self._tiling.values(),
            IndexingDuty(self._station),
        ]
        self._custodian = Custodian(self._station)
        self._custodian.begin(self._plan(boot.bundle))

    def prepare(self, bundle: Bundle) -> None:
        """Read what the bundle asks for. Raises ConfigurationError."""
        self._prepared = self._plan(bundle)
        self._prepared_places = _sink_directories(bundle)

    def commit(self) -> None:
        """Do what was prepared last. Raises ConfigurationError when nothing was."""
        if self._prepared is None or self._custodian is None:
            raise ConfigurationError(("nothing was prepared",))
        if not self._prepared_places <= self._places:  # Landlock gives no right back: its successor has the new one
            raise ConfigurationError(("a file sink has another directory: the custodian starts again to write there",))
        plan, self._prepared = self._prepared, None
        self._custodian.change(plan)

    def dump(self) -> Dumped:
        """Tell all counters, and which duties fail: none of them keeps the gateway from being ready."""
        if self._custodian is None or self._station is None:
            return Dumped(samples=[], health={})
        roster = self._custodian.roster
        roster.measure()
        degraded = {f"custody {duty}": reason for duty, reason in roster.faults.items()}
        if self._verifying is not None and self._verifying.fault:
            degraded["audit log"] = self._verifying.fault
        if self._retention_schedule.fault:
            degraded["audit retention"] = self._retention_schedule.fault
        return Dumped(samples=self._station.metrics.dump(), health={}, degraded=degraded)

    async def serve(self) -> None:
        """Nothing: the lock says whose turn it is."""

    def share_limits(self, *, is_shared: bool) -> None:
        """Nothing: it counts no limits."""

    def last_requests(self) -> None:
        """Nothing: it has no clients."""

    async def drain(self, seconds: float, *, keeps_idle: bool) -> None:  # noqa: ARG002 - both say how long to wait
        """End every duty: each can be interrupted anywhere and goes on at the next start."""
        if self._custodian is not None:
            await self._custodian.end()

    def hurry(self, seconds: float) -> None:
        """Nothing: a drain ends at once."""

    def _plan(self, bundle: Bundle) -> Callable[[], Sequence[Duty]]:
        settings = load_settings(bundle.settings, bundle.path)
        return lambda: [*self._constant, *self._asked(settings, bundle)]

    def _asked(self, settings: Settings, bundle: Bundle) -> Sequence[Duty]:
        """Return the duties that a bundle asks for."""
        if (
            self._station is None
            or self._witness_metrics is None
            or self._shipping_metrics is None
            or self._retention_counters is None
            or self._inquiry_metrics is None
            or self._verify_metrics is None
        ):
            return ()
        every_s = settings.audit.verify.every
        self._verifying = (
            VerifyingDuty(self._station, every_s=every_s, metrics=self._verify_metrics) if every_s is not None else None
        )
        return [
            *([self._verifying] if self._verifying is not None else []),
            RetentionDuty(
                self._station,
                self._tiling,
                wanted_retention(settings),
                blocks=undelivered(settings, self._station.layout),
                segment_age_s=settings.audit.segment_age,
                schedule=self._retention_schedule,
                counters=self._retention_counters,
            ),
            *inquiry_duties(settings, bundle, self._station, self._inquiry_metrics, badge=self._boot.inquiry_badge),
            *_witness_duties(settings, bundle, self._station, self._witness_metrics),
            *sink_duties(settings, bundle, self._station, self._shipping_metrics, badge=self._boot.shipping_badge),
        ]


def _witness_duties(settings: Settings, bundle: Bundle, station: Station, metrics: NodeMetrics) -> Sequence[Duty]:
    asked = settings.audit.witness
    if asked.policy is None and asked.serve is None:
        return ()
    from gateway.server.witnesses import witness_duties  # noqa: PLC0415 - aiohttp, for those who have witnesses

    return witness_duties(settings, bundle, station, metrics)


def _sink_directories(bundle: Bundle) -> frozenset[Path]:
    sinks = load_settings(bundle.settings, bundle.path).audit.sinks
    return frozenset(sink.path.parent for sink in sinks if sink.path is not None)
