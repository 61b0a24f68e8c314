"""The measurements: what is done to one candidate in one round. Each either records numbers or raises, never both halves of a lie."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

from tests.bench import accounting, browser, h2load, machine, openloop, tunnels, wrk
from tests.bench.candidates.candidate import Candidate, EvidenceError
from tests.bench.process import StartError
from tests.bench.samples import Samples
from tests.bench.site import BODY_BYTES, DOWNLOAD_BYTES, HOST, Cores
from tests.bench.upstream import CHAT, DOWNLOAD, PAGE, PROJECT

CONNECTIONS = 64
DOWNLOADS = 4
"""Downloads at a time."""
HANDSHAKES = 100
TUNNELS = 1000
IDLE = 1000
"""Idle keep-alive connections."""
STREAMS = 16
"""Requests at a time on one HTTP/2 connection: what a page of some parts asks for."""
HTTP2_CONNECTIONS = 8
HTTP2_PER_SECOND = 4000
"""Requests of one HTTP/2 run, for each second it is to take or less."""
SETTLE_S = 0.2
"""After a load, before the accounts are read: deferred work (log flushes, the asynchronous sync) belongs to it."""
MOST_RATE = 8000.0
"""What the open-loop client sends at most, per second: beyond that it would measure itself."""
COMMON_RATE = 2000.0


class InvalidError(Exception):
    """A run whose answers were not what they should be: its numbers are thrown away."""


def throughput(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """Load one candidate as fast as it can: CPU of all its processes for each request, and requests a second."""
    candidate.require_page()
    load = _accounted(candidate, samples, cores, "", candidate.url, turn=turn, seconds=seconds)
    samples.record(candidate.name, "closed_p50_us", turn, load.p50_us)
    samples.record(candidate.name, "closed_p99_us", turn, load.p99_us)


def tls(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """The same over TLS with keep-alive, then the cost of a full handshake with one request."""
    candidate.require_page(candidate.tls_url)
    _accounted(candidate, samples, cores, "tls_", candidate.tls_url, turn=turn, seconds=seconds)
    before = accounting.account(candidate.program.pid)
    for _ in range(HANDSHAKES):
        status, body = candidate.ask(candidate.tls_url)  # a new connection without a session to resume
        if status != http.client.OK or len(body) != BODY_BYTES:
            raise InvalidError(f"answered {status} with {len(body)} bytes over TLS")
    time.sleep(SETTLE_S)
    used = accounting.spent(before, accounting.account(candidate.program.pid))
    samples.record(candidate.name, "handshake_us", turn, used.total_s / HANDSHAKES * 1e6)


def http2(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """Load one candidate with HTTP/2 over TLS: CPU of all its processes for each request, and requests a second."""
    del cores
    if not candidate.speaks_http2:
        return
    candidate.require_page(candidate.tls_url)
    before = accounting.account(candidate.program.pid)
    load = h2load.run(
        candidate.tls_url + PAGE,
        fields=candidate.fields(candidate.tls_url),
        requests=int(HTTP2_PER_SECOND * seconds),
        connections=HTTP2_CONNECTIONS,
        streams=STREAMS,
    )
    candidate.answered += load.requests
    time.sleep(SETTLE_S)
    candidate.program.require_alive()
    used = accounting.spent(before, accounting.account(candidate.program.pid))
    if fault := load.fault(BODY_BYTES):
        raise InvalidError(fault)
    samples.record(candidate.name, "http2_cpu_us", turn, used.total_s / load.requests * 1e6)
    samples.record(candidate.name, "http2_per_second", turn, load.per_second)


def _accounted(
    candidate: Candidate, samples: Samples, cores: Cores, prefix: str, origin: str, *, turn: int, seconds: float
) -> wrk.Load:
    core = cores.proxy
    before, clock = accounting.account(candidate.program.pid), machine.ticks(core)
    load = wrk.run(origin + PAGE, fields=candidate.fields(origin), seconds=seconds, connections=CONNECTIONS)
    after_clock = machine.ticks(core)
    candidate.answered += load.requests
    time.sleep(SETTLE_S)
    candidate.program.require_alive()
    used = accounting.spent(before, accounting.account(candidate.program.pid))
    if fault := load.fault(BODY_BYTES):
        raise InvalidError(fault)
    name = candidate.name
    samples.record(name, f"{prefix}cpu_us", turn, used.total_s / load.requests * 1e6)
    samples.record(name, f"{prefix}per_second", turn, load.per_second)
    samples.record(name, f"{prefix}system_share", turn, used.system_share)
    busy, stolen = machine.busy_share(clock, after_clock)
    own = used.total_s / load.duration_s
    samples.record(name, f"{prefix}core_share", turn, own)
    samples.record(name, f"{prefix}foreign_share", turn, max(0.0, busy - own) + stolen)
    by_label: dict[str, float] = {}
    for pid, seconds_used in used.by_process.items():
        with contextlib.suppress(OSError):
            label = candidate.label(Path(f"/proc/{pid}/cmdline").read_bytes())
            by_label[label] = by_label.get(label, 0.0) + seconds_used
    for label, seconds_used in by_label.items():
        if label:
            samples.record(name, f"{prefix}cpu_us:{label}", turn, seconds_used / load.requests * 1e6)
    return load


def latency(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """Latency at half of what the candidate can do (and at one rate common to all) over that of the bare upstream at the same rate."""
    candidate.require_page()
    capacity = samples.figure(candidate.name, "per_second")
    if capacity is None:
        raise InvalidError("no throughput, so half of it is unknown")
    for quantity, rate in (("half", min(MOST_RATE, capacity.median / 2)), ("common", COMMON_RATE)):
        plan = openloop.Plan(
            host=HOST,
            port=candidate.site.upstream_port,
            path=PAGE,
            fields=candidate.fields(),
            rate_per_s=rate,
            seconds=seconds,
            connections=CONNECTIONS,
            seed=turn,
        )
        bare = _open_loop(plan, cores)
        seen = _open_loop(dataclasses.replace(plan, port=candidate.port), cores)
        candidate.answered += seen.answered
        samples.record(candidate.name, f"{quantity}_rate", turn, rate)
        samples.record(candidate.name, f"{quantity}_p50_us", turn, seen.p50_us - bare.p50_us)
        samples.record(candidate.name, f"{quantity}_p99_us", turn, seen.p99_us - bare.p99_us)
        samples.record(candidate.name, f"{quantity}_bare_p50_us", turn, bare.p50_us)
        samples.record(candidate.name, f"{quantity}_bare_p99_us", turn, bare.p99_us)
        samples.record(candidate.name, f"{quantity}_late_p99_us", turn, seen.late_p99_us)


def _open_loop(plan: openloop.Plan, cores: Cores) -> openloop.Latency:
    """Carry out a plan in a process of its own on the load cores. Raises InvalidError."""
    done = subprocess.run(
        ["taskset", "-c", cores.load, sys.executable, "-m", "tests.bench.openloop"],
        input=json.dumps(dataclasses.asdict(plan)),
        capture_output=True,
        text=True,
        timeout=plan.seconds + 30,
        check=False,
        cwd=PROJECT,
    )
    if done.returncode != 0:
        raise InvalidError(f"the latency client failed: {done.stderr.strip().splitlines()[-1:]}")
    seen = openloop.Latency(**json.loads(done.stdout))
    if fault := seen.fault():
        raise InvalidError(fault)
    return seen


def download(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """Fetch 10 MiB again and again, four at a time: MiB a second and CPU for each GiB."""
    del cores
    status, body = candidate.ask(candidate.url, DOWNLOAD)
    if status != http.client.OK or len(body) != DOWNLOAD_BYTES:
        raise InvalidError(f"a download was answered {status} with {len(body)} bytes")
    before = accounting.account(candidate.program.pid)
    load = wrk.run(candidate.url + DOWNLOAD, fields=candidate.fields(), seconds=seconds, connections=DOWNLOADS)
    time.sleep(SETTLE_S)
    used = accounting.spent(before, accounting.account(candidate.program.pid))
    if fault := load.fault(DOWNLOAD_BYTES):
        raise InvalidError(fault)
    candidate.answered += load.requests
    mebibytes = load.body_and_head_bytes / 2**20
    samples.record(candidate.name, "download_mib_s", turn, mebibytes / load.duration_s)
    samples.record(candidate.name, "download_cpu_ms_gib", turn, used.total_s / mebibytes * 1024 * 1e3)


def start_up(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """Start a candidate that is stopped: seconds from exec to the first good answer, memory once it has served a page."""
    del cores, seconds
    samples.record(candidate.name, "start_s", turn, candidate.start())
    candidate.require_page()
    time.sleep(SETTLE_S)
    used = accounting.memory(candidate.program.pid)
    samples.record(candidate.name, "rss_mib", turn, used.resident / 2**20)
    samples.record(candidate.name, "pss_mib", turn, used.proportional / 2**20)
    samples.record(candidate.name, "processes", turn, used.processes)


def idle_tunnels(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """Hold 1,000 WebSockets that have each echoed once: growth of memory for each."""
    del cores, seconds
    candidate.require_page()
    with contextlib.ExitStack() as held:
        # One first: what is made only once (lazy imports, pools) is not the price of each.
        first = held.enter_context(contextlib.closing(_tunnel(candidate)))
        tunnels.echo(first)
        before = accounting.memory(candidate.program.pid)
        opened = [held.enter_context(contextlib.closing(_tunnel(candidate))) for _ in range(TUNNELS)]
        for each in opened:
            tunnels.echo(each)
        time.sleep(SETTLE_S)
        after = accounting.memory(candidate.program.pid)
    candidate.program.require_alive()
    samples.record(candidate.name, "tunnel_kib", turn, (after.resident - before.resident) / 1024 / TUNNELS)
    samples.record(candidate.name, "tunnel_pss_kib", turn, (after.proportional - before.proportional) / 1024 / TUNNELS)


def idle_connections(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """Hold 1,000 keep-alive connections that have each had one answer, plain and over TLS: growth of memory for each."""
    del cores, seconds
    for quantity, origin in (("idle_kib", candidate.url), ("idle_tls_kib", candidate.tls_url)):
        candidate.stop()  # what earlier connections left free would hide what these take
        candidate.start()
        candidate.require_page(origin)
        with contextlib.ExitStack() as held:
            held.enter_context(contextlib.closing(_kept(candidate, origin)))
            before = accounting.memory(candidate.program.pid)
            for _ in range(IDLE):
                held.enter_context(contextlib.closing(_kept(candidate, origin)))
            time.sleep(SETTLE_S)
            after = accounting.memory(candidate.program.pid)
        samples.record(candidate.name, quantity, turn, (after.resident - before.resident) / 1024 / IDLE)
    candidate.program.require_alive()


def _kept(candidate: Candidate, origin: str) -> http.client.HTTPConnection:
    """Open a connection, have one page of it, and keep it."""
    connection = browser.connect(urllib.parse.urlsplit(origin), timeout_s=10)
    connection.request("GET", PAGE, headers=dict(candidate.fields(origin)))
    answer = connection.getresponse()
    body = answer.read()
    candidate.answered += 1
    if answer.status != http.client.OK or len(body) != BODY_BYTES or connection.sock is None:
        connection.close()
        raise InvalidError(f"answered {answer.status} with {len(body)} bytes, or closed the connection")
    return connection


def _tunnel(candidate: Candidate) -> socket.socket:
    return tunnels.open_one(HOST, candidate.port, CHAT, candidate.fields())


def scaling(candidate: Candidate, samples: Samples, cores: Cores, *, turn: int, seconds: float) -> None:
    """Serve with one worker, then with two, on every core of the run, which load and upstream share with them."""
    del cores
    if not candidate.scales:
        return
    for workers in (1, 2):
        candidate.stop()
        candidate.workers = workers
        candidate.cookie = candidate.tls_cookie = ""
        candidate.prepare()
        candidate.start()
        warm_up(candidate)
        before = accounting.account(candidate.program.pid)
        load = wrk.run(candidate.url + PAGE, fields=candidate.fields(), seconds=seconds, connections=CONNECTIONS)
        time.sleep(SETTLE_S)
        used = accounting.spent(before, accounting.account(candidate.program.pid))
        if fault := load.fault(BODY_BYTES):
            raise InvalidError(fault)
        samples.record(candidate.name, f"scaling_{workers}_per_second", turn, load.per_second)
        samples.record(candidate.name, f"scaling_{workers}_cpu_us", turn, used.total_s / load.requests * 1e6)


def warm_up(candidate: Candidate) -> None:
    """Load a candidate for a second and forget it: pools filled, code compiled, caches warm. Raises StartError."""
    candidate.require_page()
    load = wrk.run(candidate.url + PAGE, fields=candidate.fields(), seconds=1, connections=CONNECTIONS)
    candidate.answered += load.requests
    if fault := load.fault(BODY_BYTES):
        raise InvalidError(fault)


FAILURES = (
    InvalidError,
    StartError,
    EvidenceError,
    wrk.LoadError,
    tunnels.TunnelError,
    OSError,
    http.client.HTTPException,
    subprocess.TimeoutExpired,
    LookupError,
)
"""What may go wrong with one candidate without ending the run."""
