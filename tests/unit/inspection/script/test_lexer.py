"""JavaScript's tokens, whatever is thrown at them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.script.lexer import Kind, tokens


def kinds(text: str) -> list[tuple[Kind, str]]:
    return [(token.kind, token.text) for token in tokens(text)]


def test_strings_numbers_names_and_marks_are_told_apart() -> None:
    assert kinds("a.b('x', 1.5)") == [
        (Kind.WORD, "a"),
        (Kind.MARK, "."),
        (Kind.WORD, "b"),
        (Kind.MARK, "("),
        (Kind.STRING, "'x'"),
        (Kind.MARK, ","),
        (Kind.NUMBER, "1.5"),
        (Kind.MARK, ")"),
    ]


def test_a_slash_divides_after_an_operand_and_begins_an_expression_elsewhere() -> None:
    assert Kind.REGEX not in [kind for kind, _ in kinds("a / b / c")]
    assert kinds("x=/al/g.source")[2] == (Kind.REGEX, "/al/g")
    assert kinds("/al/.source")[0] == (Kind.REGEX, "/al/")
    assert kinds("return /a/")[1][0] is Kind.REGEX
    assert kinds("a\n/b/")[2][0] is Kind.REGEX


def test_comments_of_each_kind_are_comments() -> None:
    assert [kind for kind, _ in kinds("a//b\n/*c*/<!--d\n/*e")] == [
        Kind.WORD,
        Kind.COMMENT,
        Kind.NEWLINE,
        Kind.COMMENT,
        Kind.COMMENT,
        Kind.NEWLINE,
        Kind.COMMENT,
    ]


def test_escapes_in_names_are_resolved_and_noted() -> None:
    (token,) = tokens("\\u0061l\\u{65}rt")
    assert token.text == "alert"
    assert token.is_escaped
    (beyond,) = tokens("\\u{ffffff}")
    assert beyond.text == "\ufffd"


@pytest.mark.parametrize(
    ("text", "is_closed"),
    [("'a'", True), ("'a", False), ("`a`", True), ("`a", False), ("'a\\'", False), ("/*a", False)],
)
def test_what_the_text_does_not_close_is_open(text: str, *, is_closed: bool) -> None:
    (token,) = tokens(text)
    assert token.is_closed is is_closed


def test_a_character_of_no_program_is_a_stray() -> None:
    assert kinds("a “b”")[1][0] is Kind.STRAY


@given(st.text(alphabet="'\"`\\/*\n ab1.()[]{}#“<!-$u{00", max_size=60))
def test_tokens_follow_each_other_without_overlap_to_the_end(text: str) -> None:
    at = 0
    for token in tokens(text):
        assert at <= token.start < token.end <= len(text)
        at = token.end
