"""What the audit daemon carries, and how long a record waits: `python -m tests.bench.audit_rate [--rate 10000] [--seconds 600] [--grade async]`.

The real daemon writes to a real disk. Producers, each in a process of its own, speak its protocol as edge workers do: records
fall due at fixed times, however long an answer takes (an open loop), what is due goes out in one frame, and one frame at a time
waits for its acknowledgement (`group`; with `--grade async` none waits). A record's latency counts from the moment it was due to the
moment it was acknowledged. What it costs the disk is counted too: how often the daemon syncs.
Afterwards the log is verified whole, and has to hold every record that was acknowledged.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
import time
from array import array
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

from gateway import __version__
from gateway.audit.canonical import encode
from gateway.audit.protocol import (
    ASYNC,
    GRADE,
    Ack,
    Refused,
    ReplyDecoder,
    Welcome,
    first_sequence,
    pack_hello,
    pack_records,
)
from gateway.exchange.route import Durability
from gateway.exchange.stream import STREAM_NUMBERS, STREAMS, Stream
from gateway.ledger import daemon_process
from gateway.ledger.disk import LocalDisk
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.verification import verify_directory

PRODUCERS = 2
TICK_S = 0.001
RECORD_BYTES = 1300
"""About what an allowed request of a signed-in person takes."""
STEP_US = 10
"""Latencies are counted in steps of this size."""
STEPS = 200_000
SAMPLE_S = 10.0
SETTLE_S = 10.0
"""How long acknowledgements may still come after the last record was due."""
MOST_P99_MS = 10.0
MOST_GROWTH = 1.1
MOST_IN_A_FRAME = 700
"""A frame has at most 1 MiB."""


class Sent(NamedTuple):
    """What one producer saw."""

    acknowledged: int
    refused: int
    latencies: array[int]
    """How many records took so many steps."""


class Sample(NamedTuple):
    """The daemon at one moment."""

    resident_bytes: int
    cpu_s: float


class CountingDisk(LocalDisk):
    """Counts what costs most, where the other processes can read it."""

    def __init__(self, syncs: Synchronized[int]) -> None:
        self._syncs = syncs

    def sync(self, fd: int) -> None:
        """Count and sync."""
        self._syncs.value += 1
        super().sync(fd)


def payload(number: int) -> bytes:
    """Return a record of usual size: canonical JSON, another each time."""
    short = encode({"filler": "", "metadata": {"sequence": number}, "unmapped": {"gw": {"phase": "single"}}})
    return short.replace(b'"filler":"', b'"filler":"' + b"x" * (RECORD_BYTES - len(short)), 1)


def stream_of(number: int) -> int:
    """Return the stream of a record: mostly access, as behind a portal."""
    return STREAM_NUMBERS[
        Stream.SECURITY if number % 100 == 0 else Stream.TRAFFIC if number % 10 == 0 else Stream.ACCESS
    ]


class Producer:
    """One connection to the daemon; where records wait, one frame is under way at a time."""

    def __init__(self, socket_path: str, slot: int, badge: bytes, grade: int) -> None:
        self._grade = grade
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(socket_path)
        self._sock.sendall(pack_hello(slot, badge))
        self._decoder = ReplyDecoder()
        self._latencies = array("q", bytes(8 * STEPS))
        self._refused = self._acknowledged = 0
        self._under_way: deque[tuple[int, list[float]]] = deque()
        welcome = self._replies()[0]
        if not isinstance(welcome, Welcome):
            raise SystemExit(f"the daemon said {welcome}")
        self._sequence = first_sequence(time.time(), welcome.last_seq)

    def _replies(self) -> list[object]:
        data = self._sock.recv(65_536)
        if not data:
            raise SystemExit("the daemon hung up")
        return list(self._decoder.feed(data))

    def run(self, rate: float, seconds: float) -> Sent:
        """Send for so long; wait for the rest."""
        begin = time.monotonic() + 0.1
        number, total = 0, int(rate * seconds)
        waiting: list[float] = []
        give_up = begin + seconds + SETTLE_S
        while number < total or waiting or self._under_way:
            now = time.monotonic()
            while number < total and begin + number / rate <= now:
                waiting.append(begin + number / rate)
                number += 1
            if waiting and (self._grade == ASYNC or not self._under_way):
                self._send(waiting[:MOST_IN_A_FRAME])
                del waiting[:MOST_IN_A_FRAME]
            if not self._under_way:
                time.sleep(TICK_S)
                continue
            if self._grade == ASYNC and number < total:
                time.sleep(TICK_S)
                self._sock.settimeout(0)
            else:
                self._sock.settimeout(max(TICK_S, give_up - now))
            with suppress(BlockingIOError):
                self._settle()
        self._sock.close()
        return Sent(self._acknowledged, self._refused, self._latencies)

    def _send(self, due: list[float]) -> None:
        numbers = range(self._sequence, self._sequence + len(due))
        pieces = pack_records(
            self._grade, self._sequence, [payload(n) for n in numbers], bytes(map(stream_of, numbers))
        )
        self._sequence = numbers.stop
        self._under_way.append((numbers.stop - 1, due))
        self._sock.settimeout(SETTLE_S)
        self._sock.sendall(b"".join(pieces))

    def _settle(self) -> None:
        for reply in self._replies():
            if not isinstance(reply, Ack | Refused):
                continue
            now = time.monotonic()
            while self._under_way and self._under_way[0][0] <= reply.seq:
                due = self._under_way.popleft()[1]
                if isinstance(reply, Refused):
                    self._refused += len(due)
                    continue
                self._acknowledged += len(due)
                for moment in due:
                    self._latencies[min(int((now - moment) * 1e6) // STEP_US, STEPS - 1)] += 1


def produce(  # noqa: PLR0917 - the arguments of a process
    socket_path: str, slot: int, badge: bytes, grade: int, rate: float, seconds: float, out: Connection
) -> None:
    """Be a producer in a process of its own."""
    out.send(Producer(socket_path, slot, badge, grade).run(rate, seconds))


def sample(pid: int) -> Sample:
    """Read what the daemon uses (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return Sample(int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), (int(fields[11]) + int(fields[12])) / ticks)


