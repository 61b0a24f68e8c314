"""What every reader of bodies shares: the limits, the errors, and the type that a body is declared to have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


class BodyUnreadableError(ValueError):
    """A body is not what its type says. The message names the place, and nothing of the body."""


class BodyTooComplexError(ValueError):
    """A body has more parts, members or levels than the limits allow. The message names the limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one body may hold. Not bytes: the edge counts those while they come in."""

    depth: int = 64
    """Levels of JSON or XML."""
    members: int = 10_000
    """Members of one object of JSON, or fields of a form."""
    values: int = 250_000
    """Strings and names of JSON, texts and attributes of XML."""
    parts: int = 1_000
    """Parts of a multipart body."""
    part_header_bytes: int = 4_096
    """One line of the head of a part."""


DECISIVE: Final = {"charset": "charset=", "boundary": "boundary"}
"""The parameters of a Content-Type that decide how a body is read, and what careless readers look for."""
_MULTIBYTE: Final = {
    "shift_jis": "cp932",
    "windows-31j": "cp932",
    "euc-jp": "euc_jp",
    "euc-kr": "euc_kr",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5",
}
_WIDE: Final = {"utf-16": "utf-16", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be"}
_SINGLE_BYTE: Final = {
    "iso-8859-1": "cp1252",  # as browsers and servers take it (Encoding Standard section 4.2)
    "latin1": "cp1252",
    "windows-1252": "cp1252",
    "iso-8859-2": "iso8859-2",
    "iso-8859-15": "iso8859-15",
    "windows-1250": "cp1250",
    "windows-1251": "cp1251",
    "koi8-r": "koi8-r",
}
_UTF_8: Final = frozenset(("", "utf-8", "utf8", "us-ascii", "ascii"))
_PARAMETER: Final = re.compile(r';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"([^"]*)"|([^;" \t]*))')


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type field (RFC 9110 section 8.3.1)."""

    essence: str
    """`type/subtype`, in lower case; empty when there is none."""
    parameters: dict[str, str]

    def texts_of(self, body: bytes) -> list[str]:
        """Read bytes as text, in each character set that an upstream may take: the declared one, and UTF-8.

        Bytes that are no UTF-8 stand as surrogates, which `readings` reads as Latin-1: for a character set of single
        bytes that is enough, since all of them agree on ASCII.

        Raises:
            BodyUnreadableError: the declared character set is not one that portals use. UTF-7, EBCDIC and their like
                hide ASCII from whoever does not know them.

        """
        declared = self.parameters.get("charset", "").strip().lower()
        as_utf_8 = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        if declared in _UTF_8 or declared in _SINGLE_BYTE:
            return [as_utf_8]
        codec = _WIDE.get(declared) or _MULTIBYTE.get(declared)
        if codec is None:
            raise BodyUnreadableError("the body declares a character set that is not read here")
        return [body.decode(codec, "replace").removeprefix("\ufeff"), as_utf_8]


def media_type_of(field: bytes) -> MediaType:
    """Read a Content-Type field; empty when there is none.

    Raises:
        BodyUnreadableError: it says two things of what decides how the body is read.

    """
    text = field.decode("latin-1")
    essence, _, _ = text.partition(";")
    parameters: dict[str, str] = {}
    starts: dict[str, int] = {}
    for found in _PARAMETER.finditer(text):
        name, value = found[1].lower(), found[3] if found[2] is None else found[2]
        starts.setdefault(name, found.start(1))
        if parameters.setdefault(name, value) != value and name in DECISIVE:
            raise BodyUnreadableError(f"the Content-Type field says two things of the {name}")
    if (hidden := hidden_parameter(text, starts)) is not None:
        raise BodyUnreadableError(f"the Content-Type field says two things of the {hidden}")
    return MediaType(essence.strip().lower(), parameters)


def hidden_parameter(text: str, starts: Mapping[str, int]) -> str | None:
    """Return what decides how a body is read and stands where only some readers see it; None = nothing.

    PHP takes what follows the first `boundary` for the boundary, and Tomcat the same of `charset=`, in another parameter's
    name or in quotation marks too; others join `boundary*0` and `boundary*1` (RFC 2231). `starts` says where the names of
    the parameters, in lower case, begin.
    """
    lowered = text.lower()
    for word, sought in DECISIVE.items():
        at = lowered.find(sought)
        if (at >= 0 and at != starts.get(word)) or any(word in name and name != word for name in starts):
            return word
    return None
