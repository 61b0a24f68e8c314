"""In which languages the gateway's own pages speak, and in whose words."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, StrictStr

from gateway.server.fields import Location
from gateway.server.sections.section import Section

_TAG: Final = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}", re.ASCII)


def _language(value: str) -> str:
    if not _TAG.fullmatch(value):
        raise ValueError("write a language tag, as in de or pt-BR")
    return value


class TextRules(Section):
    """The languages of the pages: those that ship, and the operator's own catalogues before them."""

    language: Annotated[StrictStr, AfterValidator(_language)] = "en"
    """For browsers that prefer no language there is a catalogue for."""
    catalogues: Location | None = None
    """Directory with compiled gettext catalogues, `de.mo`, `pt-BR.mo`: another language, or other words for one that ships."""
