"""The load generator for HTTP/2: runs nghttp2's h2load and reads its account."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.wrk import LoadError

_PROTOCOL = re.compile(r"^Application protocol: (\S+)$", re.MULTILINE)
_FINISHED = re.compile(r"^finished in ([\d.]+)(us|ms|s), ", re.MULTILINE)
_REQUESTS = re.compile(
    r"^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$",
    re.MULTILINE,
)
_TRAFFIC = re.compile(r"\((\d+)\) data$", re.MULTILINE)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx, ", re.MULTILINE)
_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Load:
    """What h2load saw in one run."""

    protocol: str
    """As ALPN chose it: `h2`."""
    requests: int
    """Answers of 200 to 299."""
    duration_s: float
    body_bytes: int
    failed: int
    """Requests that were refused, reset, timed out or answered otherwise."""

    @property
    def per_second(self) -> float:
        """Return answers per second."""
        return self.requests / self.duration_s

    def fault(self, body_bytes: int) -> str | None:
        """Say why this run proves nothing; None for a sound one."""
        if self.protocol != "h2":
            return f"{self.protocol or 'nothing'} was spoken instead of h2"
        if self.requests == 0:
            return "no request was answered"
        if self.failed:
            return f"{self.failed} requests failed beside {self.requests} that were answered"
        if self.body_bytes < body_bytes * self.requests:
            return f"{self.body_bytes / self.requests:.0f} bytes an answer: these were not the upstream's"
        return None


def parse(output: str) -> Load:
    """Read what h2load prints. Raises LoadError when a part of it is missing."""
    finished, requests = _FINISHED.search(output), _REQUESTS.search(output)
    traffic, statuses = _TRAFFIC.search(output), _STATUSES.search(output)
    if finished is None or requests is None or traffic is None or statuses is None:
        raise LoadError(f"h2load gave no report: {output.strip()[-400:]!r}")
    protocol = _PROTOCOL.search(output)
    done, good = int(requests[1]), int(statuses[1])
    return Load(
        protocol=protocol[1] if protocol else "",
        requests=good,
        duration_s=float(finished[1]) * _UNIT_S[finished[2]],
        body_bytes=int(traffic[1]),
        failed=(done - good) + sum(int(requests[index]) for index in (3, 4, 5)),
    )


def run(url: str, *, fields: Sequence[tuple[str, str]], requests: int, connections: int, streams: int) -> Load:
    """Send `requests` over `connections` with `streams` at a time on each.

    A number of requests and not a time: at the end of a time h2load breaks off what is under way.
    """
    command = ["h2load", f"-n{requests}", f"-c{connections}", f"-m{streams}", "-t1"]
    for name, value in fields:
        command += ["-H", f"{name}: {value}"]
    try:
        done = subprocess.run([*command, url], capture_output=True, text=True, timeout=180, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise LoadError(str(exc)) from exc
    if done.returncode != 0:
        raise LoadError(f"h2load ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return parse(done.stdout)
