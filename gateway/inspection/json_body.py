"""What a JSON text says: its strings and the names of its members, those that are repeated as well (RFC 8259)."""

from __future__ import annotations

import json
from typing import Any, Final

from gateway.inspection.body import BodyTooComplexError, BodyUnreadableError, Limits
from gateway.inspection.finding import Position, Value
from gateway.inspection.values import is_plain, is_plain_name

# Objects come as tuples of pairs, so that of repeated names none is lost, and arrays as lists. Numbers are not looked at:
# `len` reads one for what it costs to copy it, and a number of a million digits is no work.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=tuple, parse_int=len, parse_float=len, parse_constant=len)
_JOINED_NAMES: Final = frozenset(("prototype", "constructor"))
"""Names that mean something below one another."""


def of_json(text: str, limits: Limits, *, with_plain: bool = False) -> list[Value]:
    """List the strings and names of a JSON text; a value's name is its path, `items[].note`.

    Raises:
        BodyUnreadableError: it is not JSON.
        BodyTooComplexError: it is nested too deep, or holds too much.

    """
    try:
        root = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BodyUnreadableError(f"no JSON at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BodyTooComplexError(f"JSON is nested more than {limits.depth} deep") from None
    found: list[Value] = []
    named: set[str] = set()
    left = limits.values
    work: list[tuple[Any, str, int]] = [(root, "", 0)]
    for node, path, depth in work:  # grows as it is read
        if type(node) is str:  # the whole text is one string
            found.append(Value(Position.JSON, path, node))
            continue
        if type(node) is int:
            continue
        left -= len(node)
        if depth == limits.depth:
            raise BodyTooComplexError(f"JSON is nested more than {limits.depth} deep")
        if left < 0:
            raise BodyTooComplexError(f"JSON holds more than {limits.values} values")
        if type(node) is list:
            inside = path + "[]"
            for item in node:
                if type(item) is str:
                    if with_plain or is_plain(item) is None:
                        found.append(Value(Position.JSON, inside, item))
                elif type(item) in _CONTAINERS:
                    work.append((item, inside, depth + 1))
            continue
        if type(node) is tuple:
            if len(node) > limits.members:
                raise BodyTooComplexError(f"an object of JSON has more than {limits.members} members")
            for name, item in node:
                kind = type(item)
                if kind is str:
                    if with_plain or is_plain(item) is None:
                        found.append(Value(Position.JSON, f"{path}.{name}" if path else name, item))
                elif kind in _CONTAINERS:
                    work.append((item, f"{path}.{name}" if path else name, depth + 1))
                if name not in named:
                    named.add(name)
                    if is_plain_name(name) is None:
                        found.append(Value(Position.JSON_NAME, f"{path}.{name}" if path else name, name))
                    elif name in _JOINED_NAMES and path:
                        found.append(Value(Position.JSON_NAME, f"{path}.{name}", f"{path}.{name}"))
    return found


_CONTAINERS: Final = frozenset((list, tuple))
