from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.passkey import encode
from gateway.pages.flow import CHALLENGE_NONCE_BYTES, FLOW_LIFETIME_S, PROVE, FlowSeal

ORIGIN = "https://portal.example.com"
KEY = bytes(range(32))


@pytest.fixture
def seal() -> FlowSeal:
    return FlowSeal(KEY, os.urandom)


def test_a_state_comes_back_as_it_was(seal: FlowSeal) -> None:
    flow = seal.begin("/invoices/42?x=1", 1000.0)
    assert seal.open(seal.close(flow, ORIGIN), ORIGIN, 1000.0) == flow


def test_the_longest_return_to_fits_into_a_cookie(seal: FlowSeal) -> None:
    assert len(seal.close(seal.begin("/" + "a" * 1999, 1000.0), ORIGIN)) < 3900


@pytest.mark.parametrize("later", [FLOW_LIFETIME_S, FLOW_LIFETIME_S + 1, 1e9])
def test_an_old_state_is_none(seal: FlowSeal, later: float) -> None:
    assert seal.open(seal.close(seal.begin("/", 1000.0), ORIGIN), ORIGIN, 1000.0 + later) is None


def test_a_state_of_the_future_is_none_but_a_clock_may_be_a_little_off(seal: FlowSeal) -> None:
    value = seal.close(seal.begin("/", 1000.0), ORIGIN)
    assert seal.open(value, ORIGIN, 945.0) is not None
    assert seal.open(value, ORIGIN, 900.0) is None


@pytest.mark.parametrize(
    "origin", ["http://portal.example.com", "https://other.example.com", "https://portal.example.com:8443", ""]
)
def test_a_state_of_another_origin_does_not_open(seal: FlowSeal, origin: str) -> None:
    assert seal.open(seal.close(seal.begin("/", 1000.0), ORIGIN), origin, 1000.0) is None


def test_a_state_under_another_key_does_not_open(seal: FlowSeal) -> None:
    foreign = FlowSeal(bytes(32), os.urandom)
    assert seal.open(foreign.close(foreign.begin("/", 1000.0), ORIGIN), ORIGIN, 1000.0) is None


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_one_flipped_bit_is_noticed(place: int, bit: int) -> None:
    seal = FlowSeal(KEY, bytes)
    value = seal.close(seal.begin("/", 1000.0), ORIGIN)
    raw = bytearray(urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    raw[place % len(raw)] ^= 1 << bit
    assert seal.open(urlsafe_b64encode(raw).decode(), ORIGIN, 1000.0) is None


@given(st.text(max_size=200))
def test_garbage_is_none(value: str) -> None:
    assert FlowSeal(KEY, os.urandom).open(value, ORIGIN, 1000.0) is None


def test_a_value_of_64_kib_is_none(seal: FlowSeal) -> None:
    assert seal.open("A" * 65536, ORIGIN, 1000.0) is None


def test_a_token_belongs_to_its_form_its_browser_and_its_session(seal: FlowSeal) -> None:
    flow, other = seal.begin("/", 1000.0), seal.begin("/", 1000.0)
    token = flow.token("mfa", "s-1")
    assert flow.owns(token, "mfa", "s-1")
    assert not flow.owns(token, "password", "s-1")
    assert not flow.owns(token, "mfa", "s-2")
    assert not flow.owns(token, "mfa", "")
    assert not other.owns(token, "mfa", "s-1")


@given(st.text(max_size=60))
def test_no_guess_is_a_token(guess: str) -> None:
    flow = FlowSeal(KEY, os.urandom).begin("/", 1000.0)
    assert not flow.owns(guess, "mfa", "s-1")


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="AESGCM key"):
        FlowSeal(b"short", os.urandom)


def test_challenge_is_known_on_a_node_whose_clock_is_behind_and_not_on_one_that_is_wrong() -> None:
    state = FlowSeal(KEY, os.urandom).begin("/", 1000.0)
    challenge = state.challenge(PROVE, "s_1", 1000.0, bytes(CHALLENGE_NONCE_BYTES))
    for late, is_known in ((-61, False), (-60, True), (-1, True), (0, True), (299, True), (300, False)):
        found = state.owns_challenge(encode(challenge), PROVE, "s_1", 1000.0 + late)
        assert (found == challenge) is is_known, late
