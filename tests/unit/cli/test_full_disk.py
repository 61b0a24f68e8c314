"""Verbs where the disk is full and no gateway runs: nobody keeps room in the state then, the ballast does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mounts import run_apart


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_on_a_full_disk_people_are_put_out_and_records_held_where_no_gateway_runs(tmp_path: Path, kind: str) -> None:
    """T-41."""
    told = json.loads(run_apart("tests.unit.cli.full_disk", tmp_path / "small", kind, is_root=kind == "ext4"))
    codes = {name: told[name][0] for name in ("disable", "revoke", "hold", "verify", "show")}
    assert codes == dict.fromkeys(codes, 0), told
    assert '"disabled": true' in told["show"][1].lower()
    assert told["without ballast"][0] == 2
    assert "full" in told["without ballast"][1]
    assert {"user.disabled", "session revoke", "hold.created"} <= set(told["events"]), told["events"]
