"""`inspection.crs`: the OWASP Core Rule Set as a second engine, in processes of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.server.fields import Location, Period
from gateway.server.sections.section import Section


class Crs(Section):
    """Which rules, how strictly, and what follows when they cannot be asked."""

    rules: Location
    """Directory with the rules: `rules/*.conf` or `*.conf`."""
    setup: Location | None = None
    """A `crs-setup.conf` elsewhere than beside the rules."""
    mode: Literal["detect", "block"] = "block"
    paranoia: Annotated[int, Field(ge=1, le=4, strict=True)] = 1
    threshold: Annotated[int, Field(ge=1, le=1000, strict=True)] = 5
    without: tuple[Annotated[int, Field(ge=1, strict=True)], ...] = ()
    """Ids of rules that are left out."""
    processes: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    """For each edge process."""
    timeout: Period = 2.0
    """Seconds after which a process that judges is killed, and its request is one that could not be judged."""
    on_failure: Literal["refuse", "allow"] = "refuse"
    """What becomes of a request that could not be judged."""
