"""Cross-origin resource sharing, answered by the gateway (WHATWG Fetch §3.2): which other sites' scripts may read answers.

An origin is in the route's list or it is not; nothing is ever reflected that is not in it, and `null` never is. Every answer
of such a route says `Vary: Origin`, so that no cache gives one origin the answer of another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.inspection.web_origin import read_origin

ANY: Final = b"*"
_PREFIX: Final = b"access-control-"
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}").fullmatch
MAX_REQUESTED: Final = 64
"""How many names a preflight may ask for; browsers ask for what one script sets."""
_SIMPLE_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST"))
_SIMPLE_NAMES: Final = frozenset((b"accept", b"accept-language", b"content-language", b"content-type", b"range"))
"""What a preflight need not list, and may not be refused for (Fetch §2.2.2); other values of content-type are asked for."""
VARY: Final = (b"vary", b"Origin")


class Refused(StrEnum):
    """Why a preflight is answered without leave."""

    ORIGIN = "origin"
    METHOD = "method"
    FIELD = "field"


@dataclass(frozen=True, slots=True)
class CorsRules:
    """Who may read answers of a route from another origin."""

    origins: frozenset[bytes]
    """As `read_origin` returns them; `{ANY}` for every origin, which goes with no credentials."""
    methods: frozenset[bytes] = _SIMPLE_METHODS
    fields: frozenset[bytes] = frozenset()
    """Names of fields that scripts may set, lower case."""
    expose: tuple[bytes, ...] = ()
    """Names of fields that scripts may read."""
    credentials: bool = False
    max_age_s: int = 600

    def __post_init__(self) -> None:
        """Refuse what the standard forbids: leave for everybody to act as whoever is signed in (Fetch §3.2.5)."""
        if ANY in self.origins and (self.credentials or len(self.origins) > 1):
            raise ValueError("every origin ('*') stands alone, and goes with no credentials")

    def admits(self, origin: bytes) -> bool:
        """Tell whether scripts of this origin may read answers."""
        read = read_origin(origin)
        return read is not None and read == origin and (read in self.origins or ANY in self.origins)


Field = tuple[bytes, bytes]


def preflight(rules: CorsRules, *, origin: bytes, method: bytes, names: bytes) -> tuple[Field, ...] | Refused:
    """Return the fields of the answer to a preflight, or what of it is not granted.

    `method` and `names` are `Access-Control-Request-Method` and `-Headers`. A name is granted when it is listed; `*` is
    not understood on purpose: with credentials it would mean the name `*` (Fetch §3.2.4).
    """
    if not rules.admits(origin):
        return Refused.ORIGIN
    if method not in rules.methods:
        return Refused.METHOD
    asked = [name.strip(b" \t").lower() for name in names.split(b",", MAX_REQUESTED)] if names.strip(b" \t") else []
    if len(asked) > MAX_REQUESTED:
        return Refused.FIELD
    for name in asked:
        if _TOKEN(name) is None or (name not in rules.fields and name not in _SIMPLE_NAMES):
            return Refused.FIELD
    granted: list[Field] = [
        *_leave(rules, origin),
        (b"access-control-allow-methods", b", ".join(sorted(rules.methods))),
    ]
    if asked:
        granted.append((b"access-control-allow-headers", b", ".join(sorted(set(asked)))))
    granted.append((b"access-control-max-age", b"%d" % rules.max_age_s))
    granted.append((b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"))
    return tuple(granted)


def answer_fields(rules: CorsRules, origin: bytes) -> tuple[Field, ...]:
    """Return the fields that stand on every answer of the route, in the place of the portal's."""
    if not rules.admits(origin):
        return (VARY,)
    exposed: tuple[Field, ...] = ((b"access-control-expose-headers", b", ".join(rules.expose)),) if rules.expose else ()
    return (*_leave(rules, origin), *exposed, VARY)


def _leave(rules: CorsRules, origin: bytes) -> tuple[Field, ...]:
    allowed = ANY if ANY in rules.origins else origin
    leave = (b"access-control-allow-origin", allowed)
    return (leave, (b"access-control-allow-credentials", b"true")) if rules.credentials else (leave,)


def is_sharing_field(name: bytes) -> bool:
    """Tell whether a field of an answer (lower case) is about sharing, and so the gateway's to write."""
    return name.startswith(_PREFIX)


class Excess(StrEnum):
    """What a portal's own sharing gives away that it should not."""

    ANYBODY_WITH_CREDENTIALS = "anybody_with_credentials"
    """`*` beside `Allow-Credentials: true`: browsers refuse it, so somebody believes that it works."""
    NULL = "null_origin"
    """`null` is the origin of every sandboxed frame, whoever wrote it."""
    REFLECTED = "reflected_origin"
    """The origin of a foreign page came back, with credentials."""


def excess_of(fields: tuple[Field, ...], *, asked_by: bytes, own: bytes) -> Excess | None:
    """Judge what a portal says about sharing where the route says nothing; None when it gives nothing away.

    `fields` are the answer's, names in lower case; `asked_by` is the request's Origin, empty when absent.
    """
    allowed = [value.strip(b" \t") for name, value in fields if name == b"access-control-allow-origin"]
    if not allowed:
        return None
    credentials = any(
        name == b"access-control-allow-credentials" and value.strip(b" \t").lower() == b"true" for name, value in fields
    )
    if b"null" in (value.lower() for value in allowed):
        return Excess.NULL
    if credentials and ANY in allowed:
        return Excess.ANYBODY_WITH_CREDENTIALS
    if credentials and asked_by and asked_by != own and asked_by in allowed:
        return Excess.REFLECTED
    return None
