"""`audit.streams.*.retention` put together with what keeps entries longer: sinks that do not have them yet."""

from __future__ import annotations

from collections.abc import Callable

from gateway.custody.sinks.cursor import CursorFile
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.layout import Layout
from gateway.ledger.spool import numbers, read_head
from gateway.server.settings import Settings
from gateway.server.sinks import CURSORS


def wanted_retention(settings: Settings) -> dict[Stream, float | None]:
    """Return how long each stream is to be kept; None = for ever."""
    return {stream: settings.audit.streams.of(stream).retention for stream in STREAMS}


def undelivered(settings: Settings, layout: Layout) -> Callable[[Stream, int], str]:
    """Return what names a sink that must have entries of a stream up to an index, and does not."""
    directory = layout.state_dir / CURSORS

    def blocks(stream: Stream, last: int) -> str:
        for sink in settings.audit.sinks:
            if not sink.required or stream not in sink.streams:
                continue
            cursor = CursorFile(directory, sink.name, stream).load()
            if cursor is None or cursor.origin != _origin(layout, stream) or cursor.next_index <= last:
                return sink.name
        return ""

    return blocks


def _origin(layout: Layout, stream: Stream) -> str:
    return read_head(layout.directory, stream, numbers(layout.directory, stream)[-1]).origin
