"""The tokeniser reads tags as browsers do, hides none, and reads no part of a text more often than it may."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.html.tokenizer import Tag, attributes, tags

MARKUP = st.text(alphabet="<>\"'`=/ -!ab\n&;\0on1", max_size=60)


def only(text: str) -> Tag:
    (tag,) = tags(text)
    return tag


def test_a_tag_has_its_name_in_lower_case_and_its_attributes_decoded() -> None:
    tag = only("<A HREF=\"a&amp;b\" title='x' data-y=z disabled>text")
    assert tag.name == "a"
    assert [(each.name, each.value) for each in tag.attributes] == [("href", "a&b"), ("title", "x"), ("data-y", "z")]
    assert tag.is_complete
    assert not tag.is_end


def test_an_end_tag_is_one() -> None:
    assert only("</p>").is_end


def test_slashes_and_old_white_space_separate_attributes() -> None:
    tag = only("<svg/onload='a()'/x\x0b=1\x0cy=2>")
    assert [each.name for each in tag.attributes] == ["onload", "x", "y"]


def test_a_name_may_begin_with_an_equals_sign() -> None:
    found, _, _ = attributes(" =x=1>", 0)
    assert [(each.name, each.value) for each in found] == [("=x", "1")]


def test_a_tag_that_the_value_does_not_end_is_incomplete() -> None:
    tag = only("<img src=x onerror='alert(1)")
    assert not tag.is_complete
    assert tag.value("onerror") == "alert(1)"


def test_a_greater_than_sign_in_quotes_ends_no_tag() -> None:
    assert only('<svg x=">" onload=a()>').value("onload") == "a()"


def test_nul_bytes_and_plus_signs_do_not_hide_a_name() -> None:
    assert only("<scr\0ipt>").name == "script"
    assert only("<script+>").name == "script"
    assert only("<b on\0click=x>").attributes[0].name == "onclick"


def test_a_prefix_of_a_namespace_is_no_part_of_the_name() -> None:
    assert only("<x:script>").name == "script"


def test_comments_and_cdata_hide_nothing() -> None:
    assert [tag.name for tag in tags("<!--<b>--><![CDATA[<i>]]><?x <u>?>")] == ["b", "i", "u"]


def test_a_tag_within_quotes_of_another_is_read_as_well() -> None:
    assert [tag.name for tag in tags("<a b='<c d=\"<e>\">'>")] == ["a", "c", "e"]


def test_a_tag_within_quotes_that_is_written_with_references_is_read_as_well() -> None:
    assert [tag.name for tag in tags("<a b='&lt;img src=x&gt;'>")] == ["a", "img"]


def test_a_tag_within_the_names_or_bare_values_of_another_is_read_as_well() -> None:
    assert [tag.name for tag in tags("<a x<b y=<c>")] == ["a", "b", "c"]
    assert [tag.name for tag in tags("<scr<script>ipt>")] == ["scr", "script"]


def test_comparisons_and_arrows_are_no_tags() -> None:
    assert list(tags("a < b <3 <- <= <>")) == []


@given(MARKUP)
def test_any_text_is_read_and_every_offset_lies_in_it(text: str) -> None:
    for tag in tags(text):
        assert 0 <= tag.start <= tag.end <= len(text)


@given(MARKUP)
def test_nothing_before_an_image_hides_its_handler(text: str) -> None:
    assert any(tag.value("onerror") == "a(1)" for tag in tags(text + "<img src=x onerror=a(1)>"))


@given(st.sampled_from(["<a ", "<a b='", '<a "', "<a x=", "<", "a=", "<a x='<", "</a ", "=<a"]), MARKUP)
def test_each_part_of_a_text_is_read_a_few_times_at_most(unit: str, before: str) -> None:
    text = before + unit * 200
    assert sum(tag.end - tag.start for tag in tags(text)) <= 6 * len(text)
