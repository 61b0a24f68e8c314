"""What a multipart form says beside its files: names, texts and the names of files (RFC 7578)."""

from __future__ import annotations

import re
from typing import Final

import multipart

from gateway.inspection.body import BodyTooComplexError, BodyUnreadableError, Limits, MediaType, media_type_of
from gateway.inspection.finding import Position, Value
from gateway.inspection.upload.disposition import parse_disposition
from gateway.inspection.upload.media_type import MediaTypeError, parse_media_type
from gateway.inspection.upload.objection import UploadRefusedError
from gateway.inspection.values import of_pairs

_ORDINARY_DISPOSITION: Final = re.compile(
    r'form-data; name="[A-Za-z0-9_.\[\]-]*"(?:; filename="[A-Za-z0-9_. ()\[\]-]*")?'
).fullmatch
_ENCODING: Final = "Content-Transfer-Encoding"
_AS_IT_IS: Final = frozenset(("7bit", "8bit", "binary"))
"""RFC 7578 section 4.7 did away with the others; who still obeys them would read another text."""
_DEFAULT_CHARSET: Final = "_charset_"
"""The field by which a form names the character set of the others (RFC 7578 section 4.6)."""
_ORDINARY_FIELDS: Final = frozenset(("Content-Disposition", "Content-Type", "Content-Length"))


class Part:
    """One part that is no file: its name, its type and its text."""

    __slots__ = ("media_type", "name", "raw")

    def __init__(self, name: str, media_type: MediaType) -> None:
        self.name = name
        self.media_type = media_type
        self.raw = bytearray()


def read_parts(content_type: bytes, body: bytes, limits: Limits) -> tuple[list[Part], list[Value]]:
    """Read a multipart form strictly: the parts that are no files, and what the heads of all parts say.

    `content_type` is the field as sent. A part whose file has an empty name is a field to Go and ASP.NET Core, and is
    read as one.

    Raises:
        BodyUnreadableError: two readers could see different parts in it.
        BodyTooComplexError: it has too many parts, or too long heads.

    """
    try:
        boundary = parse_media_type(content_type.decode("latin-1")).boundary.decode("ascii")
    except MediaTypeError:
        raise BodyUnreadableError("the multipart body has no boundary that all readers agree about") from None
    parts: list[Part] = []
    heads: list[Value] = []
    current: Part | None = None
    seen = 0
    parser = multipart.PushMultipartParser(
        boundary,
        max_header_size=limits.part_header_bytes,
        max_segment_count=limits.parts,
        strict=True,
    )
    try:
        with parser:
            for event in parser.parse(body):
                if isinstance(event, multipart.MultipartSegment):
                    heads += _of_head(event)
                    seen += 1
                    current = None
                    if not _is_file(event):
                        declared = event.header("Content-Type", "")
                        current = Part(event.name, media_type_of(declared.encode("utf-8")))
                        parts.append(current)
                elif event is not None and current is not None:
                    current.raw += event
    except multipart.ParserLimitReached:
        raise BodyTooComplexError("the multipart body has too many parts, or a part with a too long head") from None
    except multipart.MultipartError as error:
        raise BodyUnreadableError(f"the multipart body is malformed: {_sentence(error)}") from None
    line = b"--" + boundary.encode("ascii")
    # attack: a field within a file, to readers (Werkzeug, Python's email) who take a line feed alone for a line break
    if len(re.findall(rb"(?:\A|[\r\n])" + re.escape(line), body)) != seen + 1:
        raise BodyUnreadableError("the multipart body has a boundary that only some readers see")
    end = b"\r\n%b--" % line
    if (b"\r\n" + body).partition(end)[2].strip(b"\r\n"):
        raise BodyUnreadableError("the multipart body goes on behind its end")
    return parts, heads


def _is_file(segment: multipart.MultipartSegment) -> bool:
    """Raises BodyUnreadableError: others could take a field for what is a file here, and nobody would read it."""
    if segment.filename is None:  # it is read, whatever others take it for
        return False
    try:
        said = parse_disposition(segment.header("Content-Disposition", ""))
    except UploadRefusedError:
        raise BodyUnreadableError("a part of the multipart body is a file only to some readers") from None
    return bool(said.file_name)


def _sentence(error: multipart.MultipartError) -> str:
    """The parser's own words, which never quote what it read, before the first colon or quotation mark."""
    return re.split(r"[:'\"]", str(error.args[0]) if error.args else "", maxsplit=1)[0].strip().lower()


def _of_head(segment: multipart.MultipartSegment) -> list[Value]:
    found: list[Value] = []
    name = segment.name or ""
    if len({field for field, _ in segment.headerlist}) < len(segment.headerlist):
        raise BodyUnreadableError("a part of the multipart body has a field twice")
    if segment.header(_ENCODING, "binary").strip().lower() not in _AS_IT_IS:
        raise BodyUnreadableError("a part of the multipart body is encoded once more")
    if segment.filename is not None:
        found.append(Value(Position.FILE_NAME, name, segment.filename))
    for field, content in segment.headerlist:
        unusual = field not in _ORDINARY_FIELDS
        if unusual or (field == "Content-Disposition" and _ORDINARY_DISPOSITION(content) is None):
            found.append(Value(Position.PART_NAME, name, content))
    return found


def of_multipart_fields(parts: list[Part], heads: list[Value], *, with_plain: bool = False) -> list[Value]:
    """List the values of the parts that are no files, beside what their heads say.

    Raises:
        BodyUnreadableError: a part, or the form, declares a character set that is not read here.

    """
    for part in parts:
        if part.name == _DEFAULT_CHARSET:
            MediaType("", {"charset": part.raw.decode("latin-1")}).texts_of(b"")
    pairs = [(part.name, text) for part in parts for text in part.media_type.texts_of(bytes(part.raw))]
    return heads + of_pairs(pairs, Position.PART_NAME, Position.PART, with_plain=with_plain)
