from __future__ import annotations

import pytest

from gateway.policy.condition import Condition, ConditionCompiler
from gateway.policy.syntax import Term, read_term


def condition(text: str) -> Condition:
    return ConditionCompiler().compile(text, frozenset(("owner",)))


def tree(text: str) -> Term:
    return condition(text).tree()


def test_calls_names_and_constants_are_read() -> None:
    term = tree('session.mfa_age < duration("5m")')
    assert (term.kind, term.name, len(term.terms)) == ("call", "_<_", 2)
    assert (term.terms[0].kind, term.terms[0].name) == ("name", "session.mfa_age")
    assert (term.terms[1].kind, term.terms[1].name) == ("call", "duration")
    assert [constant.kind for constant in term.constants()] == ["constant"]


def test_the_target_of_a_call_stands_before_its_arguments() -> None:
    term = tree('path.owner.startsWith("x")')
    assert [part.kind for part in term.terms] == ["name", "constant"]
    assert list(term.names()) == ["path.owner"]


def test_lists_and_folds_are_read_with_what_they_are_made_of() -> None:
    assert [part.kind for part in tree('user.name in ["a", "b"]').terms[1].terms] == ["constant", "constant"]
    fold = tree('session.roles.exists(r, r == "x")')
    assert fold.kind == "fold"
    assert fold.terms[0].name == "session.roles"
    assert "r" in set(fold.names())


def test_a_part_is_evaluated_by_itself() -> None:
    whole = condition('session.mfa_age < duration("5m") && user.name == "anna"')
    left, right = whole.tree().terms
    assert whole.part(left).names == {"session.mfa_age"}
    assert whole.part(right).names == {"user.name"}
    assert Condition.constant(next(right.constants())) == "anna"


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ('user.name == "a"', 'user.name   ==   "a" // the first', True),
        ('user.name == "a"', 'user.name == "b"', False),
        ('user.name == "a"', 'user.email == "a"', False),
        ('session.roles.exists(r, r == "x")', 'session.roles.exists(r, r != "x")', False),
    ],
)
def test_the_shape_is_what_is_said_and_not_how(one: str, other: str, alike: bool) -> None:
    assert (tree(one).shape() == tree(other).shape()) is alike


def test_bytes_that_are_no_expression_are_refused() -> None:
    with pytest.raises(ValueError, match="not a serialized expression"):
        read_term(b"\x0b")
