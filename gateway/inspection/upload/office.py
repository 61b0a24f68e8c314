"""Documents that are zip archives: OOXML (ECMA-376) and OpenDocument (OASIS ODF 1.3).

Which kind one is, its own parts say, not its name. Macros are told by their parts, their content types and their
relationships alike, so that renaming one of them hides nothing. Templates, objects and frames from a server are refused;
links that a person follows, and pictures, are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from xml.parsers import expat

from gateway.inspection.upload.examination import DEEP_BYTES, Examination, broken
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.ole import examine_compound
from gateway.inspection.upload.pattern import searcher
from gateway.inspection.upload.source import Held, Source
from gateway.inspection.upload.zip_archive import Member, unpacked

CONTENT_TYPES: Final = "[content_types].xml"
MIMETYPE: Final = "mimetype"
_MAIN: Final = (
    (b"ms-word.document.macroenabled", "docm"),
    (b"ms-word.template.macroenabled", "docm"),
    (b"wordprocessingml.template", "docm"),
    (b"ms-excel.sheet.binary.macroenabled", "xlsb"),
    (b"ms-excel.sheet.macroenabled", "xlsm"),
    (b"ms-excel.template.macroenabled", "xlsm"),
    (b"ms-excel.addin.macroenabled", "xlsm"),
    (b"spreadsheetml.template", "xlsm"),
    (b"ms-powerpoint.presentation.macroenabled", "pptm"),
    (b"ms-powerpoint.slideshow.macroenabled", "pptm"),
    (b"ms-powerpoint.template.macroenabled", "pptm"),
    (b"presentationml.template", "pptm"),
    (b"wordprocessingml.document.main", "docx"),
    (b"spreadsheetml.sheet.main", "xlsx"),
    (b"presentationml.presentation.main", "pptx"),
    (b"presentationml.slideshow.main", "pptx"),
)
_MAIN_PARTS: Final = (("word/document.xml", "docx"), ("xl/workbook.xml", "xlsx"), ("ppt/presentation.xml", "pptx"))
"""What programs that are content with little go by."""
_OPEN: Final = {
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.text-template": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
    b"application/vnd.oasis.opendocument.spreadsheet-template": "ods",
    b"application/vnd.oasis.opendocument.presentation": "odp",
    b"application/vnd.oasis.opendocument.presentation-template": "odp",
    b"application/epub+zip": "epub",
}
_MACRO_TYPES: Final = searcher(
    rb"(?i)vnd\.ms-office\.vbaproject|ms-excel\.(?:intl)?macrosheet|activex\+xml|vnd\.ms-office\.activex"
)
_MACRO_PARTS: Final = re.compile(
    r"(?:^|/)(?:vbaproject\w*\.bin|vbadata\.xml|activex/.*|macrosheets/.*|ctrlprops/.*\.bin)$", re.IGNORECASE
)
_MACRO_RELATIONS: Final = frozenset(
    (
        "vbaproject",
        "wordvbadata",
        "xlmacrosheet",
        "xlintlmacrosheet",
        "control",
        "activexcontrolbinary",
        "keymapcustomizations",
    )
)
_FETCHED: Final = frozenset(
    (
        "attachedtemplate",
        "oleobject",
        "subdocument",
        "frame",
        "package",
        "aftchunk",
        "afchunk",
        "externaldata",
        "webextension",
    )
)
_ELSEWHERE: Final = re.compile(
    r"\s*(?:https?:|ftp:|mhtml:|file:/{2,5}[^/\\]*[\\]{2}|file://[^/]|\\\\|file:\\\\|//|mk:|ms-|javascript:|script:|!)",
    re.IGNORECASE,
)
_FIELD: Final = searcher(rb"(?i)instrText|fldSimple|ddeLink|ddeService|dde-link|dde-connection|DDE\s*\(")
_DDE: Final = re.compile(r"(?:^|[\s\0\"=+])DDE(?:AUTO)?(?=[\s\"(]|$)|QUOTE(?:\s+\d{2,3}){3,}", re.IGNORECASE)
_MARKUP: Final = re.compile(r"(?:\.xml|\.rels|\.vml)$", re.IGNORECASE)
_ENCODED_OTHERWISE: Final = re.compile(rb"<\?xml[^>]{0,100}encoding\s*=\s*[\"'](?!utf-8[\"'])", re.IGNORECASE)
_MAX_MIMETYPE: Final = 100


def kind_of_zip(source: Source, members: Sequence[Member], examination: Examination) -> str:
    """Name what a zip is: an office kind, or `zip`. Raises `UploadRefusedError`."""
    by_name = {member.name.lower(): member for member in members}
    if len(by_name) != len(members):
        raise UploadRefusedError(Objection.ARCHIVE_NAME)  # two members where a disk that ignores case has one
    types = by_name.get(CONTENT_TYPES)
    if types is not None and not types.is_encrypted:
        text = _utf8_part(_read(source, types, examination)).lower()
        found = next((kind for main, kind in _MAIN if main in text), "")
        if found:
            return found
    first = by_name.get(MIMETYPE)
    if first is not None and first.size <= _MAX_MIMETYPE and not first.is_encrypted:
        return _OPEN.get(_read(source, first, examination).strip(), "zip")
    return next((kind for part, kind in _MAIN_PARTS if part in by_name), "zip")


def examine_office(
    source: Source, members: Sequence[Member], examination: Examination, nested: Callable[[str, Held], None]
) -> None:
    """Look at the parts of a document; `nested` judges a file that is embedded whole. Raises `UploadRefusedError`."""
    for member in members:
        if member.is_directory:
            continue
        if member.is_encrypted:
            examination.encrypted()
            continue
        name = member.name.lower()
        if _is_macro(name):
            examination.active()
        if _MARKUP.search(name) or name == CONTENT_TYPES:
            _examine_part(name, _read(source, member, examination), examination)
        elif name.startswith(("object", "embeddings/")) or "/embeddings/" in name:
            _examine_embedded(name, Held(_read(source, member, examination)), examination, nested)
        else:
            for _ in unpacked(source, member, examination):
                pass


def _is_macro(name: str) -> bool:
    return bool(_MACRO_PARTS.search(name)) or name.startswith(("basic/", "scripts/"))


def _examine_embedded(name: str, content: Held, examination: Examination, nested: Callable[[str, Held], None]) -> None:
    head = content.read(0, 8)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        examine_compound(content, examination)
    elif head.startswith(b"PK"):
        nested(name, content)
    elif name.endswith(".bin") and not name.startswith("object"):
        examination.active()  # an object whose program is not known


def _examine_part(name: str, data: bytes, examination: Examination) -> None:
    text = _utf8_part(data)
    if b"<!DOCTYPE" in text[:4096] or b"<!ENTITY" in text:
        raise UploadRefusedError(Objection.ACTIVE_CONTENT)  # neither standard has one: XXE
    if not examination.refuses_active:
        return
    if name == CONTENT_TYPES and _MACRO_TYPES(text):
        examination.active()
    if name.endswith(".rels"):
        _each_element(text, lambda element, attributes: _examine_relation(element, attributes, examination))
    elif (_FIELD(text) and _calls_out(text)) or b"vnd.sun.star.script" in text or b"script:event-listener" in text:
        examination.active()


def _examine_relation(element: str, attributes: Mapping[str, str], examination: Examination) -> None:
    if element.lower() != "relationship":
        return
    found = {name.lower(): value for name, value in attributes.items()}
    kind = found.get("type", "").rstrip("/").rpartition("/")[2].lower()
    is_elsewhere = found.get("targetmode", "").lower() == "external" and _ELSEWHERE.match(found.get("target", ""))
    if kind in _MACRO_RELATIONS or (kind in _FETCHED and is_elsewhere):
        examination.active()


def _calls_out(text: bytes) -> bool:
    """Whether a field, put together from its runs, is a dynamic data exchange."""
    written: list[str] = []
    depth = 0
    found = False

    def start(element: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth, found
        local = element.rpartition(":")[2].lower()
        found = found or local in {"ddelink", "dde-link", "dde-connection", "dde-connection-decl", "dde-source"}
        depth += local == "instrtext"
        if local == "fldchar" and "begin" in attributes.values():
            written.append("\0")
        if local in {"fldsimple", "table-cell", "f"}:
            written.extend(("\0", *attributes.values()))
        depth += local == "f"

    def end(element: str) -> None:
        nonlocal depth
        local = element.rpartition(":")[2].lower()
        depth -= local in {"instrtext", "f"}

    def letters(text: str) -> None:
        if depth > 0:
            written.append(text)

    _parse(text, start, end, letters)
    return found or _DDE.search("".join(written)) is not None


def _each_element(text: bytes, seen: Callable[[str, Mapping[str, str]], None]) -> None:
    _parse(text, lambda name, attributes: seen(name.rpartition(":")[2], attributes), None, None)


def _parse(
    text: bytes,
    start: Callable[[str, Mapping[str, str]], None],
    end: Callable[[str], None] | None,
    letters: Callable[[str], None] | None,
) -> None:
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = letters
    try:
        parser.Parse(text, True)  # noqa: FBT003 - expat takes no keyword
    except expat.ExpatError:
        raise broken() from None


def _utf8_part(data: bytes) -> bytes:
    """Every program writes UTF-8; another encoding would hide the words that are looked for."""
    if (
        data.startswith((b"\xff\xfe", b"\xfe\xff"))
        or b"\0" in data[:64]
        or _ENCODED_OTHERWISE.match(data.lstrip(b"\xef\xbb\xbf"))
    ):
        raise broken()
    return data


def _read(source: Source, member: Member, examination: Examination) -> bytes:
    if member.size > DEEP_BYTES:
        raise UploadRefusedError(Objection.TOO_COMPLEX)
    return b"".join(unpacked(source, member, examination))
