"""When: the moments and spans of time that the verbs about the log are asked for."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from gateway.document.quantity import duration


def when(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Read a moment: ISO 8601 (UTC where it names no zone), or a length of time before now."""
    if value is None:
        return None
    try:
        return time.time() - duration(value)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as exc:
        raise click.BadParameter("write a time such as 2026-11-22T14:00:00Z, a date, or a length such as 15m") from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
