"""XML that is uploaded, drawings first: what a browser or an XML parser would run, fetch or expand.

A drawing is a page with another root: it runs scripts where it is opened (SVG 2, chapter Interactivity). Judged as a
parser reads it, not as text: entities are refused before they are used (billion laughs, XXE).
"""

from __future__ import annotations

import re
from typing import Final
from xml.parsers import expat

from gateway.inspection.upload.examination import Examination, broken, whole
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.source import Source

SVG: Final = "http://www.w3.org/2000/svg"
XHTML: Final = "http://www.w3.org/1999/xhtml"
_XSLT: Final = "http://www.w3.org/1999/XSL/Transform"
_MAX_DEPTH: Final = 256
_MAX_ELEMENTS: Final = 1_000_000
_LONGEST_STYLE: Final = 4 << 20
_ACTIVE: Final = frozenset(
    ("script", "foreignobject", "handler", "listener", "iframe", "embed", "object", "audio", "video", "annotation-xml")
)
_ANIMATION: Final = frozenset(("set", "animate", "animatemotion", "animatetransform", "animatecolor"))
_LINKS: Final = frozenset(("href", "src", "data", "action", "formaction", "to", "from", "values", "by", "begin"))
_DROPPED: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u200b\ufeff]")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]{0,30}):")
_PICTURE: Final = re.compile(r"data:image/(?:png|jpe?g|gif|webp)[;,]")
_STYLE: Final = re.compile(
    r"@import|expression\s*\(|-moz-binding|behavior\s*:|javascript:|url\(\s*['\"]?\s*(?!['\"]?(?:#|data:image/(?:png|jpe?g|gif|webp)[;,]|data:(?:font|application/(?:x-)?font)))",
    re.IGNORECASE,
)
_CSS_ESCAPE: Final = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)|/\*(?:[^*]|\*(?!/))*(?:\*/|$)", re.DOTALL)
_HARMLESS_ELSEWHERE: Final = frozenset(("http", "https", "mailto", "tel"))


def examine_markup(kind: str, source: Source, examination: Examination) -> None:
    """Look at an `svg`, an `xml` or an `html` file. Raises `UploadRefusedError`."""
    if kind == "html":
        examination.active()  # a page is active by nature: no list of what is harmless holds for long
        return
    data = whole(source)
    if not data.strip():
        raise broken()
    _Walk(kind, examination).over(data)


class _Walk:
    """Walks one document."""

    def __init__(self, kind: str, examination: Examination) -> None:
        self._kind, self._examination = kind, examination
        self._depth = self._elements = 0
        self._style: list[str] | None = None

    def over(self, data: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.ProcessingInstructionHandler = self._instruction
        parser.EntityDeclHandler = self._entity
        parser.ExternalEntityRefHandler = self._external
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            parser.Parse(data, True)  # noqa: FBT003 - expat takes no keyword
        except (expat.ExpatError, ValueError, LookupError) as error:
            if isinstance(error, UploadRefusedError):
                raise
            raise broken() from None

    def _doctype(self, name: str, system: str | None, public: str | None, has_subset: int) -> None:  # noqa: ARG002 - expat's
        is_drawing = self._kind == "svg" and not has_subset and (public or "").startswith("-//W3C//DTD SVG ")
        if has_subset or ((system or public) and not is_drawing):
            self._examination.active()  # XXE: whoever reads it fetches it

    def _entity(self, *_: object) -> None:
        raise UploadRefusedError(Objection.ACTIVE_CONTENT)

    def _external(self, *_: object) -> int:
        raise UploadRefusedError(Objection.ACTIVE_CONTENT)

    def _instruction(self, target: str, _: str) -> None:
        if target.lower() in {"xml-stylesheet", "php", "import"}:
            self._examination.active()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        local = local.lower()
        self._depth += 1
        self._elements += 1
        if self._depth > _MAX_DEPTH or self._elements > _MAX_ELEMENTS:
            raise UploadRefusedError(Objection.TOO_COMPLEX)
        if self._elements == 1 and self._kind == "svg" and local != "svg":
            raise UploadRefusedError(Objection.TYPE_DISGUISED)
        if self._elements == 1 and self._kind == "xml" and (namespace in {SVG, XHTML} or local in {"svg", "html"}):
            raise UploadRefusedError(Objection.TYPE_DISGUISED)
        is_drawn = self._kind == "svg" or namespace in {SVG, XHTML}
        if namespace in {XHTML, _XSLT} or (is_drawn and local in _ACTIVE):
            self._examination.active()
        if is_drawn:
            for attribute, value in attributes.items():
                if _is_active(local, attribute.rpartition(" ")[2].lower(), value):
                    self._examination.active()
        self._style = [] if is_drawn and local == "style" else None

    def _text(self, text: str) -> None:
        if self._style is not None:
            self._style.append(text)

    def _end(self, _: str) -> None:
        self._depth -= 1
        if self._style is not None and _styles_actively("".join(self._style)):
            self._examination.active()
        self._style = None


def _is_active(element: str, attribute: str, value: str) -> bool:
    if attribute.startswith("on"):
        return True
    if element in _ANIMATION and attribute == "attributename":
        animated = value.strip().lower().rpartition(":")[2]
        return animated == "href" or animated.startswith("on")
    if attribute in _LINKS or attribute == "base":
        return _leads_elsewhere(value, is_link=element == "a")
    return _styles_actively(value) if attribute == "style" or "url(" in value.lower() else False


def _leads_elsewhere(value: str, *, is_link: bool) -> bool:
    """Whether what is named is fetched or run; a link that a person follows may lead to a site."""
    target = _DROPPED.sub("", value).lower()
    scheme = _SCHEME.match(target)
    if scheme is None:
        return target.startswith(("//", "\\\\"))
    if is_link:
        return scheme[1] not in _HARMLESS_ELSEWHERE
    return not _PICTURE.match(target) and scheme[1] not in {"0s", "indefinite"}


def _styles_actively(style: str) -> bool:
    if len(style) > _LONGEST_STYLE:
        raise UploadRefusedError(Objection.TOO_COMPLEX)
    plain = _CSS_ESCAPE.sub(_unescaped, style)
    return _STYLE.search(plain) is not None


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        number = int(found[1], 16)
        return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
    return found[2] or ""
