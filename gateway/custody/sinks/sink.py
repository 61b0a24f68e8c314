"""What a sink is, and in which words it says that it could not deliver.

A sink hands one batch to one receiver. It retries nothing, remembers nothing and decides nothing about
the log: that is `shipping`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from gateway.audit.delivery import Batch
from gateway.exchange.errors import GatewayError


class Fault(StrEnum):
    """Why a receiver did not take a batch: a closed list, for the record, the metric and the operator."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    TIMED_OUT = "timed_out"
    BUSY = "busy"
    """It asks for patience: 429, 503, a full queue."""
    BROKEN = "broken"
    """It answered with a failure of its own."""
    UNAUTHORIZED = "unauthorized"
    MISCONFIGURED = "misconfigured"
    """What gateway.yaml names is not there, or not what it should be."""
    REFUSED = "refused"
    """It refuses every record it is offered: so it is not the records."""
    CONFLICT = "conflict"
    """It has something else under a name that stands for these bytes alone."""
    DISK = "disk"
    LOG = "log"
    """The log itself cannot be read, or is shorter than what was delivered of it."""
    INTERNAL = "internal"


SENTENCES = {
    Fault.UNREACHABLE: "the receiver cannot be reached",
    Fault.TLS: "the certificate of the receiver is not trusted, or TLS failed; see ca",
    Fault.TIMED_OUT: "the receiver did not answer in time",
    Fault.BUSY: "the receiver takes nothing now",
    Fault.BROKEN: "the receiver failed",
    Fault.UNAUTHORIZED: "the receiver does not take our credentials",
    Fault.MISCONFIGURED: "the receiver does not have what gateway.yaml names",
    Fault.REFUSED: "the receiver refuses every record",
    Fault.CONFLICT: "the receiver has other contents under the same name",
    Fault.DISK: "the file cannot be written",
    Fault.LOG: "the log cannot be read",
    Fault.INTERNAL: "delivering failed in a way that was not foreseen",
}


class NotDeliveredError(GatewayError):
    """A batch was not taken, as far as the receiver said. Trying again later is right. The text holds no secret."""

    def __init__(self, fault: Fault, detail: str = "", *, retry_after_s: float = 0.0) -> None:
        super().__init__(SENTENCES[fault] + (f": {detail}" if detail else ""))
        self.fault = fault
        self.retry_after_s = retry_after_s
        """How long the receiver asked us to wait."""


class RefusedRecordsError(GatewayError):
    """The receiver will never take some records as they are; trying them again changes nothing."""

    def __init__(self, detail: str, indexes: Sequence[int] | None = None) -> None:
        super().__init__(f"the receiver refuses a record: {detail}")
        self.detail = detail
        self.indexes = indexes
        """Which ones, where it said so: it then has taken all others of the batch. None: it has taken nothing."""


class Sink(Protocol):
    """One receiver. `deliver` may be called for several streams at the same time.

    It does not promise that a receiver has a batch only once: after a failure nobody knows.
    """

    async def deliver(self, batch: Batch) -> None:
        """Hand over a batch and return when the receiver is responsible for it.

        Raises:
            NotDeliveredError: it was not taken.
            RefusedRecordsError: it will never be, because of a record in it.

        """
        ...

    async def probe(self) -> None:
        """Find out whether a batch could be delivered now, without delivering one. Raises NotDeliveredError."""
        ...

    async def close(self) -> None:
        """Let go of every connection; does not raise."""
        ...
