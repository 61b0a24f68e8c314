"""T-02: the daemon is killed at every named step between taking a record in and having it safe, and begun again each time.

GATEWAY_SOAK=1 makes it a thousand lives. GATEWAY_SOAK_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.audit.protocol import ASYNC, GROUP, STRICT, Ack, Refused, ReplyDecoder, Welcome, pack_records
from gateway.exchange.stream import Stream
from gateway.ledger.reader import entries
from tests.unit.ledger.conftest import Bench
from tests.unit.ledger.mortal_daemon import STEPS
from tests.unit.ledger.running import intent

pytestmark = pytest.mark.fault

LIVES = 1000 if os.environ.get("GATEWAY_SOAK") else 2 * len(STEPS)
SLOTS = (0, 1, 1002)
LIVES_OF_A_LOG = 20
"""Then another one begins: each life ends with a look at the whole log."""
FEW_FRAMES = 40
PATIENCE_S = 30


class Nursery:
    """The program that begins daemons."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.state_dir.mkdir()
        program = [sys.executable, "-m", "tests.unit.ledger.mortal_daemon", str(bench.state_dir), str(bench.keys_path)]
        self._living = 0
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def begin(self, step: str, number: int, boot: str, name: str) -> int:
        self._say(f"{step}\t{number}\t{boot}\t{name}")
        self._living = int(self._said("begun"))
        return self._living

    def end(self, pid: int) -> None:
        """Kill a daemon whose fate did not come; it is not forgotten before `wait`, so the number is still its own."""
        os.kill(pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait until the daemon is dead, of nothing but a kill."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], "it hung up on its producers and lives"
        self._said("ended")
        self._living = 0
        self._say("")
        assert self._said("of") == str(-signal.SIGKILL), "it gave up"

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def _said(self, word: str) -> str:
        assert self.process.stdout is not None
        said, _, rest = self.process.stdout.readline().decode().strip().partition(" ")
        assert said == word, "the program of daemons ended"
        return rest

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self._living:
            self.end(self._living)
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


@pytest.fixture
def nursery(bench: Bench) -> Iterator[Nursery]:
    nursery = Nursery(bench)
    yield nursery
    nursery.close()


class Producer:
    """Keeps what is not acknowledged over the lives of the daemon, and sends it again."""

    def __init__(self, slot: int, chance: random.Random) -> None:
        self.slot = slot
        self.acked = 0
        self.next = 1
        self.kept: list[tuple[int, int, list[bytes], bytes]] = []
        """Grade, first sequence, payloads and streams of frames under way."""
        self._chance = chance
        self._sock: socket.socket | None = None

    def connect(self, bench: Bench, path: Path) -> None:
        """Say hello and send again what was not acknowledged. Raises `OSError` when the daemon is dead."""
        self.close()
        self._decoder = ReplyDecoder()
        self._welcomed = False
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(PATIENCE_S)
        self._sock.connect(str(path))
        self._sock.sendall(bench.hello(self.slot))
        while not self._welcomed:
            self._hear()
        for grade, first, payloads, streams in list(self.kept):
            self._sock.sendall(b"".join(pack_records(grade, first, payloads, streams)))

    def speak(self) -> None:
        """Send a frame. Raises `OSError`."""
        count = self._chance.choice([1, 2, 5])
        payloads = [
            intent(f"{self.slot}-{self.next + n}")
            if self._chance.random() < 0.2
            else b'{"n":%d,"pad":"%b"}' % (self.next + n, b"x" * self._chance.choice([10, 400, 2500]))
            for n in range(count)
        ]
        streams = bytes(self._chance.choice([1, 1, 2, 3]) for _ in payloads)
        grade = self._chance.choice([ASYNC, GROUP, GROUP, STRICT])
        self.kept.append((grade, self.next, payloads, streams))
        self.next += count
        assert self._sock is not None
        self._sock.sendall(b"".join(pack_records(grade, self.next - count, payloads, streams)))

    def listen(self) -> None:
        """Wait until everything was answered. Raises `OSError`."""
        while self.kept:
            self._hear()

    def _hear(self) -> None:
        assert self._sock is not None
        data = self._sock.recv(4096)
        if not data:
            raise ConnectionResetError
        for reply in self._decoder.feed(data):
            assert not isinstance(reply, Refused)
            if isinstance(reply, Welcome):
                self._welcomed = True
                assert reply.last_seq >= self.acked, "it forgot what it had acknowledged"
            elif isinstance(reply, Ack):
                self.acked = max(self.acked, reply.seq)
                self.kept = [each for each in self.kept if each[1] + len(each[2]) - 1 > self.acked]

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def life(nursery: Nursery, name: str, producers: list[Producer], step: str, number: int) -> bool:
    """Have one daemon live until its fate comes, or until nothing more is to be done."""
    bench = nursery.bench
    path = bench.state_dir / name / "run" / "audit.sock"
    path.unlink(missing_ok=True)
    pid = nursery.begin(step, number, "boot", name)
    is_fate = True
    with suppress(OSError):
        deadline = time.monotonic() + PATIENCE_S
        while not path.exists():
            if not alive(pid):
                raise ConnectionResetError
            assert time.monotonic() < deadline
            time.sleep(0.001)
        for producer in producers:
            producer.connect(bench, path)
        for _ in range(FEW_FRAMES):
            for producer in producers:
                producer.speak()
            for producer in producers:
                producer.listen()
        is_fate = False
        nursery.end(pid)
    nursery.wait()
    return is_fate


def alive(pid: int) -> bool:
    """Whether the process runs; one that is dead may still be waited for."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return False


def look(bench: Bench, name: str, producers: list[Producer]) -> None:
    """Hold the log to what was acknowledged; every stream verifies, before the next daemon has begun."""
    seen = Bench(bench.state_dir / name)
    seen.keys = bench.keys
    torn: list[str] = []  # `verify` says what stands there
    stored: Counter[tuple[int, int]] = Counter()
    for stream in Stream:
        if seen.layout.directory.exists() and any(seen.layout.directory.glob(f"{stream}-*.log")):
            assert [str(finding) for finding in seen.verify(stream=stream).failures] == []
            found = list(entries(seen.layout.directory, seen.keys, streams=(stream,), on_damage=torn.append))
            assert [each.index for each in found] == list(range(len(found))), "indexes are contiguous"
            stored.update((each.entry.slot, each.entry.sequence) for each in found)
    assert [twice for twice, count in stored.items() if count > 1] == [], "nothing is there twice"
    for producer in producers:
        owed = {(producer.slot, sequence) for sequence in range(1, producer.acked + 1)}
        assert owed - stored.keys() == set(), "an acknowledged record is lost"


@pytest.mark.timeout(7200 if os.environ.get("GATEWAY_SOAK") else 240)
def test_wherever_the_daemon_is_killed_nothing_acknowledged_is_lost_and_nothing_is_there_twice(
    nursery: Nursery,
) -> None:
    seed = int(os.environ.get("GATEWAY_SOAK_SEED", time.time_ns() % 1_000_000))
    chance = random.Random(seed)
    met: Counter[str] = Counter()
    name, producers = "", list[Producer]()
    for number in range(LIVES):
        if number % LIVES_OF_A_LOG == 0:
            name = f"log-{number}"
            producers = [Producer(slot, chance) for slot in SLOTS]
        step = STEPS[number % len(STEPS)]
        met[step] += life(nursery, name, producers, step, chance.choice([1, 2, 3, 7]) if number >= len(STEPS) else 1)
        try:
            look(nursery.bench, name, producers)
        except AssertionError as failure:
            failure.add_note(f"seed {seed}, life {number}, killed {step}")
            raise
        finally:
            for producer in producers:
                producer.close()
    assert [step for step in STEPS if not met[step]] == [], f"seed {seed}: steps at which no daemon died"
