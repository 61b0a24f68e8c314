"""What the shipped rules make of requests that were written down before anybody looked at the rules."""

from gateway.inspection.engine import Inspection
from gateway.inspection.tuning import Mode, Settings, tuned
from tests.bench.inspection_corpus import judge, rules_of_the_house
from tests.bench.inspection_lines import line_samples
from tests.bench.inspection_sample import Sample

RULES = rules_of_the_house()
ENGINE = Inspection(RULES)
TUNING = tuned(Settings(mode=Mode.BLOCK), RULES)


def is_stopped(sample: Sample) -> bool:
    verdict, refused = judge(ENGINE, TUNING, sample)
    return verdict.is_blocked or bool(refused)


def test_what_customers_write_is_not_stopped() -> None:
    requests = [sample for sample in line_samples("honest") if sample.tier == "core"]
    stopped = [sample.payload for sample in requests if is_stopped(sample)]
    assert len(requests) > 500
    assert len(stopped) <= 0.005 * len(requests), stopped


def test_what_attackers_send_is_stopped() -> None:
    requests = [sample for sample in line_samples("hostile") if sample.tier == "core"]
    passed = [sample.payload for sample in requests if not is_stopped(sample)]
    assert len(requests) > 500
    assert len(passed) <= 0.03 * len(requests), passed
