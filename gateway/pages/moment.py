"""Points in time and durations in words. Without scripts a page does not know the reader's zone, so it says UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.pages.texts import Texts, marked

_MONTHS = (
    marked("Jan"),
    marked("Feb"),
    marked("Mar"),
    marked("Apr"),
    marked("May"),
    marked("Jun"),
    marked("Jul"),
    marked("Aug"),
    marked("Sep"),
    marked("Oct"),
    marked("Nov"),
    marked("Dec"),
)
_LONGEST_IN_SECONDS = 90
_LONGEST_IN_MINUTES = 90
_LONGEST_IN_HOURS = 48


def ago(texts: Texts, then: float, now: float) -> str:
    """Say how long ago `then` was, both in unix seconds; everything under a minute is just now."""
    elapsed = int(now - then)
    if (count := elapsed // 86_400) > 0:
        return texts.ngettext("%(count)d day ago", "%(count)d days ago", count) % {"count": count}
    if (count := elapsed // 3_600) > 0:
        return texts.ngettext("%(count)d hour ago", "%(count)d hours ago", count) % {"count": count}
    if (count := elapsed // 60) > 0:
        return texts.ngettext("%(count)d minute ago", "%(count)d minutes ago", count) % {"count": count}
    return texts.gettext("just now")


def stamp(texts: Texts, then: float) -> str:
    """Write a point in time for people: `22 Nov 2026, 15:19 UTC`."""
    moment = datetime.fromtimestamp(then, UTC)
    return texts.gettext("%(day)d %(month)s %(year)d, %(time)s UTC") % {
        "day": moment.day,
        "month": texts.gettext(_MONTHS[moment.month - 1]),
        "year": moment.year,
        "time": f"{moment:%H:%M}",
    }


def iso(then: float) -> str:
    """Write a point in time for machines, as `<time datetime>` wants it."""
    return datetime.fromtimestamp(int(then), UTC).isoformat().replace("+00:00", "Z")


def wait(texts: Texts, seconds: int) -> str:
    """Say a waiting time as a person would, never shorter than it is."""
    if seconds < _LONGEST_IN_SECONDS:
        return texts.ngettext("a second", "%(count)d seconds", seconds) % {"count": seconds}
    minutes = -(-seconds // 60)
    if minutes < _LONGEST_IN_MINUTES:
        return texts.ngettext("a minute", "%(count)d minutes", minutes) % {"count": minutes}
    hours = -(-minutes // 60)
    if hours >= _LONGEST_IN_HOURS:
        days = -(-hours // 24)
        return texts.ngettext("a day", "%(count)d days", days) % {"count": days}
    return texts.ngettext("an hour", "%(count)d hours", hours) % {"count": hours}
