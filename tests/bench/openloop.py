"""Latency under a load that does not wait: `python -m tests.bench.openloop`, a plan as JSON on standard input, figures on standard output.

Requests fall due at random moments of a given rate (Poisson) whether or not earlier ones were answered, and each latency counts
from the moment its request was due: a stall of the server shows in every request it delayed (no coordinated omission).
One thread, blocking in select(2) with microsecond time-outs; HTTP/1.1 answers with Content-Length only.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import json
import random
import re
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench.statistic import percentile

PR_SET_TIMERSLACK = 29  # prctl(2): wake when due, not up to 50 us later
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
GRACE_S = 2.0
"""How long answers may still come after the last request was due."""
RECEIVE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, how often, for how long."""

    host: str
    port: int
    path: str
    fields: list[tuple[str, str]]
    rate_per_s: float
    seconds: float
    connections: int
    seed: int


@dataclass(frozen=True, slots=True)
class Latency:
    """What came of it; times in microseconds."""

    planned: int
    answered: int
    bad_statuses: int
    p50_us: float
    p90_us: float
    p99_us: float
    most_us: float
    late_p99_us: float
    """How late this client itself sent (99 of 100 requests were sent earlier than that after they were due)."""

    def fault(self) -> str | None:
        """Say why this run proves nothing; None for a sound one."""
        if self.bad_statuses:
            return f"{self.bad_statuses} of {self.answered} answers were not 200"
        if self.answered < self.planned:
            return f"{self.planned - self.answered} of {self.planned} requests were not answered in time"
        return None


@dataclass(slots=True)
class Connection:
    """One keep-alive connection with at most one request under way."""

    socket: socket.socket
    due_ns: int = 0
    buffer: bytes = b""

    def take(self) -> int | None:
        """Read what has come; return the status when the answer is complete. Raises ConnectionError at its end."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed a keep-alive connection")
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = LENGTH.search(self.buffer, 0, head + 2)
        if length is None:
            raise ConnectionError("an answer without Content-Length")
        if len(self.buffer) < head + 4 + int(length[1]):
            return None
        status = int(self.buffer[9:12])
        self.buffer = b""
        return status


def moments(plan: Plan) -> list[int]:
    """Return when each request falls due, nanoseconds from the start: a Poisson process, the same for one seed."""
    chance = random.Random(plan.seed)
    due = 0.0
    found: list[int] = []
    while True:
        due += chance.expovariate(plan.rate_per_s)
        if due >= plan.seconds:
            return found
        found.append(int(due * 1e9))


def run(plan: Plan) -> Latency:
    """Carry out a plan on connections that are opened before the first moment. Raises OSError."""
    with contextlib.ExitStack() as opened:
        return _run(plan, [Connection(opened.enter_context(_connect(plan))) for _ in range(plan.connections)])


def _run(plan: Plan, connections: Sequence[Connection]) -> Latency:
    head = [
        f"GET {plan.path} HTTP/1.1",
        f"Host: {plan.host}:{plan.port}",
        *(f"{name}: {value}" for name, value in plan.fields),
    ]
    request = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
    free = collections.deque(connections)
    due = moments(plan)
    latencies: list[float] = []
    lateness: list[float] = []
    busy: dict[socket.socket, Connection] = {}
    waiting: collections.deque[int] = collections.deque()
    bad = sent = 0
    start = time.perf_counter_ns() + 50_000_000
    deadline = start + int((plan.seconds + GRACE_S) * 1e9)
    while len(latencies) < len(due):
        now = time.perf_counter_ns()
        if now > deadline:
            break
        while sent < len(due) and start + due[sent] <= now:
            waiting.append(start + due[sent])
            sent += 1
        while waiting and free:
            connection = free.popleft()
            connection.due_ns = waiting.popleft()
            connection.socket.send(request)
            busy[connection.socket] = connection
            lateness.append((time.perf_counter_ns() - connection.due_ns) / 1e3)
        until = start + due[sent] if sent < len(due) else deadline
        pause_s = max(0.0, (until - time.perf_counter_ns()) / 1e9)
        readable, _, _ = select.select(list(busy), [], [], pause_s)
        for each in readable:
            connection = busy[each]
            status = connection.take()
            if status is not None:
                latencies.append((time.perf_counter_ns() - connection.due_ns) / 1e3)
                bad += status != 200
                del busy[each]
                free.append(connection)
    latencies.sort()
    lateness.sort()
    return Latency(
        planned=len(due),
        answered=len(latencies),
        bad_statuses=bad,
        p50_us=percentile(latencies, 0.5),
        p90_us=percentile(latencies, 0.9),
        p99_us=percentile(latencies, 0.99),
        most_us=latencies[-1],
        late_p99_us=percentile(lateness, 0.99),
    )


def _connect(plan: Plan) -> socket.socket:
    connected = socket.create_connection((plan.host, plan.port), timeout=5)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.settimeout(5)
    return connected


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    gc.disable()
    print(json.dumps(asdict(run(Plan(**json.load(sys.stdin))))))
