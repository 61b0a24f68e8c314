"""Films and sound: whole to the last box or chunk, and nothing behind it. What is in the frames is not looked at."""

from __future__ import annotations

from typing import Final

from gateway.inspection.upload.examination import broken
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.polyglot import require_one_thing
from gateway.inspection.upload.source import Source

_MAX_BOXES: Final = 100_000
_BOXED: Final = frozenset(("mp4", "mov", "m4a", "3gp"))


def examine_film(kind: str, source: Source) -> None:
    """Look at the frame of a film or a piece of sound. Raises `UploadRefusedError`."""
    require_one_thing(source)
    if kind in _BOXED and source.read(film_end(source), 4096).strip(b"\0"):
        raise UploadRefusedError(Objection.POLYGLOT)


def film_end(source: Source) -> int:
    """Walk the boxes of an ISO base media file (ISO/IEC 14496-12 §4.2); return where the last ends."""
    at = 0
    for _ in range(_MAX_BOXES):
        head = source.read(at, 16)
        size, kind = int.from_bytes(head[:4]), head[4:8]
        if len(kind) < 4 or any(letter < 0x20 for letter in kind) or 1 < size < 8:
            break
        if size == 1:
            size = int.from_bytes(head[8:16])
            if size < 16:
                raise broken()
        if size == 0 or at + size == source.size:
            return source.size
        if at + size > source.size:
            break
        at += size
    else:
        raise UploadRefusedError(Objection.TOO_COMPLEX)
    if at == 0:
        raise broken()
    return at
