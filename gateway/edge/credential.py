"""Who a program is that proves itself by a field: an API key, or a bearer token (RFC 6750 section 2.1).

Only on routes that take them, only in `Authorization` where that field is the gateway's, or in the field for API keys; never in
a query or a form (RFC 6750 sections 2.2 and 2.3), where logs and browsers keep them. One credential a request: two are refused,
whatever they prove. A live session is a credential. What a credential may do is policy's to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.authn.jose import TokenFault
from gateway.edge.bearer import BearerEntry, Doubt
from gateway.edge.certified import certificate_of
from gateway.edge.credential_rules import CredentialRules
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.sessions import KeyEntry, Sessions
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.reason import Reason
from gateway.wire.request import API_KEY_PREFIX

if TYPE_CHECKING:
    from gateway.edge.pipeline import Limits

STORE_RETRY_S: Final = 2.0
KEYS_RETRY_S: Final = 5.0

# credentials = "Bearer" 1*SP b64token (RFC 6750 section 2.1), the scheme without regard to case (RFC 9110 section 11.1)
_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)").fullmatch
_SCHEME: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr](?: |$)").match
_NOTHING: Final = Refusal("session", Reason.CREDENTIAL_REQUIRED)
_MALFORMED: Final = Refusal("session", Reason.CREDENTIAL_MALFORMED)
_CONFLICT: Final = Refusal("session", Reason.CREDENTIALS_CONFLICT)
_NO_KEY: Final = Refusal("session", Reason.API_KEY_REFUSED)
_ELSEWHERE: Final = Refusal("session", Reason.API_KEY_NETWORK)
_NO_TOKEN: Final = Refusal("session", Reason.TOKEN_REFUSED)
_STORE_AWAY: Final = Refusal("session", Reason.STORE_UNAVAILABLE, retry_after_s=STORE_RETRY_S)


class Presented(NamedTuple):
    """What a request shows, unproven: one of the two."""

    key: bytes
    token: bytes


def presented(x: Exchange, rules: CredentialRules) -> Presented | Refusal | None:
    """Read what a request shows on a route that takes what comes in fields; None = nothing of ours."""
    route, fields = x.route, x.fields
    keys = [value for name, value in fields.api_keys if name == rules.key_field]
    authorization = fields.authorization if route.authorization == "gateway" else b""
    if len(keys) > 1 or (keys and authorization):
        return _CONFLICT
    if keys:
        return Presented(keys[0], b"") if "api_key" in route.credentials else _NO_KEY
    if not authorization:
        return None
    found = _BEARER(authorization)
    if found is None:
        return _MALFORMED if _SCHEME(authorization) else _NOTHING
    token: bytes = found[1]
    if token.startswith(API_KEY_PREFIX):
        return Presented(token, b"") if "api_key" in route.credentials else _NO_KEY
    return Presented(b"", token) if "bearer" in route.credentials else _NO_TOKEN


def prove(
    x: Exchange, sessions: Sessions, limits: Limits, now: float, *, is_signed_in: bool
) -> KeyEntry | BearerEntry | Refusal | None:
    """Find out who shows a key or a token; None when nobody does."""
    rules = x.snapshot.credentials
    shown = presented(x, rules)
    if shown is None:
        return None
    if isinstance(shown, Refusal):
        kind, outcome = "unread", _answered(shown)
    elif is_signed_in:
        kind, outcome = "unread", _answered(_CONFLICT)
    elif shown.key:
        kind, outcome = "api_key", _prove_key(x, shown.key, sessions, limits, now)
    else:
        kind, outcome = "bearer", _prove_token(x, shown.token, sessions, limits, now)
    rules.outcomes.inc((kind, outcome.reason.value if isinstance(outcome, Refusal) else "accepted"))
    return outcome


def _answered(refusal: Refusal) -> KeyEntry | BearerEntry | Refusal:
    return refusal


def _prove_key(x: Exchange, key: bytes, sessions: Sessions, limits: Limits, now: float) -> KeyEntry | Refusal:
    try:
        entry = sessions.api_key(key, now)
    except StoreUnavailableError:
        return _STORE_AWAY
    if entry is None:
        wait = limits.take(x.snapshot.credentials.unproven, x.counted, now)
        return Refusal("limit", Reason.TOO_MANY_ATTEMPTS, retry_after_s=wait) if wait else _NO_KEY
    if not entry.is_from(x.client_ip):
        return _ELSEWHERE
    sessions.touch_key(entry, now)
    return entry


def _prove_token(x: Exchange, token: bytes, sessions: Sessions, limits: Limits, now: float) -> BearerEntry | Refusal:
    rules = x.snapshot.credentials
    entry = rules.bearers.recall(token, rules.issuers, now)
    if entry is None:
        wait = limits.take(rules.unproven, x.counted, now)
        if wait:
            return Refusal("limit", Reason.TOO_MANY_ATTEMPTS, retry_after_s=wait)
        found = rules.bearers.verify(token, rules.issuers, now)
        if isinstance(found, Doubt):
            if found.is_open:
                return Refusal("session", Reason.ISSUER_UNAVAILABLE, found.cause, KEYS_RETRY_S)
            return Refusal("session", Reason.TOKEN_REFUSED, found.cause)
        entry = found
    session, issuer = entry.session, entry.rules
    authority = x.fields.authority
    if issuer.hosts and (authority is None or authority.host not in issuer.hosts):
        return Refusal("session", Reason.TOKEN_REFUSED, f"issuer {issuer.id}: not on this host")
    if session.certificate:  # RFC 8705 section 3: whoever stole the token has not the certificate's key
        certificate = certificate_of(x.peer, x.snapshot, now)
        if certificate is None or certificate.fingerprint != session.certificate:
            return Refusal("session", Reason.TOKEN_REFUSED, f"issuer {issuer.id}: {TokenFault.CONFIRMATION} (cnf)")
    try:
        if sessions.is_disabled(session.user, session.tenant):
            return Refusal("session", Reason.TOKEN_REFUSED, f"issuer {issuer.id}: the account of that name is disabled")
    except StoreUnavailableError:
        return _STORE_AWAY
    return entry
