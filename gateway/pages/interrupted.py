"""A form for the portal that sign-in interrupted: reading it so that a browser will send the same again.

Only what a browser's own form writes is read (WHATWG URL §5.2, HTML §4.10.22; RFC 7578); anything
else could be sent again as something else, and is refused. Who may see it is not decided here.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import unquote_to_bytes

import msgspec

Coding = Literal["application/x-www-form-urlencoded", "multipart/form-data"]

URLENCODED: Coding = "application/x-www-form-urlencoded"
MULTIPART: Coding = "multipart/form-data"

_MAX_FIELDS = 500
_SHOWN_CHARACTERS = 160

# The serializer leaves *-._ and alphanumerics, writes a blank as "+" and the rest as %XX.
_PAIR = re.compile(rb"((?:[*\-.0-9A-Z_a-z+]|%[0-9A-Fa-f]{2})+)=((?:[*\-.0-9A-Z_a-z+]|%[0-9A-Fa-f]{2})*)")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=?]{1,70}")
_PART = re.compile(
    rb'Content-Disposition: form-data; name="([^"\r\n]{1,1000})"(; filename=""\r\nContent-Type: application/octet-stream)?\r\n\r\n'
)
_SECRET = re.compile(
    r"pass|pwd|secret|token|csrf|xsrf|nonce|otp|code|\bpin\b|cvv|cvc|card|iban|account|ssn|key|auth|answer|session",
    re.IGNORECASE,
)
"""Names whose values are not shown: one too many costs nothing."""


class FormField(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """One field, as the browser will send it again."""

    name: str
    value: str
    file: bool = False
    """A file input in which nothing was chosen."""


class InterruptedForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept."""

    target: str
    """Canonical path and query."""
    coding: Coding
    charset: Literal["utf-8", "windows-1252"]
    """In which a browser writes exactly the bytes that came: every text is one of the two."""
    fields: tuple[FormField, ...]
    size: int
    """Bytes of the body."""

    @property
    def path(self) -> str:
        """Where it goes, without the query."""
        return self.target.partition("?")[0]

    def shown(self) -> list[tuple[str, str]]:
        """Say each field that a person filled in or would know, with its value; values that may be secret are left out."""
        return [
            (field.name, "" if _SECRET.search(field.name) else _shorten(field.value))
            for field in self.fields
            if field.value
        ]


def read_interrupted(target: str, content_type: str, body: bytes) -> InterruptedForm | None:
    """Read a whole body; None when it is not a form that a browser would send again byte for byte."""
    kind, *parameters = [part.strip() for part in content_type.split(";")]
    if kind.lower() == URLENCODED and [part.lower() for part in parameters] in ([], ["charset=utf-8"]):
        found = _read_urlencoded(body)
        coding = URLENCODED
    elif kind.lower() == MULTIPART and len(parameters) == 1 and parameters[0].lower().startswith("boundary="):
        found = _read_multipart(body, parameters[0][len("boundary=") :].strip('"'))
        coding = MULTIPART
    else:
        return None
    if found is None:
        return None
    for charset in ("utf-8", "windows-1252"):
        fields = _decode(found, charset)
        if fields is not None:
            return InterruptedForm(
                target=target,
                coding=coding,
                charset="utf-8" if charset == "utf-8" else "windows-1252",
                fields=fields,
                size=len(body),
            )
    return None


_Raw = list[tuple[bytes, bytes, bool]]
"""Name, value, and whether it is an empty file input."""


def _read_urlencoded(body: bytes) -> _Raw | None:
    pairs = body.split(b"&", _MAX_FIELDS)
    if len(pairs) > _MAX_FIELDS:
        return None
    found: _Raw = []
    for pair in pairs:
        match = _PAIR.fullmatch(pair)
        if match is None:
            return None
        found.append((_plain(match[1]), _plain(match[2]), False))
    return found


def _plain(coded: bytes) -> bytes:
    return unquote_to_bytes(coded.replace(b"+", b" "))


def _read_multipart(body: bytes, boundary: str) -> _Raw | None:
    if _BOUNDARY.fullmatch(boundary) is None:
        return None
    fence = b"--" + boundary.encode("ascii")
    if not body.startswith(fence + b"\r\n") or not body.endswith(b"\r\n" + fence + b"--\r\n"):
        return None
    parts = body[len(fence) + 2 : -len(fence) - 6].split(b"\r\n" + fence + b"\r\n", _MAX_FIELDS)
    if len(parts) > _MAX_FIELDS:
        return None
    found: _Raw = []
    for part in parts:
        match = _PART.match(part)
        if match is None or fence in part:
            return None
        value = part[match.end() :]
        if match[2] and value:
            return None
        name = match[1].replace(b"%0D", b"\r").replace(b"%0A", b"\n").replace(b"%22", b'"')
        found.append((name, value, bool(match[2])))
    return found


def _decode(found: _Raw, charset: str) -> tuple[FormField, ...] | None:
    """Decode every field; None where one would come back changed."""
    fields = []
    for name, value, file in found:
        try:
            field = FormField(name=name.decode(charset), value=value.decode(charset), file=file)
        except UnicodeDecodeError:
            return None
        if not (_returns(field.name) and _returns(field.value)):
            return None
        fields.append(field)
    return tuple(fields)


def _returns(text: str) -> bool:
    """Report whether a browser sends `text` as it is: line ends become CRLF, NUL is lost (HTML §4.10.22.4, §13.2.5)."""
    rest = text.replace("\r\n", "")
    return not {"\r", "\n", "\0"}.intersection(rest)


def _shorten(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"
