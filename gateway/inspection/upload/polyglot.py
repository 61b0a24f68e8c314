"""Whether something is a second thing as well: what readers of other formats would take for theirs."""

from __future__ import annotations

from typing import Final

from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.pattern import searcher
from gateway.inspection.upload.source import Source, pieces

HEAD_BYTES: Final = 1024
_TAIL_BYTES: Final = 0xFFFF + 22
page_in: Final = searcher(
    rb"(?i)<(?:!doctype\s+html|html|head|body|iframe|svg|object|embed|form|base\s|meta\s+http|img\s[^>]{0,200}on[a-z]{3,30}=)"
)
server_code_in: Final = searcher(
    rb"(?i)<\?php|<script[\s>/]|<script\s[\x20-\x7e]{0,200}>|<\?(?:=|\s)[\x20-\x7e\s]{3,200}\?>|<%[@=!][\x20-\x7e\s]{3,200}%>|<jsp:[a-z]{3}|__HALT_COMPILER\("
)
_ARCHIVES: Final = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
_OVERLAP: Final = 16


def require_one_thing(source: Source) -> None:
    """Refuse a PDF or a page in the first KiB, and an archive anywhere. Raises `UploadRefusedError`."""
    head = source.read(0, HEAD_BYTES)
    if b"%PDF-" in head or page_in(head) or holds_zip(source):
        raise UploadRefusedError(Objection.POLYGLOT)
    last = b""
    for piece in pieces(source):
        window = last + piece
        if any(mark in window for mark in _ARCHIVES):
            raise UploadRefusedError(Objection.POLYGLOT)
        last = piece[-_OVERLAP:]


def holds_zip(source: Source) -> bool:
    """Whether readers of zip, which look at the end, find an archive."""
    tail_at = max(0, source.size - _TAIL_BYTES)
    tail = source.read(tail_at, _TAIL_BYTES)
    found = tail.rfind(b"PK\x05\x06")
    while found >= 0:
        directory = tail_at + found - int.from_bytes(tail[found + 12 : found + 16], "little")
        if directory >= 0 and source.read(directory, 4) in {b"PK\x01\x02", b"PK\x05\x06"}:
            return True
        found = tail.rfind(b"PK\x05\x06", 0, found)
    return False
