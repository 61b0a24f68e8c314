"""Patterns of operators: RE2, and a sentence where it does not take one."""

import pytest

from gateway.inspection.patterns import MAX_CHARACTERS, PatternError, compile_pattern


def test_a_pattern_is_found_with_offsets_in_characters() -> None:
    found = compile_pattern("b+").search("\u00e4\u65e5abbc")
    assert found is not None
    assert found.span() == (3, 5)


def test_a_dot_takes_a_line_break_and_case_counts() -> None:
    assert compile_pattern("a.b").search("a\nb") is not None
    assert compile_pattern("a.b").search("A\nB") is None
    assert compile_pattern("(?i)a.b").search("A\nB") is not None


@pytest.mark.parametrize("text", ["(?=a)", "(?<!a)b", r"(a)\1", "(", "a{1001}", "[b-a]", "*"])
def test_what_re2_does_not_know_is_an_error_with_a_sentence(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PatternError, match="RE2 does not take this pattern"):
        compile_pattern(text)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", ["", "a*", "a|", "^"])
def test_a_pattern_that_matches_everything_is_an_error(text: str) -> None:
    with pytest.raises(PatternError, match="empty text"):
        compile_pattern(text)


def test_a_pattern_that_is_too_long_or_too_large_is_an_error() -> None:
    with pytest.raises(PatternError, match="characters at most"):
        compile_pattern("a" * (MAX_CHARACTERS + 1))
    with pytest.raises(PatternError, match="RE2 does not take"):
        compile_pattern("((a{100}){100}){100}")


def test_a_pattern_that_would_ruin_a_backtracking_engine_is_ordinary() -> None:
    assert compile_pattern("(a+)+$").search("a" * 50_000 + "b") is None
