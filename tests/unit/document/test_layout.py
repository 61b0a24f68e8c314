from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.document.layout import WIDTH, laid_out
from gateway.document.source import DocumentError, Loc, load


def in_order(loc: Loc) -> Sequence[str]:
    return ("version", "name", "match", "roles", "when") if not loc or isinstance(loc[-1], int) else ()


def laid(text: str) -> str:
    """Lay a text out, and see that the result is its own."""
    written = laid_out(text, "p.yaml", in_order)
    assert laid_out(written, "p.yaml", in_order) == written
    assert load(written, "p.yaml").data == load(text, "p.yaml").data
    return written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("when:   1\nversion: 1\n", "version: 1\nwhen: 1\n"),
        ("{a: 1}", "a: 1\n"),
        ("a:\n- x\n- y\n", "a:\n  - x\n  - y\n"),
        ("a:\n  b:\n    c: x\n    d: [1,  2]\n", "a:\n  b: {c: x, d: [1, 2]}\n"),
        ("a:\n  - {when: x, name: y}\n", "a:\n  - name: y\n    when: x\n"),
        ("a:\n  b:\n    - c: 1\n", "a:\n  b:\n    - c: 1\n"),
        ("a: {}\nb: []\n", "a: {}\nb: []\n"),
        ("a: True\nb: 0x1F\nc: 1.50\n", "a: true\nb: 0x1F\nc: 1.50\n"),
        ("a: 'x'\nb: \"GET https://h/x?y=1\"\n", "a: x\nb: GET https://h/x?y=1\n"),
        ("a: 'NO'\nb: '12:30'\nc: '1'\nd: 'null'\n", 'a: "NO"\nb: "12:30"\nc: "1"\nd: "null"\n'),
        ("a: /static/**\nb: '{id}'\n", 'a: "/static/**"\nb: "{id}"\n'),
        ('a: x < duration("1h")\nb: \'"x" == y\'\n', 'a: x < duration("1h")\nb: \'"x" == y\'\n'),
        ('a: "it\'s \\"so\\": \\u0041"\n', 'a: "it\'s \\"so\\": A"\n'),
        ("a: >\n  one\n  two\n", "a: |\n  one two\n"),
        ('a: "one\\n two\\n"\n', "a: |\n  one\n   two\n"),
        ('a: " one\\ntwo"\n', 'a: " one\\ntwo"\n'),
        ("---\na: 1\n...\n", "a: 1\n"),
        ("a: 1\n\n\n\nb: 1\n\n\n", "a: 1\n\nb: 1\n"),
        ("\n\na:\n\n  - x\n\n  - y\n", "a:\n  - x\n\n  - y\n"),
        ("a: [ # why\n  x]\n", "a:  # why\n  - x\n"),
        ("a:\n  b: [x, # why\n    y]\n", "a:\n  b:\n    - x  # why\n    - y\n"),
        ("a:\n  -   # why\n    when: x\n    # how\n    name: y\n", "a:\n  # why\n  # how\n  - name: y\n    when: x\n"),
        ("a:\n  - - # deep\n      - x\n", "a:\n  - - [x]  # deep\n"),
        ("# head\nwhen: x\n# of version\nversion: 1\n", "# head\n# of version\nversion: 1\nwhen: x\n"),
        ("a: {} # x\n# end", "a: {}  # x\n# end\n"),
        ("# nothing\n{}\n", "# nothing\n{}\n"),
    ],
)
def test_a_file_has_one_form(text: str, expected: str) -> None:
    assert laid(text) == expected


def test_what_does_not_fit_on_a_line_stands_on_several() -> None:
    words = ", ".join(f"role-{number}" for number in range(20))
    written = laid(f"a:\n  roles: [{words}]\n")
    assert written.startswith("a:\n  roles:\n    - role-0\n")
    condition = " && ".join(f'request.path != "/{number}"' for number in range(12))
    written = laid(f"a:\n  - when: {condition}\n")
    assert written.startswith('a:\n  - when: >-\n      request.path != "/0" && ')
    assert all(len(line) <= WIDTH for line in written.splitlines())


def test_a_list_of_mappings_is_never_put_between_brackets() -> None:
    assert laid("a:\n  b: {allow: [{roles: [x]}]}\n") == "a:\n  b:\n    allow:\n      - roles: [x]\n"


@pytest.mark.parametrize("text", ["- a\n", "a", "a: [", "a: 1\na: 2\n", "a: &x 1\n", "", "a: &x 1\nb: *x\n"])
def test_a_file_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        laid_out(text, "p.yaml", in_order)
    assert all(finding.path == "p.yaml" for finding in caught.value.findings)


def test_a_file_that_would_say_something_else_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last guard: were a text written wrongly, nothing would be written."""
    monkeypatch.setattr("gateway.document.layout._text", lambda text, **_: text.upper())
    with pytest.raises(DocumentError) as caught:
        laid_out("a: b\n", "p.yaml", in_order)
    assert caught.value.findings[0].name == "not-laid-out"


WORDS = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["yes", "NO", "on", "~", "null", "1e3", "0o7", "-", "a: b", "a #b", "[x]", "{x}", "/a/**", "/{id}", "<<", "=", "?", "...", "---", "12:30", "x\ny\n", "x \ny", "\tx", "2026-01-01", "'", '"', "\\", "x'\"y", "0?", "a?b", "a, b", "!x", "%x", "@x", "`x", "&x", "*x", "|", ">", "a:", ":a"]
)  # fmt: skip
VALUES = st.recursive(
    WORDS | st.booleans() | st.integers(-5, 1 << 40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@example(data={"a": "\x7f\n", "b": "x\u2028\ny", "c": "\ufffe", "d": "\x85\n"}, flow=False)
@given(st.dictionaries(WORDS, VALUES, min_size=1, max_size=5), st.booleans())
def test_any_document_keeps_what_it_says_and_has_one_form(data: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(data, allow_unicode=True, default_flow_style=flow, sort_keys=False)
    try:
        load(text, "p.yaml")
    except DocumentError:
        return  # the strict reader has another mind than the library that wrote it
    laid(text)


LINES = st.lists(
    st.sampled_from(
        ["# one", "  # two", "    # three", "", "version: 1", "a: x  # four", "b: # five", "  - x", "  - y # six", "  - name: z",
         "    when: |  # seven", "      text # eight", "    match: {p: 1, # nine", "      q: 2}", "c: [1, # ten", "  2]", "d:", "  e: {f: g}"]
    ),
    max_size=14,
)  # fmt: skip


@given(LINES)
def test_no_comment_is_lost_wherever_it_stands(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        data = load(text, "p.yaml").data
    except DocumentError:
        return
    if not isinstance(data, dict):
        return
    numbers = "one|two|three|four|five|six|seven|nine|ten"
    assert sorted(re.findall(f"# (?:{numbers})", laid(text))) == sorted(re.findall(f"# (?:{numbers})", text))
