"""Findings that look like honest people."""

from datetime import date

from gateway.document.place import Place
from gateway.document.source import Diagnostic, load
from gateway.inspection.finding import Position
from gateway.inspection.learning import Observation, suspicions
from gateway.inspection.rules import Rule, Rules
from gateway.inspection.tuning import read_settings


def seen(person: str, digest: str = "", **other: str) -> Observation:
    told = {"rule": "sql-statement", "attack": "sqli", "position": "form", "name": "note", "route": "tickets"} | other
    return Observation(**told, person=person, digest=digest or person)


HONEST = [seen("ann"), seen("bob"), seen("eve"), seen("ann", "2")]


def test_the_same_rule_at_the_same_parameter_by_several_people_is_suspicious() -> None:
    (found,) = suspicions(HONEST)
    assert (found.rule, found.name, found.count, found.people, found.values) == ("sql-statement", "note", 4, 3, 4)


def test_what_two_people_did_is_not_enough() -> None:
    assert suspicions([seen("ann"), seen("bob"), seen("ann", "3")]) == []


def test_one_attacker_who_tries_many_things_is_no_false_positive() -> None:
    tries = [seen("mallory", str(n), attack=attack) for n, attack in enumerate(["xss", "sqli", "command"] * 5)]
    assert suspicions(tries) == []


def test_people_who_set_off_other_classes_too_are_not_believed() -> None:
    others = [seen(person, attack="xss", rule="html-script-element", name="q") for person in ("ann", "bob")]
    assert suspicions(HONEST + others) == []


def test_nobody_who_was_not_signed_in_counts() -> None:
    assert suspicions([seen("", str(n)) for n in range(50)]) == []


def test_one_text_that_many_send_is_a_link_that_spreads() -> None:
    assert suspicions([seen("ann", "same"), seen("bob", "same"), seen("eve", "same")]) == []


def test_the_same_rule_at_different_parameters_is_told_apart() -> None:
    elsewhere = [seen(person, name="subject") for person in ("ann", "bob", "eve", "dan")]
    assert [found.name for found in suspicions(HONEST + elsewhere)] == ["subject", "note"]


def test_the_suggested_exclusion_can_be_pasted() -> None:
    for name in ("note", "it's [0]", "true", "123"):
        (found,) = suspicions([seen(person, name=name) for person in ("ann", "bob", "eve")])
        text = "exclusions:\n" + found.exclusion(date(2027, 1, 1))
        rules = Rules({"sql-statement": Rule("sql-statement", "sqli", "S", 5, 1, "sql.statement")}, {})
        findings: list[Diagnostic] = []
        settings = read_settings(Place(load(text, "p.yaml"), findings), rules, 1_800_000_000.0)
        assert findings == []
        assert settings is not None
        assert settings.exclusions[0].covers(rules.by_id["sql-statement"], Position.FORM, name, 1_800_000_000.0)
