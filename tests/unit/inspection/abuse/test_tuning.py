"""What gateway.yaml may say of a detector, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.inspection.abuse.catalogue import read_detectors
from gateway.inspection.abuse.rule import Answer
from gateway.inspection.abuse.tuning import RuleTuning, Tuning, TuningError, tuned

FILE = Path(__file__).parents[4] / "config" / "inspection" / "detectors.yaml"
DETECTORS = read_detectors(FILE.read_text(encoding="utf-8"), "detectors.yaml")


def test_what_is_not_asked_for_stays_as_it_is() -> None:
    assert tuned(DETECTORS, {}) == DETECTORS
    assert tuned(DETECTORS, {"D-03": Tuning()}) == DETECTORS


def test_an_action_a_time_and_numbers_are_taken() -> None:
    asked = Tuning(
        answer=Answer.SLOW_DOWN,
        answer_s=60.0,
        rate_per_s=0.5,
        burst=2,
        rules={"many_names": RuleTuning(within_s=300.0, at_least={"events": 40})},
    )
    found = {detector.id: detector for detector in tuned(DETECTORS, {"D-03": asked})}
    stuffing = found["D-03"]
    assert (stuffing.answer, stuffing.answer_s, stuffing.rate_per_s, stuffing.burst) == (Answer.SLOW_DOWN, 60, 0.5, 2)
    assert stuffing.rules[0].within_s == 300
    assert stuffing.rules[0].at_least == {"events": 40, "accounts": 15}
    assert stuffing.rules[1] == DETECTORS[2].rules[1]
    assert found["D-04"] == DETECTORS[3]


def test_watched_owners_are_taken_where_some_rule_watches() -> None:
    found = {detector.id: detector for detector in tuned(DETECTORS, {"D-15": Tuning(watched=["o"])})}
    assert found["D-15"].watched == {"o"}


def test_a_detector_can_be_off() -> None:
    assert tuned(DETECTORS, {"D-17": Tuning(answer=Answer.OFF)})[16].answer is Answer.OFF


@pytest.mark.parametrize(
    ("asked", "keys", "said"),
    [
        ({"D-99": Tuning()}, ("D-99",), "there is no detector D-99"),
        ({"D-03": Tuning(answer=Answer.STEP_UP)}, ("D-03", "action"), "answers with one of alert, block, slow_down"),
        ({"D-10": Tuning(answer=Answer.BLOCK)}, ("D-10", "action"), "not with block"),
        ({"D-03": Tuning(answer_s=60)}, ("D-03", "for"), "where the action is alert"),
        ({"D-03": Tuning(answer=Answer.BLOCK, rate_per_s=1)}, ("D-03", "rate"), "is for `action: slow_down` alone"),
        ({"D-03": Tuning(answer=Answer.BLOCK, burst=1)}, ("D-03", "burst"), "is for `action: slow_down` alone"),
        ({"D-03": Tuning(watched=["o"])}, ("D-03", "watched"), "D-03 watches nobody's data"),
        ({"D-03": Tuning(rules={"many": RuleTuning()})}, ("D-03", "rules", "many"), "there is no rule many"),
        (
            {"D-03": Tuning(rules={"many_names": RuleTuning(at_least={"items": 1})})},
            ("D-03", "rules", "many_names", "at_least", "items"),
            "counts events and accounts, not items",
        ),
        (
            {"D-03": Tuning(rules={"many_names": RuleTuning(at_least={"events": 5})})},
            ("D-03", "rules", "many_names", "at_least", "events"),
            "never fewer events than accounts",
        ),
        (
            {"D-04": Tuning(rules={"slow": RuleTuning(within_s=60)})},
            ("D-04", "rules", "slow", "within"),
            "is shorter than what has to last",
        ),
    ],
)
def test_what_a_detector_cannot_be_told_is_refused_at_its_key(
    asked: dict[str, Tuning], keys: tuple[str, ...], said: str
) -> None:
    with pytest.raises(TuningError, match=said) as refused:
        tuned(DETECTORS, asked)
    assert refused.value.keys == keys
