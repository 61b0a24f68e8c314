"""What fills a long text, so that the halves of an attack do not stand in one window."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.body import Limits
from gateway.inspection.engine import WINDOW, Inspection, RequestLine
from gateway.inspection.padding import KEPT, without_padding
from gateway.inspection.tuning import Mode, Settings, tuned
from tests.bench.inspection_corpus import rules_of_the_house

RULES = rules_of_the_house()
ENGINE = Inspection(RULES)
LINE = RequestLine("POST", b"/", "/")
LONG = WINDOW + 4_000
FILLS = [
    " " * LONG,
    "\n\t" * LONG,
    "/*" + "a word, " * LONG + "*/",
    "/**/" * LONG,
    "-- " + "a word, " * LONG + "\n",
    "\n-- a word\n" * LONG,
]


def is_stopped(text: str) -> bool:
    tuning = tuned(Settings(mode=Mode.BLOCK), RULES)
    body = json.dumps({"q": text}).encode()
    return ENGINE.judge_body(LINE, b"application/json", body, tuning, limits=Limits(), now=0).is_blocked


@pytest.mark.parametrize("fill", FILLS, ids=range(len(FILLS)))
def test_a_page_of_nothing_hides_no_statement(fill: str) -> None:
    assert is_stopped(f"1 UNION\n{fill}SELECT password FROM users")


@pytest.mark.parametrize(
    "text",
    [
        f"; {' ' * LONG}cat /etc/passwd",
        f"$({' ' * LONG}id)",
        f"1 UNION{'(' * LONG}SELECT password FROM users{')' * LONG}",
        f"1' AND '{'a' * LONG}'='{'a' * LONG}",
        f'<a href="java{chr(9) * LONG}script:alert(1)">x</a>',
    ],
    ids=["command", "substitution", "brackets", "letters", "tabs"],
)
def test_nothing_else_that_is_skipped_hides_an_attack(text: str) -> None:
    assert is_stopped(text)


def test_a_long_text_of_people_is_none() -> None:
    assert not is_stopped("It's late, and the union of students selects its speaker from among us. " * 400)


def test_a_text_that_nobody_filled_stays_as_it_is() -> None:
    text = "a /b/ c    d\n\n  e-- f; g:// h"
    assert without_padding(text) == text


def test_code_that_only_mysql_sees_stays() -> None:
    assert without_padding("1 /*!union*/ select") == "1 /*!union*/  select"


@given(st.text(st.sampled_from(" \n/*-#(a!"), max_size=300))
def test_nothing_is_added_and_no_run_stays(text: str) -> None:
    short = without_padding(text)
    assert len(short) <= len(text)
    assert "(" * (2 * KEPT) not in short
