"""Canonical JSON of a record: RFC 8785 for the values that records may hold, and never a failure.

Keys sorted and ASCII, integers within 53 bits, no floats, no nulls, at most eight levels, at most
32 KiB. A value outside of that is turned into text and counted in `unmapped.gw.coerced`; a record
that is too long is cut and says so. An exotic byte never suppresses an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson

MAX_RECORD_BYTES = 32 * 1024
MAX_DEPTH = 8
MAX_INTEGER = (1 << 53) - 1
_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_CUTS = ((2048, 256), (512, 64), (128, 16), (32, 4))
"""Successive limits for a record that is too long: characters of a string, members of a list or object."""
_KEPT = ("class_uid", "category_uid", "activity_id", "type_uid", "severity_id", "status_id", "time")


def encode(record: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of a record. Total: it never raises for any value."""
    coerced = [0]
    clean = _conform(record, 1, coerced)
    if coerced[0]:
        _within(_within(clean, "unmapped"), "gw")["coerced"] = coerced[0]
    data = orjson.dumps(clean, option=_OPTIONS)
    if len(data) <= MAX_RECORD_BYTES:
        return data
    return _cut(clean, len(data))


def _within(parent: dict[str, Any], name: str) -> dict[str, Any]:
    child = parent.get(name)
    if not isinstance(child, dict):
        child = parent[name] = {}
    return child


def _conform(value: Any, depth: int, coerced: list[int]) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value, coerced)
    if kind is bool:
        return value
    if kind is int:
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
        coerced[0] += 1
        return hex(value)  # str() of a huge integer raises
    if isinstance(value, Mapping) and depth <= MAX_DEPTH:
        return {
            _key(name, coerced): _conform(member, depth + 1, coerced)
            for name, member in value.items()
            if member is not None
        }
    if isinstance(value, list | tuple) and depth <= MAX_DEPTH:
        return [_conform(member, depth + 1, coerced) for member in value if member is not None]
    if isinstance(value, str):  # an enumeration's value
        return _text(str(value), coerced)
    coerced[0] += 1
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("ascii", "backslashreplace")
    if isinstance(value, float):
        return repr(value)
    return f"<{kind.__name__}>"


def _text(value: str, coerced: list[int]) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates
        coerced[0] += 1
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _key(name: object, coerced: list[int]) -> str:
    if not isinstance(name, str):
        coerced[0] += 1
        return f"<{type(name).__name__}>"
    text = str(name)
    if text.isascii():
        return text
    coerced[0] += 1
    return text.encode("ascii", "backslashreplace").decode()


def _cut(clean: dict[str, Any], size: int) -> bytes:
    for characters, members in _CUTS:
        short = _shorten(clean, characters, members)
        metadata = _within(short, "metadata")
        metadata["is_truncated"] = True
        metadata["untruncated_size"] = size
        data = orjson.dumps(short, option=_OPTIONS)
        if len(data) <= MAX_RECORD_BYTES:
            return data
    digest = sha256(orjson.dumps(clean, option=_OPTIONS)).hexdigest()
    rest = {name: clean[name] for name in _KEPT if isinstance(clean.get(name), int)}
    rest["metadata"] = {"is_truncated": True, "untruncated_size": size}
    rest["unmapped"] = {"gw": {"sha256": digest}}
    return orjson.dumps(rest, option=_OPTIONS)


def _shorten(value: Any, characters: int, members: int) -> Any:
    if isinstance(value, str):
        return value[:characters]
    if isinstance(value, dict):
        return {
            name[:64]: _shorten(member, characters, members)
            for name, member in sorted(value.items())[: max(members, 32)]
        }
    if isinstance(value, list):
        return [_shorten(member, characters, members) for member in value[:members]]
    return value
