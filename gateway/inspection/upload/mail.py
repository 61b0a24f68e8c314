"""A message as a file: what is attached to it (RFC 5322, MIME). Its own text is text, and not looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from typing import Final, NamedTuple

from gateway.inspection.upload.examination import Examination, broken, whole
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.source import Held, Source

_MAX_BOUNDARIES: Final = 100
"""Frames within frames; each is a level of the parser."""
_MAX_PARTS: Final = 1000
_MAX_DELIMITERS: Final = 10_000
_MAX_LINES: Final = 1_000_000
_LONGEST_FIELD: Final = 4096
"""Of a type or a disposition; the parser's time grows with the square of their parameters."""
_FIELD: Final = re.compile(
    rb"^content-(?:type|disposition)[ \t]*:(?:[^\r\n]+|\r\n?[ \t]|\n[ \t])*", re.IGNORECASE | re.MULTILINE
)
_BOUNDARY: Final = re.compile(rb"boundary\s{0,8}[=*]", re.IGNORECASE)
_FRAMES: Final = frozenset(("multipart", "message"))


class Attachment(NamedTuple):
    """A part that is a file, or could be one."""

    name: str
    content: Held


def attachments(source: Source, examination: Examination) -> Iterator[Attachment]:
    """Yield what is attached, decoded. Raises `UploadRefusedError`."""
    data = whole(source)
    if (
        data.count(b"\n") > _MAX_LINES
        or data.count(b"\n--") > _MAX_DELIMITERS
        or any(len(found[0]) > _LONGEST_FIELD for found in _FIELD.finditer(data))
        or len(_BOUNDARY.findall(data)) > _MAX_BOUNDARIES
    ):
        raise UploadRefusedError(Objection.TOO_COMPLEX)
    try:
        parts = list(BytesParser().parsebytes(data).walk())
    except (ValueError, LookupError, RecursionError):
        raise broken() from None
    if len(parts) > _MAX_PARTS:
        raise UploadRefusedError(Objection.TOO_COMPLEX)
    examination.count(len(parts))
    for part in parts:
        name = _name(part)
        if part.get_content_maintype() in _FRAMES or (not name and part.get_content_maintype() == "text"):
            continue
        try:
            payload = part.get_payload(decode=True)
        except (ValueError, LookupError):
            raise broken() from None
        if isinstance(payload, bytes):
            examination.unpack(len(payload))
            yield Attachment(name, Held(payload))


def _name(part: Message) -> str:
    try:
        return part.get_filename() or ""
    except (ValueError, LookupError):
        raise broken() from None
