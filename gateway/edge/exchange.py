"""One request and its answer, from the parsed head to the release: the one mutable object of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.audit.resource import Told
from gateway.edge.escort import Escort
from gateway.edge.peer import Peer
from gateway.edge.sessions import SessionEntry
from gateway.edge.snapshot import RouteInspection, Snapshot, Upstream
from gateway.exchange.envelope import Event
from gateway.exchange.field_rules import FieldRules
from gateway.exchange.reason import Reason
from gateway.exchange.route import Durability, Route
from gateway.wire.request import Fields

if TYPE_CHECKING:
    from gateway.edge.answering import Answering
    from gateway.edge.inspecting import Holding, Transform
    from gateway.edge.resolve import Resolution
    from gateway.edge.upstream import UpstreamConnection


class Phase(IntEnum):
    """Where an exchange stands."""

    DECIDING = 0
    PARKED = 1
    """Waits for a store in the network; it is not allowed, whatever was decided so far."""
    INSPECTING = 2
    """Admitted, its whole body is here; waits for what inspection says. Nothing has gone upstream."""
    ESCORT = 3
    """Waits for what goes along to the portal. Nothing has gone upstream."""
    INTENT = 4
    """Waits until its intent is on stable storage; nothing has gone upstream."""
    UPSTREAM = 5
    """Sent, or being sent; no answer yet."""
    STORING = 6
    """An answer exists; it waits until the cookies that came with it are kept."""
    HELD = 7
    """An answer exists; its first byte waits for the record."""
    RELEASED = 8
    CLOSING = 9
    """Complete but for the held-back end, which waits for the closing record."""
    DONE = 10


class Refusal(NamedTuple):
    """A stage's objection: the gateway answers this itself."""

    stage: str
    reason: Reason
    rule: str = ""
    retry_after_s: float = 0.0


