"""Read the Forwarded field by its grammar (RFC 7239 §4). Whom to believe is decided elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.wire.address import canonical_address

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# [ token "=" ( token / quoted-string ) ] and what separates it from the next. The proxy appends to what the client
# sent, so white space is taken possessively: a long run of it costs one pass.
_PAIR: Final = re.compile(
    rb"[\t ]*+(?:(" + _TOKEN + rb")=(?:(" + _TOKEN + rb')|"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+)"))?+'
    rb"[\t ]*+([,;]|\Z)"
).match
_ESCAPED: Final = re.compile(rb"\\(.)").sub
# node = nodename [ ":" node-port ] (RFC 7239 §6)
_NODE: Final = re.compile(
    r"(?:([0-9.]{7,15})|\[([0-9A-Fa-f:.]{2,45})\]|(?i:unknown)|_[A-Za-z0-9._-]+)(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
).fullmatch


class Element(NamedTuple):
    """What one proxy says of the request it received."""

    node: str | None
    """Canonical address of whoever sent it; empty if the proxy does not know or tell; None if it says nothing."""
    proto: str
    """Lower case; empty when absent."""


def parse_forwarded(lines: Sequence[bytes]) -> list[Element]:
    """Read all lines of the field, the client's side first. Raises ValueError for anything that is not the grammar.

    A quoted string ends in its own line: an open quote that the client sends ahead of the proxy's
    element is an error and never swallows it.
    """
    return [element for line in lines for element in _elements(line)]


def _elements(line: bytes) -> list[Element]:
    elements: list[Element] = []
    known: dict[bytes, str] = {}
    at = 0
    while True:
        found = _PAIR(line, at)
        if found is None:
            raise ValueError("not a Forwarded field")
        name, token, quoted, separator = found.groups()
        if name is not None:
            name = name.lower()
            if name in known:  # RFC 7239 §4: each parameter once
                raise ValueError("a parameter is repeated")
            value = token if quoted is None else _ESCAPED(rb"\1", quoted)
            known[name] = value.decode("latin-1")
        if separator != b";" and known:  # an empty element is none (RFC 9110 §5.6.1.2)
            elements.append(Element(_node(known.get(b"for")), known.get(b"proto", "").lower()))
            known = {}
        if separator == b"":
            return elements
        at = found.end()


def _node(value: str | None) -> str | None:
    if value is None:
        return None
    found = _NODE(value)
    if found is None:
        raise ValueError("not a node")
    address = found[1] or found[2]
    return canonical_address(address) if address else ""
