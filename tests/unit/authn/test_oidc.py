"""The way to a provider and back as values; what a whole sign-in refuses is tried in tests/unit/pages."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.jose import TokenFault
from gateway.authn.oidc import (
    ATTEMPT_S,
    Answer,
    AnswerFault,
    AnswerRefusedError,
    Attempt,
    authorization_parameters,
    challenge_of,
    read_answer,
    registered,
    require_own_answer,
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
