"""The log of a whole gateway, searched, asked and handed to others while it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine


def test_what_somebody_did_is_found_asked_about_and_proven_while_the_gateway_runs(
    running_gateway: Any, browser: Any, tmp_path: Path
) -> None:
    assert browser.get("/").status == 200

    def run(*words: str, code: int = 0) -> str:
        result = running_gateway.cli("audit", *words)
        assert result.returncode == code, result.stdout + result.stderr
        return str(result.stdout)

    found = [json.loads(line) for line in run("query", "--actor", "alice", "--json").splitlines()]
    assert {each["record"]["actor"]["user"]["name"] for each in found} == {"alice"}
    streams = {each["log"]["stream"] for each in found}
    assert "access" in streams
    counted = run("query", "--sql", "SELECT count(*) n FROM records WHERE actor = 'alice'", "--format", "csv")
    assert int(counted.splitlines()[1]) >= len(found)
    assert "no gap" in run("gaps")
    path = tmp_path / "case.tar"
    run("export", "--actor", "alice", "--stream", "access", "--case", "4711", "--sign", "-o", str(path))
    assert "intact: case 4711" in run("verify", str(path))
    uses = [json.loads(line)["record"] for line in run("query", "--stream", "security", "--json").splitlines()]
    operations = [
        use["api"]["operation"] for use in uses if use.get("api", {}).get("service", {}).get("name") == "gateway.admin"
    ]
    assert [each for each in operations if each.startswith("audit ")] == [
        "audit query",
        "audit query",
        "audit gaps",
        "audit export",
        "audit query",
    ]
    assert running_gateway.cli("audit", "verify").returncode == 0
