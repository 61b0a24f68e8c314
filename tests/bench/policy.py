"""What a decision costs, by the number of routes: `python -m tests.bench.policy [--sizes 10,100,…] [--rounds 12]`.

For each size, with and without conditions in CEL, a process of its own compiles a policy of `tests/bench/large_policy.py` and
answers requests drawn at random over all of its routes, round by round in turn with the others, so that a drift of the
machine meets all sizes alike. A decision is all that the edge does for it: the target is parsed, judged for ambiguity
and resolved, the facts are gathered where a condition asks for them, and the policy decides.

- `policy`: what the decision table does for a path it has not seen: other readings, route, parameters, disguise, and who may.
- `cold`: all that the edge does for a target it has not seen: it parses it, too, and encodes it for the audit trail.
- `warm`: the edge has seen the target, and remembers what it means: only who may is left.
- Mean: processor time of a whole round, divided. Median and 99th percentile: of single decisions, by the clock.
- Ratio: of the mean to that of the smallest size, round by round; the median of these.

Prints the tables of docs/benchmarks.md. The machine should do nothing else.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import platform
import random
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

from gateway.edge import resolve
from gateway.edge.resolve import Resolver
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.policy import NO_FACTS, Facts, Match, PolicyTable, compile_policy
from gateway.wire.authority import Authority, parse_authority
from gateway.wire.target import Target, parse_target
from tests.bench import large_policy
from tests.bench.accounting import PAGE_BYTES
from tests.bench.statistic import percentile

SIZES = (10, 100, 1000, 10_000, 100_000)
DECISIONS = 2000
"""In each round: fewer than the edge remembers, and more than a processor's caches hold."""
BOUND_US = {False: 5.0, True: 15.0}
NOW = 1_800_000_000.0


class Round(NamedTuple):
    """One round of one table, in microseconds a decision."""

    mean: float
    median: float
    p99: float


class Built(NamedTuple):
    """What it took to have the table."""

    compile_s: float
    table_mib: float
    """What the process grew by."""


class Asked(NamedTuple):
    """A request as the edge has it once its head is parsed and its session looked up."""

    authority: Authority
    target: bytes
    method: bytes
    session: Session
    path: str
    """Of the target, canonical."""


def asked(routes: int, seed: int) -> list[Asked]:
    """Draw the requests of a round."""
    sessions: dict[tuple[str, ...], Session] = {}
    found = []
    for request in large_policy.requests(routes, DECISIONS, random.Random(seed)):
        authority = parse_authority(request.host.encode())
        assert authority is not None
        session = sessions.setdefault(request.roles, _session(request.roles))
        raw = request.path.encode() + b"?page=2"
        target = parse_target(raw, authority)
        assert isinstance(target, Target)
        found.append(Asked(authority, raw, request.method, session, target.path))
    return found


def _session(roles: tuple[str, ...]) -> Session:
    return Session(
        handle="s_0123456789abcdef",
        user_id="u_0123456789abcdef",
        user="alice",
        tenant="acme",
        roles=roles,
        email="alice@acme.example",
        amr=("pwd", "otp", "mfa"),
        auth_time=NOW - 600,
        mfa_time=NOW - 600,
        created=NOW - 600,
        expires=NOW + 36_000,
        idle_s=1800.0,
        host="portal.example.com",
        secure=True,
        client_ip="10.1.2.3",
    )


def decide(table: PolicyTable, resolver: Resolver, request: Asked) -> bool:
    """Answer as the edge's pipeline does, stages 4 and 8 (`gateway.edge.pipeline`)."""
    resolution = resolver.resolve(request.authority, request.target, request.method)
    match = resolution.match
    return match is not None and table.decide(match, request.session, _facts(match, request), NOW).allowed


def decide_alone(table: PolicyTable, _: Resolver, request: Asked) -> bool:
    """Answer as the decision table does for a path that nobody remembers (`gateway.edge.resolve` without its own part)."""
    host, path, method = request.authority.host, request.path, request.method.decode("ascii")
    if table.is_ambiguous(host, path):
        return False
    match = table.resolve(host, path, method)
    if isinstance(match, Reason) or not match.is_clear(path) or table.is_disguised(host, path, method, match):
        return False
    return table.decide(match, request.session, _facts(match, request), NOW).allowed


def _facts(match: Match, request: Asked) -> Facts:
    if not match.rule.asks:
        return NO_FACTS
    return Facts(
        method=request.method.decode("ascii"),
        host=request.authority.host,
        path=request.path,
        query="page=2",
        client_ip="10.1.2.3",
        tenant=large_policy.HOSTS[request.authority.host],
        secure=True,
        user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    )


PARTS: Final = {"policy": decide_alone, "cold": decide, "warm": decide}
BOUND: Final = ("policy", "warm")
"""What the bound is for: each request costs one of the two; a target that is new costs its parsing once."""


