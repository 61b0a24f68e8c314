import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.jwk import (
    InvalidKeySetError,
    MalformedJSONError,
    decode_base64url,
    parse_jwks,
    parse_object,
)
from tests.fakes.jose import base64url, ec_key, ed_key, jwk, jwks, number, rsa_key


def usable(*keys: dict[str, Any]) -> int:
    """How many of the keys come in beside one that always does."""
    return len(parse_jwks(jwks(jwk(ed_key(9), kid="always"), *keys))) - 1


def test_keys_of_each_kind_come_in_with_the_algorithms_of_their_kind_alone() -> None:
    keys = parse_jwks(
        jwks(
            jwk(rsa_key(), kid="r"),
            *(jwk(ec_key(a), kid=a) for a in ("ES256", "ES384", "ES512")),
            jwk(ed_key(), kid="e"),
        )
    )
    found = {key.kid: key.algorithms for key in keys.keys}
    assert found["r"] == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    for algorithm in ("ES256", "ES384", "ES512"):
        assert found[algorithm] == {algorithm}
    assert found["e"] == {"EdDSA", "Ed25519"}


def test_a_key_that_names_its_algorithm_is_used_with_no_other() -> None:
    keys = parse_jwks(jwks(jwk(rsa_key(), alg="PS256")))
    assert keys.keys[0].algorithms == {"PS256"}
    assert not keys.candidates("", "RS256")


def test_symmetric_keys_never_come_in() -> None:
    assert usable({"kty": "oct", "k": base64url(bytes(32)), "alg": "HS256", "kid": "s"}) == 0
    with pytest.raises(InvalidKeySetError, match="no key of the set"):
        parse_jwks(jwks({"kty": "oct", "k": base64url(bytes(32)), "alg": "HS256"}))


@pytest.mark.parametrize("algorithm", ["HS256", "none", "RSA-OAEP", "ES256", "ES521", 5, ["RS256"]])
def test_an_rsa_key_for_an_algorithm_of_another_kind_is_passed_over(algorithm: Any) -> None:
    assert usable(jwk(rsa_key(), alg=algorithm)) == 0


def test_a_private_key_that_was_published_is_passed_over() -> None:
    private = rsa_key().private_numbers()
    assert usable(jwk(rsa_key(), d=number(private.d))) == 0


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"use": None},
        {"use": ["sig"]},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"kid": 5},
        {"kid": "k" * 257},
    ],
)
def test_a_key_that_is_not_for_verifying_is_passed_over(members: dict[str, Any]) -> None:
    assert usable(jwk(rsa_key(), **members)) == 0


def test_a_key_with_operations_among_which_is_verify_comes_in() -> None:
    assert usable(jwk(rsa_key(), key_ops=["verify", "encrypt"])) == 1


def test_rsa_below_2048_bits_is_passed_over() -> None:
    assert usable(jwk(rsa_key(1024))) == 0


def test_rsa_beyond_8192_bits_is_passed_over_for_the_work_it_makes() -> None:
    assert usable({"kty": "RSA", "n": number(2**8192 + 1), "e": "AQAB"}) == 0


@pytest.mark.parametrize("exponent", [1, 3, 65536, 2**40 + 1])
def test_rsa_with_a_weak_or_costly_exponent_is_passed_over(exponent: int) -> None:
    assert usable(jwk(rsa_key()) | {"e": number(exponent)}) == 0


def test_an_even_modulus_is_passed_over() -> None:
    assert usable({"kty": "RSA", "n": number(2**2048 - 2), "e": "AQAB"}) == 0


def test_a_modulus_with_a_leading_zero_octet_is_the_same_modulus() -> None:
    modulus = rsa_key().public_key().public_numbers().n
    assert usable(jwk(rsa_key()) | {"n": number(modulus, 257)}) == 1


def test_a_point_off_its_curve_is_passed_over() -> None:
    point = jwk(ec_key())
    assert usable(point | {"y": base64url(bytes(32))}) == 0


def test_a_key_that_claims_another_curve_is_passed_over() -> None:
    assert usable(jwk(ec_key()) | {"crv": "P-384"}) == 0


@pytest.mark.parametrize("curve", ["secp256k1", "P-192", "p-256", 256, None])
def test_a_curve_that_is_not_known_is_passed_over(curve: Any) -> None:
    assert usable(jwk(ec_key()) | {"crv": curve}) == 0


