"""What producers sent and is not stored yet, and when it is time to store it.

At once where somebody waits for a record. Records that nobody waits for gather for a moment: each frame of the log costs a sync,
however few records it has (docs/decisions/0037, 0038). Decides nothing about a record.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.audit.protocol import ASYNC, Records
from gateway.ledger.chunk import FRAME_BUNDLE_BYTES, FRAME_RECORDS
from gateway.ledger.connection import Connection

GATHER_S = 0.025
"""So long, at most. Producers keep what is not acknowledged, so it is also what a kill of the whole gateway may take."""


class Gathering:
    """The batch of one daemon."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.due_at: float | None = None
        """When it has to be stored, 0 for at once; None while there is nothing."""
        self.records = 0
        """How many there are."""
        self._size = 0
        self._batch: list[tuple[Connection, Records]] = []
        self._monotonic = monotonic

    def add(self, connection: Connection, records: Records) -> None:
        """Take in what a producer sent."""
        if self.due_at is None:
            self.due_at = self._monotonic() + GATHER_S
        self._batch.append((connection, records))
        self.records += len(records.payloads)
        if records.grade == ASYNC and self.records < FRAME_RECORDS:
            self._size += sum(map(len, records.payloads))
            if self._size < FRAME_BUNDLE_BYTES:
                return
        self.due_at = 0.0

    def is_due(self) -> bool:
        """Tell whether it is time."""
        return self.due_at is not None and (not self.due_at or self._monotonic() >= self.due_at)

    def take(self) -> list[tuple[Connection, Records]]:
        """Return everything, in the order in which it came, and begin anew."""
        batch, self._batch = self._batch, []
        self.due_at = None
        self.records = self._size = 0
        return batch
