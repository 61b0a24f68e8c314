"""How long sessions live, and how many a person may have."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from gateway.server.fields import Count, Period
from gateway.server.sections.section import Section


class SessionRules(Section):
    """How long a session lives, seconds, and how many a person may have."""

    idle: Period = 900.0
    absolute: Period = 8 * 3600.0
    concurrent: Count | None = None
    """At one more, the oldest ends; None = no limit."""

    @model_validator(mode="after")
    def _idle_fits(self) -> Self:
        if self.idle > self.absolute:
            raise ValueError("idle is longer than absolute")
        return self


class TenantSessions(Section):
    """What a tenant changes about sessions; absent keys keep the general value."""

    idle: Period | None = None
    absolute: Period | None = None
    concurrent: Count | None = None
