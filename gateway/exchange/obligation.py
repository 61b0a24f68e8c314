"""What an answer that allows binds the gateway to: a limit, fields for either side, a safer record.

Only what is asked is said here, ready to use. Who allows is policy's to decide, and the edge carries it out.
"""

from __future__ import annotations

import msgspec

from gateway.exchange.field_rules import FieldRules
from gateway.exchange.route import Durability, LimitSpec


class Obligation(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry of `allow` asks for beside letting in, on top of what its route says."""

    limit: LimitSpec | None = None
    headers: FieldRules | None = None
    """Those of the route and of the entry, of which the entry's win; None = those of the route."""
    durability: Durability | None = None
    """At least so safe is the record; None = as safe as the route says."""
