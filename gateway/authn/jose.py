"""Whether a JSON Web Token is what it says: one strict reading of RFC 7515 and RFC 7519 under the rules of RFC 8725.

Decides on form, algorithm, key, signature, issuer, audience, type and time. Nothing in a token chooses how it is verified:
the algorithms and keys are the caller's, for one issuer. What the claims amount to here (who, which roles) is not decided.
Only signatures with public keys; no encryption (JWE), no nesting, no detached or JSON-serialised form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from gateway.authn.jwk import (
    ALGORITHMS,
    COORDINATE_BYTES,
    MAX_KID,
    InvalidKeySetError,
    Key,
    KeySet,
    MalformedJSONError,
    decode_base64url,
    parse_jwks,
    parse_object,
)

__all__ = [
    "ALGORITHMS",
    "Claims",
    "InvalidKeySetError",
    "InvalidTokenError",
    "KeySet",
    "TokenFault",
    "UnknownKeyError",
    "parse_jwks",
    "unverified_issuer",
    "verify_jws",
    "verify_jwt",
]

MAX_TOKEN_CHARACTERS: Final = 16 * 1024
MAX_HEADER_CHARACTERS: Final = 4 * 1024
MAX_SIGNATURE_CHARACTERS: Final = 2 * 1024
MAX_TRIED_KEYS: Final = 8
"""A token that names no key costs at most so many verifications."""
MAX_AUDIENCES: Final = 64
MAX_SUBJECT: Final = 255  # OpenID Connect Core 1.0 section 2
MAX_TOKEN_ID: Final = 256
LATEST: Final = 253_402_300_799
"""The last second of the year 9999: a later time is a unit mistaken, or an attempt at one."""

_CARRIES_A_KEY: Final = frozenset({"jku", "jwk", "x5u", "x5c"})
_CHANGES_THE_READING: Final = frozenset({"crit", "b64", "zip", "enc"})
_HASHES: Final[dict[str, HashAlgorithm]] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,63}")


class TokenFault(StrEnum):
    """What is wrong with a token: the closed list that logs, audit and metrics may name."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    """Not three parts of canonical base64url with JSON objects in the first two."""
    HEADER = "header"
    """The header asks for something that is never done: `crit`, `jku`, `jwk`, `x5u`, `x5c`, `b64`, `zip`, `enc`, nesting."""
    ALGORITHM = "algorithm"
    TYPE = "type"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    CLAIM_MISSING = "claim_missing"
    CLAIM_MALFORMED = "claim_malformed"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    LIFETIME = "lifetime"
    """It lives longer than its issuer's tokens may."""
    CONFIRMATION = "confirmation"
    """It is bound to a key that the request does not prove, or that cannot be checked."""
    UNMAPPED = "unmapped"
    """Genuine, and worth nothing here."""


class InvalidTokenError(ValueError):
    """The token is not to be believed. Holds no word of the token."""

    def __init__(self, fault: TokenFault, claim: str = "") -> None:
        super().__init__(f"{fault.value} ({claim})" if claim else fault.value)
        self.fault = fault
        self.claim = claim
        """Registered name of the claim that is at fault, where one is."""


