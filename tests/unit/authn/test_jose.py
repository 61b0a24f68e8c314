"""Every way in which a token can lie, by the section of RFC 8725 or the name under which the attack is known."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from hmac import new as hmac
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.jose import (
    ALGORITHMS,
    Claims,
    InvalidKeySetError,
    InvalidTokenError,
    KeySet,
    TokenFault,
    UnknownKeyError,
    parse_jwks,
    unverified_issuer,
    verify_jws,
    verify_jwt,
)
from tests.fakes.jose import base64url, compact, ec_key, ed_key, jwk, jwks, key_for, rsa_key, token

WYCHEPROOF = Path(__file__).parents[2] / "corpora" / "wycheproof_jws.jsonl"
ISSUER, AUDIENCE, NOW = "https://issuer.example", "portal", 1_800_000_000.0
GOOD = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": NOW - 10, "exp": NOW + 300, "jti": "t-1"}


@pytest.fixture(scope="module")
def keys() -> KeySet:
    return parse_jwks(jwks(jwk(rsa_key(), kid="r"), jwk(ec_key(), kid="e"), jwk(ed_key(), kid="d")))


def verify(text: str, keys: KeySet, **changes: Any) -> Claims:
    rules: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": frozenset({AUDIENCE}),
        "algorithms": frozenset({"RS256", "ES256", "EdDSA"}),
        "types": frozenset({"", "jwt", "at+jwt"}),
        "now": NOW,
        "leeway_s": 30.0,
        "required": frozenset({"exp", "iat", "sub"}),
    }
    return verify_jwt(text, keys=keys, **(rules | changes))


def fault(text: str, keys: KeySet, **changes: Any) -> str:
    with pytest.raises(InvalidTokenError) as error:
        verify(text, keys, **changes)
    return error.value.fault + (f" {error.value.claim}" if error.value.claim else "")


def signed(claims: dict[str, Any] | None = None, /, **header: Any) -> str:
    return token(rsa_key(), "RS256", GOOD if claims is None else claims, kid="r", **header)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_good_token_of_each_algorithm_verifies(algorithm: str) -> None:
    keys = parse_jwks(jwks(jwk(key_for(algorithm), kid="k")))
    text = token(key_for(algorithm), algorithm, GOOD, kid="k", typ="at+JWT")
    claims = verify(text, keys, algorithms=frozenset({algorithm}))
    assert (claims.subject, claims.audiences, claims.expires, claims.token_id, claims.type) == (
        "alice", (AUDIENCE,), NOW + 300, "t-1", "at+jwt",
    )  # fmt: skip
    assert claims.members == GOOD


def test_what_another_library_signs_verifies(keys: KeySet) -> None:
    assert verify(jwt.encode(GOOD, rsa_key(), algorithm="RS256", headers={"kid": "r"}), keys).subject == "alice"


# RFC 8725 section 2.1: weak signatures and insufficient validation


@pytest.mark.parametrize(
    "none", ["none", "None", "NONE", "nOnE", "", " none", "none\u0000", None, 0, [], {"a": 1}, ["RS256"]]
)
def test_algorithm_none_in_any_spelling_is_refused(none: Any, keys: KeySet) -> None:
    header, payload = json.dumps({"alg": none, "kid": "r"}).encode(), json.dumps(GOOD).encode()
    unsigned = f"{base64url(header)}.{base64url(payload)}."
    assert fault(unsigned, keys) == "malformed"
    assert fault(unsigned + base64url(b"x" * 256), keys) == "algorithm"
    assert fault(unsigned + signed().rpartition(".")[2], keys) == "algorithm"


def test_a_header_without_algorithm_is_refused(keys: KeySet) -> None:
    assert fault(compact(rsa_key(), "RS256", b'{"kid":"r"}', json.dumps(GOOD).encode()), keys) == "algorithm"


def test_a_caller_cannot_allow_none_or_a_shared_secret(keys: KeySet) -> None:
    for algorithm in ("none", "HS256", "HS512", ""):
        with pytest.raises(ValueError, match="public key"):
            verify(signed(), keys, algorithms=frozenset({"RS256", algorithm}))
    with pytest.raises(ValueError, match="public key"):
        verify(signed(), keys, algorithms=frozenset())


def public_texts() -> list[bytes]:
    public = rsa_key().public_key()
    text = serialization.PublicFormat.SubjectPublicKeyInfo
    return [
        public.public_bytes(serialization.Encoding.PEM, text),
        public.public_bytes(serialization.Encoding.PEM, text).strip(),
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        public.public_bytes(serialization.Encoding.DER, text),
        json.dumps(jwk(rsa_key(), kid="r")).encode(),
        public.public_numbers().n.to_bytes(256),
        b"",
    ]


@pytest.mark.parametrize("which", range(7))
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_as_shared_secret_signs_nothing(algorithm: str, which: int, keys: KeySet) -> None:
    """CVE-2016-10555, CVE-2022-29217, CVE-2024-33663: HS/RS confusion."""
    start = f"{base64url(json.dumps({'alg': algorithm, 'kid': 'r'}).encode())}.{base64url(json.dumps(GOOD).encode())}"
    mac = hmac(public_texts()[which], start.encode(), "sha" + algorithm[2:]).digest()
    assert fault(f"{start}.{base64url(mac)}", keys) == "algorithm"


def test_a_signature_of_another_algorithm_with_the_same_key_is_refused(keys: KeySet) -> None:
    """RFC 8725 section 3.1: the list is the issuer's, not the key's."""
    for algorithm in ("RS384", "RS512", "PS256"):
        assert fault(token(rsa_key(), algorithm, GOOD, kid="r"), keys) == "algorithm"


def test_a_key_of_another_type_than_the_algorithm_is_no_key_for_it(keys: KeySet) -> None:
    assert fault(token(rsa_key(), "RS256", GOOD, kid="e"), keys) == "unknown_key"
    assert (
        fault(compact(rsa_key(), "RS256", b'{"alg":"ES256","kid":"r"}', json.dumps(GOOD).encode()), keys)
        == "unknown_key"
    )
    assert (
        fault(compact(ed_key(), "EdDSA", b'{"alg":"ES256","kid":"d"}', json.dumps(GOOD).encode()), keys)
        == "unknown_key"
    )


def test_a_pss_salt_of_another_length_is_refused() -> None:
    keys = parse_jwks(jwks(jwk(rsa_key(), kid="r")))
    start = base64url(b'{"alg":"PS256","kid":"r"}') + "." + base64url(json.dumps(GOOD).encode())
    octets = rsa_key().sign(start.encode(), padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=0), SHA256())
    assert fault(f"{start}.{base64url(octets)}", keys, algorithms=frozenset({"PS256"})) == "signature"


# RFC 8725 section 2.2 and 3.4: elliptic curves, forms of signatures


@pytest.mark.parametrize(
    "octets", [bytes(64), bytes(32) + b"\x01" * 32, b"\x01" * 32 + bytes(32), b"\xff" * 64, b"\x00" * 63 + b"\x01"]
)
def test_psychic_signatures_are_refused(octets: bytes, keys: KeySet) -> None:
    """CVE-2022-21449: r = s = 0 verified for any message."""
    start = signed().split(".")[1]
    header = base64url(b'{"alg":"ES256","kid":"e"}')
    assert fault(f"{header}.{start}.{base64url(octets)}", keys) == "signature"


def test_an_ecdsa_signature_in_der_or_of_another_length_is_refused(keys: KeySet) -> None:
    start = base64url(b'{"alg":"ES256","kid":"e"}') + "." + base64url(json.dumps(GOOD).encode())
    der = ec_key().sign(start.encode(), ec.ECDSA(SHA256()))
    raw = token(ec_key(), "ES256", GOOD, kid="e")
    assert verify(raw, keys).subject == "alice"
    assert fault(f"{start}.{base64url(der)}", keys) == "signature"
    for longer in (bytes(65), bytes(63), bytes(66)):
        assert fault(f"{start}.{base64url(longer)}", keys) == "signature"


def test_an_r_or_s_not_below_the_order_of_the_group_is_refused(keys: KeySet) -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    start = base64url(b'{"alg":"ES256","kid":"e"}') + "." + base64url(json.dumps(GOOD).encode())
    for r, s in ((order, order), (order, 1), (1, order), (order + 1, order + 1)):
        assert fault(f"{start}.{base64url(r.to_bytes(32) + s.to_bytes(32))}", keys) == "signature"


# RFC 8725 section 2.7, 3.10: what a header would like the verifier to do


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://attacker.example/jwks.json"},
        {"x5u": "https://attacker.example/cert.pem"},
        {"jwk": jwk(rsa_key(which=7))},
        {"x5c": [b64encode(b"certificate").decode()]},
        {"jwk": None},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"crit": ["unknown"], "unknown": True},
        {"b64": True},
        {"b64": False},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"cty": "JWT"},
        {"cty": "application/jwt"},
        {"kid": ""},
        {"kid": 5},
        {"kid": ["r"]},
        {"kid": None},
        {"kid": "k" * 257},
    ],
)
def test_a_header_that_brings_a_key_or_changes_the_reading_is_refused(header: dict[str, Any], keys: KeySet) -> None:
    """CVE-2018-0114, CVE-2026-27962 (`jwk`), CVE-2025-59420, CVE-2026-32597 (`crit`)."""
    assert fault(token(rsa_key(), "RS256", GOOD, **({"kid": "r"} | header)), keys) == "header"


def test_a_token_signed_with_the_key_it_brings_along_is_refused(keys: KeySet) -> None:
    assert fault(token(rsa_key(which=7), "RS256", GOOD, jwk=jwk(rsa_key(which=7))), keys) == "header"


@pytest.mark.parametrize(
    "kid", ["../../dev/null", "' OR 1=1 --", "r\u0000", "R", " r", "|id", "file:///etc/passwd", "k" * 256]
)
def test_a_kid_is_only_compared(kid: str, keys: KeySet) -> None:
    assert fault(token(rsa_key(), "RS256", GOOD, kid=kid), keys) == "unknown_key"


def test_a_header_with_members_of_no_meaning_here_is_taken(keys: KeySet) -> None:
    assert verify(signed(x5t="dGh1bWI", **{"x5t#S256": "dGh1bWI"}), keys).subject == "alice"


# keys


def test_an_unknown_kid_says_so_that_the_caller_may_fetch_the_keys_again(keys: KeySet) -> None:
    with pytest.raises(UnknownKeyError):
        verify(token(rsa_key(which=1), "RS256", GOOD, kid="new"), keys)


def test_a_known_kid_with_a_wrong_signature_is_no_reason_to_fetch_keys(keys: KeySet) -> None:
    assert fault(token(rsa_key(which=1), "RS256", GOOD, kid="r"), keys) == "signature"


def test_without_a_kid_every_key_that_fits_is_tried() -> None:
    keys = parse_jwks(jwks(jwk(rsa_key()), jwk(rsa_key(which=1)), jwk(ec_key())))
    for which in (0, 1):
        assert verify(token(rsa_key(which=which), "RS256", GOOD), keys).subject == "alice"
    with pytest.raises(UnknownKeyError):
        verify(token(rsa_key(which=2), "RS256", GOOD), keys)


def test_a_token_that_names_no_key_cannot_make_the_gateway_try_a_hundred() -> None:
    keys = parse_jwks(jwks(*(jwk(ed_key(which), kid=str(which)) for which in range(9))))
    assert fault(token(ed_key(0), "EdDSA", GOOD), keys) == "unknown_key"
    assert verify(token(ed_key(0), "EdDSA", GOOD, kid="0"), keys).subject == "alice"


# form


def test_a_token_has_exactly_three_parts(keys: KeySet) -> None:
    header, payload, signature = signed().split(".")
    for text in (
        "", ".", "..", "...", header, f"{header}.{payload}", f"{header}.{payload}.", f"{header}..{signature}",
        f".{payload}.{signature}", f"{signed()}.", f"{signed()}.{signature}", f".{signed()}",
        f"{header}.{payload}.{signature}.a.b", f"{header} .{payload}.{signature}", f"{signed()}\n", f" {signed()}",
    ):  # fmt: skip
        assert fault(text, keys) in ("malformed", "signature")


def test_padding_and_other_alphabets_are_refused(keys: KeySet) -> None:
    header, payload, signature = signed().split(".")
    octets = signed().encode()
    for text in (
        f"{header}=.{payload}.{signature}", f"{header}.{payload}=.{signature}", f"{header}.{payload}.{signature}==",
        f"{header}.{payload}.{signature}\u00e9", f"{header}.{payload}.\uff21{signature[1:]}", octets.decode().replace(".", "\u3002"),
    ):  # fmt: skip
        assert fault(text, keys) in ("malformed", "signature")


def test_the_json_serialisation_is_refused(keys: KeySet) -> None:
    header, payload, signature = signed().split(".")
    for text in (
        json.dumps({"payload": payload, "protected": header, "signature": signature}),
        json.dumps({"payload": payload, "signatures": [{"protected": header, "signature": signature}]}),
        json.dumps({"a": f"{header}.{payload}.{signature}"}),
    ):
        assert fault(text, keys) == "malformed"


def test_an_encrypted_token_is_refused(keys: KeySet) -> None:
    assert fault("a.b.c.d.e", keys) == "malformed"


def test_members_that_stand_twice_are_refused(keys: KeySet) -> None:
    """RFC 7515 section 4, RFC 7519 section 4: two readers must not see two issuers."""
    payload = json.dumps(GOOD).encode()
    assert fault(compact(rsa_key(), "RS256", b'{"alg":"RS256","kid":"r","alg":"RS256"}', payload), keys) == "malformed"
    twice = payload[:-1] + b', "sub": "root"}'
    assert fault(compact(rsa_key(), "RS256", b'{"alg":"RS256","kid":"r"}', twice), keys) == "malformed"


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b"5", b"{", b"\xff", b'{"a": NaN}', b"\xef\xbb\xbf{}", "{}".encode("utf-16")]
)
def test_a_payload_that_is_no_json_object_is_refused(payload: bytes, keys: KeySet) -> None:
    assert fault(compact(rsa_key(), "RS256", b'{"alg":"RS256","kid":"r"}', payload), keys) == "malformed"


def test_sizes_are_bounded_before_anything_is_decoded(keys: KeySet) -> None:
    assert fault("a" * 16_385, keys) == "too_large"
    assert fault(f"{'a' * 4_097}.b.c", keys) == "too_large"
    assert fault(f"a.b.{'c' * 2_049}", keys) == "too_large"
    assert fault(signed({**GOOD, "filler": "x" * 13_000}), keys) == "too_large"
    assert verify(signed({**GOOD, "filler": "x" * 9_000}), keys).subject == "alice"


# RFC 8725 sections 3.11 and 3.12: one kind of token for another


@pytest.mark.parametrize(
    "kind",
    ["logout+jwt", "dpop+jwt", "application/secevent+jwt", "JOSE", "", " JWT", "at+jwt\n", 5, None, ["JWT"], "\u212aT"],
)
def test_a_token_of_another_kind_is_refused(kind: Any, keys: KeySet) -> None:
    assert fault(signed(typ=kind), keys) == "type"


def test_the_type_is_compared_as_media_types_are(keys: KeySet) -> None:
    for kind in ("at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"):
        assert verify(signed(typ=kind), keys, types=frozenset({"at+jwt"})).type == "at+jwt"


def test_where_a_type_is_asked_for_its_absence_is_refused(keys: KeySet) -> None:
    assert fault(signed(), keys, types=frozenset({"at+jwt"})) == "type"
    assert fault(signed(typ="JWT"), keys, types=frozenset({"at+jwt"})) == "type"


# RFC 8725 sections 3.8 and 3.9: issuer and audience


@pytest.mark.parametrize(
    "issuer",
    [f"{ISSUER}/", ISSUER.upper(), "https://issuer.example.attacker.example", " " + ISSUER, "http://issuer.example"],
)
def test_another_issuer_is_refused(issuer: str, keys: KeySet) -> None:
    assert fault(signed(GOOD | {"iss": issuer}), keys) == "issuer iss"


@pytest.mark.parametrize("value", [None, "", 5, True, [ISSUER], {"a": 1}, ISSUER + "\n", "x" * 2049])
def test_an_issuer_that_is_no_text_is_refused(value: Any, keys: KeySet) -> None:
    assert fault(signed(GOOD | {"iss": value}), keys) == "claim_malformed iss"
    assert fault(signed(without("iss")), keys) == "claim_missing iss"


@pytest.mark.parametrize("value", ["other", "portal2", "porta", "Portal", ["other"], "portal other", "https://portal"])
def test_a_token_for_somebody_else_is_refused(value: Any, keys: KeySet) -> None:
    assert fault(signed(GOOD | {"aud": value}), keys) == "audience aud"


@pytest.mark.parametrize(
    "value", [None, [], 5, True, {"portal": 1}, [["portal"]], ["portal", 5], [None], [""], ["portal"] * 65]
)
def test_an_audience_of_another_form_is_refused(value: Any, keys: KeySet) -> None:
    assert fault(signed(GOOD | {"aud": value}), keys) == "claim_malformed aud"
    assert fault(signed(without("aud")), keys) == "claim_missing aud"


def test_one_audience_of_several_is_enough(keys: KeySet) -> None:
    assert verify(signed(GOOD | {"aud": ["other", "portal"]}), keys).audiences == ("other", "portal")


def test_rules_without_issuer_or_audience_verify_nothing(keys: KeySet) -> None:
    for changes in ({"issuer": ""}, {"audiences": frozenset[str]()}, {"audiences": frozenset({""})}):
        with pytest.raises(ValueError, match="are needed"):
            verify(signed(), keys, **changes)


# time


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({"exp": NOW - 31}, "expired exp"),
        ({"exp": NOW - 30}, "expired exp"),
        ({"exp": 0}, "expired exp"),
        ({"nbf": NOW + 31}, "not_yet_valid nbf"),
        ({"iat": NOW + 31}, "not_yet_valid iat"),
        ({"iat": NOW + 10_000}, "not_yet_valid iat"),
    ],
)
def test_a_token_outside_its_time_is_refused(claims: dict[str, Any], found: str, keys: KeySet) -> None:
    assert fault(signed(GOOD | claims), keys) == found


@pytest.mark.parametrize(
    "claims", [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 29}, {"exp": NOW + 0.5, "iat": 0}]
)
def test_the_leeway_is_granted_on_both_ends(claims: dict[str, Any], keys: KeySet) -> None:
    assert verify(signed(GOOD | claims), keys).subject == "alice"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", [True, False, "1800000300", None, [], {}, -1, -0.5, 253_402_300_800, 1.8e12, 1e300, 10**400]
)
def test_a_time_that_is_no_time_is_refused(name: str, value: Any, keys: KeySet) -> None:
    found = fault(signed(GOOD | {name: value}), keys)
    assert found in (f"claim_malformed {name}", f"claim_missing {name}" if value is None else "", "malformed")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_time_that_never_comes_is_refused(text: str, keys: KeySet) -> None:
    payload = json.dumps(GOOD | {"exp": 0}).replace('"exp": 0', f'"exp": {text}').encode()
    assert fault(compact(rsa_key(), "RS256", b'{"alg":"RS256","kid":"r"}', payload), keys) == "malformed"


@pytest.mark.parametrize("name", ["exp", "iat", "sub"])
def test_a_claim_that_is_required_must_be_there(name: str, keys: KeySet) -> None:
    assert fault(signed(without(name)), keys) == f"claim_missing {name}"
    assert fault(signed(GOOD | {name: None}), keys) in (f"claim_missing {name}", f"claim_malformed {name}")


def test_a_claim_that_is_not_required_may_be_absent(keys: KeySet) -> None:
    claims = verify(signed({"iss": ISSUER, "aud": AUDIENCE}), keys, required=frozenset())
    assert (claims.subject, claims.expires, claims.issued, claims.not_before, claims.token_id) == (
        "",
        None,
        None,
        None,
        "",
    )


@pytest.mark.parametrize(
    "value", ["", 5, True, ["alice"], {"a": 1}, "a" * 256, "alice\n", "alice\u0000", "\u202ealice"]
)
def test_a_subject_of_another_form_is_refused(value: Any, keys: KeySet) -> None:
    assert fault(signed(GOOD | {"sub": value}), keys) == "claim_malformed sub"


@pytest.mark.parametrize("value", ["", 5, None, "j" * 257])
def test_a_token_id_of_another_form_is_refused(value: Any, keys: KeySet) -> None:
    assert fault(signed(GOOD | {"jti": value}), keys) == "claim_malformed jti"


def test_claims_are_not_looked_at_before_the_signature_held(keys: KeySet) -> None:
    text = token(rsa_key(which=1), "RS256", {"iss": "x", "exp": 0}, kid="r")
    assert fault(text, keys) == "signature"


# what is said about a refusal


def test_the_error_holds_no_word_of_the_token(keys: KeySet) -> None:
    for text in (
        signed(GOOD | {"sub": "hunter2\n"}),
        signed(GOOD | {"aud": "hunter2"}),
        "hunter2.hunter2.hunter2",
        signed(jku="hunter2"),
    ):
        with pytest.raises(InvalidTokenError) as error:
            verify(text, keys)
        assert "hunter2" not in repr(error.value)
        assert error.value.__cause__ is None
        assert str(error.value).split(" ")[0] in set(TokenFault)


def test_the_unverified_issuer_is_read_as_strictly(keys: KeySet) -> None:
    assert unverified_issuer(signed()) == ISSUER
    for text in ("", "a.b.c", signed(without("iss")), signed(GOOD | {"iss": 5})):
        with pytest.raises(InvalidTokenError):
            unverified_issuer(text)


# corpora and properties


def test_wycheproof_finds_nothing_that_verifies_and_should_not() -> None:
    """JSON Web Signature and Key vectors of project Wycheproof: what must fail does, what may verify does with public keys."""
    outcomes: Counter[tuple[str, str]] = Counter()
    kinds = frozenset({"", "jwt", "jose"})
    for line in WYCHEPROOF.read_text().splitlines():
        group = json.loads(line)
        # RFC 7520 figure 20 and 27 there come with keys for "PS256" and "ES521": not the algorithm of the token
        is_for_us = (
            all(key["kty"] != "oct" for key in group["keys"]) and "ES521" not in line and group["comment"] != "rfc7520"
        )
        try:
            keys = parse_jwks(json.dumps({"keys": group["keys"]}).encode())
        except InvalidKeySetError:
            keys = KeySet(())
        for number, comment, expected, text in group["tests"]:
            try:
                verify_jws(text, keys=keys, algorithms=ALGORITHMS, types=kinds)
            except InvalidTokenError:
                found = "invalid"
            else:
                found = "valid"
            if expected == "invalid" or (is_for_us and comment != "Figure20"):
                assert found == expected, (group["comment"], number, comment)
            outcomes[expected, found] += 1
    assert outcomes == {("invalid", "invalid"): 376, ("valid", "valid"): 33, ("valid", "invalid"): 18}


TOKENS = {algorithm: token(key_for(algorithm), algorithm, GOOD, kid="k") for algorithm in ("RS256", "ES256", "EdDSA")}


@given(st.sampled_from(sorted(TOKENS)), st.data())
def test_no_token_with_a_byte_changed_verifies(algorithm: str, data: st.DataObject) -> None:
    keys = parse_jwks(jwks(jwk(key_for(algorithm), kid="k")))
    text = TOKENS[algorithm]
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(max_codepoint=0x17F).filter(lambda c: c != text[place]))
    with pytest.raises(InvalidTokenError):
        verify(text[:place] + other + text[place + 1 :], keys)


@given(st.sampled_from(sorted(TOKENS)), st.data())
def test_no_token_with_a_byte_lost_or_added_verifies(algorithm: str, data: st.DataObject) -> None:
    keys = parse_jwks(jwks(jwk(key_for(algorithm), kid="k")))
    text = TOKENS[algorithm]
    place = data.draw(st.integers(0, len(text) - 1))
    added = data.draw(st.characters(max_codepoint=0x17F))
    for changed in (text[:place] + text[place + 1 :], text[:place] + added + text[place:]):
        if changed != text:
            with pytest.raises(InvalidTokenError):
                verify(changed, keys)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda octets: urlsafe_b64encode(octets).decode()))
def test_no_text_makes_the_verifier_fail_in_another_way(text: str) -> None:
    keys = parse_jwks(jwks(jwk(ed_key(), kid="k")))
    for candidate in (text, f"{text}.{text}.{text}", f"{TOKENS['EdDSA']}{text}x"):
        with pytest.raises(InvalidTokenError):
            verify(candidate, keys)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["alg", "kid", "typ", "crit", "iss", "aud", "exp", "a"]), inner, max_size=5
            )
        ),
        max_leaves=8,
    )
)
def test_no_signed_object_makes_the_verifier_fail_in_another_way(value: Any) -> None:
    keys = parse_jwks(jwks(jwk(ed_key(), kid="k")))
    with pytest.raises(InvalidTokenError):
        verify(compact(ed_key(), "EdDSA", json.dumps(value).encode(), json.dumps(GOOD).encode()), keys)
    with pytest.raises(InvalidTokenError):
        verify(compact(ed_key(), "EdDSA", b'{"alg":"EdDSA","kid":"k"}', json.dumps(value).encode()), keys)
