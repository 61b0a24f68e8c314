"""Which requests the logs still follow: announced, and nothing more said of them by whoever announced them.

It is what the daemon goes by when it closes intents (`gateway.audit.intent`), read from the newest file of each
stream: its signed head carries what was open before. Nothing is decided here about what became of a request.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.audit.entry import EntryError
from gateway.audit.filehead import FileHeadError
from gateway.audit.frame import FrameError
from gateway.audit.intent import note_intent
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.reader import FileReader, list_files


def open_intents(directory: Path, keys: AuditKeys, *, on_damage: Callable[[str], None]) -> dict[Stream, dict[str, int]]:
    """Return, for each stream, the request ids of open intents and the slot that announced each.

    What cannot be read is told to `on_damage`; then what is returned is what was open up to there. Raises
    `UnreadableLogError`.
    """
    if not directory.exists():
        return {}
    return {stream: _of_stream(directory, keys, stream, on_damage) for stream in STREAMS}


def _of_stream(directory: Path, keys: AuditKeys, stream: Stream, on_damage: Callable[[str], None]) -> dict[str, int]:
    files, _ = list_files(directory, stream)
    if not files:
        return {}
    newest = files[-1]
    if newest.head is None:
        on_damage(f"{newest.path.name}: its head cannot be read")
        return {}
    intents = dict(newest.head.intents)
    reader = FileReader(newest.path, keys)
    try:
        for stored in reader.poll():
            note_intent(intents, stored.entry.slot, stored.entry.payload)
    except (OSError, FileHeadError, FrameError, EntryError) as exc:
        on_damage(f"{newest.path.name}: {exc}")
    if reader.is_damaged:
        on_damage(f"{newest.path.name}: not readable from byte {reader.offset} on")
    return intents
