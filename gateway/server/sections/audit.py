"""`audit:`: how safe a record is before its answer leaves, where its key is, how its streams are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.audit.pressure import Watermarks
from gateway.exchange.route import Durability
from gateway.exchange.stream import Stream
from gateway.server.fields import Allowance, Keeping, Location, Period, Share
from gateway.server.sections.privacy import Privacy
from gateway.server.sections.section import Section
from gateway.server.sections.sinks import Sink
from gateway.server.sections.verify import Verification
from gateway.server.sections.witness import WitnessClient

AUDIT_KEYS: Final = "config/audit-keys.json"
"""Where the keys of the audit trail are unless `audit.keys` says otherwise."""
_SHORTEST_AGE_S: Final = 60.0
_LONGEST_AGE_S: Final = 31 * 86_400.0


class StreamRules(Section):
    """How one stream is kept."""

    when_full: Literal["refuse", "gap"] = "refuse"
    """What happens to requests whose record has no room: they are refused, or they go on and are counted."""
    retention: Keeping = None
    """How long records are kept; a shorter one counts a week after two people agreed to it."""


def _lacks_nothing(rules: StreamRules) -> StreamRules:
    if rules.when_full == "gap":
        raise ValueError("when_full: gap is for traffic alone: who got in and who saw which data is never left out")
    return rules


class StreamTable(Section):
    """The streams by name."""

    security: Annotated[StreamRules, AfterValidator(_lacks_nothing)] = StreamRules()
    access: Annotated[StreamRules, AfterValidator(_lacks_nothing)] = StreamRules()
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


class DiskRules(Section):
    """What happens while the disk of the log fills: shares that are free, and space that is kept."""

    warn: Share = 0.30
    high: Share = 0.15
    critical: Share = 0.05
    """With less, the gateway is not ready and the records of streams that may lack some are left out."""
    ballast: Allowance = 64 << 20
    """Bytes kept for signing in, administration and the log's own records when the disk is full."""

    @model_validator(mode="after")
    def _descend(self) -> DiskRules:
        if not self.warn >= self.high >= self.critical:
            raise ValueError("warn, high and critical are shares that are still free: each must be at least the next")
        return self

    @property
    def marks(self) -> Watermarks:
        """As the audit daemon judges by them."""
        return Watermarks(warn=self.warn, high=self.high, critical=self.critical)


class Audit(Section):
    """The audit trail of this node."""

    durability: Durability = Durability.GROUP
    keys: Annotated[Location, Field(validate_default=True)] = Path(AUDIT_KEYS)
    segment_age: Annotated[Period, Field(ge=_SHORTEST_AGE_S, le=_LONGEST_AGE_S)] = 86_400.0
    """Oldest first record of a log file before another is begun: closed files can be sealed, copied and kept."""
    streams: StreamTable = StreamTable()
    disk: DiskRules = DiskRules()
    privacy: Privacy = Privacy()
    witness: WitnessClient = WitnessClient()
    """Who vouches for these logs, and for whose logs this node vouches."""
    verify: Verification = Verification()
    """How often this node looks whether its log is what was written."""
    sinks: tuple[Sink, ...] = ()
    """Who is sent the records."""
