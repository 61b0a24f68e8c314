"""One request and its answer, from the parsed head to the release: the one mutable object of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.peer import Peer
from gateway.edge.sessions import SessionEntry
from gateway.edge.snapshot import Snapshot, Upstream
from gateway.exchange.envelope import Event
from gateway.exchange.reason import Reason
from gateway.exchange.route import Durability, Route
from gateway.wire.request import Fields

if TYPE_CHECKING:
    from gateway.edge.answering import Answering
    from gateway.edge.resolve import Resolution
    from gateway.edge.upstream import UpstreamConnection


class Phase(IntEnum):
    """Where an exchange stands."""

    DECIDING = 0
    INTENT = 1
    """Waits until its intent is on stable storage; nothing has gone upstream."""
    UPSTREAM = 2
    """Sent, or being sent; no answer yet."""
    HELD = 3
    """An answer exists; its first byte waits for the record."""
    RELEASED = 4
    CLOSING = 5
    """Complete but for the held-back end, which waits for the closing record."""
    DONE = 6


class Refusal(NamedTuple):
    """A stage's objection: the gateway answers this itself."""

    stage: str
    reason: Reason
    rule: str = ""
    retry_after_s: float = 0.0


@dataclass(slots=True, eq=False)
class Exchange:
    """State of one request. Owned by its client connection."""

    client: Answering
    peer: Peer
    snapshot: Snapshot
    request_id: bytes
    method: bytes
    raw_target: bytes
    version: bytes
    """HTTP version as records say it: `1.1`."""
    fields: Fields
    started: float
    """Unix time."""
    started_mono: float
    secure: bool
    client_ip: str
    route: Route
    chain: str = ""
    """The client and the trusted proxies between it and us; empty when there are none."""
    tenant: str = ""
    resolution: Resolution | None = None
    entry: SessionEntry | None = None
    durability: Durability = Durability.GROUP
    phase: Phase = Phase.DECIDING
    # what was decided
    stage: str = ""
    reason: Reason = Reason.INTERNAL_ERROR
    rule: str = ""
    allowed: bool = False
    # request body
    body_left: int = 0
    """Bytes of a Content-Length body still to come."""
    received: int = 0
    body_done: bool = True
    form: bytes = b""
    """Body of a form for our own pages, collected whole before they are asked."""
    # upstream
    destination: Upstream | None = None
    """Where the route leads; settled when the request is admitted."""
    upstream: UpstreamConnection | None = None
    sent_at: float = 0.0
    attempts: int = 0
    # answer
    status: int = 0
    held: list[bytes] | tuple[bytes, ...] = ()
    """What waits for a record."""
    held_bytes: int = 0
    chunked: bool = False
    """The answer goes out in chunks."""
    sent: int = 0
    """Body bytes of the answer, before framing."""
    ended: bool = False
    recorded_single: bool = False
    """The record that was written closes the exchange too."""
    close: bool = False
    tunnel: bool = False
    outcome: str = "completed"
    events: Sequence[Event] = ()

    def recorded(self, *, safe: bool) -> None:
        """Pass the daemon's word on to the connection."""
        self.client.recorded(self, safe=safe)

    def failed(self) -> None:
        """Break off: an exception on the way of the answer must neither release nor keep it."""
        self.client.broke(self)