def test_coordinates_of_another_length_are_passed_over() -> None:
    point = ec_key().public_key().public_numbers()
    assert usable(jwk(ec_key()) | {"x": number(point.x, 33)}) == 0


@pytest.mark.parametrize("x", ["", base64url(bytes(31)), base64url(bytes(33)), "====", 5, None])
def test_an_edwards_key_of_another_length_is_passed_over(x: Any) -> None:
    assert usable({"kty": "OKP", "crv": "Ed25519", "x": x}) == 0


def test_key_agreement_keys_are_passed_over() -> None:
    assert usable({"kty": "OKP", "crv": "X25519", "x": base64url(bytes(32))}) == 0


@pytest.mark.parametrize(
    "entry", [5, "key", None, [], {}, {"kty": "RSA"}, {"kty": ["RSA"]}, {"kty": "RSA", "n": "!", "e": "AQAB"}]
)
def test_what_is_no_key_is_passed_over(entry: Any) -> None:
    assert usable(entry) == 0


def test_two_keys_with_one_kid_make_the_set_ambiguous() -> None:
    with pytest.raises(InvalidKeySetError, match="one kid"):
        parse_jwks(jwks(jwk(rsa_key(), kid="a"), jwk(rsa_key(which=1), kid="a")))


def test_one_kid_for_keys_of_two_kinds_is_not_ambiguous() -> None:
    assert len(parse_jwks(jwks(jwk(rsa_key(), kid="a"), jwk(ec_key(), kid="a")))) == 2


def test_a_key_that_stands_twice_counts_once() -> None:
    keys = parse_jwks(jwks(jwk(rsa_key(), kid="a"), jwk(rsa_key(), kid="a", x5t="other")))
    assert (len(keys), keys.passed_over) == (1, 1)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": null}',
        b"\xff",
        b'{"keys": [], "keys": []}',
        b"<html></html>",
        b"[" * 100_000,
    ],
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidKeySetError):
        parse_jwks(document)


def test_a_key_set_has_bounds() -> None:
    with pytest.raises(InvalidKeySetError, match="bytes"):
        parse_jwks(b" " * (512 * 1024 + 1))
    with pytest.raises(InvalidKeySetError, match="keys"):
        parse_jwks(jwks(*({"kty": "oct"} for _ in range(101))))


def test_the_complaint_about_a_key_set_quotes_nothing_of_it() -> None:
    with pytest.raises(InvalidKeySetError) as error:
        parse_jwks(b'{"keys": "hunter2 is the secret"}')
    assert "hunter2" not in str(error.value)


def test_the_digest_of_a_set_is_that_of_its_document() -> None:
    one, two = jwks(jwk(rsa_key())), jwks(jwk(rsa_key(which=1)))
    assert parse_jwks(one).digest == parse_jwks(one).digest != parse_jwks(two).digest


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 1}', b'{"a": {"b": 1, "b": 2}}', b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}', b"[]", b"5", b'"a"', b"null", b"",
        b'{"a": "\\ud800"}', b'{"\\udc00": 1}', b"\xef\xbb\xbf{}", b'{"a": "\xff"}', b'{"a": 1,}', b"{'a': 1}", b'{"a": ' + b"9" * 5000 + b"}", b'{"a":' * 100_000,
    ],
)  # fmt: skip
def test_json_that_two_readers_could_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedJSONError):
        parse_object(text)


def test_json_with_escapes_is_read() -> None:
    assert parse_object(b'{"a": "\\u00e9\\ud83d\\ude00"}') == {"a": "\u00e9\U0001f600"}


@pytest.mark.parametrize("text", ["=", "QQ==", "QR", "QUI=", "Q", "Q Q", "QQ\n", "Q+8", "Q/8", "é", "QUJD=", "QUJDR"])
def test_another_spelling_of_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"base64url|padding|characters"):
        decode_base64url(text)


@given(st.binary(max_size=64))
def test_what_an_encoder_writes_is_read_back(octets: bytes) -> None:
    assert decode_base64url(base64url(octets)) == octets


@given(st.text(alphabet="ABCDefgh0123-_", max_size=12))
def test_no_two_spellings_stand_for_the_same_octets(text: str) -> None:
    try:
        octets = decode_base64url(text)
    except ValueError:
        return
    assert base64url(octets) == text


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: json.dumps({"keys": value}).encode())
)
def test_no_document_makes_the_parser_fail_in_another_way(document: bytes) -> None:
    try:
        parse_jwks(document)
    except InvalidKeySetError:
        return
