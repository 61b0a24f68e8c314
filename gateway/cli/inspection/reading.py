"""What the verbs of `gateway inspection` begin with: gateway.yaml, its policies, and what is inspected on each route."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gateway.cli.invocation import current
from gateway.edge.resolve import Resolver
from gateway.inspection.engine import Inspection as Engine
from gateway.inspection.tuning import Tuning
from gateway.server.inspection import InspectedRoute, shipped_rules
from gateway.server.validate import Validated, read_and_validate
from gateway.wire.authority import Authority, parse_authority


@dataclass(frozen=True, slots=True)
class Inspected:
    """A configuration as the edge inspects by it."""

    validated: Validated
    engine: Engine
    now: float

    @property
    def resolver(self) -> Resolver:
        """Finds the route of a request."""
        return Resolver(self.validated.table)

    @property
    def authority(self) -> Authority:
        """The host of a request that names none: that of `public_url`."""
        found = parse_authority(self.validated.settings.public_url.host.encode("ascii"))
        assert found is not None  # noqa: S101 - validated
        return found

    def of(self, route: str) -> InspectedRoute | None:
        """Return what is in force on a route; None = nothing is inspected there."""
        return self.validated.inspections.get(route)


def read_inspected() -> Inspected:
    """Read and judge the configuration. Raises ConfigurationError."""
    return Inspected(read_and_validate(current().config), Engine(shipped_rules()), time.time())


def described(tuning: Tuning) -> str:
    """Write a tuning in one line."""
    more = "".join(
        f", {len(some)} {one if len(some) == 1 else many}"
        for some, one, many in (
            (tuning.exclusions, "exclusion", "exclusions"),
            (tuning.patches, "patch", "patches"),
        )
        if some
    )
    return f"waf: {tuning.mode.value}, paranoia {tuning.paranoia}, threshold {tuning.threshold}{more}"
