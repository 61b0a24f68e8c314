"""Records that somebody looks at the log, before anything of it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from gateway.audit import record
from gateway.exchange.stream import STREAMS
from gateway.ledger import producer
from gateway.server.settings import Settings


def record_use(
    settings: Settings, operation: str, filters: Mapping[str, Any], purpose: str, *, action: str = "view"
) -> None:
    """Record that somebody looks at the log, before anything is shown. Raises `AuditUnavailableError`: then nothing may be."""
    build = partial(
        record.administration,
        operation=operation,
        actor=producer.operator(),
        action=action,
        resources=[("audit_log", stream.value) for stream in STREAMS],
        detail=purpose,
        more={"query": dict(filters)},
    )
    producer.append(settings.state_dir, settings.audit.keys, [build])
