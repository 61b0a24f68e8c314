"""An attempt opens at the origin and in the browser it was begun in, and nowhere else."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.oidc import Attempt
from gateway.federation.attempts import MAX_RETURN_TO, MAX_STATE, AttemptSeal

SEAL = AttemptSeal(b"k" * 32, os.urandom)
BROWSER = b"b" * 32
ORIGIN = "https://portal.example.com"
ATTEMPT = Attempt(id=b"i" * 16, provider="okta", started=1.0, return_to="/" + "x" * (MAX_RETURN_TO - 1), acr=("phr",))


def test_longest_attempt_fits() -> None:
    state = SEAL.close(ATTEMPT, origin=ORIGIN, browser=BROWSER)
    assert len(state) <= MAX_STATE
    assert SEAL.open(state, origin=ORIGIN, browser=BROWSER) == ATTEMPT


@pytest.mark.parametrize(
    ("seal", "origin", "browser"),
    [
        (SEAL, ORIGIN, b"c" * 32),
        (SEAL, ORIGIN, b""),
        (SEAL, "https://other.example.com", BROWSER),
        (SEAL, "http://portal.example.com", BROWSER),
        (AttemptSeal(b"l" * 32, os.urandom), ORIGIN, BROWSER),
    ],
)
def test_it_opens_nowhere_else(seal: AttemptSeal, origin: str, browser: bytes) -> None:
    state = SEAL.close(ATTEMPT, origin=ORIGIN, browser=BROWSER)
    assert seal.open(state, origin=origin, browser=browser) is None


def test_one_changed_bit_closes_it() -> None:
    state = SEAL.close(ATTEMPT, origin=ORIGIN, browser=BROWSER)
    for place in range(0, len(state), 7):
        changed = state[:place] + ("A" if state[place] != "A" else "B") + state[place + 1 :]
        assert SEAL.open(changed, origin=ORIGIN, browser=BROWSER) is None


@given(st.text(max_size=64))
def test_no_other_text_opens(text: str) -> None:
    assert SEAL.open(text, origin=ORIGIN, browser=BROWSER) is None
