"""What a provider says of itself: for one issuer, over safe addresses, with what sign-in needs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.authn.discovery import (
    MAX_METADATA_BYTES,
    InvalidMetadataError,
    discovery_url,
    is_loopback,
    is_safe_address,
    parse_metadata,
)

ISSUER = "https://id.example/realms/acme"
HONEST: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
}


def document(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in {**HONEST, **changes}.items() if value is not None}).encode()


def test_minimal_document_is_enough() -> None:
    metadata = parse_metadata(document(), ISSUER)
    assert metadata.token_endpoint == f"{ISSUER}/token"
    assert (metadata.end_session_endpoint, metadata.names_issuer, metadata.algorithms) == (
        "",
        False,
        frozenset({"RS256"}),
    )
    assert metadata.token_auth_methods == ("client_secret_basic",)


def test_where_the_document_is() -> None:
    assert discovery_url(ISSUER) == f"{ISSUER}/.well-known/openid-configuration"
    assert discovery_url("https://id.example/") == "https://id.example/.well-known/openid-configuration"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"issuer": ISSUER + "/"},
        {"issuer": ISSUER.upper()},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"token_endpoint": "http://id.example/token"},
        {"token_endpoint": "//id.example/token"},
        {"userinfo_endpoint": "ftp://id.example/"},
        {"end_session_endpoint": "https://id.example/#fragment"},
        {"code_challenge_methods_supported": ["plain"]},
        {"code_challenge_methods_supported": "S256"},
        {"response_types_supported": ["id_token"]},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        {"id_token_signing_alg_values_supported": [7]},
        {"token_endpoint_auth_methods_supported": ["x"] * 300},
    ],
    ids=str,
)
def test_document_that_cannot_be_relied_upon_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidMetadataError):
        parse_metadata(document(**changes), ISSUER)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b'{"issuer": "a", "issuer": "b"}', b"\xff", b" " * (MAX_METADATA_BYTES + 1)]
)
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidMetadataError):
        parse_metadata(text, ISSUER)


@pytest.mark.parametrize(
    "address", ["https://id.example/a?b=c", "http://localhost:8080/", "http://127.0.0.1/x", "http://[::1]/"]
)
def test_safe_addresses(address: str) -> None:
    assert is_safe_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "id.example",
        "http://id.example/",
        "http://127.0.0.1.evil.example.com@x/",
        "https://user@id.example/",
        "https://id.example\\@evil.example/",
        "https://id.example/ x",
        "https://id.example:0/",
        "https://id.example:99999/",
        "https://[::1/",
        "javascript:alert(1)",
        "https://\u0131d.example/",
        "https://id.example/" + "x" * 3000,
    ],
)
def test_other_addresses_are_not_safe(address: str) -> None:
    assert not is_safe_address(address)


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("localhost", "id.localhost", "127.0.0.1", "::1")] == [True] * 4
    assert not is_loopback("localhost.evil.example")
