"""The gateway as an operator has it: `init`, an edited gateway.yaml, `user add`, `run`, and the verbs of `audit`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.machine import free_ports

GATEWAY = str(Path(sys.executable).with_name("gateway"))
READY_S = 60
STOPPED_S = 12
VERB_S = 60


class InstalledGateway:
    """One gateway in `home`. It runs from `start` to `stop`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port, self.admin_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def init(cls, home: Path) -> InstalledGateway:
        """Have `gateway init` fill `home`."""
        gateway = cls(home)
        gateway.verb("init", str(home))
        return gateway

    @property
    def config(self) -> Path:
        """Its gateway.yaml."""
        return self.home / "gateway.yaml"

    @property
    def state(self) -> Path:
        """Its state_dir."""
        return self.home / "state"

    @property
    def log(self) -> Path:
        """What it wrote to its standard output and error."""
        return self.home.with_suffix(".log")

    def configure(self, settings: str, policies: dict[str, str]) -> None:
        """Write gateway.yaml and policies/ over what `init` wrote, and have `check` and `policy test` agree."""
        self.write(settings, policies)
        self.verb("check")
        self.verb("policy", "test")

    def write(self, settings: str, policies: dict[str, str]) -> None:
        """Write gateway.yaml and policies/ over what `init` wrote; `start` says what is wrong with them."""
        self.config.write_text(settings)
        shutil.rmtree(self.home / "policies")
        for name, text in policies.items():
            path = self.home / "policies" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def verb(self, *arguments: str, stdin: str = "", expect: int = 0) -> str:
        """Run `gateway …`; its standard output. The exit status must be `expect`."""
        done = self.attempt(*arguments, stdin=stdin)
        assert done.returncode == expect, (
            f"gateway {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def attempt(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `gateway …`, whatever its exit status."""
        where = [] if arguments[0] == "init" else ["-c", str(self.config)]
        return subprocess.run(
            [GATEWAY, *arguments, *where], input=stdin, capture_output=True, text=True, timeout=VERB_S
        )

    def records(self, *filters: str) -> list[dict[str, Any]]:
        """What `gateway audit query --json` shows, oldest first."""
        lines = self.verb("audit", "query", "--json", "--limit", "100000", *filters).splitlines()
        return [json.loads(line)["record"] for line in lines]

    def start(self) -> None:
        """Start `gateway run` and wait until /readyz says so."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [GATEWAY, "run", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway is not ready: {self.said()}")
            time.sleep(0.05)

    def terminate(self) -> int:
        """Send SIGTERM and wait; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOPPED_S)

    def stop(self) -> None:
        """End it in any case, with every process it made."""
        if self._process is None:
            return
        try:
            if self._process.poll() is None:
                self.terminate()
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOPPED_S)

    def said(self) -> str:
        """All it logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _is_ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.admin_port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


@contextlib.contextmanager
def installed() -> Iterator[InstalledGateway]:
    """Have `gateway init` fill a directory; end the gateway and say what it logged, and remove the directory."""
    base = Path(tempfile.mkdtemp(prefix="gw-"))  # short: Unix socket paths end at 107 bytes
    gateway = InstalledGateway.init(base / "g")
    try:
        yield gateway
    finally:
        print(gateway.said()[-4000:])
        gateway.stop()
        shutil.rmtree(base, ignore_errors=True)
