"""`gateway audit cursors` and `replay`: how far receivers have the log, and sending them a part of it again.

Both work on the cursors' files, with the gateway running or stopped. What is sent again the custodian decides
from them: within a second of a running one, or when the next one starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import click
import msgspec

from gateway.audit.checkpoint import CheckpointError, split_note
from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import plain
from gateway.cli.audit.use import record_use
from gateway.cli.invocation import current
from gateway.custody.sinks.cursor import CursorFile, Replay
from gateway.document.source import did_you_mean
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.layout import Layout
from gateway.server.sections.sinks import Sink
from gateway.server.settings import Settings
from gateway.server.sinks import CURSORS

_SHOWN: Final = 20


@click.command("cursors", short_help="Show how far each sink has the log.")
@click.option("--dead-letters", is_flag=True, help="List the records that a receiver refused for good.")
def cursors_verb(*, dead_letters: bool) -> None:
    """Show, for each sink and stream, the first record that its receiver did not acknowledge, and how many wait.

    Exit 0; 1 when a receiver refused records for good.
    """
    settings = read_settings()
    found = list(_standing(settings))
    lines = [_line(each) for each in found] or ["no sink: audit.sinks is empty"]
    if dead_letters:
        lines += [
            plain(f"  {each['sink']}/{each['stream']} {letter['origin']}#{letter['index']}: {letter['detail']}")
            for each in found
            for letter in each["dead_letters"]
        ]
        lines += [
            plain(
                f"  {each['sink']}/{each['stream']} {more['origin']}: {more['count']} more of {more['first']} to {more['last']}, "
                f"not listed; once the receiver is mended: gateway audit replay --sink {each['sink']} --stream {each['stream']} "
                f"--from {more['first']}"
            )
            for each in found
            if (more := each["not_listed"]) is not None
        ]
    refused = sum(map(_refused, found))
    current().answer({"ok": not refused, "cursors": found}, "\n".join(lines))
    if refused:
        raise click.exceptions.Exit(1)


@click.command("replay", short_help="Deliver records to a sink once more.")
@click.option("--sink", "name", required=True, help="Name of the sink.")
@click.option("--stream", type=click.Choice([stream.value for stream in STREAMS]), help="Only this stream.")
@click.option("--from", "start", type=click.IntRange(min=0), help="Index of the first record.")
@click.option("--dead-letters", is_flag=True, help="Only the records that the receiver refused for good.")
@click.option("--reason", "purpose", default="", help="Why; it is recorded.")
def replay_verb(*, name: str, stream: str | None, start: int | None, dead_letters: bool, purpose: str) -> None:
    """Have a sink get everything from an index on again, or what it refused. It is recorded before it happens.

    A receiver that knows records by origin and index has nothing twice.
    """
    if (start is None) == (not dead_letters):
        raise click.UsageError("write --from INDEX or --dead-letters")
    settings = read_settings()
    streams = [Stream(stream)] if stream else list(Stream)
    sink = _sink(settings, name)
    streams = [each for each in streams if each in sink.streams]
    if not streams:
        raise click.UsageError(f"{name} is not sent the stream {stream}")
    asked = {"sink": name, "stream": stream or "all", "from": "dead letters" if start is None else str(start)}
    record_use(settings, "audit replay", asked, purpose, action="export")
    directory = settings.state_dir / CURSORS
    if not directory.exists():
        directory.mkdir(mode=0o700)
        Layout(settings.state_dir).give(directory)
    for each in streams:
        CursorFile(directory, name, each).ask(Replay(start=start, dead_letters=dead_letters))
    what = "what it refused" if start is None else f"everything from {start} on"
    current().answer(
        {"ok": True, "sink": name, "streams": streams},
        f"{name} is sent {what} of {', '.join(streams)} again: at once where the gateway runs, else when it starts",
    )


def _sink(settings: Settings, name: str) -> Sink:
    for sink in settings.audit.sinks:
        if sink.name == name:
            return sink
    names = [sink.name for sink in settings.audit.sinks]
    raise ConfigurationError((f"audit.sinks: there is no sink {name}{did_you_mean(name, names)}",))


def _standing(settings: Settings) -> Iterator[dict[str, Any]]:
    layout = Layout(settings.state_dir)
    for sink in settings.audit.sinks:
        for stream in sink.streams:
            cursors = CursorFile(settings.state_dir / CURSORS, sink.name, stream)
            cursor = cursors.load()
            unlisted = cursors.unlisted()
            origin, size = _end(layout, stream)
            next_index = cursor.next_index if cursor is not None and cursor.origin == origin else 0
            yield {
                "sink": sink.name,
                "type": sink.type,
                "stream": stream.value,
                "required": sink.required,
                "origin": origin,
                "next_index": next_index,
                "lag_records": max(0, size - next_index),
                "replay": cursors.asked() is not None,
                "dead_letters": [
                    {"origin": letter.origin, "index": letter.index, "detail": letter.detail}
                    for letter in cursors.dead_letters()
                ],
                "not_listed": None if unlisted is None else msgspec.to_builtins(unlisted),
            }


def _end(layout: Layout, stream: Stream) -> tuple[str, int]:
    """Return origin and size of a stream by its checkpoint; nothing of a log that has not begun."""
    try:
        origin, size = split_note(layout.checkpoint(stream).read_bytes())[0].split(b"\n")[:2]
        return origin.decode(), int(size)
    except (OSError, CheckpointError, ValueError):
        return "", 0


def _refused(each: dict[str, Any]) -> int:
    more = each["not_listed"]
    return len(each["dead_letters"]) + (more["count"] if more is not None else 0)


def _line(each: dict[str, Any]) -> str:
    words = [
        f"{each['sink']}/{each['stream']}",
        each["type"],
        f"next={each['next_index']}",
        f"waiting={each['lag_records']}",
    ]
    words += ["required"] if each["required"] else []
    words += ["replay asked for"] if each["replay"] else []
    letters: Sequence[dict[str, Any]] = each["dead_letters"]
    if letters:
        shown = " ".join(str(letter["index"]) for letter in letters[:_SHOWN])
        words.append(f"refused for good: {_refused(each)} ({shown}{' …' if _refused(each) > _SHOWN else ''})")
    return plain(" ".join(words))
