"""How often something may be asked for."""

from __future__ import annotations

from typing import Literal

from gateway.exchange.route import LimitSpec
from gateway.server.fields import Count, Rate
from gateway.server.sections.section import Section


class Limit(Section):
    """One rate limit: `burst` at once, refilled at `rate` per second."""

    rate: Rate
    burst: Count
    per: Literal["ip", "user", "tenant", "route", "key"]

    def spec(self, name: str) -> LimitSpec:
        """Return the limit as it is counted, under a name that no other has."""
        return LimitSpec(name=name, rate_per_s=self.rate, burst=self.burst, per=self.per)
