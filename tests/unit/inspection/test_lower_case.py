"""Lower case that keeps the place of every letter."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.lower_case import lower_case


@given(st.text())
def test_every_letter_stays_where_it_was(text: str) -> None:
    lowered = lower_case(text)
    assert len(lowered) == len(text)
    assert all(
        after == (before.lower() if before.isascii() else before) for before, after in zip(text, lowered, strict=True)
    )


def test_a_letter_whose_small_form_is_two_hides_nothing() -> None:
    assert lower_case("\u0130 EVAL(\udcff)") == "\u0130 eval(\udcff)"
