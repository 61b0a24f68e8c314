"""Filters of directories, and parentheses of people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.finding import Position
from gateway.inspection.mechanisms import ldap


def seen(text: str) -> set[str]:
    return {sign.name for sign in ldap.signs(text, Position.FORM)}


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("x)(uid=*", "ldap.assertion"),
        ("x)(&)", "ldap.assertion"),
        ("x))(|(cn=*", "ldap.assertion"),
        ("x)!(sn=*", "ldap.assertion"),
        ("x)|(sn~=a", "ldap.assertion"),
        ("x) ( & ", "ldap.assertion"),
        ("(&(uid=admin)(a=b))", "ldap.filter"),
        ("*(|(objectclass=*))", "ldap.filter"),
        ("(uid=*)", "ldap.filter"),
        ("userPassword:2.5.13.18:=1", "ldap.matching_rule"),
        ("cn:caseExactMatch:=x", "ldap.matching_rule"),
        ("*))\x00", "ldap.cut"),
        ("see the filter (&(a=b)(c=d)) there", "ldap.fragment"),
    ],
)
def test_sign_is_shown(text: str, sign: str) -> None:
    assert seen(text) == {sign}


@pytest.mark.parametrize(
    "text",
    [
        "(see note)",
        "f(a)(b=1)",
        "1) (x=5) 2) (y=6)",
        ":) (just kidding)",
        "a) (b)",
        "(x=5)",
        "(a & b) | (c & d)",
        "$q .= ')(mail=*';",
        "cn=John,dc=example",
        "*",
        "a:b:=c",
        "x := 5",
    ],
)
def test_parentheses_of_people_and_programs_are_honest(text: str) -> None:
    assert not seen(text)


def test_parenthesis_that_the_text_has_opened_closes_nothing_else() -> None:
    assert not seen("(x)(uid=*)y")
    assert seen("x)(uid=*)") == {"ldap.assertion"}


@given(st.text(alphabet="()&|!=*:~<>.0cnuid \x00", max_size=80))
def test_any_text_is_judged_within_its_bounds(text: str) -> None:
    for sign in ldap.signs(text, Position.FORM):
        assert sign.name in ldap.SIGNS
        assert 0 <= sign.start <= sign.end <= len(text)
