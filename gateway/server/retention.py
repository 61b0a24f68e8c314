"""`audit.streams.*.retention` put together with what keeps entries longer: sinks that do not have them yet."""

from __future__ import annotations

from gateway.custody.sinks.archive import archive_cursor
from gateway.custody.sinks.cursor import CursorFile
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.layout import Layout
from gateway.ledger.retention import Blocks, File
from gateway.server.settings import Settings
from gateway.server.sinks import CURSORS


def wanted_retention(settings: Settings) -> dict[Stream, float | None]:
    """Return how long each stream is to be kept; None = for ever."""
    return {stream: settings.audit.streams.of(stream).retention for stream in STREAMS}


def undelivered(settings: Settings, layout: Layout) -> Blocks:
    """Return what names a sink that must have the entries of a file, or the sealed file itself, and does not."""
    directory = layout.state_dir / CURSORS

    def blocks(stream: Stream, file: File) -> str:
        for sink in settings.audit.sinks:
            if not sink.required or stream not in sink.streams:
                continue
            places = [(CursorFile(directory, sink.name, stream), file.last)]
            if sink.type == "s3":
                places.append((archive_cursor(directory, sink.name, stream), file.number))
            for place, last in places:
                cursor = place.load()
                if cursor is None or cursor.origin != file.following.origin or cursor.next_index <= last:
                    return sink.name
        return ""

    return blocks
