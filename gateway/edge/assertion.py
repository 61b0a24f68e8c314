"""The signed statement about a person that an upstream can verify by `/.gateway/jwks.json`.

A signature costs as much as a whole request, so one statement serves a session and an upstream for
half its life. Our own statement is never accepted as a credential by anybody here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.exchange.session import Session

ASSERTION_LIFE_S: Final = 60.0
SKEW_S: Final = 5
"""How far behind an upstream's clock may be."""

Algorithm = Literal["EdDSA", "ES256"]
Signer = Callable[[dict[str, object], Algorithm], bytes]
"""Signs claims; the key is the one in use at their `iat`."""


@dataclass(frozen=True, slots=True)
class AssertionRules:
    """How an upstream is told."""

    algorithm: Algorithm = "EdDSA"
    audience: str = ""
    """Empty = the name of the upstream."""
    life_s: float = ASSERTION_LIFE_S

    @property
    def reuse_s(self) -> float:
        """How long one statement serves: what is left of its life is the upstream's."""
        return self.life_s / 2


def claims_of(
    session: Session, rules: AssertionRules, *, issuer: str, upstream: str, omit: frozenset[str], now: float
) -> dict[str, object]:
    """Who, for whom, since when; what the upstream is not told (`omit`) is not in here either."""
    claims: dict[str, object] = {
        "iss": issuer,
        "aud": rules.audience or upstream,
        "sub": session.user,
        "uid": session.user_id,
        "tenant": session.tenant,
        "roles": list(session.roles),
        "email": session.email,
        "amr": list(session.amr),
        "acr": session.acr,
        "auth_time": int(session.auth_time),
        "provider": session.provider,
        "sid": session.handle,
        "iat": int(now),
        "nbf": int(now) - SKEW_S,
        "exp": int(now) + int(rules.life_s),
    }
    for name in omit:
        claims.pop(_CLAIMS.get(name, ""), None)
    if not session.acr:
        claims.pop("acr", None)
    return claims


_CLAIMS: Final = {"tenant": "tenant", "roles": "roles", "email": "email", "session": "sid"}
"""What may be left out, by our words for it; without the others a statement says nothing."""
