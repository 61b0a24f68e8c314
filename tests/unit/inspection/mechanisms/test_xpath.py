"""XPath behind a string, a predicate or a number, and paths that people write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.finding import Position
from gateway.inspection.mechanisms import xpath


def seen(text: str) -> set[str]:
    return {sign.name for sign in xpath.signs(text, Position.FORM)}


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("x' or count(/*)=1 or 'a'='b", "xpath.condition"),
        ("x' or name()='user' or 'a'='b", "xpath.condition"),
        ('x" and //user or "a"="b', "xpath.condition"),
        ("x' or ancestor::node() or 'a'='b", "xpath.condition"),
        ("1 or count(//*)>0", "xpath.condition"),
        ("x'] | //user/* | a['", "xpath.path"),
        ("x']/parent::*/child::node()", "xpath.path"),
        ("1] | //user | a[1", "xpath.condition"),
        ("x] | //user/*[1", "xpath.path"),
        ("| //user/password", "xpath.path"),
        ("doc('http://x.example/')", "xpath.document"),
        ("//user[name='a']", "xpath.expression"),
    ],
)
def test_sign_is_shown(text: str, sign: str) -> None:
    assert seen(text) == {sign}


@pytest.mark.parametrize(
    "text",
    [
        "don't use /usr/bin or /bin",
        "it's at /home/user",
        "<a href='x'>y</a>",
        '<!DOCTYPE html PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">',
        "// comment",
        "/* comment */",
        "s.replace(/[&<>'\"]/g, f)",
        "| a | b |",
        "http://example.com/a",
        "yes | no",
        "list[0]/list[1]",
        "self.position() == last()",
    ],
)
def test_paths_and_code_of_people_are_honest(text: str) -> None:
    assert not seen(text)


@given(st.text(alphabet="'\"]|[/*()@:. =1orandcountame", max_size=80))
def test_any_text_is_judged_within_its_bounds(text: str) -> None:
    for sign in xpath.signs(text, Position.FORM):
        assert sign.name in xpath.SIGNS
        assert 0 <= sign.start <= sign.end <= len(text)
