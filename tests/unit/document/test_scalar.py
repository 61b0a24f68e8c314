from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.document.scalar import resolve


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True), ("False", False), ("0", 0), ("-7", -7), ("+3", 3), ("0o17", 15), ("0x1F", 31), ("1.5", 1.5),
        ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("0.25", 0.25),
    ],
)  # fmt: skip
def test_words_of_the_core_schema_have_their_value(word: str, value: object) -> None:
    found = resolve(word)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "word", ["NO", "no", "yes", "on", "off", "y", "12:30:00", "2026-01-01", "1_000", "0b11", "<<", "=", "tRUE", "1.2.3"]
)
def test_words_that_only_yaml_1_1_converts_stay_text(word: str) -> None:
    assert resolve(word) == word


@pytest.mark.parametrize("word", ["", "~", "null", "NULL"])
def test_an_empty_value_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="empty value"):
        resolve(word)


@pytest.mark.parametrize("word", ["010", "-01", "00"])
def test_a_leading_zero_is_refused_because_it_has_two_readings(word: str) -> None:
    with pytest.raises(ValueError, match="two ways"):
        resolve(word)


@pytest.mark.parametrize("word", [".inf", "-.INF", ".nan"])
def test_a_number_that_is_not_finite_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        resolve(word)


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_every_integer_comes_back(number: int) -> None:
    assert resolve(str(number)) == number
