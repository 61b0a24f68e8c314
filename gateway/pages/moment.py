"""Points in time and durations in words. Without scripts a page does not know the reader's zone, so it says UTC."""

from __future__ import annotations

from datetime import UTC, datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def ago(then: float, now: float) -> str:
    """Say how long ago `then` was, both in unix seconds; everything under a minute is just now."""
    elapsed = int(now - then)
    for length, unit in _UNITS:
        count = elapsed // length
        if count == 1:
            return f"1 {unit} ago"
        if count > 1:
            return f"{count} {unit}s ago"
    return "just now"


def stamp(then: float) -> str:
    """Write a point in time for people: `22 Nov 2026, 15:19 UTC`."""
    moment = datetime.fromtimestamp(then, UTC)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M} UTC"


def iso(then: float) -> str:
    """Write a point in time for machines, as `<time datetime>` wants it."""
    return datetime.fromtimestamp(int(then), UTC).isoformat().replace("+00:00", "Z")


def wait(seconds: int) -> str:
    """Say a waiting time as a person would, never shorter than it is."""
    if seconds == 1:
        return "a second"
    if seconds < 90:  # noqa: PLR2004 - up to here seconds read better than minutes
        return f"{seconds} seconds"
    minutes = -(-seconds // 60)
    return f"{minutes} minutes" if minutes < 90 else f"{-(-minutes // 60)} hours"  # noqa: PLR2004 - likewise
