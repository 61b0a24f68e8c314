"""Programs are told from prose, and what they would do is read from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.script.program import program


@pytest.mark.parametrize(
    "text",
    [
        "alert(1)",
        "if (a) b()",
        "for (x of y) f(x)",
        "return a",
        "a\nb",
        "x => y",
        "new Image().src='//e'",
        "a`b`",
        "try{a()}catch(e){}",
        "typeof a",
        "'a' in b",
        "function f(a){}",
    ],
)
def test_a_program_reads_to_its_end(text: str) -> None:
    assert not program(text).is_broken


@pytest.mark.parametrize(
    "text", ["see the notes", "I am (not) sure", "5 apples", "“quoted”", "(a) b", "'a' 'b'", "name #5", "a[1] b"]
)
def test_a_sentence_breaks_off(text: str) -> None:
    assert program(text).is_broken


@pytest.mark.parametrize(
    "text",
    [
        "alert(1)",
        "(alert)(1)",
        "[1].some(alert)",
        "alert.call(null,1)",
        "alert?.(1)",
        "alert`1`",
        "eval('x')",
        "setTimeout('x',1)",
        "window['al'+'ert'](1)",
        "self['\\x61lert'](1)",
        "(document)['cookie']",
        "document.cookie",
        "document.write('x')",
        "[].map.call`${alert}`",
        "f.constructor('x')()",
        "onerror=alert;throw 1",
    ],
)
def test_what_attacks_begin_with_shows(text: str) -> None:
    found = program(text)
    assert found.shows or found.fills


@pytest.mark.parametrize(
    "text",
    [
        "alert",
        "alert()",
        "alert (red)",
        "confirm(s)",
        "setTimeout(() => f(), 1)",
        "console.log(1)",
        "self.name = name",
        "self.location = location",
        "location = 'Berlin'",
        "window['x']",
        "items.map(f)",
        "a.src = 'x'",
        "this['x']",
        "frames[1]",
    ],
)
def test_what_programs_of_people_do_shows_nothing(text: str) -> None:
    found = program(text)
    assert not found.shows
    assert not found.fills


@pytest.mark.parametrize(
    "text",
    ["location='//evil'", "location.href='//e'", "x.innerHTML='y'", "new Image().src='//e'"],
)
def test_writing_into_the_page_and_moving_it_fills(text: str) -> None:
    assert program(text).fills


def test_how_a_program_ends_is_told() -> None:
    assert program("a()//").ends_in_comment
    assert not program("a()//\n").ends_in_comment
    assert program("a()-'").is_open
    assert program("a\nb").lines == 2


def test_names_in_escapes_hide() -> None:
    assert program("\\u0061lert(1)").hides


def test_a_program_without_end_is_read_only_so_far() -> None:
    found = program("a();" * 5_000)
    assert found.is_long
    assert found.tokens < 2_000


def test_only_the_part_asked_for_is_read() -> None:
    assert program("zzz alert(1) zzz", 4, 12).shows
    assert not program("zzz alert(1) zzz", 4, 12).is_broken


@given(st.text(alphabet="'\"`\\/*\n ab1.()[]{}#alertwindow,;=+", max_size=60))
def test_any_text_is_read(text: str) -> None:
    found = program(text)
    assert 0 <= found.end <= len(text)
