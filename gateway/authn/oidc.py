"""The rules of signing in at an OpenID provider, as values: what is asked, and which answers are believed.

Authorization code flow with PKCE S256, `state`, `nonce` and `iss`, and nothing else: no implicit or hybrid flow, no
token through the browser. What the claims amount to here is `claims`' to say; nothing here talks to a provider.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256, sha384, sha512
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from gateway.authn.discovery import Metadata
from gateway.authn.jose import Claims, InvalidTokenError, KeySet, TokenFault, verify_jwt
from gateway.authn.jwk import decode_base64url, parse_object

ATTEMPT_S: Final = 900.0
"""Time to sign in at the provider, a second factor there included."""
LEEWAY_S: Final = 60.0
LONG_AGO: Final = 1.0
"""When nobody knows when it was: longer ago than any limit allows, and not never."""
LOGOUT_TOKEN_S: Final = 120.0
"""Oldest logout token: Back-Channel Logout 1.0 §4 asks for two minutes at most."""
LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
MAX_CODE: Final = 4096
_MAX_PARAMETER: Final = 8192
_MAX_SESSION_ID: Final = 512
_DIGESTS: Final = {"256": sha256, "384": sha384, "512": sha512}
_CALLBACK: Final = frozenset({"code", "state", "iss", "error", "error_description", "error_uri", "session_state"})


class AnswerFault(StrEnum):
    """Why what came back from a provider is not believed, beyond what `TokenFault` says of a token."""

    PARAMETERS = "parameters"
    """Repeated, missing, too long, or a code and an error at once."""
    STATE = "state"
    """Not begun in this browser, or too long ago."""
    REPLAYED = "replayed"
    """The answer was used before."""
    MIXED_UP = "mixed_up"
    """It came by the way of another provider (RFC 9207)."""
    PROVIDER_ERROR = "provider_error"
    CODE_REFUSED = "code_refused"
    NO_ID_TOKEN = "no_id_token"  # noqa: S105 - a fault, not a token
    NONCE = "nonce"
    AUTHORIZED_PARTY = "authorized_party"
    ACCESS_TOKEN_HASH = "access_token_hash"  # noqa: S105 - a fault, not a token
    TOO_OLD = "too_old"
    """The provider did not ask the person again, though it had to."""
    CONTEXT = "context"
    """None of the `acr` values that were asked for."""
    SUBJECT = "subject"
    """Another person than before."""
    UNREADABLE = "unreadable"
    """An endpoint answered with something that is no answer."""


class AnswerRefusedError(ValueError):
    """What came back is not to be believed. Holds no word of it."""

    def __init__(self, fault: AnswerFault | TokenFault, error: str = "") -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.error = error
        """For PROVIDER_ERROR and CODE_REFUSED the provider's code, where it is a registered one; else empty."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One way to a provider and back, begun in one browser. Travels sealed, as `state`."""

    id: bytes
    """Random; what `nonce` and PKCE verifier are made from, with the browser's secret."""
    provider: str
    started: float
    return_to: str = ""
    """Empty = where the login state says."""
    max_age: float | None = None
    """Longest time, seconds, since the provider saw the person."""
    acr: tuple[str, ...] = ()
    """One of these is needed; empty = none."""
    prompt: str = ""

    def nonce(self, browser: bytes) -> str:
        """Bind the ID token to this attempt and browser (OpenID Connect Core §15.5.2)."""
        return _derive(browser, b"nonce", self.id)

    def verifier(self, browser: bytes) -> str:
        """Bind the code to this attempt and browser: 43 characters (RFC 7636 §4.1)."""
        return _derive(browser, b"verifier", self.id)

    def is_over(self, now: float) -> bool:
        """Tell whether the person took too long."""
        return not -LEEWAY_S <= now - self.started < ATTEMPT_S


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider sends through the browser."""

    code: str = ""
    state: str = ""
    issuer: str = ""
    error: str = ""
    """As it came; never shown."""


# Errors that providers may send (RFC 6749 §4.1.2.1 and §5.2, OpenID Connect Core §3.1.2.6): only these are ever repeated.
REGISTERED_ERRORS: Final = frozenset(
    {
        "access_denied", "account_selection_required", "consent_required", "interaction_required", "invalid_client",
        "invalid_grant", "invalid_request", "invalid_request_object", "invalid_request_uri", "invalid_scope",
        "login_required", "registration_not_supported", "request_not_supported", "request_uri_not_supported",
        "server_error", "temporarily_unavailable", "unauthorized_client", "unmet_authentication_requirements",
        "unsupported_grant_type", "unsupported_response_type",
    }
)  # fmt: skip


def registered(error: Any) -> str:
    """Return an error code that is in a standard; empty for whatever else a provider made up."""
    return error if isinstance(error, str) and error in REGISTERED_ERRORS else ""


def authorization_parameters(
    attempt: Attempt,
    *,
    browser: bytes,
    state: str,
    client_id: str,
    redirect_uri: str,
    scopes: tuple[str, ...],
    login_hint: str = "",
) -> dict[str, str]:
    """Write the authorization request (OpenID Connect Core §3.1.2.1, RFC 7636 §4.3)."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes),
        "state": state,
        "nonce": attempt.nonce(browser),
        "code_challenge": challenge_of(attempt.verifier(browser)),
        "code_challenge_method": "S256",
    }
    if attempt.prompt:
        parameters["prompt"] = attempt.prompt
    if attempt.max_age is not None:
        parameters["max_age"] = str(int(attempt.max_age))
    if attempt.acr:
        parameters["acr_values"] = " ".join(attempt.acr)
    if login_hint:
        parameters["login_hint"] = login_hint
    return parameters


