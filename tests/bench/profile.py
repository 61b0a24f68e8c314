"""Where each microsecond goes: `python -m tests.bench.profile [--candidate gateway] [--seconds 5] [--native]`.

Loads one candidate and samples its Python processes: py-spy for functions (their own time, and with everything below them), perf, where
the machine has it, for what lies under Python: kernel, interpreter, uvloop, cryptography. Shares become microseconds by the CPU
time each process really used for a request while it was sampled. Flame graphs and raw stacks are left in
`tests/bench/results/local/profile-…/`. A profiler slows what it looks at: trust the shares, take totals from the bench.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import accounting, measure, peers, process, site, upstream, wrk
from tests.bench.candidates.candidate import Candidate, MissingError, executable
from tests.bench.progress import Progress
from tests.bench.site import Cores

LOCAL = Path(__file__).with_name("results") / "local"
DISK = Path("/var/tmp")
RATE = 500
"""Samples a second of one process."""
LINE = re.compile(r":\d+\)$")
THREAD = re.compile(r"thread \((\d+)\)")
TOP = 45
WORTH_US = 0.2
"""A process that costs less for each request is not looked at."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Microseconds of a request by function."""

    own: Mapping[str, float]
    below: Mapping[str, float]
    """With everything the function called; a recursive one counts once for each sample."""


def weigh(stacks: Iterable[str], threads: Mapping[int, float]) -> Weights:
    """Spread what each thread costs for a request over the functions it was seen in, told apart by name and file, not by line.

    `stacks` are py-spy's, folded, thread first (`thread (12): MainThread;outer (file:1);inner (file:2) 17`). Sampling wakes threads that
    wait, so they are seen running although they never run: only the kernel's accounts say what a thread costs (`threads`, microseconds).
    """
    seen: dict[int, list[tuple[list[str], int]]] = {}
    for stack in stacks:
        frames, _, count = stack.rstrip().rpartition(" ")
        thread, *names = [frame for frame in frames.split(";") if not frame.startswith("process ")] or [""]
        number = THREAD.match(thread)
        if number is not None and names and count.isdecimal():
            seen.setdefault(int(number[1]), []).append(([LINE.sub(")", name) for name in names], int(count)))
    own: dict[str, float] = {}
    below: dict[str, float] = {}
    for tid, samples in seen.items():
        share = threads.get(tid, 0.0) / sum(weight for _, weight in samples)
        for names, weight in samples:
            own[names[-1]] = own.get(names[-1], 0.0) + weight * share
            for name in set(names):
                below[name] = below.get(name, 0.0) + weight * share
    return Weights(own, below)


def table(weights: Weights, top: int) -> str:
    """Write the heaviest functions, by their own time and with callees, as microseconds of a request."""
    total = sum(weights.own.values())
    if not total:
        return "  no samples: the process was idle"
    lines = ["   own us  own %  with callees us  function"]
    for name, cost in heaviest(weights.own, top):
        lines.append(f"  {cost:7.2f} {cost / total:6.1%}  {weights.below[name]:15.2f}  {name}")
    lines += ["", "  with callees us       %  function (heaviest, callees included)"]
    for name, cost in heaviest(weights.below, top):
        lines.append(f"  {cost:15.2f} {cost / total:7.1%}  {name}")
    return "\n".join(lines)


def heaviest(costs: Mapping[str, float], top: int) -> list[tuple[str, float]]:
    """Return the `top` largest that cost anything, largest first."""
    return sorted(((name, cost) for name, cost in costs.items() if cost > 0), key=lambda each: -each[1])[:top]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Show where a candidate's CPU time goes.")
    parser.add_argument("--candidate", default="gateway", choices=[each.name for each in peers.EVERYONE])
    parser.add_argument("--seconds", type=int, default=5, help="length of each of the loads (default 5)")
    parser.add_argument(
        "--native", action="store_true", help="let py-spy unwind C frames too (slower, shares less exact)"
    )
    parser.add_argument("--top", type=int, default=TOP, help=f"functions to print (default {TOP})")
    parser.add_argument("--connections", type=int, default=measure.CONNECTIONS)
    return parser.parse_args(words)


@dataclass(frozen=True, slots=True)
class Watched:
    """One process of the candidate and what it cost before anybody looked."""

    pid: int
    label: str
    cpu_us: float
    """CPU time for each request of the candidate, microseconds."""
    threads: Mapping[int, float]
    """The same of each thread."""


