"""The fields that say to an upstream who this is: which, how they are written, and how much they may be.

A value is never cut: half of somebody's roles is another person. What does not fit is left out whole, and said so, or
the request is refused. No value can end a line.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote

from gateway.edge.assertion import AssertionRules, Signer, claims_of
from gateway.exchange.session import Session

CLAIMS: Final = (
    "user", "tenant", "roles", "email", "session", "user_id", "provider", "acr", "amr", "auth_time",
)  # fmt: skip
"""Our words for what can be told, in the order in which it is sent."""
OMITTED_FIELD: Final = b"x-gateway-omitted"
"""Names what did not fit."""
MAX_IDENTITY_BYTES: Final = 8 * 1024
_DROPPED_FIRST: Final = ("email", "amr", "acr", "provider", "auth_time", "roles", "assertion")
"""What is left out to make room, in this order, and nothing else: who it is stays."""
_VALUE: Final = re.compile(rb"[ -~\x80-\xff]*").fullmatch
_UNESCAPED: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class IdentityUnfitError(Exception):
    """The identity cannot be told: it does not fit, or holds what no field value may."""


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """What an upstream is told, and how."""

    omit: frozenset[str] = frozenset()
    separator: str = ","
    """Between the roles, and between the methods of `amr`."""
    encoding: Literal["utf-8", "percent", "base64"] = "utf-8"
    max_bytes: int = MAX_IDENTITY_BYTES
    """Of all the fields together, with their names."""
    oversize: Literal["refuse", "omit"] = "refuse"
    assertion: AssertionRules = field(default_factory=AssertionRules)


PLAIN_IDENTITY: Final = IdentityRules()


def identity_fields(
    session: Session,
    rules: IdentityRules,
    names: Mapping[str, bytes],
    sign: Signer,
    *,
    issuer: str,
    upstream: str,
    now: float,
) -> bytes:
    """The identity fields for an upstream, `name: value CRLF` each; `names` maps our words to field names.

    Raises:
        IdentityUnfitError: they do not fit into `rules.max_bytes`, or a value has a control character in it.

    """
    lines = {
        claim: b"%b: %b\r\n" % (names[claim], _written(_value(session, claim, rules.separator), rules.encoding))
        for claim in CLAIMS
        if claim in names and claim not in rules.omit
    }
    if "assertion" in names and "assertion" not in rules.omit:
        claims = claims_of(session, rules.assertion, issuer=issuer, upstream=upstream, omit=rules.omit, now=now)
        lines["assertion"] = b"%b: %b\r\n" % (names["assertion"], sign(claims, rules.assertion.algorithm))
    excess = sum(map(len, lines.values())) - rules.max_bytes
    if excess > 0:
        _make_room(lines, excess, rules.oversize)
    return b"".join(lines.values())


def blank_fields(names: Mapping[str, bytes], identity: bytes) -> bytes:
    """Every identity field that `identity` does not have, empty: for another proxy that would leave a client's copy standing."""
    told = b"\r\n" + identity
    return b"".join(
        b"%b: \r\n" % name for claim, name in names.items() if claim != "request_id" and b"\r\n%b: " % name not in told
    )


def _make_room(lines: dict[str, bytes], excess: int, oversize: str) -> None:
    """Leave out whole fields until the rest fits, and say which."""
    dropped: list[str] = []
    if oversize == "omit":
        for claim in _DROPPED_FIRST:
            line = lines.pop(claim, b"")
            if line:
                dropped.append(claim)
                excess -= len(line)
            if excess + _flag_length(dropped) <= 0:
                lines["omitted"] = b"%b: %b\r\n" % (OMITTED_FIELD, ", ".join(dropped).encode("ascii"))
                return
    raise IdentityUnfitError


def _flag_length(dropped: list[str]) -> int:
    return len(OMITTED_FIELD) + 4 + len(", ".join(dropped))


def _value(session: Session, claim: str, separator: str) -> str:
    match claim:
        case "user":
            return session.user
        case "tenant":
            return session.tenant
        case "roles":
            return separator.join(session.roles)
        case "email":
            return session.email
        case "session":
            return session.handle
        case "user_id":
            return session.user_id
        case "provider":
            return session.provider
        case "acr":
            return session.acr
        case "amr":
            return separator.join(session.amr)
        case _:
            return str(int(session.auth_time))


def _written(value: str, encoding: str) -> bytes:
    """Write a value. Raises `IdentityUnfitError` where it could end a line or confuse a reader (RFC 9110 §5.5)."""
    plain = value.encode("utf-8", "surrogatepass")
    if _VALUE(plain) is None:  # attack: response splitting by whoever names a person
        raise IdentityUnfitError
    if encoding == "percent":
        return quote(value, safe=_UNESCAPED, errors="surrogatepass").encode("ascii")
    return b64encode(plain) if encoding == "base64" else plain
