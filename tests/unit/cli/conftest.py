"""A configuration directory as `gateway init` makes it, and the program run on it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import argon2
import pytest
from click.testing import CliRunner, Result

from gateway.authn.password import Hasher
from gateway.cli import program, user
from gateway.store.keyring import Keyring
from gateway.store.state import Store, open_store


class House:
    """One gateway that is not running."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state_dir = directory / "state"

    def run(self, *arguments: str, given: str = "") -> Result:
        """Run a verb."""
        return CliRunner().invoke(program, [*arguments, "-c", str(self.directory / "gateway.yaml")], input=given)

    def value(self, *arguments: str, given: str = "") -> dict[str, Any]:
        """Run a verb that succeeds, and return its JSON."""
        result = self.run(*arguments, "--json", given=given)
        assert result.exit_code == 0, result.output
        value = json.loads(result.stdout)
        assert isinstance(value, dict)
        return value

    def add(self, name: str, *more: str) -> dict[str, Any]:
        """Add a person with a given password."""
        words = ("--tenant", "main", "--role", "client", "--password-stdin")
        return self.value("user", "add", name, *words, *more, given="correct horse battery\n")

    def store(self) -> Store:
        """Open the state as the gateway does."""
        return open_store(self.state_dir, Keyring.load(self.directory / "config" / "keyring.json"))

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        """Everything that verbs recorded, oldest first: the event or operation, and the record."""
        lines = self.run("audit", "query", "--json").stdout.splitlines()
        found = [json.loads(line)["record"] for line in lines]
        named = [
            (record["api"]["operation"] if "api" in record else record["unmapped"]["gw"]["event"], record)
            for record in found
        ]
        return [(name, record) for name, record in named if name != "audit query"]

    def queries(self) -> list[dict[str, Any]]:
        """What searches of the log left behind, oldest first, but for the search that this is."""
        lines = self.run("audit", "query", "--json", "--event", "admin").stdout.splitlines()
        found = [json.loads(line)["record"] for line in lines]
        return [record["unmapped"]["gw"]["query"] for record in found if record["api"]["operation"] == "audit query"][
            :-1
        ]


CHEAP = argon2.Parameters(
    type=argon2.Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=8, parallelism=1
)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A fresh one; passwords are hashed under cheap parameters, which stand in each hash."""
    monkeypatch.setattr(user, "Hasher", partial(Hasher, CHEAP))
    directory = tmp_path / "house"
    assert CliRunner().invoke(program, ["init", str(directory), "--tenant", "main"]).exit_code == 0
    config = directory / "gateway.yaml"  # without inspection: a test that wants some says which
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith("inspection:")))
    return House(directory)
