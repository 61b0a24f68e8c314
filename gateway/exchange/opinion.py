"""What a second engine is asked about a request, and what it says."""

from __future__ import annotations

import msgspec


class Question(msgspec.Struct, frozen=True, array_like=True):
    """A request to judge."""

    method: str
    target: bytes
    """As it goes upstream: path and query."""
    version: str
    client_ip: str
    fields: list[tuple[bytes, bytes]]
    body: bytes


class Match(msgspec.Struct, frozen=True, array_like=True):
    """A rule that matched; without what it matched."""

    rule: int
    severity: int
    """0 emergency to 7 debug; the rule set uses 2 critical, 3 error, 4 warning, 5 notice."""
    place: str
    """The variable that matched, such as `ARGS:q`; empty where none is named."""


class Opinion(msgspec.Struct, frozen=True, array_like=True):
    """What the rules say of a request."""

    is_hostile: bool
    """A rule asked for the request to be stopped: its anomaly score reached the threshold."""
    matches: list[Match]
    micros: int
    """What it took."""
