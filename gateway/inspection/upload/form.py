"""A form with files, as it streams in (RFC 7578): where each part begins and ends in the body.

Two readers must agree: `multipart`'s push parser in strict mode, which knows the framing, and this module,
which reads the headers of each part by its own grammar and counts where everything is. What they
do not agree on, or what other parsers are known to read otherwise, is refused and not interpreted: anything before the
first boundary or behind the last, a boundary behind any other line break, folded or repeated headers, transfer encodings, nested forms,
foreign charsets.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from gateway.inspection.upload.disposition import parse_disposition
from gateway.inspection.upload.media_type import MediaTypeError, parse_media_type
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.policy import FIELD_BYTES, MAX_PARTS

BLOCK_BYTES: Final = 32 * 1024
"""The parser gets blocks of this size, whatever pieces the network makes: a body has one reading, and drips cost nothing."""
MAX_HEADER_BYTES: Final = 4096
MAX_HEADERS: Final = 8
_HEADER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_A_FILE_TO_SOME: Final = "application/octet-stream"
"""What busboy takes for a file without a name, and others for a field."""
_IDENTITY: Final = frozenset(("7bit", "8bit", "binary"))


class Part(NamedTuple):
    """One part of a body. `file_name` is None for a field; `start` counts from the first byte of the body."""

    name: str
    file_name: str | None
    declared: str
    """Media type without parameters, in lower case; empty = none."""
    start: int
    length: int
    value: bytes
    """Of a field; of a file nothing is kept here."""


class FormReader:
    """Reads one body. `parts` grows as parts end."""

    __slots__ = (
        "_after", "_at", "_block", "_boundaries", "_carry", "_current", "_ended", "_header_at", "_length", "_limit",
        "_line", "_lines", "_max_files", "_max_size", "_parser", "_room", "_tail", "_values", "files", "parts",
    )  # fmt: skip

    def __init__(self, boundary: bytes, *, max_size: int, max_files: int) -> None:
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=MAX_HEADER_BYTES,
            max_header_count=MAX_HEADERS,
            max_segment_count=MAX_PARTS,
            strict=True,
        )
        self._line = b"--" + boundary
        self._lines = re.compile(rb"[\r\n]" + re.escape(self._line))
        self._boundaries = 0
        """Boundaries at the beginning of a line, whatever ends lines to a reader."""
        self._tail = b""
        """What came last, shorter than a boundary with its line break."""
        self._max_size, self._max_files = max_size, max_files
        self.parts: list[Part] = []
        self.files = 0
        """Parts that are files, with the one that is being read."""
        self._block = bytearray()
        self._at = 0
        """Bytes of the body that the parser has."""
        self._carry = b""
        """Headers whose end has not come yet."""
        self._header_at = len(self._line) + 2
        self._current: Part | None = None
        self._length = 0
        self._limit = 0
        self._values: list[bytes] = []
        self._room = FIELD_BYTES
        self._ended = False
        self._after = b""

    @property
    def has_ended(self) -> bool:
        """The last boundary was read."""
        return self._ended

    def feed(self, data: bytes) -> None:
        """Read on. Raises `UploadRefusedError`."""
        view = memoryview(data)
        while view:
            taken = BLOCK_BYTES - len(self._block)
            self._block += view[:taken]
            view = view[taken:]
            if len(self._block) == BLOCK_BYTES:
                self._read(bytes(self._block))
                self._block.clear()

    def finish(self) -> None:
        """The body is complete. Raises `UploadRefusedError`."""
        if self._block:
            self._read(bytes(self._block))
            self._block.clear()
        # attack: a part within a file, to readers who take a line feed or a carriage return alone for a line break
        if not self._ended or self._boundaries != len(self.parts):
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS)

    def _read(self, block: bytes) -> None:
        recent = self._tail + block
        self._boundaries += sum(1 for _ in self._lines.finditer(recent))
        self._tail = recent[-len(self._line) :]
        if self._ended:
            self._end_line(block)
            return
        if self._at == 0 and self._is_empty_form(block):
            self._ended = True
            return
        window, base = self._carry + block, self._at - len(self._carry)
        try:
            for event in self._parser.parse(block):
                if isinstance(event, MultipartSegment):
                    self._begin(event, window, base)
                elif event is None:
                    self._end(window, base)
                else:
                    self._take(event)
        except ParserLimitReached:
            raise UploadRefusedError(Objection.FORM_TOO_LARGE) from None
        except MultipartError:
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS) from None
        self._at += len(block)
        kept = self._header_at - base if self._current is None else len(window) - len(self._line) - 4
        self._carry = window[max(0, kept) :]
        if len(self._carry) > MAX_HEADERS * (MAX_HEADER_BYTES + 2) + 2:
            raise UploadRefusedError(Objection.FORM_TOO_LARGE)

    def _is_empty_form(self, block: bytes) -> bool:
        """Refuse a preamble; tell whether the first boundary is the last."""
        if not block.startswith(self._line):
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS)
        return block[len(self._line) :] in {b"--", b"--\r\n"}

    def _begin(self, segment: MultipartSegment, window: bytes, base: int) -> None:
        start = self._header_at - base
        end = window.find(b"\r\n\r\n", start)
        if end < 0:
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS)
        part = _part(window[start:end], base + end + 4)
        if segment.name != part.name or (segment.filename is None) is not (part.file_name is None):
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS)
        self._current, self._length, self._values = part, 0, []
        if part.file_name is None:
            self._room -= len(part.name)
            self._limit = self._room
        else:
            self.files += part.file_name != ""
            self._limit = self._max_size
            if self.files > self._max_files:
                raise UploadRefusedError(Objection.TOO_MANY_FILES)

    def _take(self, piece: bytes) -> None:
        part = self._current
        assert part is not None  # noqa: S101 - the parser yields a segment before its bytes
        self._length += len(piece)
        if self._length > self._limit:
            is_file = part.file_name is not None
            raise UploadRefusedError(Objection.FILE_TOO_LARGE if is_file else Objection.FORM_TOO_LARGE)
        if part.file_name is None:
            self._values.append(piece)

    def _end(self, window: bytes, base: int) -> None:
        part = self._current
        assert part is not None  # noqa: S101 - the parser ends what it began
        at = part.start + self._length - base
        line_end = at + 2 + len(self._line)
        if window[at : line_end + 2] not in {b"\r\n%b\r\n" % self._line, b"\r\n%b--" % self._line}:
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS)  # the two readers do not agree where the part ends
        if part.file_name is None:
            self._room -= self._length
            _require_text(part.name, b"".join(self._values))
        if part.file_name == "" and self._length:
            raise UploadRefusedError(Objection.NAME_MISSING)
        self.parts.append(part._replace(length=self._length, value=b"".join(self._values)))
        self._current, self._values = None, []
        self._header_at = base + line_end + 2
        if window[line_end : line_end + 2] == b"--":
            self._ended = True
            self._end_line(window[line_end + 2 :])

    def _end_line(self, rest: bytes) -> None:
        """Behind the last boundary stands a line break or nothing."""
        self._after += rest
        if not b"\r\n".startswith(self._after):
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS)


def _require_text(name: str, value: bytes) -> None:
    """Refuse the field that says how the other fields are to be decoded (WHATWG HTML), where it says otherwise than they are read here."""
    if name == "_charset_" and value.strip().lower() not in {b"", b"utf-8", b"utf8", b"us-ascii"}:
        raise UploadRefusedError(Objection.FORM_AMBIGUOUS)


def _part(headers: bytes, start: int) -> Part:
    """Read the headers of a part by the grammar alone."""
    found: dict[str, str] = {}
    for line in headers.split(b"\r\n"):
        header = _HEADER.fullmatch(line)
        name = header[1].decode("ascii").lower() if header is not None else ""
        if header is None or name in found:
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS)
        try:
            found[name] = header[2].decode("utf-8").strip(" \t")
        except UnicodeDecodeError:
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS) from None
    disposition = parse_disposition(found.get("content-disposition", ""))
    try:
        declared = parse_media_type(found.get("content-type", ""))
    except MediaTypeError:
        raise UploadRefusedError(Objection.FORM_AMBIGUOUS) from None
    if (
        found.get("content-transfer-encoding", "binary").lower() not in _IDENTITY
        or declared.name.startswith("multipart/")
        or (disposition.file_name is None and not declared.is_utf8)
        or found.keys() & {"content-encoding", "transfer-encoding"}
    ):
        raise UploadRefusedError(Objection.FORM_AMBIGUOUS)
    if disposition.file_name is None and declared.name == _A_FILE_TO_SOME:
        raise UploadRefusedError(Objection.NAME_MISSING)
    return Part(disposition.name, disposition.file_name, declared.name, start, 0, b"")
