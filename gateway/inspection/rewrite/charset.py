"""In which encoding a page is read, as far as it matters for putting something into it (WHATWG Encoding).

Pages are rewritten only where every byte below 0x80 is the character that it looks like. UTF-16 is not such an encoding, and
ISO-2022-JP is not either: browsers may guess it for a page that says nothing, from its escape byte alone.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final


class Charset(Enum):
    """What is known about the encoding of a page."""

    UTF_8 = "utf-8"
    WINDOWS_1252 = "windows-1252"
    """What browsers take `iso-8859-1` and `us-ascii` for."""
    UNDECLARED = ""


_LABELS: Final = {
    **dict.fromkeys((b"utf-8", b"utf8", b"unicode-1-1-utf-8", b"x-unicode20utf8"), Charset.UTF_8),
    **dict.fromkeys(
        (b"windows-1252", b"cp1252", b"x-cp1252", b"iso-8859-1", b"iso8859-1", b"iso_8859-1", b"latin1", b"l1", b"ascii", b"us-ascii"),
        Charset.WINDOWS_1252,
    ),
}  # fmt: skip
_PARAMETER: Final = re.compile(rb";[\t ]*charset[\t ]*=[\t ]*\"?([^\";,\t ]{1,40})", re.IGNORECASE).findall
_IN_META: Final = re.compile(rb"charset[\t\n\f\r ]*=[\t\n\f\r ]*[\"']?([^\"';,\t\n\f\r ]{1,40})", re.IGNORECASE).search
SHIFTS: Final = re.compile(rb"[\x0e\x0f\x1b]").search
"""Bytes that switch an encoding of ISO 2022 (RFC 1468)."""
_WINDOWS_1252: Final = [
    bytes((code,)).decode("cp1252", "ignore") or chr(code)  # five codes are controls to browsers, and nothing to Python
    for code in range(256)
]


def of_content_type(value: bytes) -> Charset | None:
    """Return the encoding that Content-Type declares for an HTML page; None for what is not rewritten."""
    if value.partition(b";")[0].strip(b" \t").lower() != b"text/html":
        return None
    labels = {label.strip(b"'").lower() for label in _PARAMETER(value)}
    if not labels:
        return Charset.UNDECLARED
    return _LABELS.get(labels.pop()) if len(labels) == 1 else None


def of_meta(charset: bytes | None, content: bytes | None) -> Charset | None:
    """Return what a `<meta charset>`, or the `content` of a `<meta http-equiv=content-type>`, declares; None = something else."""
    label = charset
    if label is None and content is not None:
        found = _IN_META(content)
        label = found[1] if found is not None else None
    if label is None:
        return Charset.UNDECLARED
    return _LABELS.get(label.strip(b"\t\n\f\r ").lower())


def decode(charset: Charset, text: bytes) -> str | None:
    """Return the text that a browser reads, with line feeds alone; None where that is not known.

    WHATWG HTML §13.2.3.5 (newlines), §13.2.5.4 (NUL in a script).
    """
    if text.isascii():
        read = text.decode("ascii")
    elif charset is Charset.UTF_8:
        read = text.decode("utf-8", "replace")
    elif charset is Charset.WINDOWS_1252:
        read = "".join([_WINDOWS_1252[code] for code in text])
    else:
        return None
    return read.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