class UnknownKeyError(InvalidTokenError):
    """No key of the set can have signed it: the issuer may have a newer one. The only fault that a fresh set may mend."""

    def __init__(self) -> None:
        super().__init__(TokenFault.UNKNOWN_KEY)


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says. Times are unix seconds; None = unsaid."""

    issuer: str
    subject: str = ""
    audiences: tuple[str, ...]
    expires: float | None = None
    issued: float | None = None
    not_before: float | None = None
    token_id: str = ""
    """`jti`."""
    type: str = ""
    """`typ` of the header, lower case, without `application/`; empty = unsaid."""
    members: Mapping[str, Any]
    """Every claim as it came, the registered ones too."""


def verify_jwt(
    token: str,
    *,
    keys: KeySet,
    issuer: str,
    audiences: frozenset[str],
    algorithms: frozenset[str],
    types: frozenset[str],
    now: float,
    leeway_s: float,
    required: frozenset[str],
) -> Claims:
    """Return the claims of a token that one of `keys` signed, from `issuer`, for one of `audiences`, valid at `now`.

    `types` are the values of `typ` that are taken, lower case and without `application/` (RFC 8725 section 3.11); an
    empty one stands for a token without `typ`. `required` names the claims it must have beside `iss` and `aud`.
    `leeway_s` is granted on both ends. Unknown claims are in `members` and decide nothing.

    Raises:
        UnknownKeyError: the caller may fetch the keys once more, not too often, and ask again.
        InvalidTokenError: everything else. No claim was looked at before the signature held.

    """
    if not issuer or not audiences or "" in audiences:
        raise ValueError("an issuer and audiences are needed to verify a token")
    kind, payload = verify_jws(token, keys=keys, algorithms=algorithms, types=types)
    try:
        members = parse_object(payload)
    except MalformedJSONError:
        raise InvalidTokenError(TokenFault.MALFORMED) from None

    # RFC 8725 section 3.8: the issuer whose keys these are, compared as it is
    if _text(members, "iss", 2048) != issuer:
        raise InvalidTokenError(TokenFault.ISSUER, "iss")
    # RFC 8725 section 3.9
    found = _audiences(members)
    if audiences.isdisjoint(found):
        raise InvalidTokenError(TokenFault.AUDIENCE, "aud")
    for name in sorted(required):
        if members.get(name) is None:
            raise InvalidTokenError(TokenFault.CLAIM_MISSING, name)

    expires, not_before, issued = (_time(members, name) for name in ("exp", "nbf", "iat"))
    if expires is not None and now >= expires + leeway_s:
        raise InvalidTokenError(TokenFault.EXPIRED, "exp")
    if not_before is not None and now + leeway_s < not_before:
        raise InvalidTokenError(TokenFault.NOT_YET_VALID, "nbf")
    if issued is not None and now + leeway_s < issued:
        raise InvalidTokenError(TokenFault.NOT_YET_VALID, "iat")
    return Claims(
        issuer=issuer,
        subject=_text(members, "sub", MAX_SUBJECT) if "sub" in members else "",
        audiences=found,
        expires=expires,
        issued=issued,
        not_before=not_before,
        token_id=_text(members, "jti", MAX_TOKEN_ID) if "jti" in members else "",
        type=kind,
        members=members,
    )


def verify_jws(token: str, *, keys: KeySet, algorithms: frozenset[str], types: frozenset[str]) -> tuple[str, bytes]:
    """Return type and payload of a compact JWS that one of `keys` signed (RFC 7515 section 5.2).

    Raises as `verify_jwt`.
    """
    if not algorithms or not algorithms <= ALGORITHMS:
        raise ValueError("every algorithm that is taken must be one with a public key")
    signed, header, payload, signature = _parts(token)

    # (1) header: nothing in it may bring a key along or change how the rest is read (RFC 8725 sections 2.7, 3.10)
    members = _object(header)
    if not _CARRIES_A_KEY.isdisjoint(members) or not _CHANGES_THE_READING.isdisjoint(members) or _is_nested(members):
        raise InvalidTokenError(TokenFault.HEADER)
    kid = members.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID or ("kid" in members and not kid):
        raise InvalidTokenError(TokenFault.HEADER)

    # (2) algorithm: exactly as written, one of the caller's (RFC 8725 section 3.1)
    algorithm = members.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise InvalidTokenError(TokenFault.ALGORITHM)

    # (3) type: one kind of token is never taken for another (RFC 8725 sections 3.11 and 3.12)
    kind = _type(members)
    if kind not in types:
        raise InvalidTokenError(TokenFault.TYPE)

    # (4) key and signature: the type of the key and the algorithm go together, or the key is no candidate
    candidates = keys.candidates(kid, algorithm)
    if not candidates or len(candidates) > MAX_TRIED_KEYS:
        raise UnknownKeyError
    octets = _octets(signature)
    if not any(_is_signed(key, algorithm, signed, octets) for key in candidates):
        if not kid:  # an issuer that names no keys changes them without a sign
            raise UnknownKeyError
        raise InvalidTokenError(TokenFault.SIGNATURE)
    return kind, _octets(payload)


def unverified_issuer(token: str) -> str:
    """Return who a token says it is from, to choose the rules it is verified under; proves nothing.

    Raises:
        InvalidTokenError: it has no form in which it could ever be verified.

    """
    _, _, payload, _ = _parts(token)
    return _text(_object(payload), "iss", 2048)


def _parts(token: str) -> tuple[bytes, str, str, str]:
    """Cut a token into what is signed, header, payload and signature: exactly three parts, none of them empty."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidTokenError(TokenFault.TOO_LARGE)
    parts = token.split(".", 3)
    if len(parts) != 3 or not token.isascii() or not all(parts[::2]):  # noqa: PLR2004 - RFC 7515 section 3.1
        raise InvalidTokenError(TokenFault.MALFORMED)
    header, payload, signature = parts
    if len(header) > MAX_HEADER_CHARACTERS or len(signature) > MAX_SIGNATURE_CHARACTERS:
        raise InvalidTokenError(TokenFault.TOO_LARGE)
    return f"{header}.{payload}".encode("ascii"), header, payload, signature