class Profile:
    """One candidate under load: once to see what each process costs, then for stacks, flame graphs and perf."""

    def __init__(self, candidate: Candidate, cores: Cores, results: Path, chosen: argparse.Namespace) -> None:
        self._candidate = candidate
        self._cores = cores
        self._results = results
        self._seconds: int = chosen.seconds
        self._native: bool = chosen.native
        self._top: int = chosen.top
        self._connections: int = chosen.connections

    def run(self) -> None:
        """Sample and print."""
        progress = Progress(4.0 * self._seconds + 8)
        progress.show("warming up")
        measure.warm_up(self._candidate)
        progress.show("undisturbed: CPU of each process")
        everything = self._costs()
        progress.advance(self._seconds)
        progress.end()
        print(f"\n{self._candidate.name}: {sum(each.cpu_us for each in everything):.1f} us of CPU for each request")
        for each in everything:
            print(f"  {each.cpu_us:7.2f} us  {each.label} (pid {each.pid})")
        watched = [each for each in everything if each.cpu_us >= WORTH_US]
        for form, suffix in (("raw", "stacks"), ("flamegraph", "svg")):
            progress.show(f"py-spy: {suffix}")
            self._spy(watched, form, suffix)
            progress.advance(self._seconds + 2)
        progress.show("perf")
        if shutil.which("perf"):
            self._record(watched)
        progress.end()
        for each in watched:
            stacks = self._file(each, "stacks").read_text(encoding="utf-8").splitlines()
            print(f"\n== {each.label}: {each.cpu_us:.1f} us, by function (py-spy) ==")
            print(table(weigh(stacks, each.threads), self._top))
            if self._file(each, "perf").exists():
                self._under_python(each)

    def _costs(self) -> list[Watched]:
        """Load the candidate undisturbed and return what each of its processes and threads cost, the dearest first."""
        root = self._candidate.program.pid
        with self._load(self._seconds) as told:
            before = accounting.account(root)
            by_thread = {pid: accounting.threads(pid) for pid in before.by_process}
        used = accounting.spent(before, accounting.account(root))
        found = []
        for pid, seconds in used.by_process.items():
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            earlier = by_thread.get(pid, {})
            threads = {tid: now - earlier.get(tid, 0.0) for tid, now in accounting.threads(pid).items()}
            each = 1e6 / told[0].requests
            label = self._candidate.label(line) or self._candidate.name
            found.append(Watched(pid, label, seconds * each, {tid: cost * each for tid, cost in threads.items()}))
        return sorted(found, key=lambda each: -each.cpu_us)

    @contextlib.contextmanager
    def _load(self, seconds: float) -> Iterator[list[wrk.Load]]:
        """Keep the candidate busy for `seconds` at least, body included; the account of it is in the list afterwards."""
        told: list[wrk.Load] = []
        where, fields = self._candidate.url + upstream.PAGE, self._candidate.fields()

        def drive() -> None:
            told.append(wrk.run(where, fields=fields, seconds=seconds, connections=self._connections))

        driver = threading.Thread(target=drive)
        driver.start()
        try:
            yield told
        finally:
            driver.join()

    def _spy(self, watched: Sequence[Watched], form: str, suffix: str) -> None:
        """Run py-spy on every watched process at once, while the candidate works."""
        spy = executable("py-spy", hint="a development dependency: make check", beside=Path(sys.executable).parent)
        with self._load(self._seconds + 2):
            running = []
            for each in watched:
                command = ["taskset", "-c", self._cores.load, spy, "record", "--pid", str(each.pid)]
                command += ["--duration", str(self._seconds), "--rate", str(RATE)]
                command += ["--threads", "--format", form, "--output", str(self._file(each, suffix))]
                command += ["--native"] if self._native else []
                running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
            for each, program in zip(watched, running, strict=True):
                _, words = program.communicate(timeout=self._seconds + 60)
                if program.returncode != 0:
                    raise process.StartError(f"py-spy on {each.label}: {words.decode(errors='replace').strip()[-300:]}")

    def _record(self, watched: Sequence[Watched]) -> None:
        """Let perf look at one process after the other, while the candidate works."""
        with self._load(self._seconds + 2):
            for each in watched:
                command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1997", "-p", str(each.pid)]
                command += ["-o", str(self._file(each, "perf")), "--", "sleep", str(self._seconds / len(watched))]
                subprocess.run(command, capture_output=True, timeout=self._seconds + 60, check=False)

    def _under_python(self, each: Watched) -> None:
        """Print what perf saw, by library and by symbol; nothing where it was not allowed to look."""
        for sort, most in (("dso", 12), ("dso,symbol", self._top)):
            command = ["perf", "report", "-i", str(self._file(each, "perf")), "--stdio", "-g", "none", "--sort", sort]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            rows = [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("#")]
            if not rows:
                continue
            print(f"\n== {each.label}: {each.cpu_us:.1f} us, by {sort} (perf) ==")
            for row in rows[:most]:
                share, _, rest = row.strip().partition("%")
                print(f"  {float(share) / 100 * each.cpu_us:7.2f} us {share:>6} %  {rest.strip(' -')}")

    def _file(self, each: Watched, suffix: str) -> Path:
        return self._results / f"{each.label}-{each.pid}.{suffix}"


def main(words: Sequence[str] | None = None) -> int:
    """Profile one candidate and return the exit code: 0 done, 1 it failed, 130 interrupted."""
    chosen = arguments(words)
    cores = site.choose_cores(os.sched_getaffinity(0))
    process.stop_on_signals()
    process.adopt_orphans()
    process.raise_open_files()
    os.sched_setaffinity(0, {int(core) for core in cores.load.split(",")})
    (kind,) = peers.choose([chosen.candidate])
    results = LOCAL / f"profile-{dt.datetime.now(dt.UTC):%Y-%m-%dT%H%M%SZ}-{chosen.candidate}"
    directory = Path(tempfile.mkdtemp(prefix="gateway-profile-", dir=DISK if DISK.is_dir() else None))
    try:
        ground = site.build(directory, cores)
        with contextlib.ExitStack() as stack:
            stack.enter_context(upstream.serving(ground))
            candidate = kind(ground)
            candidate.prepare()
            stack.callback(candidate.close)
            stack.callback(candidate.stop)
            candidate.start()
            results.mkdir(parents=True)
            Profile(candidate, cores, results, chosen).run()
    except (MissingError, *measure.FAILURES) as exc:
        print(f"profile: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        process.ignore_signals()
        process.stop_everything()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"\nFlame graphs and stacks: {results.relative_to(upstream.PROJECT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
