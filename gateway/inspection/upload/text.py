"""Files that are text all the way through, and what text can do: formulas that start programs, pages in disguise."""

from __future__ import annotations

import codecs
import re
from typing import Final

from gateway.inspection.upload import content
from gateway.inspection.upload.examination import Examination, whole
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.pattern import searcher
from gateway.inspection.upload.source import Source, pieces

_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x19\x1c-\x1f\x7f]").search
_DDE: Final = searcher(
    rb"(?i)(?:^|[\r\n,;\t\"])[ \"']*[=+\-@][0-9 +\-*/^&().\"@=]{0,100}(?:"
    rb"[A-Z_][A-Z0-9_.\\:]{0,200}\|(?:'[^'\r\n]{1,500}'|[^\s|!'\",;]{1,500})!|"
    rb"(?:DDE|EXEC|CALL|REGISTER|REGISTER\.ID|SHELL|WEBSERVICE|RTD)\s*\()"
)
"""`=cmd|'/c calc'!A1` and its kin: a cell that starts a program (dynamic data exchange) or asks a server."""
_JSON_START: Final = re.compile(rb"[\s\xef\xbb\xbf]*(?:[\[{\"0-9-]|true|false|null)")


def examine_text(kind: str, source: Source, examination: Examination) -> None:
    """Look at a file of a kind that is text, other than markup. Raises `UploadRefusedError`."""
    _require_text(source)
    if kind == "csv" and examination.refuses_active and _DDE(_in_one_byte(whole(source))):
        examination.active()
    if kind == "json" and source.size and not _JSON_START.match(source.read(0, content.HEAD_BYTES)):
        raise UploadRefusedError(Objection.TYPE_DISGUISED)


def _require_text(source: Source) -> None:
    head = source.read(0, 4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        decoder = codecs.getincrementaldecoder("utf-16")()
        try:
            is_text = all("\0" not in decoder.decode(piece) for piece in pieces(source)) and not decoder.decode(
                b"", final=True
            )
        except UnicodeDecodeError:
            is_text = False
    else:
        is_text = not any(map(_CONTROLS, pieces(source)))
    if not is_text:
        raise UploadRefusedError(Objection.TYPE_DISGUISED)


def _in_one_byte(data: bytes) -> bytes:
    """Drop the halves that UTF-16 has between ASCII letters."""
    return data.replace(b"\0", b"") if data.startswith((b"\xff\xfe", b"\xfe\xff")) else data
