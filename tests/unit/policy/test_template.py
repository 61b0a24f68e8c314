from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.template import MAX_SEGMENTS, TemplateError, parse_template
from gateway.wire.authority import Authority
from gateway.wire.target import Target, parse_target


def test_a_template_is_literals_single_segments_and_a_rest() -> None:
    template = parse_template("/a/{id}/*/b.c/**")
    assert template.segments == ("a", None, None, "b.c")
    assert template.rest
    assert template.parameters == (("id", 1),)
    assert template.names == {"id"}


def test_the_root_and_the_rest_of_everything_are_templates() -> None:
    assert parse_template("/").shape == (("",), False)
    assert parse_template("/**").shape == ((), True)


def test_a_trailing_slash_is_a_segment_of_its_own() -> None:
    assert parse_template("/a/").shape != parse_template("/a").shape


def test_names_of_parameters_do_not_change_the_shape() -> None:
    assert parse_template("/a/{x}").shape == parse_template("/a/{y}").shape == parse_template("/a/*").shape


def test_case_and_escapes_do_not_change_the_folded_shape() -> None:
    assert parse_template("/Admin/a%40b").folded == parse_template("/admin/a@b").folded
    assert parse_template("/Admin").shape != parse_template("/admin").shape


@pytest.mark.parametrize(
    ("text", "offset", "sentence"),
    [
        ("a", 0, "does not start with /"),
        ("", 0, "does not start with /"),
        ("//a", 1, "empty segment"),
        ("/a//b", 3, "empty segment"),
        ("/a/../b", 3, "resolved before routing"),
        ("/./b", 1, "resolved before routing"),
        ("/**/b", 1, "must be the last segment"),
        ("/a/*.php", 3, "takes a whole segment"),
        ("/a/x{id}", 4, "takes a whole segment"),
        ("/a/{id", 3, "takes a whole segment"),
        ("/a/{}", 3, "takes a whole segment"),
        ("/a/{1a}", 3, "takes a whole segment"),
        ("/a/***", 3, "takes a whole segment"),
        ("/{x}/{x}", 5, "a second time"),
        ("/a?b=c", 2, "without query and fragment"),
        ("/a#b", 2, "without query and fragment"),
        ("/a b", 1, "write 'a%20b'"),
        ("/ü", 1, "write '%C3%BC'"),
        ("/a%2fb", 1, "write 'a%2Fb'"),
        ("/a%zz", 1, "write 'a%25zz'"),
        ("/a%41", 2, "always seen as 'A'"),
        ("/a%00", 2, "control character"),
        ("/a%7F", 2, "control character"),
        ("/.gateway/login", 0, "the gateway's own"),
        ("/.gateway", 0, "the gateway's own"),
        ("/.gateway/**", 0, "the gateway's own"),
        ("/" + "a/" * MAX_SEGMENTS, 0, "more than"),
    ],
)
def test_what_can_never_match_is_an_error_with_its_offset(text: str, offset: int, sentence: str) -> None:
    with pytest.raises(TemplateError, match=r".") as caught:
        parse_template(text)
    assert sentence in str(caught.value)
    assert caught.value.offset == offset


@given(st.text("abAZ09-._~!$&'()+,;=:@% /ü", min_size=0, max_size=12))
def test_an_accepted_literal_is_a_path_that_the_edge_makes_canonical_to_itself(text: str) -> None:
    try:
        template = parse_template("/" + text)
    except TemplateError:
        return
    target = parse_target(template.text.encode(), Authority("h", None, "h"))
    assert isinstance(target, Target)
    assert target.path == template.text
