"""The file of detectors: what can be read, and what is refused with its place."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.errors import ConfigurationError
from gateway.inspection.abuse.catalogue import read_detectors
from gateway.inspection.abuse.rule import Answer, By, Each, OwnHabit, PeerHabit, RouteHabit
from gateway.inspection.abuse.sighting import What

WHOLE = """version: 1
detectors:
  - id: D-77
    name: seventy_seven
    title: Something
    counts: What is counted.
    technique: T1110.001
    severity: low
    answers: [alert, block]
    spares_signed_in: true
    rules:
      - name: first
        of: [sign_in.failed]
        by: network
        within: 15m
        at_least: {events: 25, accounts: 15}
        any_of: {agents: 3}
        each: {of: accounts, least: 2, most: 8, share: 0.6}
        lasting: 5m
        until: [sign_in.succeeded]
        severity: critical
"""


def _habit(by: str, habit: str, at_least: str = "{items: 5}") -> str:
    head = WHOLE.split("      - name: first", maxsplit=1)[0]
    return f"{head}      - {{name: first, of: [taken], by: {by}, within: 24h, at_least: {at_least}, habit: {habit}}}\n"


def test_everything_that_a_rule_can_say_is_read() -> None:
    (detector,) = read_detectors(WHOLE, "d.yaml")
    (rule,) = detector.rules
    assert detector.answers == {Answer.ALERT, Answer.BLOCK}
    assert detector.spares_signed_in
    assert rule.of == {What.SIGN_IN_FAILED}
    assert rule.by is By.NETWORK
    assert rule.within_s == 900
    assert rule.each == Each(of="accounts", least=2, most=8, share=0.6)
    assert rule.lasting_s == 300
    assert rule.listens == {What.SIGN_IN_FAILED, What.SIGN_IN_SUCCEEDED}
    assert rule.severity == "critical"


def test_a_lifetime_has_no_end() -> None:
    (detector,) = read_detectors(WHOLE.replace("within: 15m", "within: lifetime"), "d.yaml")
    assert detector.rules[0].within_s == inf


@pytest.mark.parametrize(
    ("by", "habit", "kind"),
    [
        ("who", "{own: {times: 5, days: 30, known: 5, least: 50}}", OwnHabit),
        ("person", "{peers: {times: 2.5, days: 7, known: 10, least: 20}}", PeerHabit),
        ("source", "{route: {sigmas: 3, windows: 48, known: 6}}", RouteHabit),
    ],
)
def test_the_three_kinds_of_habit_are_read(by: str, habit: str, kind: type) -> None:
    (detector,) = read_detectors(_habit(by, habit), "d.yaml")
    assert isinstance(detector.rules[0].habit, kind)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("version: 1", "version: 2"), "d.yaml:1:10: this gateway reads version 1"),
        (("id: D-77", "id: X-77"), "d.yaml:3:9: 'X-77': write D- and two digits"),
        (("name: seventy_seven", "name: Seventy"), "write lower case words"),
        (("technique: T1110.001", "technique: brute"), "write T and the number"),
        (("severity: low", "severity: huge"), "'huge' is not one of low, medium, high, critical"),
        (("answers: [alert, block]", "answers: [block]"), "alert is always among them"),
        (
            ("answers: [alert, block]", "answers: [alert, step_up]"),
            "step_up cannot be answered by network (rule first)",
        ),
        (("answers: [alert, block]", "answers: [alert, off]"), "'off' is not one of"),
        (("by: network", "by: networks"), "did you mean 'network'?"),
        (("within: 15m", "within: 0s"), "a window is longer than nothing"),
        (("within: 15m", "within: 31d"), "not longer than 30d"),
        (("within: 15m", "within: 4m"), "nothing lasts longer than the window"),
        (("{events: 25, accounts: 15}", "{events: 0}"), "expected a whole number from 1 to 10000"),
        (("{events: 25, accounts: 15}", "{tries: 5}"), "'tries' is not one of events"),
        (("{events: 25, accounts: 15}", "{}"), "name at least one number"),
        (("at_least: {events: 25, accounts: 15}", "lasting_s: 5"), "unknown key 'lasting_s'"),
        (("        at_least: {events: 25, accounts: 15}\n", ""), "the key 'at_least' is missing"),
        (("least: 2, most: 8", "least: 9, most: 8"), "is less than `least`"),
        (("share: 0.6", "share: 1.6"), "expected a number from 0 to 1"),
        (("share: 0.6", "share: true"), "expected a number from 0 to 1"),
        (("until: [sign_in.succeeded]", "until: [sign_in.failed]"), "cannot end or trigger the count"),
        (("of: [sign_in.failed]", "of: []"), "the list is empty"),
        (("of: [sign_in.failed]", "of: [sign_in.failed, sign_in.failed]"), "is listed twice"),
        (("by: network", "by: source"), "goes with `by: source`"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(change: tuple[str, str], said: str) -> None:
    assert change[0] in WHOLE
    with pytest.raises(ConfigurationError) as refused:
        read_detectors(WHOLE.replace(*change), "d.yaml")
    assert said in "\n".join(refused.value.diagnostics)
    assert all(line.startswith("d.yaml:") for line in refused.value.diagnostics)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_habit("who", "{own: {times: 5}}"), "the key 'days' is missing"),
        (_habit("who", "{own: {times: 500, days: 30, known: 5, least: 50}}"), "expected a number from 1 to 100"),
        (_habit("who", "{}"), "a habit is one of own, peers and route"),
        (_habit("network", "{route: {sigmas: 3, windows: 48, known: 6}}"), "goes with `by: source`"),
        (
            _habit("who", "{own: {times: 5, days: 3, known: 5, least: 5}}", "{items: 5, owners: 5}"),
            "compares the number of one",
        ),
        (_habit("who", "{own: {times: 5, days: 3, known: 5, least: 5}}", "{events: 5}"), "compares the number of one"),
    ],
)
def test_a_habit_that_cannot_be_compared_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_detectors(text, "d.yaml")
    assert said in "\n".join(refused.value.diagnostics)


def test_two_detectors_with_one_id_or_name_are_refused() -> None:
    twice = WHOLE + WHOLE.partition("detectors:\n")[2]
    with pytest.raises(ConfigurationError, match="is there twice"):
        read_detectors(twice, "d.yaml")


def test_two_rules_with_one_name_are_refused() -> None:
    rule = WHOLE.partition("    rules:\n")[2]
    with pytest.raises(ConfigurationError, match="the rule first is there twice"):
        read_detectors(WHOLE + rule, "d.yaml")


@given(st.text(max_size=200))
def test_no_text_is_read_as_anything_but_detectors_or_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_detectors(text, "d.yaml")
    assert refused.value.diagnostics