class Exchange:
    """State of one request. Owned by its client connection.

    Written out rather than a dataclass: its types need each other, which a compiled dataclass cannot have.
    """

    __slots__ = (
        "allowed",
        "asked",
        "attempts",
        "body_done",
        "body_left",
        "chain",
        "chunked",
        "client",
        "client_ip",
        "close",
        "content_type",
        "counted",
        "destination",
        "detections",
        "durability",
        "ended",
        "entry",
        "escort",
        "events",
        "field_rules",
        "fields",
        "form",
        "held",
        "held_bytes",
        "holding",
        "inspection",
        "is_left_out",
        "is_torn",
        "lane",
        "method",
        "noticed",
        "outcome",
        "peer",
        "phase",
        "pieces",
        "raw_target",
        "reason",
        "receipt",
        "receipt_key",
        "receipt_salt",
        "received",
        "recorded_single",
        "request_id",
        "resolution",
        "route",
        "rule",
        "secure",
        "sent",
        "sent_at",
        "shadow",
        "snapshot",
        "stage",
        "started",
        "started_mono",
        "status",
        "stream",
        "tenant",
        "told",
        "transform",
        "tunnel",
        "upstream",
        "version",
        "whole_bytes",
    )

    def __init__(
        self,
        *,
        client: Answering,
        peer: Peer,
        snapshot: Snapshot,
        request_id: bytes,
        method: bytes,
        raw_target: bytes,
        version: bytes,
        fields: Fields,
        started: float,
        started_mono: float,
        secure: bool,
        client_ip: str,
        route: Route,
        close: bool,
    ) -> None:
        self.client = client
        self.peer = peer
        self.snapshot = snapshot
        self.request_id = request_id
        self.method = method
        self.raw_target = raw_target
        self.version = version
        """HTTP version as records say it: `1.1`."""
        self.fields = fields
        self.started = started
        """Unix time."""
        self.started_mono = started_mono
        self.secure = secure
        self.client_ip = client_ip
        self.route = route
        self.chain: str = ""
        """The client and the trusted proxies between it and us; empty when there are none."""
        self.asked: bool = False
        """A store in the network was asked for what only the decision showed to be needed."""
        self.counted: str = ""
        """The client as limits count it."""
        self.tenant: str = ""
        """About which the request is, by its host or its route; empty where neither says one."""
        self.is_torn: bool = False
        """Its route wants a tenant, and it names none, or another than its host's."""
        self.resolution: Resolution | None = None
        self.entry: SessionEntry | None = None
        self.escort: Escort | None = None
        """What goes along for the person; None = nothing does."""
        self.durability: Durability = Durability.GROUP
        self.stream: int = 0
        """Number of the stream of its records; 0 before the first."""
        self.is_left_out = False
        """There was no room for its first record, and its stream may lack some: it has none at all."""
        self.lane: int = 0
        """`RESERVED` when its records may use the space that is kept for when the disk is full."""
        self.receipt_key: int = 0
        """Number of the key of the receipt without which it must not go upstream; 0 = it needs none."""
        self.receipt: bytes = b""
        """The daemon's proof that its intent is recorded, and the salt."""
        self.receipt_salt: bytes = b""
        """In the digest of its request line; the upstream alone learns it."""
        self.phase: Phase = Phase.DECIDING
        # what was decided
        self.stage: str = ""
        self.reason: Reason = Reason.INTERNAL_ERROR
        self.rule: str = ""
        self.allowed: bool = False
        self.field_rules: FieldRules | None = None
        """Fields that policy sets for the upstream and for the client; None = none."""
        self.shadow: bytes = b""
        """What a candidate policy would have answered, as JSON; empty where it agrees or there is none."""
        # request body
        self.body_left: int = 0
        """Bytes of a Content-Length body still to come."""
        self.received: int = 0
        self.body_done: bool = True
        self.form: bytes = b""
        """Body of a form for our own pages, collected whole before they are asked; or what was held and goes on unjudged."""
        # inspection
        self.inspection: RouteInspection | None = None
        """What is inspected on its route; None = nothing."""
        self.holding: Holding | None = None
        """Has the body until it was judged, and what of it goes upstream."""
        self.pieces: Iterator[bytes] | None = None
        """What is left of a held body on its way upstream."""
        self.transform: Transform | None = None
        """What changes the body of the answer."""
        self.whole_bytes: int = 0
        """Bytes of an answer that are held before its head leaves, unless it ends: it may yet be withheld."""
        self.noticed: dict[str, object] = {}
        """What inspection says for the record, `unmapped.gw.inspection`: rules, places, counts and digests; never a payload."""
        self.detections: list[str] = []
        """Findings that get records of their own: names of `gateway.audit.record.DETECTIONS`."""
        # upstream
        self.destination: Upstream | None = None
        """Where the route leads; settled when the request is admitted."""
        self.upstream: UpstreamConnection | None = None
        self.sent_at: float = 0.0
        self.attempts: int = 0
        # answer
        self.status: int = 0
        self.content_type: bytes = b""
        """As the answer says it."""
        self.told: Told | None = None
        """What a portal said about the data in its answer; None = nothing."""
        self.held: list[bytes] | tuple[bytes, ...] = ()
        """What waits for a record."""
        self.held_bytes: int = 0
        self.chunked: bool = False
        """The answer goes out in chunks."""
        self.sent: int = 0
        """Body bytes of the answer, before framing."""
        self.ended: bool = False
        self.recorded_single: bool = False
        """The record that was written closes the exchange too."""
        self.close = close
        self.tunnel: bool = False
        self.outcome: str = "completed"
        self.events: Sequence[Event] = ()

    def recorded(self, *, safe: bool) -> None:
        """Pass the daemon's word on to the connection."""
        self.client.recorded(self, safe=safe)

    def receipted(self, receipt: bytes) -> None:
        """Keep the daemon's proof for the upstream."""
        self.receipt = b"%b %b" % (receipt, self.receipt_salt.hex().encode("ascii"))

    def failed(self) -> None:
        """Break off: an exception on the way of the answer must neither release nor keep it."""
        self.client.broke(self)
