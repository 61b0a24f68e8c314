"""Operators and script of document stores, and what else has a dollar sign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.finding import Position
from gateway.inspection.mechanisms import nosql


def seen(text: str, position: Position = Position.FORM) -> set[str]:
    return {sign.name for sign in nosql.signs(text, position)}


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ('{"$ne": null}', "nosql.operator"),
        ("{$where: 'sleep(5)'}", "nosql.operator"),
        ("user[$ne]", "nosql.operator"),
        ("true, $where: '1 == 1'", "nosql.document"),
        ("', $or: [{}, {'a':'b", "nosql.document"),
        ("$where: '1 == 1'", "nosql.document"),
        ("'; return true; var x='", "nosql.script"),
        ("1; while(true){}", "nosql.script"),
        ("x' || this.role == 'admin", "nosql.script"),
        ("'-sleep(1000)-'", "nosql.script"),
        ("db.users.drop()", "nosql.shell"),
        ("x'; db.users.remove({})", "nosql.shell"),
        ("'}) DETACH DELETE n //", "nosql.cypher"),
        ("x' OR 1=1 RETURN n//", "nosql.cypher"),
        ('How does {"a": {"$gt": 5}} work?', "nosql.operator_text"),
        ("MongoDB: db.users.find({}) is slow", "nosql.shell_text"),
    ],
)
def test_sign_is_shown(text: str, sign: str) -> None:
    found = seen(text)
    assert sign in found or (text.startswith("x'; db") and "nosql.script" in found)


@pytest.mark.parametrize("name", ["a[$ne]", "a.$gt", "a[b][$in][]", "$where", "$or", "a[ $regex ]"])
@pytest.mark.parametrize(
    "position", [Position.QUERY_NAME, Position.FORM_NAME, Position.COOKIE_NAME, Position.PART_NAME]
)
def test_operator_in_a_name_changes_the_query(name: str, position: Position) -> None:
    assert seen(name, position) == {"nosql.operator"}


@pytest.mark.parametrize(
    "name", ["$ref", "$schema", "$id", "$type", "$set", "$filter", "$search", "$top", "$count", "a$b"]
)
@pytest.mark.parametrize("position", [Position.QUERY_NAME, Position.JSON_NAME])
def test_dollar_names_of_others_are_honest(name: str, position: Position) -> None:
    assert not seen(name, position)


@pytest.mark.parametrize(
    "text",
    [
        "$5 or $10",
        "${name}",
        "$arr[$type]",
        "{{ $expr := 1 }}",
        "foo; return to sender",
        "O'Neil; return receipt",
        "&& this.size",
    ],
)
def test_other_dollar_signs_and_quoted_code_are_honest(text: str) -> None:
    assert not seen(text)


@given(st.text(alphabet="$'\"{}[]():;,.|&= /\nanedborwhreturnthis", max_size=100), st.sampled_from(list(Position)))
def test_any_text_is_judged_within_its_bounds(text: str, position: Position) -> None:
    for sign in nosql.signs(text, position):
        assert sign.name in nosql.SIGNS
        assert 0 <= sign.start <= sign.end <= len(text)
