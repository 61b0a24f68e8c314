"""How a provider knows that it is the gateway that asks: a shared secret, or a signature of ours.

The strongest way that both sides have is taken; none at all (a public client) is not one of them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Final
from urllib.parse import quote_plus

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.authn.discovery import Metadata
from gateway.federation.errors import ProviderUnavailableError

ASSERTION_S: Final = 60.0
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LEAST_RSA_BITS: Final = 2048


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What goes with one request to the provider."""

    fields: dict[str, str] = {}
    form: dict[str, str] = {}


class SharedSecret:
    """`client_secret_basic`, or `client_secret_post` where the provider knows only that (RFC 6749 §2.3.1)."""

    def __init__(self, client_id: str, secret: str) -> None:
        self._client_id = client_id
        self._secret = secret

    def __repr__(self) -> str:
        return "SharedSecret()"

    def prove(self, metadata: Metadata, *, now: float) -> Proof:  # noqa: ARG002 - a secret does not age
        """Prove who asks. Raises `ProviderUnavailableError` where the provider takes no secret."""
        methods = metadata.token_auth_methods
        if "client_secret_basic" in methods:
            # The secret is form-encoded first: else a colon or a percent sign in it means something else.
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
            return Proof(fields={"Authorization": f"Basic {b64encode(pair.encode()).decode('ascii')}"})
        if "client_secret_post" in methods:
            return Proof(form={"client_id": self._client_id, "client_secret": self._secret})
        raise ProviderUnavailableError(metadata.issuer, "it takes no client secret; use private_key_jwt")


class SigningKey:
    """`private_key_jwt` (OpenID Connect Core §9, RFC 7523)."""

    def __init__(self, client_id: str, pem: bytes, *, kid: str | None, random: Callable[[int], bytes]) -> None:
        """Read a key. Raises `ValueError` with a sentence."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            raise ValueError("is not a private key in PEM, without a password") from None
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            self._algorithm = "ES256"
        elif isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
            self._algorithm = "RS256"
        else:
            raise ValueError("is neither a P-256 key nor an RSA key of 2048 bits or more")
        self._key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = key
        self._client_id = client_id
        self._kid = kid
        self._random = random

    def __repr__(self) -> str:
        return "SigningKey()"

    def prove(self, metadata: Metadata, *, now: float) -> Proof:
        """Prove who asks. Raises `ProviderUnavailableError` where the provider takes no signature."""
        if "private_key_jwt" not in metadata.token_auth_methods:
            raise ProviderUnavailableError(metadata.issuer, "it does not take private_key_jwt")
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            # The issuer, not an endpoint: whoever else it reaches cannot use it (RFC 7523bis).
            "aud": metadata.issuer,
            "jti": self._random(16).hex(),
            "iat": int(now),
            "exp": int(now + ASSERTION_S),
        }
        assertion = jwt.encode(claims, self._key, self._algorithm, headers={"kid": self._kid} if self._kid else None)
        return Proof(
            form={
                "client_id": self._client_id,
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion,
            }
        )
