from __future__ import annotations

import json
import os

import jwt
import pytest

from gateway.edge.assertion import Algorithm
from gateway.exchange.errors import ConfigurationError
from gateway.server.settings import load_settings
from gateway.server.snapshot import key_set, signer
from gateway.store.keyring import ASSERTION_KEPT_S, ASSERTION_LEAD_S, Keyring

NOW = 1_800_000_000.0
ALGORITHMS: tuple[Algorithm, ...] = ("EdDSA", "ES256")


def claims(now: float) -> dict[str, object]:
    return {"iss": "https://gw.example", "aud": "portal", "sub": "alice", "iat": int(now), "exp": int(now) + 60}


def published(keyring: Keyring, now: float) -> dict[str, jwt.PyJWK]:
    return {key["kid"]: jwt.PyJWK(key) for key in json.loads(key_set(keyring, now))["keys"]}


def verified(token: bytes, keys: dict[str, jwt.PyJWK], algorithm: str) -> object:
    key = keys[jwt.get_unverified_header(token)["kid"]]
    options = {"verify_exp": False, "verify_iat": False}
    return jwt.decode(token, key, algorithms=[algorithm], audience="portal", options=options)["sub"]  # type: ignore[arg-type]  # a dict is one


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_signed_is_verified_by_what_is_published(algorithm: Algorithm) -> None:
    keyring = Keyring.generate(os.urandom, NOW)
    assert verified(signer(keyring)(claims(NOW), algorithm), published(keyring, NOW), algorithm) == "alice"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rotation_leaves_no_moment_at_which_an_assertion_cannot_be_verified(algorithm: Algorithm) -> None:
    keyring = Keyring.generate(os.urandom, NOW - 10_000)
    before = published(keyring, NOW)
    rotated = keyring.rotate(os.urandom, NOW)
    cached = published(rotated, NOW)
    assert before.keys() < cached.keys()
    takes_over = NOW + ASSERTION_LEAD_S
    for moment in (NOW, takes_over - 1, takes_over, takes_over + 60):
        token = signer(rotated)(claims(moment), algorithm)
        assert verified(token, cached, algorithm) == "alice"
        assert verified(token, published(rotated, moment), algorithm) == "alice"
    assert published(rotated, takes_over + ASSERTION_KEPT_S).keys().isdisjoint(before)


def test_the_two_forms_of_a_key_have_nothing_in_common_but_their_secret() -> None:
    first, second = (Keyring.generate(os.urandom, NOW).assertion_key(NOW) for _ in range(2))
    assert first.kid_es256 != first.kid
    assert first.private_es256.private_numbers().private_value != second.private_es256.private_numbers().private_value
    assert first.private_es256.private_numbers() == first.private_es256.private_numbers()
    assert first.private.private_bytes_raw() != first.private_es256.private_numbers().private_value.to_bytes(32)


def test_our_own_assertion_cannot_be_made_a_credential() -> None:
    """A portal that reads `/.gateway/jwks.json` must not be able to come back as the person."""
    text = """\
version: 1
public_url: https://gw.example:8443
listen: [{address: "127.0.0.1:8443", tls: {certificate: a.pem, key: a.key}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
identity:
  providers: [{id: local, type: password}]
  issuers: [{id: us, issuer: "https://gw.example:8443", audiences: [portal], algorithms: [EdDSA], roles: {claim: roles, grant: {a: a}}, tenant: main}]
"""
    with pytest.raises(ConfigurationError, match="is the gateway itself"):
        load_settings(text, "gateway.yaml")
    load_settings(text.replace('"https://gw.example:8443"', '"https://other.example"'), "gateway.yaml")
