"""`audit.privacy:` whether records name people under keys that can be destroyed, and how long strangers can be read."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from gateway.server.fields import Period
from gateway.server.sections.section import Section

_DAY_S: Final = 86_400.0


class Privacy(Section):
    """What the audit trail does with personal data."""

    subject_keys: bool = True
    """Names, addresses and browsers of people are sealed under a key of each person, which an erasure destroys."""
    anonymous: Annotated[Period, Field(ge=_DAY_S, le=400 * _DAY_S)] = 30 * _DAY_S
    """How long after its day the key of strangers is kept: then their addresses cannot be read any more."""