def with_query(address: str, parameters: Mapping[str, str]) -> str:
    """Add parameters to an address that may have a query of its own (RFC 6749 §3.1)."""
    return f"{address}{'&' if '?' in address else '?'}{urlencode(parameters)}"


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 §4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).decode("ascii").rstrip("=")


def read_answer(parameters: list[tuple[str, str]]) -> Answer:
    """Read the query of a callback. Unknown parameters are ignored (RFC 6749 §4.1.2), repeated ones refuse (§3.1).

    Raises:
        AnswerRefusedError: PARAMETERS.

    """
    found: dict[str, str] = {}
    for name, value in parameters:
        if name not in _CALLBACK:
            continue
        if name in found or len(value) > _MAX_PARAMETER:
            raise AnswerRefusedError(AnswerFault.PARAMETERS)
        found[name] = value
    answer = Answer(
        code=found.get("code", ""),
        state=found.get("state", ""),
        issuer=found.get("iss", ""),
        error=found.get("error", ""),
    )
    if not answer.state or bool(answer.code) is bool(answer.error) or len(answer.code) > MAX_CODE:
        raise AnswerRefusedError(AnswerFault.PARAMETERS)
    return answer


def require_own_answer(
    answer: Answer, attempt: Attempt, *, provider: str, issuer: str, names_issuer: bool, now: float
) -> None:
    """Refuse an answer that is not the one to this attempt, from this provider.

    `provider` is the one whose callback was called; every provider has a redirect address of its own (RFC 9700 §4.4.2).

    Raises:
        AnswerRefusedError: MIXED_UP, STATE, PROVIDER_ERROR.

    """
    # (1) attack: mix-up. The way back, the attempt and `iss` name one provider
    if attempt.provider != provider:
        raise AnswerRefusedError(AnswerFault.MIXED_UP)
    if answer.issuer != issuer and (answer.issuer or names_issuer):  # RFC 9207 §2.4
        raise AnswerRefusedError(AnswerFault.MIXED_UP)
    # (2) too late: what the person began may be another's by now
    if attempt.is_over(now):
        raise AnswerRefusedError(AnswerFault.STATE)
    # (3) only now the provider's own no: before, anybody could have sent it
    if answer.error:
        raise AnswerRefusedError(AnswerFault.PROVIDER_ERROR, registered(answer.error))


