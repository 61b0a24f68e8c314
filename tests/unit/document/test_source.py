from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.document.source import MAX_BYTES, MAX_DEPTH, DocumentError, load


def errors_of(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load(text, "p.yaml")
    return list(caught.value.diagnostics)


def test_a_document_becomes_plain_values() -> None:
    document = load("a: 1\nb: [x, 'y', true, 1.5]\nc: {d: \"e\"}\n", "p.yaml")
    assert document.data == {"a": 1, "b": ["x", "y", True, 1.5], "c": {"d": "e"}}
    assert document.path == "p.yaml"


def test_a_byte_order_mark_at_the_start_is_dropped() -> None:
    assert load("\ufeffa: 1", "p.yaml").data == {"a": 1}


def test_a_duplicate_key_is_an_error_that_names_both_places() -> None:
    """`effect: deny`, then `effect: allow`, gives allow in PyYAML."""
    assert errors_of("effect: deny\nother: 1\neffect: allow\n") == [
        "p.yaml:3:1: the key 'effect' stands here a second time; the first is in line 1 [duplicate-key]"
    ]


def test_keys_that_differ_in_spelling_but_not_in_text_are_duplicates() -> None:
    assert "second time" in errors_of("a: 1\n'a': 2\n")[0]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: &x 1", "1:4", "anchors (&x) are not accepted"),
        ("a: *x", "1:4", "aliases (*x) are not accepted"),
        ("a: !!python/object:os.system 1", "1:4", "tags (tag:yaml.org,2002:python/object:os.system) are not accepted"),
        ("a: !x 1", "1:4", "tags (!x) are not accepted"),
        ("a: !!map {}", "1:4", "tags"),
        ("a: ! 1", "1:4", "tags"),
        ("<<: {a: 1}", "1:1", "merge keys (<<) are not accepted"),
        ("&x a: 1", "1:1", "anchors and tags are not accepted"),
        ("a:\nb: 1", "1:3", "empty value"),
        ("a: ~", "1:4", "empty value"),
        ("- \n- 1", "1:2", "empty value"),
        ("a: 010", "1:4", "two ways"),
        ("? [a]\n: 1", "1:3", "a key must be one word"),
        ("? {a: 1}\n: 1", "1:3", "a key must be one word"),
        ("'': 1", "1:1", "empty key"),
        ("%YAML 1.1\n---\na: 1", "1:1", "directives"),
        ("%TAG ! tag:example.com,2000:\n---\na: 1", "1:1", "directives"),
        ("a: 1\n---\nb: 2", "2:1", "a second document starts here"),
        ("a: b\n\tc: d", "2:1", "not YAML: a tab; YAML is indented with spaces"),
        ("a:\n  - b\n\tc: d", "3:1", "not YAML: a tab; YAML is indented with spaces"),
        ("a:\n  - b: 1\n   c: 2", "3:4", "it is not indented like the list that began in line 2"),
        ("a:\n  b: 1\n   c: 2", "3:5", "mapping values are not allowed"),
        ("a: [1, 2", "2:1", "the bracket of line 1 is not closed, or a text in it needs quotes"),
        ("a: 1\nb 2\nc: 3", "3:1", "line 2 lacks a colon, or its text needs quotes"),
        ('a: "x', "1:6", "not YAML"),
        ("x: 1\na: \x01", "2:4", "the character U+0001 is not allowed"),
        ("a: x\ufeff", "1:5", "the character U+FEFF is not allowed"),
        ("a: \x00", "1:4", "U+0000"),
        ("", "1:1", "the file is empty"),
        ("# only a comment\n", "1:1", "the file is empty"),
        ("---\n", "2:1", "empty value"),
    ],
)
def test_what_the_strict_subset_leaves_out_is_an_error_at_its_place(text: str, place: str, message: str) -> None:
    first = errors_of(text)[0]
    assert first.startswith(f"p.yaml:{place}: ")
    assert message in first


def test_all_errors_of_a_file_are_reported_in_the_order_of_the_file() -> None:
    found = errors_of("a: &x 1\nb: *x\nc: !t 3\nd:\na: 2\n")
    assert [line.split(":")[1] for line in found] == ["1", "2", "3", "4", "5"]


