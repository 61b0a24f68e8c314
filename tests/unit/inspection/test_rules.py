"""The rules that ship, and what is wrong with those that somebody writes."""

from pathlib import Path

import pytest

from gateway.document.source import DocumentError
from gateway.inspection.finding import Position
from gateway.inspection.mechanisms import MECHANISMS
from gateway.inspection.readings import SIGNS
from gateway.inspection.rules import CLASSES, Rules, known_signs, read_rules

RULES = Path(__file__).parents[3] / "config" / "inspection" / "rules"
GOOD = """version: 1
class: sqli
rules:
  - {id: sqli-one, title: One, sign: sql.one, score: 5, paranoia: 1}
"""


def shipped() -> Rules:
    files = {str(path): path.read_text(encoding="utf-8") for path in RULES.glob("*.yaml")}
    return read_rules(files, known_signs(MECHANISMS) | SIGNS)


def errors(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        read_rules({"rules.yaml": text}, {"sql.one", "sql.two"})
    return [str(finding) for finding in caught.value.findings]


def test_every_sign_of_every_mechanism_has_one_rule_and_every_rule_a_sign() -> None:
    rules = shipped()
    assert rules.by_sign.keys() == known_signs(MECHANISMS).keys() | SIGNS.keys()


def test_no_two_mechanisms_give_the_same_name_to_a_sign() -> None:
    names = [name for mechanism in MECHANISMS for name in mechanism.SIGNS]
    assert len(names) == len(set(names))


def test_every_mechanism_is_of_a_class_that_rules_and_exclusions_know() -> None:
    assert {mechanism.CLASS for mechanism in MECHANISMS} <= set(CLASSES)


def test_titles_end_without_a_full_stop() -> None:
    assert not [rule.id for rule in shipped().by_id.values() if rule.title.endswith(".")]


def test_a_rule_is_read() -> None:
    (rule,) = read_rules({"rules.yaml": GOOD}, {"sql.one"}).by_id.values()
    assert (rule.id, rule.attack, rule.score, rule.paranoia, rule.positions) == ("sqli-one", "sqli", 5, 1, frozenset())


def test_a_rule_with_a_pattern_is_read() -> None:
    text = GOOD.replace("sign: sql.one", "pattern: 'a.c', contains: [a], positions: [header]")
    rules = read_rules({"rules.yaml": text}, set())
    assert [rule.id for rule in rules.patterns] == ["sqli-one"]
    assert rules.by_id["sqli-one"].positions == {Position.HEADER}
    assert not rules.by_sign


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("sql.one", "sql.tow", "rules.yaml:4:38: there is no sign 'sql.tow'; did you mean 'sql.two'?"),
        ("class: sqli", "class: sqlj", "rules.yaml:2:8: 'sqlj' is not one of sqli"),
        ("score: 5", "score: 6", "expected a whole number from 1 to 5"),
        ("score: 5", "score: 1", "a rule counts 2 to 5"),
        ("paranoia: 1", "paranoia: 5", "expected a whole number from 1 to 4"),
        ("sqli-one", "SQLI", "expected a name such as"),
        ("sign: sql.one", "pattern: '(?=a)', contains: [a]", "it has no look-around"),
        ("sign: sql.one", "pattern: 'a*', contains: [a]", "matches an empty text"),
        ("sign: sql.one", "pattern: 'a'", "says what a text contains"),
        ("sign: sql.one", "pattern: 'a', contains: [A]", "expected ASCII in lower case"),
        ("sign: sql.one", "sign: sql.one, contains: [a]", "only a rule with a pattern"),
        ("sign: sql.one", "sign: sql.one, pattern: a", "a rule has a sign or a pattern"),
        (", sign: sql.one", "", "a rule has a sign or a pattern"),
        ("paranoia: 1", "paranoia: 1, positions: [querry]", "'querry' is not one of"),
        ("paranoia: 1", "paranoia: 1, levle: 2", "unknown key 'levle'"),
        ("version: 1", "version: 2", "expected version 1"),
        ("title: One, ", "", "the key 'title' is missing"),
    ],
)
def test_an_error_names_its_place(before: str, after: str, expected: str) -> None:
    assert any(expected in error for error in errors(GOOD.replace(before, after)))


def test_a_rule_and_a_sign_stand_once() -> None:
    again = "  - {id: sqli-one, title: One, sign: sql.two, score: 5, paranoia: 1}\n"
    assert "stands here a second time" in errors(GOOD + again)[0]
    again = "  - {id: sqli-two, title: One, sign: sql.one, score: 5, paranoia: 1}\n"
    assert "counts already, by 'sqli-one'" in errors(GOOD + again)[0]


def test_all_errors_of_all_files_are_told_at_once() -> None:
    with pytest.raises(DocumentError) as caught:
        read_rules({"a.yaml": "rules: [", "b.yaml": GOOD.replace("score: 5", "score: 9")}, {"sql.one"})
    assert [finding.path for finding in caught.value.findings] == ["a.yaml", "b.yaml"]
