"""What a file is by its first bytes, whatever it is called.

Signatures are those that the formats' own readers go by; text is told by what browsers would make of it (WHATWG MIME
Sniffing §7.1). A zip or an OLE container says here only that it is one: what it holds is `zip_kind`'s and `ole`'s to say.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.upload.source import Source

HEAD_BYTES: Final = 1024
EXECUTABLE: Final = "executable"
TEXT: Final = "text"
UNKNOWN: Final = "unknown"
EMPTY: Final = "empty"

_PREFIXES: Final = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"{\\rt", "rtf"),  # readers take `{\rt` without the `f`
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07\x00", "rar"),
    (b"Rar!\x1a\x07\x01\x00", "rar"),
    (b"ID3", "mp3"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"\x1a\x45\xdf\xa3", "webm"),
    (b"\x7fELF", EXECUTABLE),
    (b"\xca\xfe\xba\xbe", EXECUTABLE),  # Java class, and Mach-O for several processors
    (b"\xfe\xed\xfa\xce", EXECUTABLE),
    (b"\xfe\xed\xfa\xcf", EXECUTABLE),
    (b"\xce\xfa\xed\xfe", EXECUTABLE),
    (b"\xcf\xfa\xed\xfe", EXECUTABLE),
    (b"\x00asm", EXECUTABLE),
    (b"dex\n03", EXECUTABLE),
    (b"L\x00\x00\x00\x01\x14\x02\x00", EXECUTABLE),  # a Windows shortcut
    (b"!<arch>\n", EXECUTABLE),
    (b"\xed\xab\xee\xdb", EXECUTABLE),
    (b"MSCF\x00\x00\x00\x00", EXECUTABLE),
    (b"ITSF\x03\x00\x00\x00", EXECUTABLE),  # compiled HTML help
    (b"FWS", "flash"),
    (b"CWS", "flash"),
    (b"ZWS", "flash"),
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", EXECUTABLE),  # OneNote: opens what is embedded
    (b"\xac\xed\x00\x05", EXECUTABLE),  # a serialised Java object
)
_BRANDS: Final = {
    b"heic": "heic", b"heix": "heic", b"heim": "heic", b"heis": "heic", b"hevc": "heic", b"hevx": "heic", b"mif1": "heic", b"msf1": "heic",
    b"avif": "avif", b"avis": "avif", b"qt  ": "mov", b"M4A ": "m4a", b"M4B ": "m4a",
}  # fmt: skip
_RIFF: Final = {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}
_PE_OFFSET: Final = 0x3C
_BITMAP_HEADERS: Final = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
_BLANKS: Final = b"\t\n\x0c\r "
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_CONTROL_LETTERS: Final = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f\ufffe\uffff]")
_PAGE: Final = re.compile(
    r"(?:<!--(?:[^-]|-(?!->))*-->\s*){0,8}"
    r"<(?:!doctype\s+html|html|head|script|body|iframe|style|title|frameset|object|embed|meta|base|link|applet|form)(?=[\s/>])",
    re.IGNORECASE,
)
_DRAWING: Final = re.compile(
    r"(?:<\?xml[^>]*>|<!--(?:[^-]|-(?!->))*-->|<!doctype\s+svg[^\[>]*(?:\[[^\]]*\]\s*)?>|\s)*<(?:[a-z]{1,16}:)?svg(?=[\s/>])",
    re.IGNORECASE,
)
_XML: Final = re.compile(r"<(?:\?xml\s|[A-Za-z_][\w.-]*[\s/>:]|!DOCTYPE\s(?!html))")
_SERVER_PAGE: Final = re.compile(r"<\?(?:php\b|=)|<%[@!=\s]|#!\s*/", re.IGNORECASE)


def kind_of(source: Source) -> str:
    """Name the content: a kind, or one of the words above, `zip`, `ole`, `flash`, `page`, `script`."""
    head = source.read(0, HEAD_BYTES)
    if not head:
        return EMPTY
    for prefix, kind in _PREFIXES:
        if head.startswith(prefix):
            return kind
    if _is_pdf(head):
        return "pdf"
    return _container(head) or _program(source, head) or _sound(head) or _text_kind(head)


def _is_pdf(head: bytes) -> bool:
    """A header within the first KiB is what readers look for (ISO 32000-1, Annex H.3.4.1); blanks alone may precede it here."""
    return head.lstrip(b"\xef\xbb\xbf" + _BLANKS + b"\x00").startswith(b"%PDF-")


def _container(head: bytes) -> str:
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], UNKNOWN)
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), 128), 4))]
        if head[8:10] == b"3g":
            return "3gp"
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), "mp4")
    if head[4:8] in {b"moov", b"mdat", b"wide", b"free"} and head[0] == 0:
        return "mov"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return "bmp"
    if head[:4] == b"\x00\x00\x01\x00" and 0 < int.from_bytes(head[4:6], "little") <= 256:
        return "ico"
    return ""


def _program(source: Source, head: bytes) -> str:
    """MZ is two letters that a text may begin with; the header that it points to is not."""
    if head[:2] not in {b"MZ", b"ZM"}:
        return ""
    at = int.from_bytes(head[_PE_OFFSET : _PE_OFFSET + 4], "little")
    if source.read(at, 4)[:2] in {b"PE", b"NE", b"LE", b"LX"} or _CONTROLS.search(head):
        return EXECUTABLE
    return ""


def _sound(head: bytes) -> str:
    """An MPEG audio frame: eleven bits of sync, a layer, a rate of bits and of samples that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return ""
    is_frame = head[1] & 0x18 != 0x08 and head[1] & 0x06 != 0 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C
    return "mp3" if is_frame and head[:2] not in {b"\xff\xfe", b"\xff\xff"} else ""


def _text_kind(head: bytes) -> str:
    text = decoded(head, is_cut=True)
    if text is None:
        return UNKNOWN
    start = text.lstrip()
    if _PAGE.match(start):
        return "page"
    if _DRAWING.match(start):
        return "svg"
    if _SERVER_PAGE.match(start):
        return "script"
    return "xml" if _XML.match(start) else TEXT


def decoded(data: bytes, *, is_cut: bool = False) -> str | None:
    """Read bytes as text: by its mark, as UTF-8, else as Windows-1252; None = it is no text.

    `is_cut`: the last character may be incomplete.
    """
    mark, encoding = next((bom for bom in _BOMS if data.startswith(bom[0])), (b"", "utf-8"))
    body = data[len(mark) :]
    if is_cut and encoding != "utf-8":
        body = body[: len(body) & ~1]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        is_last = (
            is_cut and encoding == "utf-8" and error.start >= len(body) - 3 and error.reason == "unexpected end of data"
        )
        if is_last:
            text = body[: error.start].decode(encoding)
        elif encoding == "utf-8":
            text = body.decode("cp1252", "replace")
        else:
            return None
    return None if _CONTROL_LETTERS.search(text) else text
