"""The load generator: runs wrk and reads its account."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("report.lua")
MARK = "bench-report "


class LoadError(Exception):
    """wrk did not run, or said nothing that can be read."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw in one run."""

    requests: int
    duration_s: float
    body_and_head_bytes: int
    connect_errors: int
    read_errors: int
    write_errors: int
    timeouts: int
    bad_statuses: int
    """Answers of 400 and above."""
    p50_us: float
    p99_us: float

    @property
    def per_second(self) -> float:
        """Return answers per second."""
        return self.requests / self.duration_s

    def fault(self, smallest_answer_bytes: int) -> str | None:
        """Say why this run proves nothing; None for a sound one: every answer good and as large as the upstream's body."""
        if self.requests == 0:
            return "no request was answered"
        if self.bad_statuses:
            return f"{self.bad_statuses} of {self.requests} answers were errors"
        if self.connect_errors or self.read_errors or self.write_errors or self.timeouts:
            return (
                f"{self.connect_errors} connect, {self.read_errors} read, {self.write_errors} write errors"
                f" and {self.timeouts} time-outs in {self.requests} requests"
            )
        if self.body_and_head_bytes < smallest_answer_bytes * self.requests:
            return f"{self.body_and_head_bytes / self.requests:.0f} bytes an answer: these were not the upstream's"
        return None


def parse(output: str) -> Load:
    """Read the line that `report.lua` prints. Raises LoadError without one."""
    for line in output.splitlines():
        if line.startswith(MARK):
            return Load(**json.loads(line.removeprefix(MARK)))
    raise LoadError(f"wrk gave no report: {output.strip()[-400:]!r}")


def run(
    url: str,
    *,
    fields: Sequence[tuple[str, str]],
    seconds: float,
    connections: int,
    timeout_s: float = 10,
) -> Load:
    """Load `url` over keep-alive connections from one thread for `seconds`."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        f"--timeout={timeout_s:.0f}s",
        "-s",
        str(SCRIPT),
    ]
    for name, value in fields:
        command += ["-H", f"{name}: {value}"]
    try:
        done = subprocess.run([*command, url], capture_output=True, text=True, timeout=seconds + 30, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise LoadError(str(exc)) from exc
    if done.returncode != 0:
        raise LoadError(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return parse(done.stdout)
