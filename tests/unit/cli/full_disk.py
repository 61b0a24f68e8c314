"""Runs verbs where no gateway runs and the disk is full: in a mount namespace of its own, with the directory and the kind of file system.

Prints one JSON object: exit code and words of each verb.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from click.testing import CliRunner

from gateway.cli import program
from tests.mounts import mount
from tests.unit.cli.conftest import House
from tests.unit.store.full_disk import fill

BALLAST_BYTES = 12 << 20


def main() -> None:
    disk, kind = Path(sys.argv[1]), sys.argv[2]
    mount(disk, kind, "size=64m")
    house = House(disk / "g")
    told: dict[str, list[object]] = {}

    def run(name: str, *words: str, given: str = "") -> None:
        result = house.run(*words, given=given)
        told[name] = [result.exit_code, result.output[-300:]]

    made = CliRunner().invoke(program, ["init", str(house.directory), "--tenant", "main"])
    assert made.exit_code == 0, made.output
    for name in ("alice", "bob"):
        house.add(name)
    with (house.state_dir / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, BALLAST_BYTES)
    hog = fill(disk)
    run("disable", "user", "disable", "bob")
    run("revoke", "session", "revoke", "--user", "alice")
    run("hold", "audit", "hold", "create", "--case", "2026/17", "--reason", "letter of counsel")
    os.truncate(house.state_dir / "ballast", 0)
    hog.unlink()
    hog = fill(disk)
    run("without ballast", "user", "enable", "bob")
    hog.unlink()
    run("verify", "audit", "verify")
    run("show", "user", "list", "--json")
    told["events"] = [name for name, _ in house.records()]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