def test_errors_before_a_syntax_error_are_kept() -> None:
    assert len(errors_of("a: &x 1\nb: [")) == 2


def test_words_of_yaml_1_1_are_text() -> None:
    assert load("country: NO\nat: 12:30:00\nday: 2026-01-01\nNO: 1", "p").data == {
        "country": "NO",
        "at": "12:30:00",
        "day": "2026-01-01",
        "NO": 1,
    }


def test_quoted_words_are_always_text() -> None:
    assert load("a: 'true'\nb: \"12\"\nc: ''\nd: |\n  1\n", "p").data == {"a": "true", "b": "12", "c": "", "d": "1\n"}


def test_nesting_is_bounded() -> None:
    assert load("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH, "p").data
    assert "nested more than" in errors_of("[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1))[0]
    assert "nested more than" in errors_of("{a: " * 100_000)[0]
    assert "nested more than" in errors_of("? " * 200 + "[a]")[-1]


def test_a_billion_laughs_is_refused() -> None:
    text = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    assert len(errors_of(text)) == 61


def test_size_is_bounded_in_bytes() -> None:
    assert "larger than 1 MiB" in errors_of("a: " + "x" * MAX_BYTES)[0]
    assert "larger than 1 MiB" in errors_of("a: " + "ü" * (MAX_BYTES // 2))[0]


def test_lone_surrogates_are_refused() -> None:
    assert "U+D800" in errors_of("a: \ud800")[0]


def test_positions_count_characters_from_one() -> None:
    document = load("ü:\n  - {ä: x, b: y}\n  - z\n", "p")
    assert document.position(()) == (1, 1)
    assert document.position(("ü", 0, "b")) == (2, 15)
    assert document.position(("ü", 0, "b"), key=True) == (2, 12)
    assert document.position(("ü", 1)) == (3, 5)
    assert str(document.finding(("ü", 0, "b"), "m", key=True)) == "p:2:12: m"


def test_a_place_that_does_not_exist_is_its_nearest_ancestor() -> None:
    document = load("a:\n  b: {c: 1}\n", "p")
    assert document.position(("a", "b", "missing", 3)) == (2, 6)
    assert document.position(("nothing",)) == (1, 1)
    assert document.position(("a", "b", "missing"), key=True) == (2, 6)


def test_a_place_inside_a_text_is_exact_where_the_text_stands_as_it_is() -> None:
    document = load("a: one two\nb: 'one two'\nc: \"one two\"\nd: |\n    one\n    two three\n", "p")
    assert document.inside(("a",), 1, 5) == (1, 8)
    assert document.inside(("b",), 1, 5) == (2, 9)
    assert document.inside(("c",), 1, 5) == (3, 9)
    assert document.inside(("d",), 2, 5) == (6, 9)


def test_an_empty_line_of_a_block_is_the_start_of_the_value() -> None:
    document = load("d: |\n    one\n\n    two\n", "p")
    assert document.inside(("d",), 2, 1) == (1, 4)
    assert document.inside(("d",), 3, 2) == (4, 6)


def test_a_place_inside_a_text_that_is_written_differently_is_its_start() -> None:
    document = load("a: 'it''s one'\nb: >\n  one\n  two\nc: \"\\x41 b\"\nd: one\n  two\n", "p")
    for key, line in (("a", 1), ("b", 2), ("c", 5), ("d", 6)):
        assert document.inside((key,), 1, 3) == (line, 4)


_PLAIN = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=8).filter(
        lambda t: all(c.isprintable() for c in t)
    ),
)
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def _flow(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
        case _:
            raise AssertionError(value)


@given(_VALUES)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_what_is_read(value: object) -> None:
    assert load(_flow(value), "p").data == value


@given(st.text(max_size=60), st.integers(0, 2**32))
@example("a: 1\n---\n", 0)
@settings(max_examples=100, deadline=None)
def test_no_text_makes_the_reader_fail_in_another_way(text: str, seed: int) -> None:
    shuffled = list(text + "&*!|>%@`{}[]:,-?#'\"\n  ab")
    random.Random(seed).shuffle(shuffled)
    for candidate in (text, "".join(shuffled)):
        try:
            load(candidate, "p")
        except DocumentError as error:
            assert error.findings  # noqa: PT017 - either outcome is right
