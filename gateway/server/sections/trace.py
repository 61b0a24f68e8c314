"""`trace:`: whose distributed traces are carried on, and whether the gateway begins some."""

from __future__ import annotations

from typing import Literal

from gateway.server.sections.section import Section


class Trace(Section):
    """W3C Trace Context."""

    accept: Literal["any", "trusted", "never"] = "any"
    """Whose `traceparent` goes on to upstreams and into records: everybody's, that of `trusted_proxies`, nobody's."""
    start: Literal["never", "unsampled", "sampled"] = "never"
    """Whether an upstream is told of a trace where none came, and with which flag, which tracers obey."""
