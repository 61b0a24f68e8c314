"""docs/restore.md, carried out as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import PROGRAM, Gateway

GUIDE = Path(__file__).parents[2] / "docs" / "restore.md"


def carry_out(step: str, **places: Path) -> str:
    """Run the commands of one step as an operator would paste them, on these directories."""
    found = re.findall(rf"^ *```sh {step}\n(.*?)^ *```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    path = f"{Path(PROGRAM[0]).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(map(textwrap.dedent, found))],
        env={"PATH": path, **{name: str(place) for name, place in places.items()}},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_t70_an_empty_host_is_restored_from_a_backup_and_the_trail_proves_what_it_has(
    make_gateway: Callable[..., Gateway], make_browser: type[Any], tmp_path: Path
) -> None:
    backup, sink = tmp_path / "backup", tmp_path / "sink" / "audit.jsonl"
    sink.parent.mkdir()
    gateway = make_gateway()
    gateway.edit(("audit: {", f"audit: {{sinks: [{{name: copy, type: file, path: {sink}}}], "))
    host = {"ETC": gateway.directory, "VAR": gateway.directory / "state"}
    carry_out("stopped", **host, BACKUP=backup_directory(backup))
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert {browser.get("/").status for _ in range(3)} == {200}
    vkeys = json.loads(gateway.cli("audit", "trust", "--vkeys", "--json").stdout)
    copied = last_access(carry_out("backup", **host, BACKUP=backup))
    assert browser.get("/?after=the+copy").status == 200
    gateway.wait_until(lambda: newest_access(sink) > copied)
    for child in [*gateway.children(), gateway.process.pid if gateway.process else 0]:
        os.kill(child, signal.SIGKILL)  # the host is gone
    assert gateway.process is not None
    gateway.process.wait()
    shutil.rmtree(gateway.directory)

    archive = tmp_path / "before"
    told = carry_out("restore", **host, BACKUP=backup, ARCHIVE=archive)
    assert vkeys["access"].partition("+")[0] in told
    gateway.start()
    again = make_browser(gateway)
    again.sign_in()
    assert again.get("/").status == 200
    begun = json.loads(gateway.cli("audit", "trust", "--vkeys", "--json").stdout)
    assert begun["access"] != vkeys["access"], "nothing goes on with a log that lost its end"
    assert gateway.cli("audit", "verify").returncode == 0

    # the recovery point: what the copy lacks, the sink has
    assert last_access(told) == copied < newest_access(sink)
    recorded = gateway.cli("audit", "verify", str(sink))
    assert recorded.returncode == 3, "nothing is wrong with it, and no checkpoint of its end was kept elsewhere"


def backup_directory(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def last_access(verdict: str) -> int:
    """Read from what `audit verify` said which entry of the access stream is the last."""
    (found,) = re.findall(r"/access: intact: entries 0 to (\d+) ", verdict)
    return int(found)


def newest_access(sink: Path) -> int:
    """Tell the last index of the access stream that the receiver has."""
    records = [json.loads(line) for line in sink.read_text().splitlines()] if sink.exists() else []
    return max((r["unmapped"]["gw"]["log_index"] for r in records if r["metadata"]["log_name"] == "access"), default=-1)
