"""Tokens of SQL, as five servers read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.sql.lexis import Kind, Lexer


def kinds(text: str, *, escapes: bool = True) -> list[tuple[Kind, str]]:
    lexer = Lexer(text, 0, escapes=escapes)
    found: list[tuple[Kind, str]] = []
    while True:
        token = lexer.next()
        if token.kind is Kind.END:
            return found
        found.append((token.kind, token.word))


@pytest.mark.parametrize(
    "white", [" ", "\t", "\n", "\x0b", "\x0c", "\xa0", "\x00", "\x01", "/**/", "/* x */", "\u200b"]
)
def test_whatever_a_server_takes_for_white_separates_words(white: str) -> None:
    assert kinds(f"or{white}x") == [(Kind.WORD, "or"), (Kind.WORD, "x")]


def test_comment_that_mysql_executes_is_code() -> None:
    assert kinds("/*!50000select*/ 1") == [(Kind.WORD, "select"), (Kind.NUMBER, "")]
    assert kinds("/*M!union*/") == [(Kind.WORD, "union")]


@pytest.mark.parametrize("comment", ["--", "-- x", "#", "# x", "/* x", "--\n", "# x\n  "])
def test_comment_to_the_end_cuts(comment: str) -> None:
    assert [kind for kind, _ in kinds("1" + comment)] == [Kind.NUMBER, Kind.CUT]


def test_line_behind_a_comment_is_read_on() -> None:
    assert kinds("1 -- x\nor 2") == [(Kind.NUMBER, ""), (Kind.WORD, "or"), (Kind.NUMBER, "")]


@pytest.mark.parametrize("number", ["1", "1.5", ".5", "1e5", "1e-5", "0x1f", "1.", "00", "\\N"])
def test_number_is_one_token(number: str) -> None:
    assert kinds(number) == [(Kind.NUMBER, "")]


def test_exponent_without_digits_is_dropped_as_mysql_does() -> None:
    assert kinds("1.e(1.e(x") == [(Kind.MARK, "("), (Kind.MARK, "("), (Kind.WORD, "x")]


def test_long_run_of_dropped_exponents_is_read_without_recursion() -> None:
    assert kinds("1.e " * 20_000 + "x") == [(Kind.WORD, "x")]


def test_digits_begin_a_word_unless_an_operator_follows() -> None:
    assert kinds("1st") == [(Kind.WORD, "1st")]
    assert kinds("1or 2") == [(Kind.NUMBER, ""), (Kind.WORD, "or"), (Kind.NUMBER, "")]
    assert kinds("1union") == [(Kind.NUMBER, ""), (Kind.WORD, "union")]


@pytest.mark.parametrize("text", ["'a'", "'a''b'", '"a"', "N'a'", "x'61'", "_utf8'a'", "$$a$$", "$t$a$t$"])
def test_literal_is_one_token(text: str) -> None:
    assert [kind for kind, _ in kinds(text)] == [Kind.STRING]


def test_backslash_escapes_only_where_a_server_knows_it() -> None:
    assert [kind for kind, _ in kinds(r"'a\' b", escapes=True)] == [Kind.OPEN_STRING]
    assert [kind for kind, _ in kinds(r"'a\' b", escapes=False)] == [Kind.STRING, Kind.WORD]


@pytest.mark.parametrize("sign", ["=", "==", "<=>", "!=", "<>", "||", "&&", "::", "->>", "#>", "@>", "~*", ":="])
def test_operator_is_one_token(sign: str) -> None:
    assert kinds(f"a {sign} 'b'")[1] == (Kind.OPERATOR, sign)


def test_variable_is_told_from_an_address() -> None:
    assert kinds("@@version")[0] == (Kind.VARIABLE, "@@version")
    assert kinds("a@b")[1] == (Kind.VARIABLE, "@b")


@pytest.mark.parametrize("sign", ["\u20ac", "\u2013", "\u201c", "\\"])
def test_sign_of_no_sql_is_foreign(sign: str) -> None:
    assert kinds(sign)[0][0] is Kind.FOREIGN


@given(st.text(alphabet="'\"`\\/*-#!$@.:1e0xNuUnion()[]{};, \n\x00\u00e9\u2019", max_size=80), st.booleans())
def test_every_text_is_read_forward_to_its_end(text: str, escapes: bool) -> None:
    lexer = Lexer(text, 0, escapes=escapes)
    at = 0
    for _ in range(len(text) + 1):
        token = lexer.next()
        assert at <= token.start <= token.end <= len(text)
        if token.kind is Kind.END:
            return
        assert token.end > token.start
        at = token.end
    raise AssertionError("the end was not reached")
