"""`gateway audit hold`: keep records for a case at law, whatever their retention says."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from typing import Any

import click

from gateway.audit.redact import redact
from gateway.cli.administration import read_settings, refuse
from gateway.cli.audit.custody import person, promises, record_act
from gateway.cli.audit.showing import plain
from gateway.cli.audit.span import when
from gateway.cli.invocation import current
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.holds import Hold, Holds
from gateway.ledger.layout import Layout
from gateway.ledger.reader import UnreadableLogError
from gateway.ledger.retention import changing
from gateway.server.progress import Progress
from gateway.server.settings import Settings

_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


@click.group("hold", short_help="Keep records for a case at law.")
def hold_group() -> None:
    """Keep records, and the keys of the people in them, for as long as a case needs them."""


def _case(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _CASE.fullmatch(value):
        raise click.BadParameter("a case is up to 100 letters, digits, dots, slashes, dashes and underscores")
    return value


@hold_group.command("create", short_help="Begin a hold.")
@click.option("--case", "case", required=True, callback=_case, help="Name of the case.")
@click.option("--stream", "streams", multiple=True, type=click.Choice([str(s) for s in STREAMS]), help="Default: all.")
@click.option("--since", callback=when, help="Records from here on: a date, a time, or 30d before now.")
@click.option("--until", callback=when, help="Records up to here.  [default: for as long as the hold lasts]")
@click.option("--subject", "subjects", multiple=True, help="A person whose key must not be destroyed, by name or id.")
@click.option("--reason", required=True, help="Why; it is recorded.")
def create(
    *,
    case: str,
    streams: tuple[str, ...],
    since: float | None,
    until: float | None,
    subjects: tuple[str, ...],
    reason: str,
) -> None:
    """Begin a hold. It counts at once: nothing that it covers is pruned, and no key of a person in it is destroyed.

    Without --subject it keeps the keys of everybody whose data is in the records it covers.
    """
    settings = read_settings()
    layout = Layout(settings.state_dir)
    by, _ = person()
    hold = Hold(
        case=case,
        reason=redact(reason[:1024])[0],
        streams=tuple(Stream(stream) for stream in streams) or STREAMS,
        since_ns=int((since or 0) * 1e9),
        until_ns=int((until or 0) * 1e9),
        subjects=subjects,
        created_by=by,
        created_ns=time.time_ns(),
        salt=os.urandom(16).hex(),
    )
    layout.create()
    with changing(layout):
        kept = Holds.load(layout)
        is_lost = _is_lost(settings, case)
        try:
            changed = kept.restore(hold) if is_lost else kept.create(hold)
        except ValueError as error:
            refuse(str(error))
        record_act(settings, "hold.created", detail=hold.reason, more={"hold": hold.facts()})
        changed.save(layout)
        if is_lost:  # in force is also what was recorded before
            promises(settings).holds()[0].save(layout)
    current().answer({"ok": True, "hold": _value(hold)}, f"the hold of the case {case} is in force")


def _is_lost(settings: Settings, case: str) -> bool:
    """Tell whether the log has a hold of a case of which the file lacks something: then it can be said again."""
    try:
        _, differences = promises(settings).holds()
    except UnreadableLogError:
        return False  # a hold must be possible whatever became of the log
    return any(found.name == case for found in differences)


@hold_group.command("release", short_help="End a hold; two people have to ask for it.")
@click.option("--case", "case", required=True, callback=_case)
@click.option("--reason", required=True, help="Why; it is recorded.")
def release(*, case: str, reason: str) -> None:
    """Ask for the end of a hold. It ends when a second person, with another account of the system, asks too."""
    settings = read_settings()
    layout = Layout(settings.state_dir)
    by, _ = person()
    layout.create()
    with changing(layout):
        holds, _ = promises(settings).holds()
        hold = holds.named(case)
        if hold is None:
            refuse(f"there is no hold of the case {case}")
        is_second = bool(hold.release_by) and hold.release_by != by
        event = "hold.released" if is_second else "hold.release_asked"
        changed = holds.release(case, by) if is_second else holds.ask_release(case, by, time.time_ns())
        more = {"hold": {"case": case, "asked_by": hold.release_by if is_second else by, "by": by}}
        record_act(settings, event, detail=reason, more=more)
        changed.save(layout)
    if is_second:
        current().answer({"ok": True, "released": True}, f"the hold of the case {case} has ended")
    else:
        current().answer(
            {"ok": True, "released": False},
            f"the hold of the case {case} stays in force until a second person asks for its end: "
            f"gateway audit hold release --case {case} --reason …",
        )


@hold_group.command("list", short_help="Show the holds in force.")
def list_holds() -> None:
    """Show the holds in force: those of holds.json, and those that only the log knows."""
    settings = read_settings()
    layout = Layout(settings.state_dir)
    layout.create()
    with Progress("reading what the log says of holds"), changing(layout):
        holds, differences = promises(settings).holds()
    less = {found.name: found.message for found in differences}
    lines = ["; ".join(filter(None, (_line(hold), less.get(hold.case)))) for hold in holds.holds] or [
        "no hold is in force"
    ]
    values = [_value(hold) | {"difference": less.get(hold.case, "")} for hold in holds.holds]
    current().answer({"ok": True, "holds": values}, "\n".join(plain(line) for line in lines))


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time_ns else ""


def _line(hold: Hold) -> str:
    streams = ", ".join(hold.streams)
    begin, end = _moment(hold.since_ns) or "the beginning", _moment(hold.until_ns) or "now and later"
    people = f"; keys of {len(hold.subjects)} named people" if hold.subjects else "; keys of everybody in them"
    people = "; keys of everybody, as whom it named is not known" if hold.everybody else people
    asked = f"; its end was asked for by {hold.release_by}" if hold.release_by else ""
    return (
        f"{hold.case}: {streams} from {begin} to {end}{people}; made by {hold.created_by} on "
        f"{_moment(hold.created_ns)}: {hold.reason}{asked}"
    )


def _value(hold: Hold) -> dict[str, Any]:
    return {
        "case": hold.case,
        "reason": hold.reason,
        "streams": [str(stream) for stream in hold.streams],
        "since": _moment(hold.since_ns),
        "until": _moment(hold.until_ns),
        "subjects": list(hold.subjects),
        "everybody": hold.everybody,
        "created_by": hold.created_by,
        "created": _moment(hold.created_ns),
        "release_asked_by": hold.release_by,
    }
