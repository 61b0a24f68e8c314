"""What the verbs that search the log can be asked for: their options, and the filters these make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from gateway.cli.audit.sight import Sight
from gateway.cli.audit.span import when
from gateway.exchange.route import Action
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.search import FOR_EVER, Filters, Somebody
from gateway.server.progress import Progress


def _said(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty filter: it would find everything (attack: an unset variable of a script exports the whole log)."""
    if value is not None and not value.strip():
        raise click.BadParameter("is empty; leave the option out to search for everything")
    return value


_OPTIONS: Final = (
    click.option("--user", callback=_said, help="Name or id of a person whom the record names in any part."),
    click.option("--actor", callback=_said, help="Name or id of who did it."),
    click.option("--subject", callback=_said, help="Id of the person whose data it was."),
    click.option("--tenant", callback=_said, help="Organisation."),
    click.option("--route", callback=_said, help="Name of a route."),
    click.option("--action", type=click.Choice([*(action.value for action in Action), "login", "logout"])),
    click.option("--decision", type=click.Choice(["allow", "deny"])),
    click.option(
        "--decision-reason", "reason", callback=_said, help="Why it was decided so: role_missing, rate_limited."
    ),
    click.option("--status", type=click.IntRange(100, 599), help="HTTP status of the answer."),
    click.option("--event", callback=_said, help="Name of an event or operation: user.added, 'session revoke'."),
    click.option("--since", callback=when, help="A time, or a length of time before now: 15m, 2d."),
    click.option("--until", callback=when, help="A time, or a length of time before now."),
    click.option("--resource", callback=_said, help="TYPE or TYPE/ID of what was accessed."),
    click.option("--request-id", "request_id", callback=_said, help="All records of one request."),
    click.option("--uid", callback=_said, help="metadata.uid of one record."),
    click.option("--ip", callback=_said, help="Address of the client."),
    click.option(
        "--stream",
        "streams",
        multiple=True,
        type=click.Choice([stream.value for stream in STREAMS]),
        help="Only there.",
    ),
    click.option("--case", help="The case that you look for; it is recorded."),
    click.option("--reason", "purpose", default="", help="Why you look; it is recorded."),
)
_PEOPLE: Final = frozenset(("user", "actor", "subject"))
"""Filters that name a person."""
MAX_SQL: Final = 8192
"""Characters of a SELECT; every one of them is recorded."""
_WORDS: Final = re.compile(
    r"'(?:[^']|'')*(?:'|\Z)|\"(?:[^\"]|\"\")*(?:\"|\Z)|(\$\w*\$).*?(?:\1|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)|\b\d[\w.]*",
    re.DOTALL,
)
"""What of a question can name somebody: texts, quoted names, numbers, and remarks."""


def search_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of a search; it takes them as keywords."""
    for option in reversed(_OPTIONS):
        verb = option(verb)
    return verb


def told(asked: Mapping[str, Any]) -> dict[str, str]:
    """Return what was asked for, as it is recorded."""
    given = {name: value for name, value in asked.items() if value not in {None, ()}}
    return {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in given.items()}


def discreet(asked: Mapping[str, Any], sight: Sight) -> dict[str, Any]:
    """Return the same as `told`, with people sealed under their keys: who was looked for is theirs to have erased."""
    return {name: _discreet(name, value, sight) for name, value in told(asked).items()}


def _discreet(name: str, value: str, sight: Sight) -> dict[str, Any] | str:
    path = f"unmapped.gw.query.{name}"
    if name in _PEOPLE:
        return sight.sealed(path, value)
    if name == "ip":
        return sight.passing(path, value)
    if name == "resource":
        return sight.sealed_if_known(path, value.partition("/")[2], value)
    return value


def discreet_sql(question: str, sight: Sight) -> dict[str, Any]:
    """Return what is recorded of a SELECT: its shape for as long as the log is kept, its words as long as strangers' addresses."""
    return {
        "sql": sight.passing("unmapped.gw.query.sql", question),
        "sql_shape": _WORDS.sub("?", question),
    }


def filters_of(asked: Mapping[str, Any], sight: Sight) -> Filters:
    """Return the filters that the options make. Only after the use is recorded: people are looked up for them."""
    given = {name: value for name, value in asked.items() if value not in {None, ()} and name != "case"}

    def somebody(name: str) -> Somebody | None:
        return sight.somebody(given.pop(name)) if name in given else None

    return Filters(
        since=given.pop("since", 0.0),
        until=given.pop("until", FOR_EVER),
        streams=tuple(map(Stream, given.pop("streams", ()))) or STREAMS,
        person=somebody("user"),
        actor=somebody("actor"),
        subject=somebody("subject"),
        **given,
    )


def watch(progress: Progress, what: str) -> Callable[[int, int], None]:
    """Return what shows how much of the log was looked at."""

    def show(done: int, total: int) -> None:
        progress(f"{what}: {100 * done // max(total, 1)} % of {total / 1e6:,.0f} MB")

    return show
