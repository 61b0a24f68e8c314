"""What an access token (RFC 9068) stands for here: the rules of its issuer, and the session it opens on each request.

Genuine, of this issuer, for this gateway and of this time is `jose`'s to say; which user, tenant and roles the claims are worth
is the table's. Here stands what makes an access token one: its type, how long it lives, what it is bound to, its scopes. A token
that is bound to a key which cannot be checked is refused, not taken unbound (RFC 8705 section 3, RFC 9449 section 7.1).
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.authn.claims import ClaimTable, Unmapped, map_claims
from gateway.authn.jose import Claims, InvalidTokenError, KeySet, TokenFault, verify_jwt
from gateway.authn.oidc import LONG_AGO
from gateway.exchange.session import Session

REQUIRED: Final = frozenset({"exp", "iat", "sub"})
MAX_SCOPES: Final = 128
HANDLE_DIGITS: Final = 32
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")  # RFC 6749 section 3.3
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_OF_OTHER_TOKENS: Final = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})
"""Claims that ID tokens and logout tokens have and access tokens have not."""
_TYPED: Final = "at+jwt"


class IssuerRules(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml says about one issuer of access tokens."""

    id: str
    """As audit, metrics and messages call it."""
    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    types: frozenset[str]
    table: ClaimTable
    leeway_s: float
    max_life_s: float
    """Longest life of a token that is taken: nobody can call one back."""
    hosts: frozenset[str] = frozenset()
    """Hosts on which its tokens count; empty = all."""


def session_of(token: str, *, keys: KeySet, rules: IssuerRules, now: float) -> Session:
    """Verify an access token and return what it stands for.

    `Session.certificate` is the SHA-256 (hexadecimal) of the client certificate that the connection must be made with; empty
    where the token is bound to none.

    Raises:
        UnknownKeyError: another set of keys may know its key.
        InvalidTokenError: it stands for nothing here.

    """
    claims = verify_jwt(
        token,
        keys=keys,
        issuer=rules.issuer,
        audiences=rules.audiences,
        algorithms=rules.algorithms,
        types=rules.types,
        now=now,
        leeway_s=rules.leeway_s,
        required=REQUIRED,
    )
    members = claims.members
    _require_access(claims)
    expires, issued = claims.expires, claims.issued
    assert expires is not None  # noqa: S101 - required
    assert issued is not None  # noqa: S101 - required
    if not 0 < expires - issued <= rules.max_life_s:
        raise InvalidTokenError(TokenFault.LIFETIME, "exp")
    certificate = _bound_to(members)
    scopes = _scopes(members)
    mapped = map_claims({**members, "scope": list(scopes)}, rules.table)
    if isinstance(mapped, Unmapped):
        raise InvalidTokenError(TokenFault.UNMAPPED, mapped.fault.value)
    auth_time = _sign_in(members, issued)
    return Session(
        handle=f"t_{hashlib.sha256(token.encode('ascii')).hexdigest()[:HANDLE_DIGITS]}",
        user_id=f"{rules.id}:{claims.subject}",
        user=mapped.user,
        tenant=mapped.tenant,
        roles=mapped.roles,
        email=mapped.email,
        amr=mapped.amr,
        auth_time=auth_time,
        mfa_time=auth_time if mapped.second_factor else 0.0,
        created=issued,
        expires=expires,
        idle_s=expires - issued,
        host="",
        secure=True,
        credential="bearer",
        provider=rules.id,
        provider_session=claims.token_id,
        acr=mapped.acr,
        scopes=scopes,
        certificate=certificate,
    )


def _require_access(claims: Claims) -> None:
    """Refuse what is another kind of token, where the issuer does not say the kind in `typ` (RFC 8725 section 3.12)."""
    if claims.type == _TYPED:
        return
    if not _OF_OTHER_TOKENS.isdisjoint(claims.members):
        raise InvalidTokenError(TokenFault.TYPE)
    said = claims.members.get("typ")  # Keycloak: Bearer, ID, Refresh, Logout
    if said is not None and (not isinstance(said, str) or said.lower() != "bearer"):
        raise InvalidTokenError(TokenFault.TYPE, "typ")


def _bound_to(members: Mapping[str, Any]) -> str:
    """Read the certificate that a token is bound to (RFC 8705 section 3.1)."""
    if "cnf" not in members:
        return ""
    confirmation = members["cnf"]
    if not isinstance(confirmation, dict) or set(confirmation) != {"x5t#S256"}:
        raise InvalidTokenError(TokenFault.CONFIRMATION, "cnf")  # DPoP (jkt) and bare keys cannot be checked here
    thumbprint = confirmation["x5t#S256"]
    if not isinstance(thumbprint, str) or not _THUMBPRINT.fullmatch(thumbprint):
        raise InvalidTokenError(TokenFault.CONFIRMATION, "cnf")
    return urlsafe_b64decode(thumbprint + "=").hex()


def _scopes(members: Mapping[str, Any]) -> tuple[str, ...]:
    """Read `scope` (RFC 8693 section 4.2: words in one text), or `scp`, as Okta and Entra call it."""
    found: list[str] = []
    for name in ("scope", "scp"):
        value = members.get(name)
        words = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
        if value is not None and not isinstance(value, str | list):
            raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, name)
        for word in words:
            if word == "":
                continue
            if not isinstance(word, str) or not _SCOPE.fullmatch(word):
                raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, name)
            found.append(word)
    if len(found) > MAX_SCOPES:
        raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, "scope")
    return tuple(dict.fromkeys(found))


def _sign_in(members: Mapping[str, Any], issued: float) -> float:
    """Read when the person signed in, never later than the token itself; long ago where it does not say.

    attack: a token that was refreshed a minute ago is no sign-in of a minute ago (RFC 9470 section 6.2).
    """
    value = members.get("auth_time")
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return LONG_AGO
    return max(LONG_AGO, min(float(value), issued))
