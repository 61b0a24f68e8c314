"""Read a Host field value. Decides validity, not whether the gateway answers for the host."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple

_HOST: Final = re.compile(
    rb"(?:([A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62}){0,30}\.?)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{0,5}))?",
).fullmatch


class Authority(NamedTuple):
    """A host name (lower case, no trailing dot, brackets kept off) with an optional port."""

    host: str
    port: int | None
    text: str
    """As the browser's origin writes it: `host` or `host:port`, IPv6 in brackets."""


def parse_authority(value: bytes) -> Authority | None:
    """Parse `uri-host [":" port]` (RFC 9110 §7.2); None for anything else. An empty port is none (RFC 3986 §3.2.3)."""
    found = _HOST(value)
    if found is None:
        return None
    name, literal, digits = found.groups()
    port = int(digits) if digits else None
    if port is not None and not 0 < port < 65536:
        return None
    if literal is not None:
        try:
            host = str(IPv6Address(literal.decode("ascii")))
        except (AddressValueError, ValueError):
            return None
        shown = f"[{host}]"
    else:
        host = shown = name.decode("ascii").lower().rstrip(".")
        if not host:
            return None
    return Authority(host, port, shown if port is None else f"{shown}:{port}")
