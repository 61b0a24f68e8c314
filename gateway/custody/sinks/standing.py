"""How a sink is doing: failures in a row, pauses between them, and who is told.

A hiccup is a line in the journal; what lasts is a record in the log, once when it began and once when it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from gateway.audit import record as records
from gateway.custody.sinks.sink import NotDeliveredError
from gateway.exchange.errors import GatewayError
from gateway.exchange.metrics import Registry

TELL_AFTER: Final = 3
"""Failures in a row after which the log says that a sink failed."""
FIRST_HUSH_S: Final = 60.0
"""After it was said that a sink failed, it is not said again for so long; twice as long each time, while it goes on."""
LONGEST_HUSH_S: Final = 3600.0
LONGEST_WISH_S: Final = 300.0
"""A receiver that asks us to wait longer is asked again all the same."""
_RECORD_WAIT_S: Final = 10.0
_log = structlog.get_logger("gateway.audit")

Recorder = Callable[[Callable[[records.Stamp], Mapping[str, Any]]], Awaitable[None]]
"""Puts a record into the log, through the daemon. Raises GatewayErrors."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait after a failure: anything between nothing and a bound that doubles (full jitter)."""

    first_s: float = 1.0
    longest_s: float = 60.0

    def pause(self, failures: int, random: float) -> float:
        """Return the pause after so many failures in a row; `random` is between 0 and 1."""
        return random * min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 32))


class ShippingMetrics:
    """What sinks did, counted once a process."""

    def __init__(self, registry: Registry) -> None:
        """Declare the metrics."""
        where = ("sink", "stream")
        self.delivered = registry.counter(
            "gateway_audit_sink_delivered_records_total", "Records that a receiver acknowledged.", where
        )
        self.failures = registry.counter(
            "gateway_audit_sink_failures_total", "Deliveries that were not taken, by why.", ("sink", "fault")
        )
        self.skipped = registry.counter(
            "gateway_audit_sink_skipped_records_total", "Records that were pruned before a sink had them.", where
        )
        self.lag_records = registry.gauge(
            "gateway_audit_sink_lag_records", "Records that a receiver does not have yet.", where
        )
        self.lag_seconds = registry.gauge(
            "gateway_audit_sink_lag_seconds", "Age of the oldest record that a receiver does not have yet.", where
        )
        self.dead = registry.gauge(
            "gateway_audit_dead_letter", "Records that a receiver refused for good and does not have.", where
        )
        self.up = registry.gauge("gateway_audit_sink_up", "1 while deliveries are taken, 0 after a failure.", where)
        self.archived = registry.counter(
            "gateway_audit_sink_archived_objects_total", "Segments and checkpoints put into an object store.", where
        )

    def forget(self, labels: tuple[str, str]) -> None:
        """Show no state of a sink that ended; what it did stays counted."""
        for gauge in (self.lag_records, self.lag_seconds, self.dead, self.up):
            gauge.forget(labels)


class Standing:
    """The standing of one sink with one stream."""

    def __init__(
        self,
        sink: str,
        stream: str,
        *,
        retry: Retry,
        recorder: Recorder,
        metrics: ShippingMetrics,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._sink = sink
        self._stream = stream
        self._retry = retry
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._failures = 0
        self._failed_at = 0.0
        self._is_told = False
        self._told_at = float("-inf")
        self._hush_s = 0.0
        self._restarted = ""
        """The log that it was last said to have begun anew with."""

    async def failed(self, error: NotDeliveredError) -> None:
        """Note a failure, say so when it lasts, and wait."""
        self._failures += 1
        self._failed_at = self._failed_at or self._clock()
        fault = error.fault.value
        self._metrics.failures.inc((self._sink, fault))
        self._metrics.up.set(0, (self._sink, self._stream))
        if self._failures == 1:
            _log.warning("sink.failed", sink=self._sink, stream=self._stream, fault=fault, reason=str(error))
        if self._failures >= TELL_AFTER and not self._is_told and not self._is_within(self._hush_s):
            self._is_told = True
            self._hush()
            await self.say("audit.sink_failed", reason=fault, severity=records.HIGH, detail=str(error))
        pause = max(self._retry.pause(self._failures, self._random()), min(error.retry_after_s, LONGEST_WISH_S))
        await asyncio.sleep(pause)

    def _hush(self) -> None:
        """Say it less often while it comes and goes: each record takes room from a disk that may be full."""
        flaps = self._hush_s > 0 and self._is_within(4 * self._hush_s)
        self._hush_s = min(2 * self._hush_s, LONGEST_HUSH_S) if flaps else FIRST_HUSH_S
        self._told_at = self._clock()

    def _is_within(self, seconds: float) -> bool:
        return 0 <= self._clock() - self._told_at < seconds  # a clock that was set back hushes nothing

    async def well(self) -> None:
        """Note that a delivery was taken, and say so after a failure that was told."""
        self._metrics.up.set(1, (self._sink, self._stream))
        if not self._failures:
            return
        _log.info("sink.recovered", sink=self._sink, stream=self._stream, failures=self._failures)
        if self._is_told:
            seconds = max(0, int(self._clock() - self._failed_at))
            await self.say("audit.sink_recovered", severity=records.INFORMATIONAL, more={"after_s": seconds})
        self._failures, self._failed_at, self._is_told = 0, 0.0, False

    async def restarted(self, before: str, now: str, **had: int) -> None:
        """Say that what the receiver has is of another log than the one that is there, and how much it `had`.

        attack: a log that is set aside with what its receiver lacks, and begun anew.
        """
        if self._restarted == now:  # a disk that takes no cursor makes no record each time
            return
        self._restarted = now
        change = {"origin_before": before, "origin": now, **had}
        _log.warning("sink.restarted", sink=self._sink, stream=self._stream, **change)
        await self.say("audit.sink_restarted", severity=records.HIGH, more=change)

    async def say(
        self, event: str, *, severity: int, reason: str = "", detail: str = "", more: Mapping[str, Any] | None = None
    ) -> None:
        """Record what happened; a log that takes no records now keeps no sink from working."""
        build = partial(
            records.lifecycle,
            event=event,
            success=event == "audit.sink_recovered",
            reason=reason,
            detail=detail,
            severity=severity,
            more={"sink": {"name": self._sink, "stream": self._stream, **(more or {})}},
        )
        try:
            async with asyncio.timeout(_RECORD_WAIT_S):
                await self._recorder(build)
        except (GatewayError, TimeoutError) as error:
            _log.warning("sink.not_recorded", sink=self._sink, audit_event=event, reason=str(error))
