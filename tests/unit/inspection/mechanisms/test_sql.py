"""Which sign an injection into SQL shows, and what prose and quoted code do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.finding import Position
from gateway.inspection.mechanisms import sql


def seen(text: str, position: Position = Position.FORM) -> set[str]:
    return {sign.name for sign in sql.signs(text, position)}


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("x' or 1=1", "sql.tautology"),
        ("1 or 1=1", "sql.tautology"),
        ("x' and password like 'a%", "sql.condition"),
        ("1 and user_id=2", "sql.condition"),
        ("x' union select 1,2--", "sql.union"),
        ("1 and 1=(select 1)", "sql.subquery"),
        ("x'; drop table y--", "sql.stacked"),
        ("1; select 1", "sql.stacked"),
        ("x' and sleep(5)--", "sql.delay"),
        ("1; waitfor delay '0:0:5'", "sql.delay"),
        ("x' and load_file('/etc/passwd')--", "sql.probe"),
        ("1 and @@version=1", "sql.probe"),
        ("admin'--", "sql.cut"),
        ("admin';", "sql.cut"),
        ("'-0-'", "sql.arithmetic"),
        ("x'||name||'", "sql.arithmetic"),
        ("x' order by 5--", "sql.ordering"),
        ("1 order by 5", "sql.ordering"),
        ("x' into outfile '/x'--", "sql.into_file"),
        ("(case when a=1 then b else c end)", "sql.choice"),
        ("1 /*!50000union*/", "sql.executable_comment"),
        ("select column_name from information_schema.columns", "sql.statement_probe"),
        ("drop table users;--", "sql.statement_probe"),
        ("1-" * 9_000 + "1 or x", "sql.endless"),
        ("select name from users", "sql.statement"),
        ("status = 1 and name = 'x'", "sql.words"),
        ("Chris' and 2", "sql.joined"),
        ("it';", "sql.cut"),
        ("the dogs' -- and cats", "sql.terminated"),
        ("1=1", "sql.comparison"),
        ("first; select one", "sql.keywords"),
        ("use concat(a, b) here", "sql.function_name"),
        ("the table pg_catalog", "sql.catalogue_name"),
        ("O'Brien (Ireland)", "sql.quote"),
    ],
)
def test_sign_is_shown(text: str, sign: str) -> None:
    assert sign in seen(text)


def test_every_sign_has_a_sentence() -> None:
    assert all(sentence.endswith(".") for sentence in sql.SIGNS.values())


def test_strong_sign_comes_alone() -> None:
    assert seen("x' union select 1,2--") == {"sql.union"}


def test_what_a_statement_says_in_plain_words_is_one_weak_sign() -> None:
    assert not {"sql.words", "sql.statement"} <= seen("please drop table five and select a from b")


@pytest.mark.parametrize("mark", ["'", '"', "`"])
def test_every_quotation_mark_ends_a_value(mark: str) -> None:
    assert seen(f"x{mark} or 1=1-- ") == {"sql.tautology"}


@pytest.mark.parametrize(
    "text",
    [
        'sql += " and name = 1"',
        "x = foo('drop table y')",
        'print(" or ")',
        "the so-called 'or' operator",
        "use '--' for comments",
        "call .split('-') and .split('=')",
    ],
)
def test_mark_that_opens_a_literal_ends_nothing(text: str) -> None:
    strong = {"sql.condition", "sql.stacked", "sql.tautology", "sql.cut", "sql.arithmetic"}
    assert not seen(text) & strong


def test_doubled_mark_ends_nothing() -> None:
    assert "sql.tautology" not in seen("it''s or 1=1")


def test_doubled_mark_and_a_third_one_ends_the_value() -> None:
    assert "sql.tautology" in seen("x''' or 1=1--")


def test_backslash_hides_a_mark_from_some_servers_only() -> None:
    assert "sql.tautology" in seen("\\' or 1=1--")


@pytest.mark.parametrize("white", ["\t", "\x0b", "\x0c", "\xa0", "/**/", "/*x*/", "\n", "\r\n"])
def test_any_white_space_of_a_server_will_do(white: str) -> None:
    assert "sql.tautology" in seen(f"x'{white}or{white}1=1{white}--")


@pytest.mark.parametrize(
    "text", ["x' OR 1=1--", "x' oR 1=1--", "x'OR(1)=(1)--", "x' || 1=1#", "x' && 1=1#", "x' xor 1=1#"]
)
def test_case_and_spelling_of_a_connective_do_not_matter(text: str) -> None:
    assert "sql.tautology" in seen(text)


def test_number_goes_on_as_sql_but_a_word_in_words() -> None:
    assert "sql.condition" in seen("5 or user_id=1")
    assert seen("x = 5 or y = 6") == {"sql.words"}


def test_path_is_judged_behind_its_slashes() -> None:
    assert "sql.tautology" in seen("/orders/1 or 1=1", Position.PATH)
    assert "sql.condition" in seen("/orders/1 and user_id=2", Position.PATH)
    assert "sql.condition" not in seen("/orders/1 and user_id=2")


@pytest.mark.parametrize("specials", [frozenset("'"), frozenset(";"), frozenset("=")])
def test_signs_of_sql_have_a_text_looked_at(specials: frozenset[str]) -> None:
    assert sql.can_occur(specials, "")


@pytest.mark.parametrize("word", ["1 or 1", "union select a", "drop table x", "order by 1"])
def test_words_of_sql_have_a_text_looked_at(word: str) -> None:
    assert sql.can_occur(frozenset(), word)


ALPHABET = "'\"`\\()=<>-+*/#;,.|&!@:$ %\n\u2019ab1orandunionselect"


@given(st.text(alphabet=ALPHABET, max_size=120), st.sampled_from(list(Position)))
def test_any_text_is_judged_within_its_bounds(text: str, position: Position) -> None:
    for sign in sql.signs(text, position):
        assert sign.name in sql.SIGNS
        assert 0 <= sign.start <= sign.end <= len(text)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz ,.!?", max_size=80))
def test_letters_and_stops_alone_are_never_strong(text: str) -> None:
    assert seen(text) <= {"sql.statement", "sql.words", "sql.joined", "sql.keywords"}
