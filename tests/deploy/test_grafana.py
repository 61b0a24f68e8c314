from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

Tool = Callable[..., subprocess.CompletedProcess[str]]
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


@pytest.fixture
def dashboard(deploy: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((deploy / "grafana" / "gateway.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def expressions(dashboard: dict[str, Any]) -> list[str]:
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return found + [annotation["expr"] for annotation in dashboard["annotations"]["list"]]


def test_prometheus_can_read_every_expression(expressions: list[str], tool: Tool, tmp_path: Path) -> None:
    concrete = []
    for expression in expressions:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)  # noqa: PLW2901
        concrete.append(expression)
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(concrete)]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = tool("promtool", "check", "rules", tmp_path / "rules.json")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_panels_use_only_metrics_and_labels_that_the_code_declares(
    expressions: list[str], undeclared: Callable[[str], list[str]]
) -> None:
    assert [problem for expression in expressions for problem in undeclared(expression)] == []


def test_panels_have_a_title_an_explanation_and_a_place_of_their_own(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and (panel["type"] == "row" or panel["description"]) for panel in panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