def verify_id_token(
    token: str,
    *,
    keys: KeySet,
    metadata: Metadata,
    client_id: str,
    nonce: str | None,
    access_token: str,
    now: float,
    max_age: float | None = None,
    acr: tuple[str, ...] = (),
) -> Claims:
    """Return the claims of an ID token that is this client's, for this attempt (OpenID Connect Core §3.1.3.7).

    `nonce` None = a token that came by refresh, which has none (§12.2).

    Raises:
        UnknownKeyError: the caller may fetch the keys once more and ask again.
        InvalidTokenError, AnswerRefusedError: it is not to be believed.

    """
    required = {"exp", "iat", "sub"}
    if max_age is not None:
        required.add("auth_time")
    # (1) form, algorithm, key, signature, issuer, audience, time (steps 1, 2, 6 to 9)
    claims = verify_jwt(
        token,
        keys=keys,
        issuer=metadata.issuer,
        audiences=frozenset({client_id}),
        algorithms=metadata.algorithms,
        types=frozenset({"", "jwt"}),
        now=now,
        leeway_s=LEEWAY_S,
        required=frozenset(required),
    )
    members = claims.members
    # (2) authorized party (steps 3 to 5): a token for several audiences says whose it is
    party = members.get("azp")
    if (party is not None and party != client_id) or (party is None and len(claims.audiences) > 1):
        raise AnswerRefusedError(AnswerFault.AUTHORIZED_PARTY)
    # (3) nonce (step 11)
    found = members.get("nonce")
    if nonce is not None and (not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode())):
        raise AnswerRefusedError(AnswerFault.NONCE)
    # (4) access token (§3.1.3.8): where the provider says which it is, it is this one
    expected = members.get("at_hash")
    if expected is not None and access_token and not _is_hash_of(expected, access_token, token):
        raise AnswerRefusedError(AnswerFault.ACCESS_TOKEN_HASH)
    # (5) when the person was last seen (steps 12 and 13)
    if max_age is not None and now > auth_time_of(claims) + max_age + LEEWAY_S:
        raise AnswerRefusedError(AnswerFault.TOO_OLD)
    if acr and members.get("acr") not in acr:
        raise AnswerRefusedError(AnswerFault.CONTEXT)
    return claims


def verify_logout_token(token: str, *, keys: KeySet, metadata: Metadata, client_id: str, now: float) -> Claims:
    """Return the claims of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6).

    The caller refuses a `jti` that it has seen before.

    Raises:
        UnknownKeyError: the caller may fetch the keys once more and ask again.
        InvalidTokenError: it is not to be believed.

    """
    # (1) as an ID token, with `iat`, `jti` and `exp` (§2.4); older providers leave `typ` and `exp` out
    claims = verify_jwt(
        token,
        keys=keys,
        issuer=metadata.issuer,
        audiences=frozenset({client_id}),
        algorithms=metadata.algorithms,
        types=frozenset({"logout+jwt", "jwt", ""}),
        now=now,
        leeway_s=LEEWAY_S,
        required=frozenset({"iat", "jti", "events"}),
    )
    members = claims.members
    # (2) attack: an ID token in place of a logout token has a nonce and no event
    if "nonce" in members:
        raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, "nonce")
    events = members["events"]
    if not isinstance(events, Mapping) or not isinstance(events.get(LOGOUT_EVENT), Mapping):
        raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, "events")
    # (3) whom or which session
    if not claims.subject and not session_id_of(claims):
        raise InvalidTokenError(TokenFault.CLAIM_MISSING, "sid")
    # (4) fresh, whatever `exp` says: the memory of `jti` is no longer than this
    if claims.issued is None or now > claims.issued + LOGOUT_TOKEN_S + LEEWAY_S:
        raise InvalidTokenError(TokenFault.EXPIRED, "iat")
    return claims


def session_id_of(claims: Claims) -> str:
    """Return what the provider calls its session; empty = unsaid or unusable."""
    value = claims.members.get("sid")
    usable = isinstance(value, str) and 0 < len(value) <= _MAX_SESSION_ID and value.isprintable()
    return value if usable and isinstance(value, str) else ""


def auth_time_of(claims: Claims) -> float:
    """Return when the provider last saw the person, unix seconds; `LONG_AGO` where it does not say.

    attack: a provider that signs somebody in without asking gives a new token for an old proof.

    Raises:
        InvalidTokenError: it is no time.

    """
    value = claims.members.get("auth_time")
    if value is None:
        return LONG_AGO
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, "auth_time")
    return float(value)


def _is_hash_of(expected: Any, access_token: str, id_token: str) -> bool:
    """Compare the left half of the access token's digest; the digest is that of the ID token's own algorithm."""
    algorithm = str(parse_object(decode_base64url(id_token.partition(".")[0])).get("alg", ""))
    digest = sha512 if algorithm == "EdDSA" else _DIGESTS.get(algorithm[2:])
    if digest is None or not isinstance(expected, str):
        return False
    whole = digest(access_token.encode("ascii", "replace")).digest()
    half = urlsafe_b64encode(whole[: len(whole) // 2]).decode("ascii").rstrip("=")
    return hmac.compare_digest(half.encode(), expected.encode())


def _derive(browser: bytes, purpose: bytes, attempt: bytes) -> str:
    digest = hmac.digest(browser, b"gateway oidc " + purpose + b"\0" + attempt, "sha256")
    return urlsafe_b64encode(digest).decode("ascii").rstrip("=")
