"""What a whole gateway recorded, replayed while it runs."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine


def test_the_past_of_a_running_gateway_is_the_same_again_and_otherwise_under_another_policy(
    running_gateway: Any, browser: Any
) -> None:
    assert browser.get("/").status == 200
    assert browser.get("/.gateway/account").status == 200
    same = running_gateway.cli("policy", "replay", "--since", "1h", "--json")
    assert same.returncode == 0, same.stdout + same.stderr
    value = json.loads(same.stdout)
    assert value["same"] >= 1
    assert value["changes"] == []
    assert value["read"]["not_decided"]["own page"] >= 2, "signing in, and the account page"

    directory = running_gateway.config.parent
    shutil.copytree(directory / "policies", directory / "next")
    running_gateway.edit(
        ("roles: [client]", "roles: [boss]"), ("  client: {}", "  client: {}\n  boss: {}"), file="next/portal.yaml"
    )
    other = running_gateway.cli("policy", "replay", "--since", "1h", "--candidate", str(directory / "next"), "--json")
    assert other.returncode == 1, other.stdout + other.stderr
    refused = [change for change in json.loads(other.stdout)["changes"] if change["outcome"] == "would_refuse"]
    assert {(change["person"].partition("@")[0], change["after"]["reason"]) for change in refused} == {
        ("alice", "role_missing")
    }
    assert browser.get("/").status == 200, "nothing was changed"

    covered = json.loads(running_gateway.cli("policy", "coverage", "--traffic", "--since", "1h", "--json").stdout)
    assert covered["traffic"]["exercised"] > 0
    assert running_gateway.cli("audit", "verify").returncode == 0
