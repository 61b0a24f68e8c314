"""What the daemon itself has to say in the logs, and has not written yet: life of the log, gaps, intents that nobody closes.

Keeps it until it is stored. What was refused or left out is counted by producer and told as one record for each, before
anything else is said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from gateway.audit import record
from gateway.audit.canonical import encode
from gateway.audit.protocol import DAEMON_SLOT, first_sequence
from gateway.exchange.stream import Stream
from gateway.ledger.chunk import Group
from gateway.ledger.daemon_metrics import DaemonMetrics

Build = Callable[[record.Stamp], dict[str, Any]]
_Account = dict[int, tuple[int, int, int]]
"""Slot -> first, last and count of records that are not in the log."""


class OwnRecords:
    """Those of all streams."""

    def __init__(
        self,
        streams: Iterable[Stream],
        metrics: DaemonMetrics,
        *,
        node: str,
        version: str,
        boot_id: str,
        clock_ns: Callable[[], int],
    ) -> None:
        """Nothing is to be said yet."""
        self._waiting: dict[Stream, list[Build]] = {stream: [] for stream in streams}
        self._refused: dict[Stream, _Account] = {stream: {} for stream in self._waiting}
        self._dropped: dict[Stream, _Account] = {stream: {} for stream in self._waiting}
        """The same of records that were left out while their requests went on."""
        self._metrics = metrics
        self._node = node
        self._version = version
        self._boot_id = boot_id
        self._clock_ns = clock_ns

    def add(self, build: Build, stream: Stream = Stream.SECURITY) -> None:
        """Say what `build` makes."""
        self._waiting[stream].append(build)

    def say(self, event: str, stream: Stream = Stream.SECURITY, **fields: Any) -> None:
        """Say something of the life of the log: see `record.lifecycle`."""
        self.add(partial(record.lifecycle, event=event, **fields), stream)

    def jump(self, slot: int, first: int, last: int) -> None:
        """Records that a producer numbered and never sent, unless it was told that they were refused."""
        self._metrics.jumps.inc()
        self._metrics.gaps.inc((), last - first + 1)
        self.add(partial(record.gap, cause="producer_jump", slot=slot, first=first, last=last))  # of whichever stream

    def close_intents(self, stream: Stream, intents: Mapping[str, int]) -> None:
        """Nobody else will say what came of these requests."""
        for uid, slot in intents.items():
            self.add(partial(record.unknown_outcome, correlation_uid=uid, slot=slot), stream)

    def refuse(self, stream: Stream, slot: int, sequences: Sequence[int]) -> None:
        """Count records that were refused."""
        _count(self._refused[stream], slot, sequences)

    def leave_out(self, stream: Stream, slot: int, sequences: Sequence[int]) -> None:
        """Count records that are not stored although their requests go on."""
        self._metrics.dropped.inc((stream.value,), len(sequences))
        _count(self._dropped[stream], slot, sequences)

    def group(self, stream: Stream, last: int) -> list[Group]:
        """Encode what waits for a stream; `last` is the last sequence that the daemon used. Empty when there is nothing."""
        builds: list[Build] = [
            partial(record.gap, cause=cause, slot=slot, first=first, last=end, count=count)
            for cause, told in self._untold(stream)
            for slot, (first, end, count) in told.items()
        ]
        builds += self._waiting[stream]
        if not builds:
            return []
        now_ns = self._clock_ns()
        first = first_sequence(now_ns / 1e9, last)
        sequences = range(first, first + len(builds))
        stamps = (self._stamp(stream, sequence, now_ns) for sequence in sequences)
        return [(DAEMON_SLOT, sequences, [encode(build(stamp)) for build, stamp in zip(builds, stamps, strict=True)])]

    def said(self, stream: Stream) -> None:
        """Everything that `group` gave is stored."""
        for _, told in self._untold(stream):
            self._metrics.gaps.inc((), sum(count for _, _, count in told.values()))
            told.clear()
        self._waiting[stream].clear()

    def _untold(self, stream: Stream) -> list[tuple[record.GapCause, _Account]]:
        return [("refused", self._refused[stream]), ("when_full", self._dropped[stream])]

    def _stamp(self, stream: Stream, sequence: int, now_ns: int) -> record.Stamp:
        time_ms = now_ns // 1_000_000
        return record.Stamp(
            uid=record.uuid7(time_ms, os.urandom(10)),
            sequence=sequence,
            time_ms=time_ms,
            mono_ns=time.monotonic_ns(),
            boot_uid=self._boot_id,
            node=self._node,
            version=self._version,
            stream=stream,
        )


def _count(account: _Account, slot: int, sequences: Sequence[int]) -> None:
    first, last, count = account.get(slot, (sequences[0], 0, 0))
    account[slot] = (min(first, sequences[0]), max(last, sequences[-1]), count + len(sequences))
