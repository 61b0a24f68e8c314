"""PDF: what it would run when it is opened, wherever that is written (ISO 32000-1).

An action runs by its type: `/S /JavaScript`, `/S /Launch`. That is looked for in the whole file, in names with `#` escapes
and across comments, without trusting the tables that say where objects are, since readers repair those in different ways;
and in every stream that may hold objects. A page that opens at a certain place (`/OpenAction [3 0 R /Fit]`) is not an action.
"""

from __future__ import annotations

import re
import zlib
from base64 import a85decode
from collections.abc import Iterator
from typing import Final

from gateway.inspection.upload import content
from gateway.inspection.upload.examination import Examination, broken, whole
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.pattern import searcher
from gateway.inspection.upload.polyglot import holds_zip, page_in, server_code_in
from gateway.inspection.upload.source import Held, Source

Bytes = bytes | memoryview
_ACTIONS: Final = ("JavaScript", "Launch", "ImportData", "Rendition", "RichMediaExecute", "GoToE")
_BLANK: Final = rb"(?:[\x00\t\n\x0c\r ]|%[^\r\n]*[\r\n])*"
_DELIMITED: Final = rb"(?:[\x00\t\n\x0c\r ()<>\[\]{}/%]|$)"
_MAX_STREAMS: Final = 100_000
_MAX_UNENDED: Final = 1000
_MAX_ESCAPES: Final = 500
_DICTIONARY_BYTES: Final = 8192
_PROBE_BYTES: Final = 256
_TRAILING_BYTES: Final = 1024
_STREAM: Final = re.compile(rb"stream(\r\n|\n|\r)")
_NUMBERS: Final = re.compile(
    rb"[\x00\t\n\x0c\r ]*(?:%[^\r\n]*[\r\n]+[\x00\t\n\x0c\r ]*)*[0-9]+[\x00\t\n\x0c\r ]+[0-9]+[\x00\t\n\x0c\r ]"
)
_HEX_ESCAPE: Final = re.compile(rb"#([0-9A-Fa-f]{2})")
_LAST_FILTERS: Final = re.compile(
    rb"/(?:LZWDecode|LZW|RunLengthDecode|RL|Crypt|JBIG2Decode|DCTDecode|JPXDecode|CCITTFaxDecode)\b"
)
_PREDICTED: Final = re.compile(rb"/Predictor\s*(?:1[0-5]|[2-9])\b")


def _name(name: str) -> bytes:
    """Write a pattern for a name in every spelling: each letter as itself or as `#xx`."""
    letters = ((letter, f"{ord(letter):02x}") for letter in name)
    spelled = "".join(f"(?:{letter}|#{code[0]}{code[1]}|#{code[0]}{code[1].upper()})" for letter, code in letters)
    return b"/" + spelled.encode("ascii")


_ACTIVE: Final = searcher(
    rb"%b%b(?:(?:%b)%b|[0-9]+%b[0-9]+%bR)"
    % (_name("S"), _BLANK, b"|".join(map(_name, _ACTIONS)), _DELIMITED, _BLANK, _BLANK)
    + rb"|%b%b%b%b" % (_name("Subtype"), _BLANK, _name("RichMedia"), _DELIMITED)
)
"""Also a type that stands in an object of its own, which only who hides one writes."""
_EMBEDDED: Final = re.compile(rb"/EmbeddedFile\b")
_ENCRYPTED: Final = searcher(_name("Encrypt") + _BLANK + rb"(?:[0-9]|<<)")
_SCRIPT_OF_A_FORM: Final = searcher(
    rb"<(?:xfa:)?script[^>]{0,200}>[^<]{0,200}(?:app\.|xfa\.|this\.|var\s|function|\()|contentType=[\"']application/x-javascript"
)


def examine_pdf(source: Source, examination: Examination) -> None:
    """Look at a PDF. Raises `UploadRefusedError`."""
    data = whole(source)
    end = data.rfind(b"%%EOF")
    if end < 0 and server_code_in(data):
        raise broken()  # readers repair a file that was cut; one that holds something else was never one
    trailing = data[end + 5 :].strip(b"\0\r\n\t \x1a") if end >= 0 else b""
    if len(trailing) > _TRAILING_BYTES or page_in(trailing) or holds_zip(source) or page_in(data[:1024]):
        raise UploadRefusedError(Objection.POLYGLOT)
    if not examination.refuses_active:
        return
    if _ACTIVE(data) or _SCRIPT_OF_A_FORM(data):
        examination.active()
    is_encrypted = _ENCRYPTED(data) is not None
    for dictionary, start, stop in _streams(data):
        _examine_stream(data, dictionary, start, stop, examination, is_encrypted=is_encrypted)


