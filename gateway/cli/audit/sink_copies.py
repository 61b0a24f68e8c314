"""`gateway audit verify --against-sink`: what is meant, and what came of it, for people and programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.audit.verdict import INCOMPLETE, INTACT, POLICY_NOT_MET, TAMPERED
from gateway.cli.audit.showing import plain
from gateway.custody.sinks.cursor import CursorFile
from gateway.document.source import did_you_mean
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.sink_check import Compared, Received, compare, files_of, rotated
from gateway.ledger.spool import SpoolError
from gateway.server.sections.sinks import Sink
from gateway.server.settings import Settings
from gateway.server.sinks import CURSORS

_WORST_LAST: Final = (INTACT, INCOMPLETE, POLICY_NOT_MET, TAMPERED)


class SinkCopy(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver has, and how much of it is known to be there."""

    name: str
    files: list[Path]
    received: dict[Stream, Received]
    streams: tuple[Stream, ...]
    growing: Path | None = None
    """The file that a sink of this gateway writes."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of all comparisons."""

    compared: tuple[Compared, ...] = ()
    silent: tuple[str, ...] = ()
    """What could not be compared, in words."""

    def exit_code(self, code: int) -> int:
        """Return the worse of a verdict's exit code and what was found here."""
        is_silent = bool(self.silent) or any(each.others for each in self.compared)
        own = TAMPERED if any(each.findings for each in self.compared) else INCOMPLETE if is_silent else INTACT
        return max(code, own, key=_WORST_LAST.index)

    def lines(self) -> list[str]:
        """Return a line for each finding and a sentence for each stream."""
        found = []
        for each in self.compared:
            found += [plain(str(finding)) for finding in each.findings]
            found.append(plain(each.sentence()))
        return [*found, *map(plain, self.silent)]

    def value(self) -> list[dict[str, Any]]:
        """Return the same for a program."""
        return [
            {
                "sink": each.name,
                "stream": each.stream.value,
                "origin": each.origin,
                "first": each.first,
                "stop": each.stop,
                "same": each.same,
                "refused": each.refused,
                "size": each.size,
                "not_here": list(each.others),
                "verdict": each.sentence(),
                "findings": [
                    {
                        "kind": finding.kind.value,
                        "message": finding.message,
                        "first_index": finding.first_index,
                        "last_index": max(finding.first_index, finding.last_index),
                    }
                    for finding in each.findings
                ],
            }
            for each in self.compared
        ]


def find_copies(named: Sequence[str], settings: Settings, streams: Sequence[Stream]) -> list[SinkCopy]:
    """Find what is meant by each: a sink of gateway.yaml that writes to a file, or a file or directory of records.

    Raises `ConfigurationError`, `UnreadableLogError`.
    """
    return [_find(name, settings, streams) for name in named]


def compare_copies(
    copies: Sequence[SinkCopy], layout: Layout, keys: AuditKeys, told: Callable[[str, int, int], None]
) -> Outcome:
    """Compare the log with each. Raises `UnreadableLogError`: a copy cannot be read."""
    compared: list[Compared] = []
    silent: list[str] = []
    for copy in copies:
        try:
            compared += compare(
                layout,
                keys,
                name=copy.name,
                files=copy.files,
                streams=copy.streams,
                received=copy.received,
                growing=copy.growing,
                told=told,
            )
        except SpoolError as error:  # what is wrong with the log, the verdict about it says
            silent.append(f"{copy.name}: cannot be compared: {error}")
    return Outcome(compared=tuple(compared), silent=tuple(silent))


def _find(name: str, settings: Settings, streams: Sequence[Stream]) -> SinkCopy:
    sink = next((sink for sink in settings.audit.sinks if sink.name == name), None)
    if sink is None:
        path = Path(name)
        if not path.exists():
            names = [sink.name for sink in settings.audit.sinks]
            raise ConfigurationError(
                (f"--against-sink {name}: is no sink of gateway.yaml and no file{did_you_mean(name, names)}",)
            )
        return SinkCopy(name=name, files=files_of(path), received={}, streams=tuple(streams))
    if sink.path is None or sink.format_in_use != "ocsf":
        what = f"of type {sink.type}" if sink.path is None else f"in {sink.format_in_use}"
        sentence = (
            f"--against-sink {name}: what a sink {what} has cannot be read from here; "
            "give a file or directory with the records that it keeps (OCSF, .ndjson)"
        )
        raise ConfigurationError((sentence,))
    wanted = tuple(stream for stream in streams if stream in sink.streams)
    received = {stream: one for stream in wanted if (one := _received(sink, stream, settings)) is not None}
    return SinkCopy(name=name, files=rotated(sink.path), received=received, streams=wanted, growing=sink.path)


def _received(sink: Sink, stream: Stream, settings: Settings) -> Received | None:
    cursors = CursorFile(settings.state_dir / CURSORS, sink.name, stream)
    cursor = cursors.load()
    if cursor is None:
        return None
    dead = frozenset(letter.index for letter in cursors.dead_letters() if letter.origin == cursor.origin)
    more = cursors.unlisted()
    if more is None or more.origin != cursor.origin:
        return Received(origin=cursor.origin, next_index=cursor.next_index, dead=dead)
    return Received(
        origin=cursor.origin,
        next_index=cursor.next_index,
        dead=dead,
        unlisted=range(more.first, more.last + 1),
        unlisted_count=more.count,
    )
