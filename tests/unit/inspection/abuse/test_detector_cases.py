"""Every detector against its own cases: what it has to find, and what it must leave alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.inspection.abuse.catalogue import read_detectors
from gateway.inspection.abuse.rule import ANSWERABLE, Answer
from gateway.inspection.abuse.scenario import Case, findings_of, read_cases

CONFIG = Path(__file__).parents[4] / "config" / "inspection"
DETECTORS = read_detectors((CONFIG / "detectors.yaml").read_text(encoding="utf-8"), "detectors.yaml")
CASES = read_cases((CONFIG / "detector-cases.yaml").read_text(encoding="utf-8"), "detector-cases.yaml", DETECTORS)
BY_ID = {detector.id: detector for detector in DETECTORS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.detector}: {case.name}")
def test_a_detector_finds_what_its_case_says(case: Case) -> None:
    found = findings_of(case, BY_ID[case.detector])
    assert {finding.rule for finding in found} == case.finds, case.place


def test_every_detector_of_the_study_is_there() -> None:
    assert {f"D-{number:02}" for number in range(1, 20)} <= BY_ID.keys()


def test_every_detector_has_two_cases_that_it_finds_and_two_that_it_leaves_alone() -> None:
    positive = Counter(case.detector for case in CASES if case.finds)
    negative = Counter(case.detector for case in CASES if not case.finds)
    assert [each for each in BY_ID if positive[each] < 2 or negative[each] < 2] == []


def test_every_rule_speaks_in_some_case() -> None:
    spoken = {(case.detector, rule) for case in CASES for rule in case.finds}
    assert {(detector.id, rule.name) for detector in DETECTORS for rule in detector.rules} == spoken


def test_every_detector_only_alerts_until_it_is_told_more() -> None:
    assert {detector.answer for detector in DETECTORS} == {Answer.ALERT}


def test_every_answer_can_be_given_to_whom_each_rule_counts() -> None:
    for detector in DETECTORS:
        assert all(detector.answers <= ANSWERABLE[rule.by] for rule in detector.rules), detector.id


def test_a_case_speaks_once_for_each_subject() -> None:
    """A finding a second would bury the first."""
    for case in CASES:
        found = Counter((each.rule, each.scope, each.subject) for each in findings_of(case, BY_ID[case.detector]))
        lasting = sum(line.repeat * line.every_s + line.after_s for line in case.seen)
        assert all(number <= 1 + lasting / 60 for number in found.values()), case.place


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("finds: [burst]", "finds: [burst, bursts]"), "4:20: 'bursts' is not one of burst"),
        (("what: sign_in.failed", "what: sign_in"), "'sign_in' is not one of"),
        (("account: alice", "acount: alice"), "unknown key 'acount'; did you mean 'account'?"),
        (("repeat: 5", "repeat: 0"), "expected a whole number from 1"),
        (("every: 60s", "every: 60"), "'60' is not a length of time"),
        (("detector: D-01", "detector: D-99"), "'D-99' is not one of"),
        (("what: sign_in.failed, ", ""), "the key 'what' is missing"),
        (("finds: [burst]", "finds: none"), "expected a list"),
    ],
)
def test_a_case_that_cannot_be_read_is_refused_with_its_place(change: tuple[str, str], said: str) -> None:
    text = """version: 1
cases:
  - detector: D-01
    finds: [burst]
    name: five
    seen:
      - {what: sign_in.failed, account: alice, repeat: 5, every: 60s}
"""
    assert read_cases(text, "cases.yaml", DETECTORS)
    with pytest.raises(ConfigurationError) as refused:
        read_cases(text.replace(*change), "cases.yaml", DETECTORS)
    assert said in "\n".join(refused.value.diagnostics)
    assert "cases.yaml:" in refused.value.diagnostics[0]
