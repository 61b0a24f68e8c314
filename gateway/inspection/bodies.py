"""What a body says: the texts in it, as an upstream gets them that goes by its declared type, or by its shape.

A body that cannot be read as what it claims to be is an error, never a body without values. The bytes are those that go
upstream, without a content coding.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.body import (
    BodyTooComplexError,
    BodyUnreadableError,
    Limits,
    MediaType,
    media_type_of,
)
from gateway.inspection.finding import Position, Value
from gateway.inspection.json_body import of_json
from gateway.inspection.multipart_body import of_multipart_fields, read_parts
from gateway.inspection.values import of_encoded
from gateway.inspection.xml_body import of_xml

__all__ = ["BodyTooComplexError", "BodyUnreadableError", "Limits", "of_body", "of_form"]

BINARY_HEAD: Final = 256
"""Of a file that is no text this many bytes are read: what a serialised object or a script begins with."""
_FILES: Final = (
    "image/",
    "audio/",
    "video/",
    "font/",
    "application/octet-stream",
    "application/pdf",
    "application/zip",
)
_LINES: Final = frozenset(
    f"application/{name}" for name in ("x-ndjson", "ndjson", "jsonl", "json-seq", "x-jsonlines", "json-lines")
)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]").search
_RUN: Final = re.compile(rb"[\t\n\r\x20-\x7e]{6,}")
_JSON_SHAPE: Final = re.compile(rb"[\xef\xbb\xbf \t\r\n]*[\[{\"]").match
_XML_SHAPE: Final = re.compile(rb"[\xef\xbb\xbf \t\r\n]*<[?!A-Za-z_]").match
_FORM_SHAPE: Final = re.compile(rb"[A-Za-z0-9_.%\[\]-]{1,128}=").match


def of_body(content_type: bytes, body: bytes, limits: Limits, *, with_plain: bool = False) -> list[Value]:
    """List the values of a body; `content_type` is the field as sent, empty when there is none.

    Raises:
        BodyUnreadableError: it is not what it says, or says two things.
        BodyTooComplexError: it holds more than the limits allow.

    """
    if not body:
        return []
    media_type = media_type_of(content_type)
    essence = media_type.essence
    if essence == "application/x-www-form-urlencoded":
        return of_form(media_type, body, limits, with_plain=with_plain) + _by_shape(body, limits, with_plain=with_plain)
    if essence == "multipart/form-data":
        parts, heads = read_parts(content_type, body, limits)
        found = of_multipart_fields(parts, heads, with_plain=with_plain)
        for part in parts:
            if part.media_type.essence not in {"", "text/plain"}:
                found += _by_shape(bytes(part.raw), limits, with_plain=with_plain)
        return found
    if essence.endswith(("/json", "+json")):
        return _of_texts(media_type.texts_of(body), limits, with_plain=with_plain)
    if essence in _LINES:
        lines = (line for text in media_type.texts_of(body) for line in re.split(r"[\n\x1e]", text) if line.strip())
        return [value for line in lines for value in of_json(line, limits, with_plain=with_plain)]
    if essence.endswith(("/xml", "+xml")):
        return of_xml(body, media_type.texts_of(body)[0], limits, with_plain=with_plain)
    return _of_text(media_type, body, limits, with_plain=with_plain)


def of_form(media_type: MediaType, body: bytes, limits: Limits, *, with_plain: bool = False) -> list[Value]:
    """List the values of a form (URL Standard section 5), in each character set that it may be in.

    Raises:
        BodyUnreadableError: the declared character set is not read here.
        BodyTooComplexError: it has too many fields.

    """
    if body.count(b"&") + body.count(b";") >= limits.members:
        raise BodyTooComplexError(f"the form has more than {limits.members} fields")
    found: list[Value] = []
    for text in media_type.texts_of(body):
        raw = text.encode("utf-8", "surrogateescape")
        found += of_encoded(raw, Position.FORM_NAME, Position.FORM, with_plain=with_plain)
    return found


def _of_texts(texts: list[str], limits: Limits, *, with_plain: bool) -> list[Value]:
    """Read JSON in its declared character set and, where it is JSON in UTF-8 as well, in that."""
    found = of_json(texts[0], limits, with_plain=with_plain)
    for text in texts[1:]:
        try:
            found += of_json(text, limits, with_plain=with_plain)
        except BodyUnreadableError:
            continue
    return found


def _of_text(media_type: MediaType, body: bytes, limits: Limits, *, with_plain: bool) -> list[Value]:
    """Read a body of no type that is known here: as one text, and as what it looks like."""
    is_file = media_type.essence.startswith(_FILES)
    if _CONTROL(body) is not None and not media_type.essence.startswith("text/"):
        if is_file:
            return [Value(Position.BODY, "", body[:BINARY_HEAD].decode("latin-1"))]
        # A binary form of some kind: the texts in it.
        runs = b"\n".join(_RUN.findall(body)).decode("latin-1")
        return [Value(Position.BODY, "", body[:BINARY_HEAD].decode("latin-1")), Value(Position.BODY, "", runs)]
    found = [Value(Position.BODY, "", text) for text in media_type.texts_of(body)]
    found += _by_shape(body, limits, with_plain=with_plain)
    # PHP takes the type to end at a space or a comma
    is_form = _FORM_SHAPE(body) is not None or media_type.essence.startswith("application/x-www-form-urlencoded")
    if is_form and body.count(b"&") < limits.members:
        found += of_encoded(body, Position.FORM_NAME, Position.FORM, with_plain=with_plain)
    return found


def _by_shape(body: bytes, limits: Limits, *, with_plain: bool) -> list[Value]:
    """Read what looks like JSON or XML as that, whatever it is called: many upstreams do. What is neither gives nothing."""
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        if _JSON_SHAPE(body) is not None:
            return of_json(text, limits, with_plain=with_plain)
        if _XML_SHAPE(body) is not None:
            return of_xml(body, text, limits, with_plain=with_plain)
    except BodyUnreadableError:
        pass
    return []