def _streams(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield what stands before each stream, from the end of the last one, and where its bytes are, `endstream` or not."""
    last = stop = 0
    unended = _MAX_UNENDED
    for count, found in enumerate(_STREAM.finditer(data)):
        if data[found.start() - 3 : found.start()] == b"end":
            last = found.start()
            continue
        if stop > found.start():  # two beginnings before one end: one of them is a decoy
            unended -= 1
        else:
            stop = data.find(b"endstream", found.end())
            stop = stop if stop >= 0 else len(data)
        before = data[max(last, found.start() - _DICTIONARY_BYTES) : found.start()]
        escapes = before.count(b"#")
        if count > _MAX_STREAMS or unended < 0 or escapes > _MAX_ESCAPES:
            raise UploadRefusedError(Objection.TOO_COMPLEX)
        if escapes:
            before = _HEX_ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), before)
        yield before, found.end(), stop


def _examine_stream(
    data: bytes, before: bytes, start: int, stop: int, examination: Examination, *, is_encrypted: bool
) -> None:
    """Look into one stream; one that is not packed was looked at with the whole file."""
    dictionary = before[before.rfind(b" obj") + 1 :]
    may_hold_objects = b"/ObjStm" in dictionary or b"/First" in dictionary
    if may_hold_objects and is_encrypted:
        examination.encrypted()
        return
    if may_hold_objects and (_LAST_FILTERS.search(dictionary) or _PREDICTED.search(dictionary)):
        raise broken()  # no program writes such a one; it cannot be read here
    is_attached = _EMBEDDED.search(dictionary) is not None
    head = data[start : start + _PROBE_BYTES]
    if is_attached and content.kind_of(Held(head)) == content.EXECUTABLE:
        examination.active()
    is_asked = may_hold_objects or is_attached or b"/XFA" in dictionary
    if is_asked and (b"/ASCII" in dictionary or b"/A85" in dictionary or b"/AHx" in dictionary):
        examination.unpack(stop - start)
        inside = _inflated(_ascii_decoded(data[start:stop], dictionary), examination)
    elif _is_deflated(head) and (is_asked or _may_be_objects(head)):
        inside = _inflated(memoryview(data)[start:], examination)
    else:
        return
    if _ACTIVE(inside) or _SCRIPT_OF_A_FORM(inside):
        examination.active()
    if is_attached and content.kind_of(Held(inside)) == content.EXECUTABLE:
        examination.active()


def _is_deflated(head: Bytes) -> bool:
    """A zlib header: deflate, and a check sum that fits (RFC 1950 §2.2)."""
    return len(head) > 1 and head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0


def _may_be_objects(body: bytes) -> bool:
    """Whether what comes out begins with pairs of numbers, as objects in a stream do, whatever its dictionary says."""
    try:
        return _NUMBERS.match(zlib.decompressobj().decompress(body, _PROBE_BYTES)) is not None
    except zlib.error:
        return False


def _inflated(packed: Bytes, examination: Examination) -> bytes:
    """Inflate as far as it goes: readers take what comes before an error."""
    if not _is_deflated(packed):
        return bytes(packed)
    inflate, out, at = zlib.decompressobj(), [], 0
    rest: Bytes = b""
    while not inflate.eof and (at < len(packed) or rest):
        taken = rest or packed[at : at + (1 << 16)]
        at += 0 if rest else len(taken)
        try:
            piece = inflate.decompress(taken, 1 << 18)
        except zlib.error:
            break
        rest = inflate.unconsumed_tail
        examination.unpack(len(piece))
        out.append(piece)
    return b"".join(out)


def _ascii_decoded(body: bytes, dictionary: bytes) -> bytes:
    try:
        if b"/ASCIIHex" in dictionary or b"/AHx" in dictionary:
            digits = re.sub(rb"[^0-9A-Fa-f]", b"", body.partition(b">")[0])
            return bytes.fromhex(digits.decode("ascii") + "0" * (len(digits) % 2))
        return a85decode(body.partition(b"~>")[0].removeprefix(b"<~"), ignorechars=b" \t\n\r\v\0\f")
    except ValueError:
        raise broken() from None
