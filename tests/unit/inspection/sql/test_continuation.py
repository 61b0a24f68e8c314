"""What a text does as the rest of a statement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.sql.continuation import Reader
from gateway.inspection.sql.facts import Continuation, Ending, Fact, First


def behind(text: str) -> Continuation:
    """Read what follows the mark that ended a value."""
    return Reader(text, 0, escapes=True, operand=False).read(8_192)


def bare(text: str) -> Continuation:
    return Reader(text, 0, escapes=True, operand=True).read(8_192)


@pytest.mark.parametrize(
    ("text", "fact", "ending"),
    [
        (" or 1=1", Fact.TAUTOLOGY, Ending.END),
        (" or '1'='1", Fact.TAUTOLOGY, Ending.OPEN),
        (" or 1=1--", Fact.TAUTOLOGY, Ending.CUT),
        (" or name like 'a", Fact.CONDITION, Ending.OPEN),
        (" or (select 1)=1", Fact.CONDITION, Ending.END),
        (" and 5 between 1 and 9", Fact.TAUTOLOGY, Ending.END),
        (" or 1 is not null", Fact.TAUTOLOGY, Ending.END),
        (" or 1 in (1,2)", Fact.TAUTOLOGY, Ending.END),
        (" or true--", Fact.JOINED_TRUTH, Ending.CUT),
        (" or 1--", Fact.JOINED_NUMBER, Ending.CUT),
        (" or 'a", Fact.JOINED_TEXT, Ending.OPEN),
        (" or id--", Fact.JOINED_NAME, Ending.CUT),
        (" union select 1,2", Fact.UNION, Ending.END),
        (" union all (select null)", Fact.UNION, Ending.END),
        (" union select a from b", Fact.UNION_WORDS, Ending.END),
        ("||(select version())||'", Fact.SUBQUERY, Ending.OPEN),
        ("||(select a from b)||'", Fact.SUBQUERY_WORDS, Ending.OPEN),
        ("; drop table x", Fact.STACKED, Ending.END),
        ("; select 1", Fact.STACKED, Ending.END),
        (";", Fact.TERMINATED, Ending.END),
        (" and sleep(5)", Fact.DELAY, Ending.END),
        ("; waitfor delay '0:0:5'", Fact.DELAY, Ending.END),
        (" and load_file('/x')", Fact.PROBE, Ending.END),
        (" and @@version", Fact.SERVER_VARIABLE, Ending.END),
        (" order by 5--", Fact.ORDINAL, Ending.CUT),
        (" order by a--", Fact.CLAUSE, Ending.CUT),
        (" into outfile '/x'", Fact.INTO_FILE, Ending.END),
        ("+(case when a=1 then 2 else 3 end)+'", Fact.CASE, Ending.OPEN),
        (" or x::text='a", Fact.CAST, Ending.OPEN),
    ],
)
def test_fact_is_told(text: str, fact: Fact, ending: Ending) -> None:
    seen = behind(text)
    assert fact in seen.facts
    assert seen.ending is ending


@pytest.mark.parametrize(
    "text",
    [
        "Brien and Sons",
        "s 5 o'clock",
        " and Bob's",
        "or 1st parfume",
        " and 180 lbs",
        " - 6' long",
        " or girls' rooms",
        " is fine",
        " like these",
        " in stock",
        " where are they",
        " select one",
        " or guest(s)",
        " 11",
        "\u2013 no",
    ],
)
def test_prose_is_no_statement(text: str) -> None:
    assert behind(text).ending is Ending.ERROR or not behind(text).facts


@pytest.mark.parametrize(
    "text", ["select a plan", "(select an option)", "(select the best from our union)", "delete from my own account"]
)
def test_prose_that_begins_like_a_statement_is_none(text: str) -> None:
    assert not bare(text).is_whole


def test_english_articles_take_no_alias_but_a_query_may_have_the_name() -> None:
    assert bare("(select x from (select 1)a)").is_whole
    assert not bare("(select x from the list)").is_whole


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("-0-'", First.ARITHMETIC),
        ("||'", First.CONCATENATION),
        ("='", First.COMPARISON),
        (" and 1", First.LOGICAL),
        (", 'b", First.COMMA),
        (" order by 1", First.CLAUSE),
        ("; x", First.SEMICOLON),
        (" 'a'", First.STRING),
    ],
)
def test_first_thing_is_told(text: str, first: First) -> None:
    assert behind(text).first is first


def test_closing_parentheses_of_the_application_are_taken() -> None:
    assert Fact.TAUTOLOGY in behind(")) or ((1=1").facts


def test_reading_stops_at_its_budget() -> None:
    seen = Reader("1+" * 100, 0, escapes=True, operand=True).read(50)
    assert seen.ending is Ending.ENDLESS
    assert not seen.is_whole
    assert seen.operators == 25


def test_deep_nesting_needs_no_recursion() -> None:
    assert bare("(" * 8_000).ending is Ending.END


WORDS = st.sampled_from(
    [
        "select",
        "union",
        "all",
        "from",
        "where",
        "or",
        "and",
        "not",
        "in",
        "is",
        "null",
        "like",
        "between",
        "case",
        "when",
        "then",
        "else",
        "end",
        "order",
        "by",
        "group",
        "having",
        "limit",
        "into",
        "outfile",
        "(",
        ")",
        ",",
        ";",
        ".",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "`",
        "=",
        "<",
        "||",
        "::",
        "--",
        "#",
        "/*",
        "*/",
        "1",
        "1.e",
        "x",
        "@@version",
        "@a",
        "sleep(",
        "count(*)",
        "a.b",
        "*",
        "+",
        "-",
        "as",
        "join",
        "on",
        "drop",
        "table",
        "exec",
        "waitfor",
        "delay",
    ]
)


@given(st.lists(WORDS, max_size=40).map(" ".join), st.booleans(), st.booleans())
def test_any_order_of_words_is_read_to_a_verdict(text: str, operand: bool, escapes: bool) -> None:
    seen = Reader(text, 0, escapes=escapes, operand=operand).read(8_192)
    assert 0 <= seen.stop <= len(text)
    assert all(0 <= start <= end <= len(text) for start, end in seen.facts.values())
