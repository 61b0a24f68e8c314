"""`gateway audit gaps`: which records are known not to be in the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from gateway.audit.mapping import moment
from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import member_of, plain, time_ms
from gateway.cli.audit.span import when
from gateway.cli.audit.use import record_use
from gateway.cli.invocation import current
from gateway.ledger.keys import AuditKeys
from gateway.ledger.search import FOR_EVER, Filters, Search
from gateway.server.progress import Progress

EVENTS: Final = ("audit.gap", "audit.recovery", "audit.io_error")


@click.command("gaps", short_help="Show which records are known to be missing.")
@click.option("--since", callback=when, help="A time, or a length of time before now: 15m, 2d.")
@click.option("--until", callback=when, help="A time, or a length of time before now.")
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def gaps_verb(*, since: float | None, until: float | None, purpose: str) -> None:
    """Show what the log says of records that are not in it: what was refused, dropped, or lost by a process.

    What is missing without the log knowing of it is for `audit verify` to find. The use of this verb is recorded.
    """
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    record_use(settings, "audit gaps", {}, purpose)
    damages: list[str] = []
    search = Search(settings.state_dir, keys, on_damage=damages.append)
    gaps: list[dict[str, Any]] = []
    with Progress("searching the audit log"):
        for event in EVENTS:
            filters = Filters(since=since or 0.0, until=until or FOR_EVER, event=event)
            gaps += [
                _gap(each.stream.value, each.index, event, each.record)
                for each in search.find(filters)
                if event != "audit.recovery" or _lost_something(each.record)
            ]
    gaps.sort(key=lambda gap: (gap["time"], gap["stream"], gap["index"]))
    missing = sum(gap["count"] for gap in gaps)
    current().answer(
        {"ok": True, "missing_records": missing, "gaps": gaps, "unreadable": damages},
        "\n".join(
            [
                *map(_line, gaps),
                *[plain(f"warning: {damage}; run gateway audit verify") for damage in damages],
                _sum(missing, len(gaps)),
            ]
        ),
    )


def _lost_something(record: Mapping[str, Any]) -> bool:
    """Tell whether the log was not whole when it was opened again; else the start is nothing to speak of."""
    recovery = member_of(record, "unmapped", "gw", "recovery") or {}
    return bool(recovery.get("discarded_bytes") or recovery.get("missing_files"))


def _gap(stream: str, index: int, event: str, record: Mapping[str, Any]) -> dict[str, Any]:
    gw = member_of(record, "unmapped", "gw") or {}
    gap = member_of(gw, "gap") or member_of(gw, "recovery") or {}
    count = gap.get("count", 0)
    return {
        "time": moment(time_ms(record)),
        "stream": stream,
        "index": index,
        "event": event,
        "cause": str(gw.get("reason", "")),
        "count": count if isinstance(count, int) else 0,
        "detail": {name: value for name, value in gap.items() if name != "count"},
    }


def _line(gap: Mapping[str, Any]) -> str:
    count = f" {gap['count']:,} records" if gap["count"] else ""
    detail = " ".join(f"{name}={value}" for name, value in gap["detail"].items())
    return plain(f"{gap['time']} {gap['stream']}/{gap['index']} {gap['event']} {gap['cause']}{count} {detail}".rstrip())


def _sum(missing: int, places: int) -> str:
    if not places:
        return "no gap: the log does not know of any record that it lacks"
    return f"{missing:,} records are known to be missing; {places:,} entries of the log are about that"
