"""The way to a provider and back as values; what a whole sign-in refuses is tried in tests/unit/pages."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha256, sha384, sha512
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.authn.discovery import Metadata
from gateway.authn.jose import ALGORITHMS, Claims, InvalidTokenError, KeySet, TokenFault, parse_jwks
from gateway.authn.oidc import (
    ATTEMPT_S,
    LOGOUT_EVENT,
    LONG_AGO,
    Answer,
    AnswerFault,
    AnswerRefusedError,
    Attempt,
    auth_time_of,
    authorization_parameters,
    challenge_of,
    read_answer,
    registered,
    require_own_answer,
    session_id_of,
    verify_id_token,
    verify_logout_token,
    with_query,
)

NOW = 1_800_000_000.0
BROWSER = b"b" * 32
ATTEMPT = Attempt(id=b"i" * 16, provider="okta", started=NOW)
ISSUER = "https://acme.okta.com"


def test_challenge_of_rfc_7636_appendix_b() -> None:
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_nonce_and_verifier_are_of_this_browser_and_attempt_alone() -> None:
    other = Attempt(id=b"j" * 16, provider="okta", started=NOW)
    made = {
        maker(secret)
        for attempt in (ATTEMPT, other)
        for secret in (BROWSER, b"c" * 32)
        for maker in (attempt.nonce, attempt.verifier)
    }
    assert len(made) == 8
    assert all(len(value) == 43 for value in made)
    assert ATTEMPT.nonce(BROWSER) == ATTEMPT.nonce(BROWSER)


def test_request_says_what_is_wanted_and_no_secret() -> None:
    attempt = Attempt(id=b"i" * 16, provider="okta", started=NOW, max_age=0.0, acr=("phr", "phrh"), prompt="login")
    asked = authorization_parameters(
        attempt,
        browser=BROWSER,
        state="s",
        client_id="c",
        redirect_uri="https://p.example/cb",
        scopes=("openid", "email"),
        login_hint="carol@acme.example",
    )
    assert asked["response_type"] == "code"
    assert asked["code_challenge"] == challenge_of(attempt.verifier(BROWSER))
    assert (asked["scope"], asked["max_age"], asked["acr_values"]) == ("openid email", "0", "phr phrh")
    assert attempt.verifier(BROWSER) not in asked.values()
    plain = authorization_parameters(
        ATTEMPT, browser=BROWSER, state="s", client_id="c", redirect_uri="r", scopes=("openid",)
    )
    assert not {"prompt", "max_age", "acr_values", "login_hint"} & set(plain)


def test_query_is_added_to_one_that_is_there() -> None:
    assert with_query("https://id.example/a?p=B2C_1", {"x": "a b&c"}) == "https://id.example/a?p=B2C_1&x=a+b%26c"
    assert parse_qs(urlsplit(with_query("https://id.example/a", {"x": "ä"})).query) == {"x": ["ä"]}


def test_answer_is_a_code_or_an_error() -> None:
    assert read_answer([("code", "c"), ("state", "s"), ("iss", ISSUER), ("unknown", "x"), ("unknown", "y")]) == Answer(
        code="c", state="s", issuer=ISSUER
    )
    assert read_answer([("error", "access_denied"), ("state", "s")]).error == "access_denied"


@given(st.lists(st.tuples(st.sampled_from(["code", "state", "iss", "error", "x"]), st.text(max_size=8)), max_size=6))
def test_answer_is_never_guessed(parameters: list[tuple[str, str]]) -> None:
    try:
        answer = read_answer(parameters)
    except AnswerRefusedError as error:
        assert error.fault is AnswerFault.PARAMETERS  # noqa: PT017
        return
    names = [name for name, _ in parameters if name != "x"]
    assert len(names) == len(set(names))
    assert answer.state
    assert bool(answer.code) is not bool(answer.error)


@pytest.mark.parametrize(
    ("answer", "provider", "names_issuer", "later", "fault"),
    [
        (Answer(code="c", state="s"), "evil", False, 0, AnswerFault.MIXED_UP),
        (Answer(code="c", state="s", issuer="https://evil.example"), "okta", False, 0, AnswerFault.MIXED_UP),
        (Answer(code="c", state="s"), "okta", True, 0, AnswerFault.MIXED_UP),
        (Answer(code="c", state="s"), "okta", False, ATTEMPT_S, AnswerFault.STATE),
        (Answer(code="c", state="s"), "okta", False, -120, AnswerFault.STATE),
        (Answer(error="access_denied", state="s"), "okta", False, 0, AnswerFault.PROVIDER_ERROR),
    ],
)
def test_answer_of_somebody_else_or_too_late_is_refused(
    answer: Answer, provider: str, names_issuer: bool, later: float, fault: AnswerFault
) -> None:
    with pytest.raises(AnswerRefusedError) as refused:
        require_own_answer(
            answer, ATTEMPT, provider=provider, issuer=ISSUER, names_issuer=names_issuer, now=NOW + later
        )
    assert refused.value.fault is fault


@given(st.text(max_size=40))
def test_only_registered_errors_are_repeated(error: str) -> None:
    assert registered(error) in {"", error}
    assert registered(f"<{error}>") == ""
    assert registered(None) == registered(["access_denied"]) == ""


def test_faults_of_answers_and_tokens_have_names_of_their_own() -> None:
    assert not set(map(str, AnswerFault)) & set(map(str, TokenFault))


# Tokens


METADATA = Metadata(
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/a",
    token_endpoint=f"{ISSUER}/t",
    jwks_uri=f"{ISSUER}/k",
    algorithms=ALGORITHMS,
)
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
DIGESTS = {"RS256": sha256, "ES384": sha384, "EdDSA": sha512}


def key_set() -> KeySet:
    found = []
    for algorithm, key in KEYS.items():
        maker: Any = {"RS256": RSAAlgorithm, "ES384": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm]
        found.append({**json.loads(maker.to_jwk(key.public_key())), "kid": algorithm, "alg": algorithm, "use": "sig"})
    return parse_jwks(json.dumps({"keys": found}).encode())


def token(algorithm: str = "RS256", kind: str = "JWT", **claims: Any) -> str:
    whole = {"iss": ISSUER, "aud": "c", "sub": "1", "iat": NOW, "exp": NOW + 300, **claims}
    present = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(present, KEYS[algorithm], algorithm=algorithm, headers={"kid": algorithm, "typ": kind})


def believe(text: str, **more: Any) -> Claims:
    given_more = {"nonce": None, "access_token": "the access token", "now": NOW, **more}
    return verify_id_token(text, keys=key_set(), metadata=METADATA, client_id="c", **given_more)


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_access_token_is_bound_by_the_digest_of_the_algorithm(algorithm: str) -> None:
    whole = DIGESTS[algorithm](b"the access token").digest()
    half = urlsafe_b64encode(whole[: len(whole) // 2]).decode().rstrip("=")
    assert believe(token(algorithm, at_hash=half)).subject == "1"
    with pytest.raises(AnswerRefusedError):
        believe(token(algorithm, at_hash=half), access_token="another")


def test_token_of_a_refresh_has_no_nonce_and_needs_none() -> None:
    assert believe(token()).subject == "1"
    with pytest.raises(AnswerRefusedError, match="nonce"):
        believe(token(), nonce="n")


@pytest.mark.parametrize(
    ("claims", "more"),
    [
        ({"azp": "other"}, {}),
        ({"aud": ["c", "d"]}, {}),
        ({"auth_time": NOW - 400}, {"max_age": 300.0}),
        ({"acr": "aal1"}, {"acr": ("phr",)}),
        ({"at_hash": 1}, {}),
    ],
)
def test_rules_beyond_the_signature(claims: dict[str, Any], more: dict[str, Any]) -> None:
    with pytest.raises(AnswerRefusedError):
        believe(token(**claims), **more)


def test_party_and_age_within_the_rules_pass() -> None:
    claims = believe(token(aud=["c", "d"], azp="c", auth_time=NOW - 300, acr="phr"), max_age=300.0, acr=("phr",))
    assert auth_time_of(claims) == NOW - 300
    assert auth_time_of(believe(token())) == LONG_AGO
    with pytest.raises(InvalidTokenError):
        believe(token(), max_age=300.0)
    with pytest.raises(InvalidTokenError):
        auth_time_of(believe(token(auth_time=True)))


def log_out(text: str) -> Claims:
    return verify_logout_token(text, keys=key_set(), metadata=METADATA, client_id="c", now=NOW)


def test_logout_token_names_a_session_or_a_person() -> None:
    said: dict[str, Any] = {"jti": "j", "events": {LOGOUT_EVENT: {}}}
    assert session_id_of(log_out(token(kind="logout+jwt", sub=None, sid="s", **said))) == "s"
    assert log_out(token(kind="logout+jwt", **said)).subject == "1"
    broken: list[dict[str, Any]] = [
        {"sub": None},
        {"nonce": "n"},
        {"events": []},
        {"jti": None},
        {"iat": NOW - 600},
        {"sub": None, "sid": 7},
    ]
    for wrong in broken:
        with pytest.raises(InvalidTokenError):
            log_out(token(kind="logout+jwt", **(said | wrong)))
    with pytest.raises(InvalidTokenError):
        log_out(token(kind="at+jwt", **said))


@pytest.mark.parametrize("sid", ["", "x" * 513, "a\nb", 7, None])
def test_session_id_that_is_none_counts_as_unsaid(sid: Any) -> None:
    assert session_id_of(believe(token(sid=sid))) == ""
