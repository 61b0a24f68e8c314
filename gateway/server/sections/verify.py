"""`audit.verify`: how often the gateway looks by itself whether its log is what was written."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from gateway.server.fields import Period
from gateway.server.sections.section import Section

_SHORTEST_S: Final = 3600.0
_LONGEST_S: Final = 31 * 86_400.0


class Verification(Section):
    """The custodian's own verification."""

    every: Annotated[Period, Field(ge=_SHORTEST_S, le=_LONGEST_S)] | None = None
    """From one to the next; None = it is left to whoever runs `gateway audit verify`."""
