"""The signed statement about a person that an upstream can verify by `/.gateway/jwks.json`.

A signature costs as much as a whole request, so one statement serves a session and an upstream for
half its life. Our own statement is never accepted as a credential by anybody here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.exchange.session import Session

ASSERTION_LIFE_S: Final = 60
ASSERTION_REUSE_S: Final = 30


def claims_of(session: Session, *, issuer: str, audience: str, now: float) -> dict[str, object]:
    """Who, for whom, since when, for one minute."""
    return {
        "iss": issuer,
        "aud": audience,
        "sub": session.user,
        "uid": session.user_id,
        "tenant": session.tenant,
        "roles": list(session.roles),
        "email": session.email,
        "amr": list(session.amr),
        "auth_time": int(session.auth_time),
        "sid": session.handle,
        "iat": int(now),
        "nbf": int(now) - 5,
        "exp": int(now) + ASSERTION_LIFE_S,
    }


def identity_fields(
    session: Session,
    names: dict[str, bytes],
    sign: Callable[[dict[str, object]], bytes],
    *,
    issuer: str,
    audience: str,
    now: float,
) -> bytes:
    """The identity fields for an upstream, `name: value CRLF` each; `names` maps our words to field names."""
    values = {
        "user": session.user,
        "tenant": session.tenant,
        "roles": ",".join(session.roles),
        "email": session.email,
        "session": session.handle,
    }
    lines = [b"%b: %b\r\n" % (names[key], value.encode("utf-8")) for key, value in values.items()]
    lines.append(
        b"%b: %b\r\n" % (names["assertion"], sign(claims_of(session, issuer=issuer, audience=audience, now=now)))
    )
    return b"".join(lines)
