"""Styles are judged after comments and escapes are undone."""

import pytest

from gateway.inspection.html import style


@pytest.mark.parametrize(
    "text",
    [
        "width:expression(alert(1))",
        "width:exp/**/ression(alert(1))",
        "width:e\\78 pression(1)",
        "background:url(javascript:x)",
        "background:url( 'java\nscript:x')",
        "behavior:url(x.htc)",
        "-moz-binding:url(x)",
        "@im\\port 'javascript:x'",
    ],
)
def test_a_style_that_runs_is_known(text: str) -> None:
    assert style.runs(text)


@pytest.mark.parametrize("text", ["color:red", "background:url(a.png)", "content:'\\110000'", "/* open", "x:\\"])
def test_a_style_that_only_looks_does_not_run(text: str) -> None:
    assert not style.runs(text)


def test_what_fetches_from_elsewhere_is_told_from_what_does_not() -> None:
    assert style.loads("@import url(x)")
    assert style.loads("a[b^=c]{background:url(//evil.example)}")
    assert not style.loads("a{background:url(x.png)}")
