from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.password import PasswordRefusedError, context_words, require_acceptable
from gateway.authn.strength import estimate


@pytest.mark.parametrize("password", ["qwertyuiopasdf", "aaaaaaaaaaaaaaab", "abcdefghijklmnop", "trustno1trustno1"])
def test_what_is_guessed_first_is_weak_and_the_person_is_told_why(password: str) -> None:
    found = estimate(password, ())
    assert found.score < 2
    assert found.advice.endswith(".")
    with pytest.raises(PasswordRefusedError) as refused:
        require_acceptable(password, context=(), breached=None, min_score=2)
    assert password not in refused.value.sentence


@pytest.mark.parametrize("password", ["brown cow dances", "ein neuer Tag beginnt", "k3vd-2xqm-rw5f-tj7a"])
def test_words_that_have_nothing_to_do_with_each_other_are_strong(password: str) -> None:
    assert estimate(password, ()).score == 4


def test_the_words_of_the_account_make_a_password_weaker() -> None:
    assert estimate("zanzibarquux", ("zanzibarquux",)).score < estimate("zanzibarquux", ()).score


@given(st.text(max_size=200))
def test_any_text_has_a_score(password: str) -> None:
    assert 0 <= estimate(password, ("alice", "")).score <= 4


def test_text_that_is_no_text_has_the_lowest_score() -> None:
    assert estimate("\ud800" * 20, ()).score == 0


def test_an_account_and_its_place_are_known_by_their_parts() -> None:
    words = context_words("alice", "alice.smith@mail.example.com", "acme", "Portal Nord")
    assert {"alice", "alice.smith", "smith", "mail", "example", "acme", "portal", "nord", "portal nord"} <= set(words)
    assert "com" not in words
    assert "" not in words


@pytest.mark.parametrize("password", ["alice-portal-acme", "Example.Com/alice1", "acme-portal-2024"])
def test_a_password_made_of_such_words_alone_is_refused(password: str) -> None:
    context = context_words("alice", "acme", "portal.example.com")
    with pytest.raises(PasswordRefusedError, match="name or address"):
        require_acceptable(password, context=context, breached=None)
