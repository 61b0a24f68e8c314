"""Where a value leaves its place."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.finding import Position
from gateway.inspection.sql.places import begins, exits, respelled


def test_value_ends_at_the_first_mark_that_is_not_doubled() -> None:
    assert next(iter(exits("a''b'c", "'")))[0] == 5


def test_mark_behind_a_backslash_ends_the_value_on_some_servers_only() -> None:
    found = [(start, escapes) for start, escapes, first in exits(r"a\'b'c", "'") if first]
    assert (3, False) in found
    assert (5, True) in found


def test_later_marks_are_few() -> None:
    assert len(list(exits("'a" * 1_000, "'"))) < 10


def test_marks_of_typography_are_read_as_quotation_marks() -> None:
    assert "1' or '1'='1" in list(respelled("1\u2019 or \u20191\u2019=\u20191"))


def test_plus_signs_are_read_as_spaces_where_there_are_none() -> None:
    assert list(respelled("1+or+1=1")) == ["1+or+1=1", "1 or 1=1"]
    assert list(respelled("1 + 1")) == ["1 + 1"]


def test_value_of_a_path_may_begin_behind_each_slash() -> None:
    assert list(begins("/a/b", Position.PATH)) == [0, 1, 3]
    assert list(begins("/a/b", Position.FORM)) == [0]
    assert len(list(begins("/" * 100, Position.PATH))) < 10


@given(st.text(alphabet="a'\\\"`", max_size=60), st.sampled_from("'\"`"))
def test_every_exit_is_behind_a_mark(text: str, quote: str) -> None:
    for start, _, _ in exits(text, quote):
        assert text[start - 1] == quote


@given(st.text(max_size=60))
def test_respelling_keeps_every_offset(text: str) -> None:
    assert all(len(spelling) == len(text) for spelling in respelled(text))
