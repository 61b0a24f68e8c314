"""What an OpenID provider says of itself: its metadata, read strictly, for one issuer.

A document of another issuer, with addresses in the clear or without what sign-in needs is refused whole. It fetches
nothing and remembers nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway.authn.jose import ALGORITHMS
from gateway.authn.jwk import MalformedJSONError, parse_object

WELL_KNOWN: Final = "/.well-known/openid-configuration"
MAX_METADATA_BYTES: Final = 256 * 1024
_MAX_ADDRESS: Final = 2048
_MAX_LISTED: Final = 256
_ENDPOINTS: Final = (
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "end_session_endpoint",
    "revocation_endpoint",
    "pushed_authorization_request_endpoint",
)
_NEEDED: Final = frozenset({"authorization_endpoint", "token_endpoint", "jwks_uri"})


class InvalidMetadataError(ValueError):
    """The document cannot be relied upon. Its text is a sentence for operators and holds no more than names of members."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of a provider's metadata (OpenID Connect Discovery 1.0 §3, RFC 8414 §2). Empty = not offered."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    revocation_endpoint: str = ""
    pushed_authorization_request_endpoint: str = ""
    requires_par: bool = False
    names_issuer: bool = False
    """Each answer to the browser carries `iss` (RFC 9207 §3): one without it is not from there."""
    challenge_methods: tuple[str, ...] = ()
    """Empty = unsaid: the challenge is sent all the same."""
    token_auth_methods: tuple[str, ...] = ("client_secret_basic",)
    algorithms: frozenset[str] = frozenset({"RS256"})
    """Of ID tokens, those of them that the gateway takes."""
    signs_out: bool = False
    """It offers back-channel logout."""


def discovery_url(issuer: str) -> str:
    """Say where the metadata of an issuer is (OpenID Connect Discovery 1.0 §4)."""
    return issuer.removesuffix("/") + WELL_KNOWN


def is_loopback(host: str) -> bool:
    """Tell whether a name or an address never leaves this machine (RFC 6761 §6.3, RFC 1122 §3.2.1.3)."""
    return host == "localhost" or host.endswith(".localhost") or host == "::1" or host.startswith("127.")


def is_safe_address(text: str) -> bool:
    """Tell whether something secret may be sent to this address: https, or http on this machine."""
    if len(text) > _MAX_ADDRESS or not text.isascii() or not text.isprintable() or " " in text or "#" in text:
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or port == 0 or "@" in parts.netloc or "\\" in text:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def parse_metadata(document: bytes, issuer: str) -> Metadata:
    """Read the metadata of exactly this issuer.

    Raises:
        InvalidMetadataError: it is another's (mix-up, RFC 8414 §6.2), or lacks or contradicts what sign-in needs.

    """
    if len(document) > MAX_METADATA_BYTES:
        raise InvalidMetadataError(f"is larger than {MAX_METADATA_BYTES} bytes")
    try:
        members = parse_object(document)
    except MalformedJSONError:
        raise InvalidMetadataError("is not a JSON object with each member once") from None
    if members.get("issuer") != issuer:
        raise InvalidMetadataError("names another issuer than gateway.yaml; write it exactly as the provider does")
    addresses = {name: _address(members, name) for name in _ENDPOINTS}
    methods = _names(members, "code_challenge_methods_supported", ())
    if methods and "S256" not in methods:  # attack: PKCE downgrade
        raise InvalidMetadataError("code_challenge_methods_supported lacks S256, without which there is no sign-in")
    if "code" not in _names(members, "response_types_supported", ("code",)):
        raise InvalidMetadataError("response_types_supported lacks code")
    algorithms = ALGORITHMS & frozenset(_names(members, "id_token_signing_alg_values_supported", ("RS256",)))
    if not algorithms:
        raise InvalidMetadataError("id_token_signing_alg_values_supported names no algorithm with a public key")
    return Metadata(
        issuer=issuer,
        **addresses,
        requires_par=members.get("require_pushed_authorization_requests") is True,
        names_issuer=members.get("authorization_response_iss_parameter_supported") is True,
        challenge_methods=methods,
        token_auth_methods=_names(members, "token_endpoint_auth_methods_supported", ("client_secret_basic",)),
        algorithms=algorithms,
        signs_out=members.get("backchannel_logout_supported") is True,
    )


def _address(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if value is None:
        if name in _NEEDED:
            raise InvalidMetadataError(f"lacks {name}")
        return ""
    if not isinstance(value, str) or not is_safe_address(value):
        raise InvalidMetadataError(f"{name} is not an https address")
    return value


def _names(members: Mapping[str, Any], name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    value = members.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, list) or len(value) > _MAX_LISTED or not all(isinstance(item, str) for item in value):
        raise InvalidMetadataError(f"{name} is not a list of names")
    return tuple(value)
