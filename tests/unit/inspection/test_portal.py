"""What the shipped rules make of a portal's requests: the measure of all mechanisms together."""

import os

import pytest

from gateway.inspection.engine import Inspection
from gateway.inspection.tuning import Mode, Settings, tuned
from gateway.inspection.verdict import Verdict
from tests.bench.inspection_corpus import ATTACKS, BENIGN, CORPORA, judge, rules_of_the_house, samples
from tests.bench.inspection_portal import portal_samples
from tests.bench.inspection_sample import Sample

RULES = rules_of_the_house()
ENGINE = Inspection(RULES)
PUBLIC = pytest.mark.skipif(
    not CORPORA.is_dir() and "CI" not in os.environ, reason="the public corpora are not beside the project"
)


def judged(sample: Sample, paranoia: int = 1) -> bool:
    tuning = tuned(Settings(mode=Mode.BLOCK, paranoia=paranoia), RULES)
    verdict, refused = judge(ENGINE, tuning, sample)
    assert isinstance(verdict, Verdict)
    return verdict.is_blocked or bool(refused)


def test_hardly_any_honest_request_of_a_portal_is_stopped() -> None:
    requests = [sample for sample in portal_samples("benign") if sample.tier == "core"]
    stopped = [sample.payload for sample in requests if judged(sample)]
    assert len(stopped) <= 0.005 * len(requests), stopped


def test_nearly_every_attack_on_a_portal_is_stopped() -> None:
    requests = list(portal_samples("attacks"))
    passed = [sample.payload for sample in requests if not judged(sample)]
    assert len(passed) <= 0.03 * len(requests), passed


@PUBLIC
def test_the_public_corpora_are_judged_as_well_as_promised() -> None:
    attacks = [sample for sample in samples(CORPORA / ATTACKS) if sample.tier == "core"]
    honest = [sample for sample in samples(CORPORA / BENIGN) if sample.tier == "core"]
    passed = [sample.id for sample in attacks if not judged(sample)]
    stopped = [sample.id for sample in honest if judged(sample)]
    assert len(passed) <= 0.03 * len(attacks), passed
    assert len(stopped) <= 0.005 * len(honest), stopped


def test_more_paranoia_stops_more() -> None:
    requests = list(portal_samples("benign"))[::7]
    counts = [sum(judged(sample, paranoia) for sample in requests) for paranoia in (1, 2, 3, 4)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
