"""The Content-Disposition of a part of a form: one name, at most one file name, or a refusal.

Three popular parsers disagree on most of what is unusual here, so nothing unusual is chosen between: no repeated parameter,
no escaped quote, no single ones, no encoded words of e-mail, no `filename*` that says something else than `filename` (RFC 7578 §4.2,
RFC 8187, WHATWG HTML "multipart/form-data encoding algorithm").
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from gateway.inspection.upload.objection import Objection, UploadRefusedError

_WORD: Final = r"[!#$%&'+\-.^_`|~0-9A-Za-z]+"
_START: Final = re.compile(r"form-data[ \t]*", re.IGNORECASE)
_PARAMETER: Final = re.compile(rf';[ \t]*({_WORD}\*?)=({_WORD}|"[^"]*"|[^;" \t]+)[ \t]*')
_EXTENDED: Final = re.compile(r"(?i:utf-8)'[A-Za-z0-9-]{0,16}'((?:[A-Za-z0-9!#$&+\-.^_`|~]|%[0-9A-Fa-f]{2})*)")
_KNOWN: Final = frozenset(("name", "filename", "filename*"))
_ENCODED_WORD: Final = re.compile(r"=\?[^?\s]{1,75}\?[bBqQ]\?")
"""RFC 2047: Tomcat and Commons FileUpload decode them."""
_QUOTED_BY_BROWSERS: Final = re.compile("%22|%0[dD]|%0[aA]")
_UNQUOTED: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}


class Disposition(NamedTuple):
    """What a part is called, and its file; None = it is a field."""

    name: str
    file_name: str | None


def parse_disposition(value: str) -> Disposition:
    """Read one field value, decoded as UTF-8. Raises `UploadRefusedError`."""
    start = _START.match(value)
    if start is None:
        raise UploadRefusedError(Objection.FORM_AMBIGUOUS)
    found: dict[str, str] = {}
    at = start.end()
    while at < len(value):
        parameter = _PARAMETER.match(value, at)
        name = parameter[1].lower() if parameter is not None else ""
        if parameter is None or name in found or name not in _KNOWN:
            raise UploadRefusedError(Objection.FORM_AMBIGUOUS)
        # attack: quotes to PHP, letters to others
        if "'" in parameter[2] and not parameter[2].startswith('"') and not name.endswith("*"):
            raise UploadRefusedError(Objection.NAME_AMBIGUOUS)
        found[name] = parameter[2]
        at = parameter.end()
    if "name" not in found:
        raise UploadRefusedError(Objection.FORM_AMBIGUOUS)
    plain = _text(found["filename"]) if "filename" in found else None
    if "filename*" in found and not _agree(plain, _extended(found["filename*"])):
        raise UploadRefusedError(Objection.NAME_AMBIGUOUS)
    return Disposition(_text(found["name"]), plain)


def _agree(plain: str | None, extended: str) -> bool:
    """Some programs percent-encode the plain name as well; names are judged decoded, too."""
    return plain is not None and extended in {plain, unquote(plain)}


def _text(written: str) -> str:
    """Undo what browsers do to quotes and line breaks; a backslash before a quote is read in two ways."""
    inner = written[1:-1] if written.startswith('"') else written
    if inner.endswith("\\") or "\\\\" in inner or _ENCODED_WORD.search(inner):
        raise UploadRefusedError(Objection.NAME_AMBIGUOUS)
    return _QUOTED_BY_BROWSERS.sub(lambda found: _UNQUOTED[found[0].upper()], inner)


def _extended(written: str) -> str:
    found = _EXTENDED.fullmatch(written)
    if found is None:
        raise UploadRefusedError(Objection.NAME_AMBIGUOUS)
    try:
        return unquote_to_bytes(found[1]).decode("utf-8")
    except UnicodeDecodeError:
        raise UploadRefusedError(Objection.NAME_AMBIGUOUS) from None
