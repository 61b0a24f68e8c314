"""`audit:`: how safe a record is before its answer leaves, where its key is, how its streams are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from gateway.exchange.route import Durability
from gateway.exchange.stream import Stream
from gateway.server.fields import Keeping, Location, Period
from gateway.server.sections.privacy import Privacy
from gateway.server.sections.section import Section, not_yet
from gateway.server.sections.sinks import Sink
from gateway.server.sections.witness import WitnessClient

AUDIT_KEYS: Final = "config/audit-keys.json"
"""Where the keys of the audit trail are unless `audit.keys` says otherwise."""
_SHORTEST_AGE_S: Final = 60.0
_LONGEST_AGE_S: Final = 31 * 86_400.0


class StreamRules(Section):
    """How one stream is kept."""

    when_full: Annotated[Literal["refuse", "gap"], not_yet("gap", what="when_full:")] = "refuse"
    """What happens to requests whose record has no room: they are refused, or they go on and are counted."""
    retention: Keeping = None
    """How long records are kept; a shorter one counts a week after two people agreed to it."""


class StreamTable(Section):
    """The streams by name."""

    security: StreamRules = StreamRules()
    access: StreamRules = StreamRules()
    traffic: StreamRules = StreamRules()

    def of(self, stream: Stream) -> StreamRules:
        """Return the rules of a stream."""
        match stream:
            case Stream.SECURITY:
                return self.security
            case Stream.ACCESS:
                return self.access
            case Stream.TRAFFIC:
                return self.traffic


class Audit(Section):
    """The audit trail of this node."""

    durability: Annotated[Durability, not_yet("strict+remote", what="durability")] = Durability.GROUP
    keys: Annotated[Location, Field(validate_default=True)] = Path(AUDIT_KEYS)
    segment_age: Annotated[Period, Field(ge=_SHORTEST_AGE_S, le=_LONGEST_AGE_S)] = 86_400.0
    """Oldest first record of a log file before another is begun: closed files can be sealed, copied and kept."""
    streams: StreamTable = StreamTable()
    privacy: Privacy = Privacy()
    witness: WitnessClient = WitnessClient()
    """Who vouches for these logs, and for whose logs this node vouches."""
    sinks: tuple[Sink, ...] = ()
    """Who is sent the records."""
