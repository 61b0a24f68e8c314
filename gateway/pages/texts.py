"""What our pages say, in which language: one gettext catalogue, and the choice by what the browser prefers.

English is the source: it stands in the templates and in the code, and needs no catalogue. A language is a
`.mo` file, shipped or the operator's, who may reword ours the same way. Nothing here escapes; the templates do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO
from types import MappingProxyType
from typing import Final

SOURCE: Final = "en"
"""The language that the code is written in."""
MAX_CATALOGUE_BYTES: Final = 1024 * 1024
MAX_FIELD_CHARACTERS: Final = 512
MAX_RANGES: Final = 32

# RFC 9110 section 12.5.4, RFC 4647 section 2.1; weight = ";q=" qvalue
_RANGE: Final = re.compile(
    r"[ \t]*(?P<tag>[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,8}|\*)[ \t]*(?:;[ \t]*q=(?P<q>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?",
    re.ASCII,
)
_TAG: Final = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}", re.ASCII)


def marked(text: str) -> str:
    """Mark a text for the catalogue where it is written; it is translated where it is shown."""
    return text


class Texts:
    """The catalogue of one language."""

    __slots__ = ("_catalogue", "language")

    def __init__(self, language: str = SOURCE, catalogue: NullTranslations | None = None) -> None:
        self.language = language
        self._catalogue = catalogue or NullTranslations()

    def gettext(self, text: str) -> str:
        """Translate; a text that the catalogue lacks stays English."""
        return self._catalogue.gettext(text) if text else ""  # the empty text is the catalogue's own head

    def ngettext(self, one: str, many: str, count: int) -> str:
        """Translate what depends on a number."""
        return self._catalogue.ngettext(one, many, count)


def load_texts(own: Mapping[str, bytes] = MappingProxyType({})) -> dict[str, Texts]:
    """Read the shipped catalogues and put the operator's `own` (language tag -> `.mo` file) before them.

    Raises:
        ValueError: a tag or a file is none; the text begins with the tag.

    """
    shipped = {
        entry.name.removesuffix(".mo"): entry.read_bytes()
        for entry in files("gateway.pages").joinpath("locale").iterdir()
        if entry.name.endswith(".mo")
    }
    texts = {SOURCE: Texts()}
    for language in sorted({*shipped, *own}):
        catalogues = [_parse(language, source[language]) for source in (own, shipped) if language in source]
        if len(catalogues) > 1:
            catalogues[0].add_fallback(catalogues[1])
        texts[language] = Texts(language, catalogues[0])
    return texts


def _parse(language: str, content: bytes) -> GNUTranslations:
    if not _TAG.fullmatch(language):
        raise ValueError(f"{language}: the name of a catalogue is a language tag, as in de.mo or pt-BR.mo")
    if len(content) > MAX_CATALOGUE_BYTES:
        raise ValueError(f"{language}: a catalogue has at most {MAX_CATALOGUE_BYTES} bytes")
    try:
        return GNUTranslations(BytesIO(content))
    except Exception:  # noqa: BLE001 - the standard library raises whatever the damage causes
        raise ValueError(f"{language}: is not a compiled gettext catalogue; make it with msgfmt") from None


def negotiate(accepted: str, offered: Iterable[str], default: str) -> str:
    """Choose a language for a value of Accept-Language: RFC 4647 section 3.4, a prefix at a time; unreadable = default."""
    known = {tag.lower(): tag for tag in offered}
    ranges: list[tuple[float, int, str]] = []
    for position, part in enumerate(accepted[:MAX_FIELD_CHARACTERS].split(",")[:MAX_RANGES]):
        found = _RANGE.fullmatch(part)
        if found is not None and (weight := float(found["q"] or 1)) > 0:
            ranges.append((-weight, position, found["tag"].lower()))
    for _, _, tag in sorted(ranges):
        if tag == "*":
            return default
        while tag:
            if tag in known:
                return known[tag]
            tag = tag.rpartition("-")[0]  # noqa: PLW2901 - the range, shortened
    return default
