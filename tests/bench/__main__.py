"""`python -m tests.bench`: everybody in one run, round by round, and a table at the end.

Exit codes: 0 the run is complete, 1 a candidate was there but failed (or a run to be published was disturbed), 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import machine, measure, peers, process, report, site, upstream
from tests.bench.candidates.candidate import Candidate, MissingError, executable
from tests.bench.progress import Progress
from tests.bench.samples import Samples
from tests.bench.site import Cores

SECTIONS = ("throughput", "latency", "download", "tls", "http2", "start", "tunnels", "idle", "scaling")
LOCAL = Path(__file__).with_name("results") / "local"
PUBLISHED = Path(__file__).with_name("results")
PAGE = upstream.PROJECT / "docs" / "benchmarks.md"
DISK = Path("/var/tmp")
OVERHEAD_S = 0.6
"""What a measurement takes beside its seconds."""


Measurement = Callable[..., None]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make bench BENCH_ARGS=…", description="Compare the gateway with its peers on this machine."
    )
    parser.add_argument(
        "--only", metavar="NAME,…", default="", help="only these: " + ", ".join(each.name for each in peers.EVERYONE)
    )
    parser.add_argument("--sections", metavar="NAME,…", default="", help="only these: " + ", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of the throughput (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one load (default 3)")
    parser.add_argument("--quick", action="store_true", help="about a minute: throughput only, 2 rounds of 1 s")
    parser.add_argument(
        "--publish", action="store_true", help="put the tables into docs/benchmarks.md, if the machine was quiet"
    )
    parser.add_argument("--keep", action="store_true", help="keep the working directory with logs and configurations")
    chosen = parser.parse_args(words)
    chosen.only = [name for name in chosen.only.split(",") if name]
    chosen.sections = [name for name in chosen.sections.split(",") if name] or list(SECTIONS)
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.sections = 2, 1.0, ["throughput"]
    if unknown := [name for name in chosen.sections if name not in SECTIONS]:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if chosen.rounds < 1 or chosen.seconds < 1:
        parser.error("at least one round of at least one second")
    if chosen.publish and (chosen.only or chosen.quick or len(chosen.sections) < len(SECTIONS)):
        parser.error("--publish is for a complete run: no --only, --sections or --quick")
    try:
        chosen.candidates = peers.choose(chosen.only)
    except ValueError as exc:
        parser.error(str(exc))
    return chosen


class Bench:
    """One run from the first start to the last stop."""

    def __init__(self, chosen: argparse.Namespace, ground: site.Site) -> None:
        self._chosen = chosen
        self._ground = ground
        self.samples = Samples()
        self.candidates: list[Candidate] = [each(ground) for each in chosen.candidates]
        self.entries: list[report.Entry] = []
        self._plan = self._planned()
        self.progress = Progress(
            sum(rounds * cost * len(self.candidates) for _, rounds, _, cost in self._plan) + 2.5 * len(self.candidates)
        )

    def _planned(self) -> list[tuple[str, int, Measurement, float]]:
        """Return section, rounds, measurement and seconds of one measurement."""
        seconds, rounds = self._chosen.seconds, self._chosen.rounds
        few = min(3, rounds)
        everything: list[tuple[str, int, Measurement, float]] = [
            ("throughput", rounds, measure.throughput, seconds + OVERHEAD_S),
            ("latency", few, measure.latency, 4 * (seconds / 2 + OVERHEAD_S)),
            ("download", few, measure.download, seconds + OVERHEAD_S),
            ("tls", few, measure.tls, seconds + 1 + OVERHEAD_S),
            ("http2", few, measure.http2, seconds + OVERHEAD_S),
        ]
        wanted = self._chosen.sections
        if "latency" in wanted and "throughput" not in wanted:
            everything[0] = ("throughput", 1, measure.throughput, seconds + OVERHEAD_S)
            wanted = ["throughput", *wanted]
        return [step for step in everything if step[0] in wanted]

    def run(self) -> None:
        """Start everybody, take the rounds, then look at each alone."""
        self._start()
        for section, rounds, measurement, cost in self._plan:
            seconds = self._chosen.seconds / 2 if section == "latency" else self._chosen.seconds
            for turn in range(rounds):
                shift = turn % max(1, len(self.candidates))  # nobody is always measured after the same neighbour
                for candidate in [*self.candidates[shift:], *self.candidates[:shift]]:
                    self.progress.show(f"{section}, round {turn + 1} of {rounds}: {candidate.name}")
                    self._try(candidate, section, measurement, turn, seconds)
                    self.progress.advance(cost)
        if {"start", "tunnels", "idle"} & set(self._chosen.sections):
            self._alone()
        self._prove()
        if (
            "scaling" in self._chosen.sections
        ):  # last: it begins with fresh state, so there is nothing to prove after it
            for candidate in self.candidates:
                self.progress.show(f"1 and 2 workers: {candidate.name}")
                self._try(candidate, "scaling", measure.scaling, 0, self._chosen.seconds)
                candidate.stop()

    def _start(self) -> None:
        for candidate in list(self.candidates):
            self.progress.show(f"starting {candidate.name}")
            try:
                candidate.prepare()
                self.entries.append(report.Entry(candidate.name, candidate.work, candidate.version()))
                candidate.start()
                measure.warm_up(candidate)
            except MissingError as exc:
                self._drop(candidate)
                self.samples.missing[candidate.name] = str(exc)
                self.progress.say(f"{candidate.name}: {exc}")
            except measure.FAILURES as exc:
                self._drop(candidate)
                self._fault(candidate, f"did not start: {exc}")
            self.progress.advance(2.5)

    def _alone(self) -> None:
        """Start, memory and tunnels of each candidate with nobody else running."""
        for candidate in self.candidates:
            candidate.stop()
        turns = min(3, self._chosen.rounds)
        for candidate in list(self.candidates):
            for turn in range(turns):
                self.progress.show(f"start {turn + 1} of {turns}: {candidate.name}")
                candidate.stop()
                self._try(candidate, "start", measure.start_up, turn, 0)
            if "tunnels" in self._chosen.sections:
                self.progress.show(f"1,000 WebSockets: {candidate.name}")
                self._try(candidate, "tunnels", measure.idle_tunnels, 0, 0)
            if "idle" in self._chosen.sections:
                self.progress.show(f"1,000 idle connections: {candidate.name}")
                self._try(candidate, "idle", measure.idle_connections, 0, 0)
            candidate.stop()

    def _prove(self) -> None:
        """Stop everybody and ask those who keep evidence for it."""
        for candidate in self.candidates:
            self.progress.show(f"evidence: {candidate.name}")
            candidate.stop()
            try:
                told = candidate.evidence()
            except measure.FAILURES as exc:
                self._fault(candidate, f"evidence: {exc}")
                continue
            if told:
                self.samples.evidence[candidate.name] = told

    def _try(self, candidate: Candidate, section: str, measurement: Measurement, turn: int, seconds: float) -> None:
        try:
            measurement(candidate, self.samples, self._ground.cores, turn=turn, seconds=seconds)
        except measure.FAILURES as exc:
            self._fault(candidate, f"{section}, round {turn + 1}: {exc}")

    def _fault(self, candidate: Candidate, text: str) -> None:
        self.samples.fault(candidate.name, text)
        self.progress.say(f"{candidate.name}: {text}")

    def _drop(self, candidate: Candidate) -> None:
        candidate.stop()
        candidate.close()
        self.candidates.remove(candidate)

    def stop(self) -> None:
        """End every candidate."""
        for candidate in self.candidates:
            candidate.stop()
            candidate.close()


def main(words: Sequence[str] | None = None) -> int:
    """Run the bench and return its exit code."""
    chosen = arguments(words)
    try:
        cores = site.choose_cores(os.sched_getaffinity(0))
        for name, package in (("taskset", "util-linux"), ("setpriv", "util-linux"), ("wrk", "wrk"), ("nginx", "nginx")):
            executable(name, hint=f"Debian: {package}; the bench cannot do without")
    except (ValueError, MissingError) as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 2
    process.stop_on_signals()
    process.adopt_orphans()
    process.raise_open_files()
    os.sched_setaffinity(0, {int(core) for core in cores.load.split(",")})
    if why := peers.install():
        print(f"bench: requirements/bench.txt could not be installed: {why}", file=sys.stderr)
    directory = Path(tempfile.mkdtemp(prefix="gateway-bench-", dir=DISK if DISK.is_dir() else None))
    try:
        return _run(chosen, directory, cores)
    except KeyboardInterrupt:
        print("\nbench: interrupted; everything it started has been ended", file=sys.stderr)
        return 130
    finally:
        process.ignore_signals()
        process.stop_everything()
        if chosen.keep:
            print(f"bench: logs and configurations are in {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _run(chosen: argparse.Namespace, directory: Path, cores: Cores) -> int:
    started = dt.datetime.now(dt.UTC)
    idle = machine.idle_load(cores.proxy)
    if idle > report.UNFIT:
        print(
            f"bench: core {cores.proxy} is {idle:.0%} in use by others: the numbers will not be worth much",
            file=sys.stderr,
        )
    ground = site.build(directory, cores)
    facts = machine.describe(directory)
    bench = Bench(chosen, ground)
    with contextlib.ExitStack() as stack:
        stack.enter_context(upstream.serving(ground))
        stack.callback(bench.stop)
        try:
            bench.run()
        finally:
            bench.progress.end()
    run = report.Run(
        started=started,
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        idle_load=idle,
        machine=facts,
        entries=tuple(bench.entries),
        samples=bench.samples,
    )
    unfit = report.unfit(run) if chosen.publish else None
    fit = chosen.publish and unfit is None
    table, numbers = report.save(run, PUBLISHED if fit else LOCAL)
    if fit:
        report.publish(run, PAGE)
    print(report.markdown(run))
    if unfit is not None:
        print(f"bench: not published: {unfit}", file=sys.stderr)
    print(f"Written: {table.relative_to(upstream.PROJECT)}, {numbers.relative_to(upstream.PROJECT)}")
    return 1 if bench.samples.faults or unfit is not None else 0


if __name__ == "__main__":
    sys.exit(main())
