"""How a JSON text is built: encoding, depth, and how many names and values it has (RFC 8259).

Nothing is built to find that out, but where names are not to be repeated. A text that is no JSON is judged by its brackets,
colons and commas all the same; whether it is any is for its reader.
"""

from __future__ import annotations

import json
import re
from typing import Final

from gateway.inspection.shape.limits import Bound, JsonLimits, ShapeError

_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_TEXTS: Final = re.compile(_STRING, re.DOTALL)
"""A string ends with the text at the latest, so that no quotation mark is tried twice."""
_MARKS: Final = re.compile(_STRING + rb"|[\[\]{}:,]|[0-9]++", re.DOTALL)
_BRACKETS: Final = re.compile(rb"[\[\]{}]")
_NUMBERS: Final = re.compile(rb"[0-9]++")
_DIGITS: Final = b"0123456789"
_BOM: Final = b"\xef\xbb\xbf"


def check(body: bytes, limits: JsonLimits) -> None:
    """Look at a text as its reader would have to, in linear time.

    Raises:
        ShapeError: it is not UTF-8, or beyond a limit.

    """
    _require_utf_8(body)
    opens = body.count(b"{") + body.count(b"[")
    names = body.count(b":")
    values = opens + body.count(b",") + 1
    digits = len(body) - len(body.translate(None, _DIGITS)) if len(body) > limits.digits else 0
    # Whatever stands in strings is counted, too: only what may be too much is looked at closely.
    if opens > limits.depth or names > limits.names or values > limits.values or digits > limits.digits:
        _check_closely(body, limits)
    if limits.refuse_duplicates:
        _refuse_duplicates(body)


def _require_utf_8(body: bytes) -> None:
    nul = body.find(b"\0")
    if nul >= 0:  # UTF-16 and UTF-32, or what no JSON may hold
        raise ShapeError(Bound.ENCODING, nul)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise ShapeError(Bound.ENCODING, error.start) from None


def _check_closely(body: bytes, limits: JsonLimits) -> None:
    bare = _TEXTS.sub(b'"', body)
    if (
        bare.count(b":") > limits.names
        or bare.count(b",") + bare.count(b"{") + bare.count(b"[") + 1 > limits.values
        or _depth(bare) > limits.depth
        or max(map(len, _NUMBERS.findall(bare)), default=0) > limits.digits
    ):
        raise _first_too_much(body, limits)


def _depth(bare: bytes) -> int:
    if bare.count(b"{") + bare.count(b"[") == 0:
        return 0
    depth = deepest = 0
    for bracket in _BRACKETS.findall(bare):
        if bracket in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif depth:
            depth -= 1
    return deepest


def _first_too_much(body: bytes, limits: JsonLimits) -> ShapeError:
    """Find the place: the work that a text within its limits is spared."""
    depth = names = 0
    values = 1
    for found in _MARKS.finditer(body):
        offset, mark = found.start(), found[0]
        match mark:
            case b"{" | b"[":
                depth += 1
                values += 1
                if depth > limits.depth:
                    return ShapeError(Bound.JSON_DEPTH, offset)
            case b"}" | b"]":
                depth = max(depth - 1, 0)
            case b":":
                names += 1
                if names > limits.names:
                    return ShapeError(Bound.JSON_NAMES, offset)
            case b",":
                values += 1
            case _ if len(mark) > limits.digits and mark.isdigit():
                return ShapeError(Bound.JSON_DIGITS, offset)
            case _:
                pass
        if values > limits.values:
            return ShapeError(Bound.JSON_VALUES, offset)
    raise AssertionError("the counts of one text differ")


class _DuplicateError(ValueError):
    pass


def _members(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _DuplicateError


def _nothing(_: str) -> None:
    """Stand for a number: none is worth converting."""


_READER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_nothing, parse_float=_nothing, parse_constant=_nothing
)


def _refuse_duplicates(body: bytes) -> None:
    try:
        _READER.decode(body.removeprefix(_BOM).decode())
    except _DuplicateError:
        raise ShapeError(Bound.JSON_DUPLICATE, 0) from None
    except (ValueError, RecursionError) as error:
        raise ShapeError(Bound.MALFORMED, getattr(error, "pos", 0)) from None
