"""The guide for operators names what exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DECLARED = re.compile(r'"(gateway_[a-z_]+)"')
NOT_METRICS = {"gateway_yaml"}


def test_every_metric_is_in_the_guide_and_no_other() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    table = guide[guide.index("## Metrics") : guide.index("Alert rules")]
    documented = set(re.findall(r"`(gateway_[a-z_]+)`", table))
    declared = {name for path in (ROOT / "gateway").rglob("*.py") for name in DECLARED.findall(path.read_text())}
    assert documented == declared - NOT_METRICS


def test_every_event_of_the_log_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    logged = {
        event
        for path in (ROOT / "gateway").rglob("*.py")
        for event in re.findall(r'_(?:log\.\w+|report)\(\s*"([a-z_]+\.[a-z_]+)"', path.read_text())
    }
    assert {"gateway.started", "page.failed", "task.failed"} <= logged
    assert {event for event in logged if f"`{event}`" not in guide} == set()
