"""What the verbs that search the log can be asked for: their options, and the filters these make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from gateway.cli.audit.sight import Sight
from gateway.cli.audit.span import when
from gateway.exchange.route import Action
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.search import FOR_EVER, Filters, Somebody
from gateway.server.progress import Progress

_OPTIONS: Final = (
    click.option("--user", help="Name or id of a person whom the record names in any part."),
    click.option("--actor", help="Name or id of who did it."),
    click.option("--subject", help="Id of the person whose data it was."),
    click.option("--tenant", help="Organisation."),
    click.option("--route", help="Name of a route."),
    click.option("--action", type=click.Choice([*(action.value for action in Action), "login", "logout"])),
    click.option("--decision", type=click.Choice(["allow", "deny"])),
    click.option("--decision-reason", "reason", help="Why it was decided so: role_missing, rate_limited."),
    click.option("--status", type=click.IntRange(100, 599), help="HTTP status of the answer."),
    click.option("--event", help="Name of an event or operation: user.added, 'session revoke'."),
    click.option("--since", callback=when, help="A time, or a length of time before now: 15m, 2d."),
    click.option("--until", callback=when, help="A time, or a length of time before now."),
    click.option("--resource", help="TYPE or TYPE/ID of what was accessed."),
    click.option("--request-id", "request_id", help="All records of one request."),
    click.option("--uid", help="metadata.uid of one record."),
    click.option("--ip", help="Address of the client."),
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
    return {
        name: sight.sealed(f"unmapped.gw.query.{name}", value) if name in _PEOPLE else value
        for name, value in told(asked).items()
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
