"""Where a duty works: the log's files and keys, its streams as they grow, and its own way to record what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.custody.tail import Tail
from gateway.custody.trail import Trail
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """What every duty has. One for the life of the process; counters go on over reloads."""

    layout: Layout
    keys: AuditKeys
    """They open the log; they cannot sign: see `AuditKeys.for_reading`."""
    trail: Trail
    metrics: Registry
    tails: Mapping[Stream, Tail]

    @classmethod
    def open(cls, layout: Layout, keys: AuditKeys, trail: Trail, metrics: Registry) -> Station:
        """Take a place beside the log; nothing is read yet."""
        tails = {stream: Tail(layout, keys, stream) for stream in STREAMS}
        return cls(layout=layout, keys=keys, trail=trail, metrics=metrics, tails=tails)

    def close(self) -> None:
        """Let go of every file."""
        for tail in self.tails.values():
            tail.close()
