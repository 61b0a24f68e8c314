r"""RTF: control words that embed an object, fetch a template or start a program.

The format has macros in no form of its own; what its attacks have in common is an object (`\\objdata` and its kin), a
template from elsewhere, or a field that is a dynamic data exchange.
"""

from __future__ import annotations

from typing import Final

from gateway.inspection.upload.examination import Examination, broken, whole
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.pattern import searcher
from gateway.inspection.upload.source import Source

_ACTIVE: Final = searcher(
    rb"\\obj(?:data|ocx|update|autlink|link|html|emb|class|sub|pub|icemb)\b|"
    rb"\\\*?\\?template[^\\}]{0,40}(?:https?:|ftp:|file:|\\\\\\\\|mhtml:)|"
    rb"(?i)\\fldinst[^}]{0,100}(?:\{[^}]{0,100}){0,4}[\s\"]DDE(?:AUTO)?[\s\"]|"
    rb"\\u-?\d{1,6}\s?\?{0,2}\\objdata"
)


def examine_rich_text(source: Source, examination: Examination) -> None:
    """Look at an RTF file. Raises `UploadRefusedError`."""
    data = whole(source)
    if examination.refuses_active and _ACTIVE(data):
        examination.active()
    end = data.rstrip(b"\0\r\n\t ")
    if not end.endswith(b"}"):
        if b"}" not in end:
            raise broken()
        raise UploadRefusedError(Objection.POLYGLOT)
