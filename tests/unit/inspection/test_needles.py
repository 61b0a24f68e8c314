from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.needles import Needles


@given(
    st.lists(st.text(alphabet="ab.*\\[", min_size=1, max_size=4), min_size=1, max_size=8),
    st.text(alphabet="ab.*\\[", max_size=32),
)
def test_a_needle_is_found_exactly_where_it_occurs(texts: list[str], haystack: str) -> None:
    assert Needles(texts).are_in(haystack) == any(text in haystack for text in texts)