def percentile(latencies: array[int], share: float) -> float:
    """Return the latency, ms, that this share of all records did not exceed."""
    left = sum(latencies) * share
    for step, count in enumerate(latencies):
        left -= count
        if left <= 0:
            return (step + 1) * STEP_US / 1000
    return STEPS * STEP_US / 1000


class Measured(NamedTuple):
    """What came of it."""

    acknowledged: int
    refused: int
    p99_ms: float
    growth: float
    """The daemon's memory at the end, as a share of what it was after a tenth of the time."""


def measure(state: Path, keys: AuditKeys, grade: int, rate: float, seconds: float) -> Measured:
    """Run daemon and producers, and print what they did."""
    context = multiprocessing.get_context("fork")
    syncs = context.Value("q", 0)
    serve = context.Process(
        target=daemon_process.serve,
        kwargs={
            "state_dir": state,
            "keys": keys,
            "node": "bench",
            "version": __version__,
            "boot_id": "bench",
            "disk": CountingDisk(syncs),
        },
    )
    serve.start()
    path = Layout(state).socket
    while not path.exists():
        time.sleep(0.01)
    ends = []
    for slot in range(PRODUCERS):
        here, there = context.Pipe(duplex=False)
        context.Process(
            target=produce,
            args=(str(path), slot, keys.badge(slot), grade, rate / PRODUCERS, seconds, there),
            daemon=True,
        ).start()
        there.close()
        ends.append(here)
    samples = [sample(serve.pid or 0)]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(SAMPLE_S, max(0.1, until - time.monotonic())))
        samples.append(sample(serve.pid or 0))
        resident = f"{samples[-1].resident_bytes / 1e6:.1f} MB resident"
        print(f"{seconds - (until - time.monotonic()):5.0f} s: {resident}, {samples[-1].cpu_s:.1f} s of CPU", file=sys.stderr)  # fmt: skip
    sent: list[Sent] = [end.recv() for end in ends]
    cpu = sample(serve.pid or 0).cpu_s - samples[0].cpu_s
    serve.terminate()
    serve.join()
    latencies = array("q", map(sum, zip(*(each.latencies for each in sent), strict=True)))
    acknowledged = sum(each.acknowledged for each in sent)
    early = samples[min(len(samples) // 10 + 1, len(samples) - 1)]
    refused = sum(each.refused for each in sent)
    p99_ms = percentile(latencies, 0.99)
    print(
        f"{acknowledged:,} records acknowledged in {seconds:.0f} s ({acknowledged / seconds:,.0f}/s), "
        f"{refused} refused\n"
        f"latency, ms: median {percentile(latencies, 0.5):.2f}, p99 {p99_ms:.2f}, "
        f"p99.9 {percentile(latencies, 0.999):.2f}\n"
        f"daemon: {1e6 * cpu / max(acknowledged, 1):.1f} us of CPU a record, "
        f"{syncs.value / seconds:.0f} syncs a second, "
        f"resident {early.resident_bytes / 1e6:.1f} MB after a tenth of the time, {samples[-1].resident_bytes / 1e6:.1f} MB at the end"
    )
    return Measured(acknowledged, refused, p99_ms, samples[-1].resident_bytes / early.resident_bytes)


def judge(found: Measured, wanted: float) -> None:
    """Hold what was measured to what is demanded (T-80). Raises `SystemExit`."""
    short = {
        f"{found.refused} records were refused": found.refused > 0,
        f"{found.acknowledged:,} of {wanted:,.0f} records were acknowledged": found.acknowledged < wanted,
        f"p99 is {found.p99_ms:.1f} ms, more than {MOST_P99_MS:.0f}": found.p99_ms > MOST_P99_MS,
        f"the daemon's memory grew {found.growth:.2f} times": found.growth > MOST_GROWTH,
    }
    if any(short.values()):
        raise SystemExit("; ".join(sentence for sentence, is_short in short.items() if is_short))


def verify(state: Path, keys: AuditKeys, acknowledged: int) -> None:
    """Verify what was written, and that nothing acknowledged is missing."""
    layout = Layout(state)
    size = 0
    began, cpu = time.monotonic(), time.process_time()
    for stream in STREAMS:
        note = layout.checkpoint(stream).read_bytes()
        verdict = verify_directory(layout.directory, stream, keys=keys, checkpoints=[(stream, note)])
        if verdict.exit_code:
            raise SystemExit(f"{stream}: {[str(finding) for finding in verdict.failures[:3]]}")
        size += verdict.size
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    if size < acknowledged:
        raise SystemExit(f"{acknowledged:,} records were acknowledged, {size:,} are in the log")
    print(f"verified: {size:,} records intact, {size / seconds:,.0f}/s, {1e6 * cpu / size:.2f} us of CPU a record")


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=10_000, help="Records a second, all producers together.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument(
        "--grade",
        choices=("async", "group"),
        default="group",
        help="How safe a record has to be before it is acknowledged.",
    )
    parser.add_argument("--directory", type=Path, help="Where to write: a directory on the disk in question.")
    parser.add_argument("--demand", action="store_true", help="Fail when it is slower, larger or less than promised.")
    asked = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="audit-rate-", dir=asked.directory))
    try:
        keys = AuditKeys.generate(origin="gateway/bench", created="2026-01-01T00:00:00Z", random=os.urandom)
        found = measure(state / "state", keys, GRADE[Durability(asked.grade)], asked.rate, asked.seconds)
        verify(state / "state", keys, found.acknowledged)
        if asked.demand:
            judge(found, asked.rate * asked.seconds)
    finally:
        shutil.rmtree(state)


if __name__ == "__main__":
    main()
