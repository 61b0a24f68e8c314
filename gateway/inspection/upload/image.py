"""Pictures: whole from their first byte to their last, and nothing else in them or behind them.

A picture that is also an archive (GIFAR), a page (HTML in the first KiB that a browser sniffs) or a program for the server
(`<?php` in a comment or in EXIF) is refused. What cameras and phones put behind a JPEG stays: further pictures
(MPF, gain maps), a short film (motion photos), Samsung's trailer.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.upload.examination import Examination, broken, whole
from gateway.inspection.upload.film import film_end
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.polyglot import HEAD_BYTES, page_in, require_one_thing, server_code_in
from gateway.inspection.upload.source import Held, Source

_MAX_SEGMENTS: Final = 100_000
_MAX_BLOCKS: Final = 1_000_000
_MAX_PICTURES: Final = 64
_PADDING: Final = b"\0\xff\r\n\t "
"""What cameras, and servers that add a line break, leave behind the end."""
_FILL: Final = re.compile(rb"\xff+")
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILM: Final = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"wide", b"mpvd"))
_ALONE: Final = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers of JPEG without a length."""


def examine_image(kind: str, source: Source, examination: Examination) -> None:
    """Look at a picture. Raises `UploadRefusedError`."""
    data = whole(source)
    match kind:
        case "png":
            end = _png_end(data)
        case "jpeg":
            end = _jpeg_trailer(data)
        case "gif":
            end = _gif_end(data)
        case "webp":
            end = 8 + int.from_bytes(data[4:8], "little")
            end += end & 1
        case "heic" | "avif":
            end = film_end(source)
        case _:  # bmp, tiff, ico: their readers go by offsets, so there is no end to find
            end = len(data)
    if end > len(data) + 1:
        raise broken()
    if data[end:].strip(_PADDING):
        raise UploadRefusedError(Objection.POLYGLOT)
    require_one_thing(Held(data))
    if examination.refuses_active and server_code_in(data):
        examination.active()


def _png_end(data: bytes) -> int:
    at = 8
    for _ in range(_MAX_SEGMENTS):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        at += 12 + length
        if len(kind) < 4 or not kind.isalpha() or at > len(data):
            raise broken()
        if kind == b"IEND":
            return at
    raise UploadRefusedError(Objection.TOO_COMPLEX)


def _jpeg_trailer(data: bytes) -> int:
    """Where what belongs to the picture ends, with all that cameras append."""
    at, rest = 0, b""
    for _ in range(_MAX_PICTURES):
        at = _jpeg_end(data, at)
        rest = data[at:].lstrip(b"\0")
        if not rest.startswith(b"\xff\xd8\xff"):
            break
        at = len(data) - len(rest)
    for begin in range(max(at, len(data) - len(rest) - 3), len(data) - len(rest) + 1):  # a box begins with zeros itself
        if data[begin + 4 : begin + 8] in _FILM:
            at = begin + film_end(Held(data[begin:]))
            break
    if data.endswith(b"SEFT") and _is_samsung(data[at:]):
        return len(data)
    return at


def _is_samsung(trailer: bytes) -> bool:
    """A directory at the end, with the length of itself before `SEFT`, and blocks that it lists."""
    length = int.from_bytes(trailer[-8:-4], "little")
    directory = len(trailer) - 8 - length
    return directory >= 0 and trailer[directory : directory + 4] == b"SEFH" and page_in(trailer[:HEAD_BYTES]) is None


def _jpeg_end(data: bytes, start: int) -> int:
    """Walk the segments of one picture (ITU T.81 B.1); return what follows its end."""
    if data[start : start + 2] != b"\xff\xd8":
        raise broken()
    at = start + 2
    for _ in range(_MAX_SEGMENTS):
        fill = _FILL.match(data, at)
        if fill is None:
            raise broken()
        at = fill.end() - 1
        marker = data[at + 1] if at + 1 < len(data) else 0
        if marker == 0xD9:
            return at + 2
        if marker in _ALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        at += 2 + length
        if not marker or length < 2 or at > len(data):
            raise broken()
        if marker == 0xDA:
            found = _MARKER.search(data, at)
            if found is None:
                raise broken()
            at = found.start()
    raise UploadRefusedError(Objection.TOO_COMPLEX)


def _gif_end(data: bytes) -> int:
    """Walk the blocks (GIF89a §§ 15-27)."""
    if len(data) < 13:
        raise broken()
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    left = _MAX_BLOCKS
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            return at + 1
        if kind == 0x21:
            at += 2
        elif kind == 0x2C and at + 9 < len(data):
            at += 10 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0) + 1
        else:
            raise broken()
        while at < len(data) and data[at]:
            at += data[at] + 1
            left -= 1
            if not left:
                raise UploadRefusedError(Objection.TOO_COMPLEX)
        at += 1
    if at == len(data):
        return at  # some programs leave the trailer out, and all readers do without
    raise broken()