def measure(table: PolicyTable, requests: list[Asked]) -> dict[str, Round]:
    """Decide about each request in each way: once for the mean, and once more for the single figures."""
    clock = time.perf_counter_ns
    tick = sorted(-(clock() - clock()) for _ in range(1000))[500]
    means = {}
    resolver = Resolver(table)
    for part, answer in PARTS.items():
        started = time.thread_time_ns()
        for request in requests:
            answer(table, resolver, request)
        means[part] = (time.thread_time_ns() - started) / len(requests) / 1e3
    rounds = {}
    resolver = Resolver(table)
    for part, answer in PARTS.items():
        taken = []
        for request in requests:
            began = clock()
            answer(table, resolver, request)
            taken.append((clock() - began - tick) / 1e3)
        taken.sort()
        rounds[part] = Round(means[part], percentile(taken, 0.5), percentile(taken, 0.99))
    return rounds


def _resident() -> int:
    with Path("/proc/self/statm").open("rb") as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def serve(connection: Connection, routes: int, *, conditions: bool) -> None:
    """Compile a policy, say what that took, and answer a round for each seed that arrives; ends with the connection."""
    files = large_policy.policy(routes, conditions=conditions)
    gc.collect()
    before, started = _resident(), time.process_time()
    table, _ = compile_policy(
        files, upstreams=("portal",), tenants=large_policy.TENANTS, hosts=large_policy.HOSTS, mfa_required=True
    )
    compile_s = time.process_time() - started
    del files
    gc.collect()
    connection.send(Built(compile_s, (_resident() - before) / 2**20))
    gc.freeze()
    gc.disable()  # as at the edge, where a decision leaves no cycles behind
    while (seed := connection.recv()) is not None:
        connection.send(measure(table, asked(routes, seed)))


class Candidate:
    """A policy of one size, in a process of its own."""

    def __init__(self, routes: int, *, conditions: bool) -> None:
        """Start the process and wait until its table is built."""
        self.routes = routes
        self.conditions = conditions
        self.rounds: dict[str, list[Round]] = {part: [] for part in PARTS}
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, routes), kwargs={"conditions": conditions}, daemon=True
        )
        self._process.start()
        theirs.close()
        self.built: Built = self._connection.recv()

    def run(self, seed: int) -> None:
        """Measure one round."""
        self._connection.send(seed)
        for part, found in self._connection.recv().items():
            self.rounds[part].append(found)

    def close(self) -> None:
        """End the process."""
        self._connection.send(None)
        self._process.join()
        self._connection.close()


def rows(candidates: list[Candidate]) -> list[str]:
    """Write the table of one kind of policy; the first candidate is the smallest."""
    titles = [f"{part}: {what}" for part in PARTS for what in ("mean us", "median us", "p99 us", "ratio")]
    lines = ["| " + " | ".join(["routes", *titles, "compile", "memory"]) + " |", "| ---: " * (len(titles) + 3) + "|"]
    for candidate in candidates:
        cells = [f"{candidate.routes:,}"]
        for part, rounds in candidate.rounds.items():
            pairs = zip(rounds, candidates[0].rounds[part], strict=True)
            cells += [f"{statistics.median(figures):.2f}" for figures in zip(*rounds, strict=True)]
            cells.append(f"{statistics.median(own.mean / least.mean for own, least in pairs):.2f}")
        built = candidate.built
        lines.append("| " + " | ".join([*cells, f"{built.compile_s:.2f} s", f"{built.table_mib:.1f} MiB"]) + " |")
    return lines


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.policy", description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of routes, ascending")
    parser.add_argument("--rounds", type=int, default=12, help="rounds for each size (default %(default)s)")
    chosen = parser.parse_args(words)
    chosen.sizes = [int(word) for word in chosen.sizes.split(",")]
    if min(chosen.sizes) < 1 or chosen.sizes != sorted(set(chosen.sizes)) or chosen.rounds < 1:
        parser.error("sizes must be positive and ascending, and there must be a round")
    return chosen


def main(words: list[str] | None = None) -> int:
    """Measure everything and print the tables. Exit code 1: a median is over its bound."""
    chosen = arguments(words)
    kind = "pure Python" if resolve.__file__.endswith(".py") else "compiled (ADR 0015)"
    print(
        f"{kind}, Python {platform.python_version()}, {DECISIONS} decisions a round, {chosen.rounds} rounds", flush=True
    )
    candidates = []
    try:
        for conditions in (False, True):
            for size in chosen.sizes:
                candidates.append(Candidate(size, conditions=conditions))
                print(f"{size:,} routes compiled", file=sys.stderr, flush=True)
        for turn in range(chosen.rounds):
            for candidate in candidates[turn % len(candidates) :] + candidates[: turn % len(candidates)]:
                candidate.run(turn)
    finally:
        for candidate in candidates:
            candidate.close()
    slow = []
    for conditions in (False, True):
        print(f"\n{'With' if conditions else 'Without'} conditions\n")
        alike = [candidate for candidate in candidates if candidate.conditions is conditions]
        print("\n".join(rows(alike)))
        slow += [
            f"{candidate.routes:,} routes, {part}: the median is over {BOUND_US[conditions]:g} us"
            for candidate in alike
            for part in BOUND
            if statistics.median(each.median for each in candidate.rounds[part]) > BOUND_US[conditions]
        ]
    print("\n" + ("\n".join(slow) or "The medians of policy and warm are within their bounds."))
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
