"""Whether a body is text, in which units, and what stands around its words (RFC 9110 section 8.3, WHATWG Encoding).

Decides by Content-Type alone, and by a byte order mark, which outranks it in every browser. What is no text is not looked
into.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Markup(StrEnum):
    """What stands around the words."""

    PLAIN = "plain"
    HTML = "html"
    XML = "xml"
    JSON = "json"
    SCRIPT = "script"
    FORM = "form"
    """Percent-encoded."""


@dataclass(frozen=True, slots=True)
class TextForm:
    """How a text is written."""

    markup: Markup
    unit: int = 1
    """Bytes of one unit: 2 of UTF-16, otherwise 1, of which ASCII characters take one each."""
    is_big_endian: bool = False


class UnknownCharsetError(ValueError):
    """A text in an encoding in which ASCII is not written as ASCII: nothing can be said about it."""


_EXACT: Final = {
    b"text/html": Markup.HTML,
    b"application/xhtml+xml": Markup.HTML,
    b"application/json": Markup.JSON,
    b"text/json": Markup.JSON,
    b"application/xml": Markup.XML,
    b"text/xml": Markup.XML,
    b"application/javascript": Markup.SCRIPT,
    b"application/x-javascript": Markup.SCRIPT,
    b"application/ecmascript": Markup.SCRIPT,
    b"text/javascript": Markup.SCRIPT,
    b"text/ecmascript": Markup.SCRIPT,
    b"application/x-www-form-urlencoded": Markup.FORM,
    b"application/csv": Markup.PLAIN,
    b"application/x-ndjson": Markup.JSON,
    b"application/jsonl": Markup.JSON,
    b"application/graphql": Markup.PLAIN,
    b"application/yaml": Markup.PLAIN,
    b"application/x-yaml": Markup.PLAIN,
    b"application/toml": Markup.PLAIN,
    b"application/sql": Markup.PLAIN,
    b"application/x-pem-file": Markup.PLAIN,
}
_UNKNOWN: Final = frozenset((b"", b"*/*", b"unknown/unknown", b"application/unknown"))
_TYPE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
"""What is none, such as `json`, is unknown too: a browser looks for itself, and may see a page (WHATWG MIME Sniffing, section 7)."""
_SUFFIXES: Final = ((b"+json", Markup.JSON), (b"+xml", Markup.XML), (b"+yaml", Markup.PLAIN))
_CHARSET: Final = re.compile(rb";[ \t]*charset[ \t]*=[ \t]*\"?([A-Za-z0-9_.:+-]{1,40})", re.IGNORECASE)
_LIKE_ASCII: Final = re.compile(
    rb"utf-?8|unicode-1-1-utf-8|(?:us-)?ascii|ansi_x3\.4-1968|iso[-_]?8859[-_]?[0-9]{1,2}(?:-[ei])?|latin-?[1-9]|l[1-9]"
    rb"|windows-(?:125[0-8]|874|31j|949)|cp-?(?:125[0-8]|437|850|852|866|949|932|936)|x-cp125[0-8]|macintosh|x-mac-[a-z]{1,12}"
    rb"|koi8-[ru]|gb2312|gbk|gb18030|gb_2312-80|big5(?:-hkscs)?|euc-(?:jp|kr|tw|cn)|shift[_-]jis|x-sjis|sjis|ks_c_5601-1987"
    rb"|tis-620|viscii|x-user-defined"
)
"""Every byte below 128 that starts a character is the ASCII one. Not so in UTF-7, UTF-32, EBCDIC and ISO-2022."""
_UTF_16: Final = {b"utf-16": False, b"utf-16le": False, b"utf-16be": True, b"ucs-2": False, b"unicode": False}
UTF_16_UNIT: Final = 2
_MARKS: Final = ((b"\xff\xfe", False), (b"\xfe\xff", True))
MARK_BYTES: Final = 2
_SPACES: Final = frozenset((0x00A0, 0x1680, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200C)))
_HYPHENS: Final = frozenset(range(0x2010, 0x2016)) | {0x2212}


def of_content_type(field: bytes) -> TextForm | None:
    """Tell how a body of this Content-Type is written; None if it is no text.

    Raises:
        UnknownCharsetError: it is text, in an encoding that cannot be looked through.

    """
    media_type = field.partition(b";")[0].strip(b" \t").lower()
    is_unknown = media_type in _UNKNOWN or _TYPE(media_type) is None
    markup = Markup.HTML if is_unknown else _EXACT.get(media_type)
    if markup is None:
        markup = next((found for suffix, found in _SUFFIXES if media_type.endswith(suffix)), None)
    if markup is None:
        if not media_type.startswith(b"text/"):
            return None
        markup = Markup.PLAIN
    charset = _CHARSET.search(field)
    if charset is None:
        return TextForm(markup)
    name = charset[1].lower()
    if _LIKE_ASCII.fullmatch(name):
        return TextForm(markup)
    if name in _UTF_16:
        return TextForm(markup, 2, _UTF_16[name])
    raise UnknownCharsetError


def with_mark(form: TextForm, start: bytes) -> TextForm:
    """Return the form of a text that begins with these two bytes: a byte order mark outranks what was declared."""
    for mark, is_big_endian in _MARKS:
        if start == mark:
            return TextForm(form.markup, 2, is_big_endian)
    return form


def of_utf_16(raw: bytes, *, is_big_endian: bool) -> bytes:
    """Write each unit as one byte: ASCII as it is, blanks and hyphens as the common ones, everything else as 0xFF."""
    high, low = (raw[0::2], raw[1::2]) if is_big_endian else (raw[1::2], raw[0::2])
    if not any(high):
        return low
    return bytes(map(_unit, high, low))


def _unit(high: int, low: int) -> int:
    if high == 0:
        return low
    code = high << 8 | low
    if code in _SPACES:
        return 0xA0
    return 0x2D if code in _HYPHENS else 0xFF


FILLER: Final = 1
"""Stands where an escape had its other two bytes: no text that is sent has it."""
_ESCAPE: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
_OPEN_ESCAPE: Final = re.compile(rb"%[0-9A-Fa-f]?\Z")
_UNESCAPED: Final = {
    f"%{code:02x}".encode(): bytes((code if not 0x30 <= code <= 0x39 else 0xFF, FILLER, FILLER)) for code in range(256)
}


def of_form(raw: bytes) -> bytes:
    """Undo percent-encoding without moving anything: what an escape stands for comes first, then two fillers."""
    if b"%" in raw:
        raw = _ESCAPE.sub(lambda found: _UNESCAPED[found[0].lower()], raw)
    return raw.replace(b"+", b" ")


def open_escape(raw: bytes) -> int:
    """Count the bytes at the end that may begin an escape."""
    found = _OPEN_ESCAPE.search(raw, max(0, len(raw) - 2))
    return 0 if found is None else len(found[0])
