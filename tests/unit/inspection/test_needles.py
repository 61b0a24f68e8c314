from hypothesis import example, given
from hypothesis import strategies as st

from gateway.inspection.needles import Needles


def test_lone_surrogates_are_no_needle_and_no_error() -> None:
    assert Needles(["a"]).are_in("\ud800a")
    assert not Needles(["a"]).are_in("\ud800\u00e4")


@example(texts=["a."], haystack="ab")
@given(
    st.lists(st.text(alphabet="ab.*\\[", min_size=1, max_size=4), min_size=1, max_size=8),
    st.text(alphabet="ab.*\\[", max_size=32),
)
def test_a_needle_is_found_exactly_where_it_occurs(texts: list[str], haystack: str) -> None:
    assert Needles(texts).are_in(haystack) == any(text in haystack for text in texts)
