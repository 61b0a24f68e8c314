"""What operators say about rules on a route."""

import pytest

from gateway.document.place import Place
from gateway.document.source import Diagnostic, load
from gateway.inspection.finding import Position
from gateway.inspection.rules import Rule, Rules
from gateway.inspection.tuning import DEFAULT_THRESHOLD, Mode, Settings, Tuning, read_settings, tuned

NOW = 1_800_000_000.0  # 15 January 2027
TAUTOLOGY = Rule("sql-tautology", "sqli", "T", 5, 1, "sql.tautology")
QUOTE = Rule("sql-quote", "sqli", "Q", 3, 4, "sql.quote")
SCRIPT = Rule("html-script", "xss", "S", 5, 1, "html.script")
RULES = Rules(
    {rule.id: rule for rule in (TAUTOLOGY, QUOTE, SCRIPT)}, {rule.sign: rule for rule in (TAUTOLOGY, QUOTE, SCRIPT)}
)


def read(text: str) -> tuple[Settings | None, list[Diagnostic]]:
    findings: list[Diagnostic] = []
    return read_settings(Place(load(text, "gateway.yaml"), findings), RULES, NOW), findings


def settings(text: str) -> Settings:
    found, findings = read(text)
    assert findings == []
    assert found is not None
    return found


def tuning(text: str) -> Tuning:
    return tuned(settings(text), RULES)


def test_nothing_said_is_off_with_rules_of_the_first_paranoia() -> None:
    found = tuning("uploads: {max: 1MiB}")
    assert (found.mode, found.paranoia, found.threshold, found.is_on) == (Mode.OFF, 1, DEFAULT_THRESHOLD, False)
    assert found.weights == {"sql.tautology": (TAUTOLOGY, 5), "html.script": (SCRIPT, 5)}


def test_paranoia_brings_the_rules_up_to_it() -> None:
    assert tuning("paranoia: 4").weights.keys() == {"sql.tautology", "sql.quote", "html.script"}
    assert tuning("paranoia: 3").weights.keys() == {"sql.tautology", "html.script"}


def test_a_rule_can_be_taken_out_brought_in_and_weighed_anew() -> None:
    found = tuning(
        "rules: {sql-tautology: {enabled: false}, sql-quote: {enabled: true, score: 2}, html-script: {score: 4}}"
    )
    assert found.weights == {"sql.quote": (QUOTE, 2), "html.script": (SCRIPT, 4)}


def test_the_settings_of_a_route_lie_over_the_general_ones() -> None:
    general = settings(
        "{waf: block, threshold: 7, exclusions: [{rule: sql-quote, reason: a}], rules: {sql-quote: {score: 2}}}"
    )
    own = settings(
        "{waf: detect, paranoia: 2, exclusions: [{class: xss, reason: b}], rules: {html-script: {score: 2}}}"
    )
    found = general.under(own)
    assert (found.mode, found.paranoia, found.threshold) == (Mode.DETECT, 2, 7)
    assert [exclusion.reason for exclusion in found.exclusions] == ["a", "b"]
    assert found.overrides.keys() == {"sql-quote", "html-script"}


def test_an_exclusion_covers_its_rule_its_place_and_its_name() -> None:
    (exclusion,) = settings(
        "exclusions: [{rule: sql-tautology, position: form, name: 'Note[*]', reason: free text, expires: '2027-01-31'}]"
    ).exclusions
    assert exclusion.covers(TAUTOLOGY, Position.FORM, "note[12]", NOW)
    assert not exclusion.covers(QUOTE, Position.FORM, "note[12]", NOW)
    assert not exclusion.covers(TAUTOLOGY, Position.QUERY, "note[12]", NOW)
    assert not exclusion.covers(TAUTOLOGY, Position.FORM, "note", NOW)
    assert exclusion.covers(TAUTOLOGY, Position.FORM, "note[]", exclusion.expires_at - 1)
    assert not exclusion.covers(TAUTOLOGY, Position.FORM, "note[]", exclusion.expires_at)


def test_an_exclusion_of_a_class_covers_all_its_rules() -> None:
    (exclusion,) = settings("exclusions: [{class: sqli, reason: a page about SQL}]").exclusions
    assert exclusion.covers(TAUTOLOGY, Position.QUERY, "q", NOW)
    assert exclusion.covers(QUOTE, Position.JSON, "", NOW)
    assert not exclusion.covers(SCRIPT, Position.QUERY, "q", NOW)


def test_an_expired_exclusion_is_told_and_does_not_count() -> None:
    found, findings = read("exclusions: [{class: sqli, reason: a, expires: '2027-01-14'}]")
    assert found is not None
    assert found.exclusions == ()
    assert [(finding.name, finding.severity) for finding in findings] == [("expired-exclusion", "warning")]
    assert str(findings[0]).startswith("gateway.yaml:1:14: ")


def test_an_exclusion_holds_through_its_last_day() -> None:
    assert len(settings("exclusions: [{class: sqli, reason: a, expires: '2027-01-15'}]").exclusions) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("waf: on", "gateway.yaml:1:6: 'on' is not one of off, detect, block"),
        ("paranoia: 5", "gateway.yaml:1:11: expected a whole number from 1 to 4"),
        ("threshold: 0", "expected a whole number from 1 to 1000"),
        (
            "rules: {sql-tautologie: {score: 3}}",
            "gateway.yaml:1:9: there is no rule 'sql-tautologie'; did you mean 'sql-tautology'?",
        ),
        (
            "exclusions: [{rule: sqli, reason: a}]",
            "gateway.yaml:1:21: 'sqli' is a class of rules; write `class: sqli` in place of `rule`",
        ),
        ("exclusions: [{class: sqli, position: forms, reason: a}]", "did you mean 'form'?"),
        ("rules: {sql-quote: {score: 1}}", "a rule counts 2 to 5"),
        ("rules: {sql-quote: {}}", "say the score, or whether it is enabled"),
        ("exclusions: [{rule: nope, reason: a}]", "gateway.yaml:1:21: there is no rule 'nope'"),
        ("exclusions: [{rule: sql-quote}]", "the key 'reason' is missing"),
        ("exclusions: [{rule: sql-quote, class: sqli, reason: a}]", "an exclusion names a rule or a class"),
        ("exclusions: [{reason: a}]", "an exclusion names a rule or a class"),
        ("exclusions: [{class: sql, reason: a}]", "'sql' is not one of"),
        ("exclusions: [{class: sqli, position: body2, reason: a}]", "'body2' is not one of"),
        ("exclusions: [{class: sqli, reason: a, expires: soon}]", "expected a day such as"),
        ("exclusions: [{class: sqli, reason: a, expires: '2027-02-30'}]", "2027-02-30 is no day"),
        ("exclusions: []", "the list is empty"),
    ],
)
def test_what_is_not_understood_is_an_error_with_its_place(text: str, expected: str) -> None:
    _, findings = read(text)
    assert any(expected in str(finding) for finding in findings)
