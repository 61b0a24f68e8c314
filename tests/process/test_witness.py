"""A gateway whose log another team's witness vouches for, and what becomes of somebody who rewrites it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.machine import free_port
from tests.process.conftest import PROGRAM, Gateway


class WitnessProgram:
    """`gateway witness`, as the other team runs it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.config = directory / "witness.yaml"
        made = self.cli("init", str(directory), "--name", "witness.example/w1", "--json")
        self.vkey = json.loads(made)["vkey"]
        self._process: subprocess.Popen[bytes] | None = None

    def cli(self, verb: str, *arguments: str) -> str:
        options = () if verb == "init" else ("-c", str(self.config))
        done = subprocess.run(
            [*PROGRAM, "witness", verb, *arguments, *options], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, vkeys: list[str]) -> None:
        lines = "".join(f'  - "{vkey}"\n' for vkey in vkeys)
        self.config.write_text(
            f"version: 1\nlisten: 127.0.0.1:{self.port}\nstate_dir: state\nkey: witness-key.json\nlogs:\n{lines}"
        )
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*PROGRAM, "witness", "run", "-c", str(self.config)], stdout=log, stderr=log, cwd="/"
            )

    def stop(self) -> int:
        if self._process is None:
            return 0
        self._process.terminate()
        return self._process.wait(timeout=20)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProgram]:
    made = WitnessProgram(tmp_path / "w")
    yield made
    assert made.stop() == 0


def test_a_witness_notices_a_log_that_was_cut_off_and_continued(
    make_gateway: Callable[..., Gateway], witness: WitnessProgram, tmp_path: Path
) -> None:
    """The whole story: vouched for, proven, then attacked by somebody who is root on the node."""
    gateway = make_gateway(workers=1)
    keys = json.loads(gateway.cli("audit", "trust", "--vkeys", "--json").stdout)
    assert list(keys) == ["security"]  # the user that was added
    witness.start(list(keys.values()))
    (gateway.directory / "config" / "witness.policy").write_text(
        f"witness w1 {witness.vkey} http://127.0.0.1:{witness.port}/\nquorum w1\n"
    )
    gateway.edit(("audit: {", "audit: {witness: {policy: config/witness.policy, interval: 100ms}, "))
    state = next(path for path in gateway.directory.rglob("checkpoints")).parent
    shutil.copytree(state, tmp_path / "before")

    gateway.start()
    gateway.wait_until(lambda: gateway.metric('gateway_audit_cosigned_entries{stream="security"}') > 0)
    gateway.add_user("bob")
    seen = json.loads(gateway.cli("audit", "tail", "-n", "1", "--json").stdout.splitlines()[-1])
    uid, index = seen["record"]["metadata"]["uid"], seen["log"]["index"]
    gateway.wait_until(lambda: gateway.metric('gateway_audit_cosigned_entries{stream="security"}') > index)
    proof = tmp_path / "x.tlog-proof"
    made = gateway.cli("audit", "prove", "--uid", uid, "-o", str(proof))
    assert made.returncode == 0, made.stderr
    assert gateway.cli("audit", "trust", "-o", str(tmp_path / "trust")).returncode == 0
    assert gateway.stop() == 0

    checked = subprocess.run(
        [*PROGRAM, "audit", "check-proof", str(proof), "--policy", str(tmp_path / "trust" / "security.policy")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.startswith(f"PROVEN: record {uid} ")
    assert "cosigned by w1 at " in checked.stdout

    shutil.rmtree(state)  # attack: everything that says how long the log was, and what was in it
    shutil.copytree(tmp_path / "before", state)
    gateway.start()
    refused = 'gateway_audit_witness_refused{stream="security",witness="w1"}'
    gateway.wait_until(lambda: gateway.metric(refused) == 1)
    assert gateway.stop() == 0
    assert "audit.witness_refused" in gateway.cli("audit", "query", "--json").stdout
