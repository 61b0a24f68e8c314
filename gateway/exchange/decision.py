"""The answer of policy to one request. Only `policy` makes one that allows."""

from __future__ import annotations

import msgspec

from gateway.exchange.obligation import Obligation
from gateway.exchange.reason import Reason


class Decision(msgspec.Struct, frozen=True):
    """Allowed or not, why, and which line said so."""

    allowed: bool
    reason: Reason
    rule: str = ""
    """Place of the deciding rule, `policies/portal.yaml:15:9`; empty when no rule matched."""
    obligation: Obligation | None = None
    """What the entry that allows asks for beside it; None = nothing."""