def _octets(part: str) -> bytes:
    try:
        return decode_base64url(part)
    except ValueError:
        raise InvalidTokenError(TokenFault.MALFORMED) from None


def _object(part: str) -> dict[str, Any]:
    try:
        return parse_object(_octets(part))
    except MalformedJSONError:
        raise InvalidTokenError(TokenFault.MALFORMED) from None


def _is_nested(header: Mapping[str, Any]) -> bool:
    return "cty" in header and str(header["cty"]).lower().removeprefix("application/") == "jwt"


def _type(header: Mapping[str, Any]) -> str:
    """Return the media type of a token, short and in lower case (RFC 7515 section 4.1.9); empty = unsaid."""
    if "typ" not in header:
        return ""
    value = header["typ"]
    if not isinstance(value, str) or not value.isascii():
        raise InvalidTokenError(TokenFault.TYPE)
    kind = value.lower().removeprefix("application/")
    if not _TYPE.fullmatch(kind):
        raise InvalidTokenError(TokenFault.TYPE)
    return kind


def _is_signed(key: Key, algorithm: str, signed: bytes, signature: bytes) -> bool:
    public = key.public
    try:
        if isinstance(public, rsa.RSAPublicKey):
            if len(signature) != (public.key_size + 7) // 8:
                return False
            chosen = _HASHES[algorithm[2:]]
            scheme: padding.AsymmetricPadding = padding.PKCS1v15()
            if algorithm.startswith("PS"):  # RFC 7518 section 3.5: the salt is as long as the digest
                scheme = padding.PSS(mgf=padding.MGF1(chosen), salt_length=chosen.digest_size)
            public.verify(signature, signed, scheme, chosen)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            # RFC 7518 section 3.4: two numbers of full length, never DER
            length = COORDINATE_BYTES[algorithm]
            if len(signature) != 2 * length:
                return False
            r, s = int.from_bytes(signature[:length]), int.from_bytes(signature[length:])
            if not r or not s:  # attack: "psychic signatures", CVE-2022-21449
                return False
            public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(_HASHES[algorithm[2:]]))
        elif isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _text(members: Mapping[str, Any], name: str, longest: int) -> str:
    value = members.get(name)
    if value is None and name not in members:
        raise InvalidTokenError(TokenFault.CLAIM_MISSING, name)
    if not isinstance(value, str) or not value or len(value) > longest or not value.isprintable():
        raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, name)
    return value


def _audiences(members: Mapping[str, Any]) -> tuple[str, ...]:
    """Read `aud`: one text or a list of them (RFC 7519 section 4.1.3)."""
    value = members.get("aud")
    if value is None and "aud" not in members:
        raise InvalidTokenError(TokenFault.CLAIM_MISSING, "aud")
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not 0 < len(found) <= MAX_AUDIENCES:
        raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, "aud")
    if not all(isinstance(one, str) and one for one in found):
        raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, "aud")
    return tuple(found)


def _time(members: Mapping[str, Any], name: str) -> float | None:
    """Read a NumericDate (RFC 7519 section 2): a number, never a text, `true` or beyond the calendar."""
    if name not in members:
        return None
    value = members[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise InvalidTokenError(TokenFault.CLAIM_MALFORMED, name)
    return float(value)
