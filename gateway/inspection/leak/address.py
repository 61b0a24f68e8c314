"""Passwords in addresses: `postgresql://app:secret@db/portal`, `https://user:secret@host/` and connection strings.

The password is the value; the rest of the address stays. A host and a port are no name and password.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.leak.reading import HOLD, Found, Reading, Skip, Text, beginnings
from gateway.inspection.leak.sighting import Kind

_SCHEMES: Final = (
    "postgresql", "postgres", "mysql", "mariadb", "mongodb", "rediss", "redis", "amqps", "amqp", "mssql", "sqlserver", "oracle",
    "clickhouse", "cockroachdb", "neo4j", "bolt", "nats", "ldaps", "ldap", "smtps", "smtp", "imaps", "imap", "sftp", "ftps",
    "ftp", "ssh", "https", "http", "wss", "ws", "git",
)  # fmt: skip
_SCHEME: Final = "|".join(_SCHEMES).encode()
_CLOSE: Final = rb"\s/?#@\"'<>\\"
_USER: Final = rb"[^:" + _CLOSE + rb"]{1,64}"
_STRING_CLOSE: Final = rb"\s;\"'<>&\\"
_SLASHES: Final = rb":\\?/\\?/"
"""Some write `\\/` in JSON."""
_BEGIN: Final = rb"(?i:" + _SCHEME + rb")(?:\+[A-Za-z0-9]{1,16})?" + _SLASHES

ADDRESS_TRIGGER: Final = _BEGIN + _USER + rb":[^" + _CLOSE + rb"]{0,64}(?:[^0-9" + _CLOSE + rb"]|@)"
STRING_TRIGGER: Final = rb";\s?(?i:password|pwd)\s?=\s?[^" + _STRING_CLOSE + rb"]{4}"
TRIGGER: Final = ADDRESS_TRIGGER + rb"|" + STRING_TRIGGER
_OPEN_USER: Final = _USER + rb"(?::[^" + _CLOSE + rb"]{0,64})?"
_OPEN_SLASHES: Final = rb":(?:\\?(?:/(?:\\?(?:/(?:" + _OPEN_USER + rb")?)?)?)?)?"
OPENING: Final = (
    rb"(?i:" + beginnings(scheme.encode() for scheme in _SCHEMES) + rb")"
    rb"|(?i:" + _SCHEME + rb")(?:\+[A-Za-z0-9]{0,16})?(?:" + _OPEN_SLASHES + rb")?"
    rb"|;\s?(?i:" + beginnings([b"password", b"pwd"]) + rb"|(?:password|pwd)\s?)?"
    rb"|;\s?(?i:password|pwd)\s?=\s?[^" + _STRING_CLOSE + rb"]{0,3}"
)

_ADDRESS: Final = re.compile(
    _BEGIN.replace(b"(?i:", b"(?:") + _USER + rb":([^" + _CLOSE + rb"]{1,256})@(?=[A-Za-z0-9\[_])", re.IGNORECASE
)
_ADDRESS_REACH: Final = 512
_IN_MANUAL: Final = re.compile(rb"https?:\\?/\\?/user(?:name)?:pass(?:word)?@", re.IGNORECASE)
"""How every manual writes an address."""
_RUN: Final = re.compile(rb"[^\s?#\"'<>]*+")
_STRING: Final = re.compile(rb";\s?(?:password|pwd)\s?=\s?([^\s;\"'<>&\\]{4,256})(?=[;\s\"'<>&\\]|\Z)", re.IGNORECASE)
_STRING_RUN: Final = re.compile(rb";\s?\w{1,8}\s?=\s?[^\s;\"'<>&\\]*+")
_EXAMPLE: Final = re.compile(
    rb"(?:\*+|x+|\.+|-+|_+|%[sv]|\$\{?\w+\}?|\{\{?\w+\}?\}|\[\w+\]|<\w+>|\$\w+)",
    re.IGNORECASE,
)
"""What documentation writes in place of a password."""


def claims(trigger: bytes) -> bool:
    """Tell whether a trigger is one of this module's."""
    return trigger[:1] == b";" or b"//" in trigger.replace(b"\\", b"")


def read(text: Text, at: int, trigger: bytes) -> Reading:
    """Read on from the first byte of a scheme, or from the semicolon before a password."""
    if trigger[:1] == b";":
        return _read_string(text, at)
    data = text.data
    run = _RUN.match(data, at, at + _ADDRESS_REACH)
    if not text.is_whole and len(data) - at < _ADDRESS_REACH and (run is None or run.end() == len(data)):
        return HOLD
    found = _ADDRESS.match(data, at, at + _ADDRESS_REACH) if data.find(b"@", at, at + _ADDRESS_REACH) >= 0 else None
    if found is None or data[at - 1 : at].isalpha() or _EXAMPLE.fullmatch(found[1]) or _IN_MANUAL.match(found[0]):
        return Skip(at + 1)
    # the name may be a token, as in https://ghp_…:x-oauth-basic@github.com
    return Found(Kind.SECRETS, at, at + 1, found[1], (found.span(1),))


def _read_string(text: Text, at: int) -> Reading:
    data = text.data
    run = _STRING_RUN.match(data, at, at + _ADDRESS_REACH)
    if not text.is_whole and len(data) - at < _ADDRESS_REACH and (run is None or run.end() == len(data)):
        return HOLD
    found = _STRING.match(data, at, at + _ADDRESS_REACH)
    if found is None or _EXAMPLE.fullmatch(found[1]):
        return Skip(at + 1)
    return Found(Kind.SECRETS, at, found.end(), found[1], (found.span(1),))
