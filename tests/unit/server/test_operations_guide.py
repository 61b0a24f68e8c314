"""The guide for operators names what exists."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.exchange.reason import ANSWERS, Reason

ROOT = Path(__file__).parents[3]
DECLARED = re.compile(r'"(gateway_[a-z_]+)"')
NOT_METRICS = {"gateway_roles", "gateway_yaml"}


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


def test_every_reason_is_explained_with_its_status() -> None:
    guide = (ROOT / "docs" / "reasons.md").read_text()
    explained = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}|the portal's) \|", guide, re.MULTILINE))
    passed = {Reason.ALLOWED, Reason.PUBLIC}
    assert explained == {r.value: "the portal's" if r in passed else str(ANSWERS[r].status) for r in Reason}
