from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def rules(deploy: Path) -> list[dict[str, Any]]:
    loaded = yaml.safe_load((deploy / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def test_prometheus_accepts_configuration_and_rules(deploy: Path, tool: Tool) -> None:
    done = tool("promtool", "check", "config", deploy / "prometheus" / "prometheus.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_must_and_only_then(deploy: Path, tool: Tool) -> None:
    done = tool("promtool", "test", "rules", deploy / "prometheus" / "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_seen_firing_and_seen_silent(deploy: Path, rules: list[dict[str, Any]]) -> None:
    cases = yaml.safe_load((deploy / "prometheus" / "alerts_test.yaml").read_text(encoding="utf-8"))["tests"]
    seen = [(case["alertname"], "exp_alerts" in case) for test in cases for case in test["alert_rule_test"]]
    for rule in rules:
        assert {(rule["alert"], True), (rule["alert"], False)} <= set(seen), rule["alert"]


def test_each_alert_says_how_urgent_it_is_and_what_to_do(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_alerts_use_only_metrics_and_labels_that_the_code_declares(
    rules: list[dict[str, Any]], undeclared: Callable[[str], list[str]]
) -> None:
    assert [problem for rule in rules for problem in undeclared(rule["expr"])] == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("gateway_ready == 0", []),
        ("rate(gateway_request_duration_seconds_bucket[5m])", []),
        ("gateway_readiness == 0", ["gateway_readiness"]),
        ('gateway_requests_total{status="200"}', ["gateway_requests_total{status}"]),
    ],
)
def test_an_invented_metric_or_label_would_be_noticed(
    expression: str, problem: list[str], undeclared: Callable[[str], list[str]]
) -> None:
    assert undeclared(expression) == problem
    assert re.search("gateway_", expression)
