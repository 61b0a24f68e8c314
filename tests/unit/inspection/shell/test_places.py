import pytest

from gateway.inspection.finding import Position
from gateway.inspection.shell.places import Kind, Surroundings, places


def kinds(text: str) -> list[tuple[Kind, str]]:
    return [(place.kind, text[place.command :][:3]) for place in places(text) if place.kind is not Kind.BEGINNING]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a;cat", [(Kind.SEPARATOR, "cat")]),
        ("a && cat", [(Kind.SEPARATOR, " ca")]),
        ("a\ncat", [(Kind.LINE, "cat")]),
        ("a `cat`", [(Kind.SUBSTITUTION, "cat"), (Kind.SUBSTITUTION, "")]),
        ("$(cat)", [(Kind.SUBSTITUTION, "cat")]),
        ("<(cat)", [(Kind.SUBSTITUTION, "cat")]),
        ("a; hello", []),
        ("a; test(1)", []),
        ("a; if (x) {", []),
        ("Tom &amp; cat &#39; cat &#x27; cat", []),
        ("| a | cat |\n|---|---|", []),
        ("a|cat", [(Kind.SEPARATOR, "cat")]),
    ],
)
def test_places_are_where_a_shell_looks_for_a_command(text: str, found: list[tuple[Kind, str]]) -> None:
    assert kinds(text) == found


@pytest.mark.parametrize(
    ("before", "is_clean", "is_value"),
    [
        ("", True, True),
        ("127.0.0.1", True, True),
        ("x'", True, True),
        ("2026-01-01", True, True),
        ("name", True, False),
        ("two words", False, False),
        ("a" * 600, True, False),
        ("a " * 600, False, False),
    ],
)
def test_what_stands_before_a_place(before: str, is_clean: bool, is_value: bool) -> None:
    around = Surroundings(f"{before};cat", Position.FORM)
    assert around.is_clean(len(before)) is is_clean
    assert around.is_value(len(before)) is is_value


def test_a_pipeline_in_a_sentence_is_shown() -> None:
    text = "I ran docker ps | grep x"
    around = Surroundings(text, Position.FORM)
    assert around.is_quoted_pipeline(text.index("|"))
    assert not around.is_phrase(text.index("|"))
    assert Surroundings("Jane Doe | cat", Position.FORM).is_phrase(8)


def test_backticks_open_and_close_in_turn() -> None:
    around = Surroundings("`a` `b`", Position.FORM)
    assert [around.closes(at) for at in (0, 2, 4, 6)] == [False, True, False, True]
