"""The tables: Markdown for people, JSON for machines."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.samples import Samples
from tests.bench.statistic import Figure

REFERENCE = "nginx"
DISTURBED = 0.05
"""Part of the proxy's core that others may have used before the report says so."""
NOTHING = "-"
"""Not measured."""
UNFIT = 0.10
"""Part of the proxy's core in other hands from which on a run is not published."""
BEGIN, END = "<!-- newest run: begin -->", "<!-- newest run: end -->"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one candidate before anything is measured."""

    name: str
    work: str
    version: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run, complete."""

    started: dt.datetime
    rounds: int
    seconds: float
    idle_load: float
    """Part of the proxy's core that was in use before the run began."""
    machine: dict[str, str | float | int]
    entries: tuple[Entry, ...]
    samples: Samples


def number(value: float) -> str:
    """Write a number with about three digits that mean something."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(figure: Figure | None, write: Callable[[float], str] = number) -> str:
    """Write median and range."""
    if figure is None:
        return NOTHING
    if len(figure.samples) == 1:
        return write(figure.median)
    return f"{write(figure.median)} ({write(figure.low)} to {write(figure.high)})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table; the first two columns are words."""
    lines = [" | ".join(head), " | ".join(["---"] + ["---:"] * (len(head) - 1))]
    return "\n".join(f"| {line} |" for line in [*lines, *(" | ".join(row) for row in rows)])


def markdown(run: Run) -> str:
    """Write the report of a run."""
    parts = [_preface(run), _throughput(run)]
    parts += [
        _processes(run),
        _latency(run),
        _transfer(run),
        _http2(run),
        _scaling(run),
        _standing(run),
        _evidence(run),
        _targets(run),
        _troubles(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _preface(run: Run) -> str:
    facts = run.machine
    lines = [
        f"Run of {run.started:%Y-%m-%d %H:%M} UTC: {run.rounds} interleaved rounds of {run.seconds:.0f} s.",
        (
            f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}, "
            f"{facts['filesystem']} with an fdatasync of {facts['fdatasync_ms']} ms (median, 4 KiB appended), "
            f"CPython {facts['python']}. "
            f"Before the run the proxy's core was {run.idle_load:.0%} in use."
        ),
    ]
    versions = [f"{entry.name}: {entry.version}" for entry in run.entries if entry.version]
    return "\n".join(lines) + ("\n\n" + "; ".join(versions) + "." if versions else "")


def _throughput(run: Run) -> str:
    samples, rows = run.samples, []
    measured = [entry for entry in run.entries if samples.figure(entry.name, "cpu_us") is not None]
    for entry in sorted(measured, key=lambda entry: samples.figure(entry.name, "cpu_us").median):  # type: ignore[union-attr]  # filtered above
        share = samples.figure(entry.name, "system_share")
        core = samples.figure(entry.name, "core_share")
        rows.append(
            [
                entry.name,
                entry.work,
                cell(samples.figure(entry.name, "cpu_us")),
                cell(samples.ratio(REFERENCE, entry.name, "cpu_us"), "{:.2f}".format),
                cell(samples.figure(entry.name, "per_second")),
                f"{share.median:.0%}" if share else NOTHING,
                f"{core.median:.0%}" if core else NOTHING,
            ]
        )
    if not rows:
        return ""
    head = [
        "candidate",
        "work for each request",
        "CPU µs per request",
        "of nginx",
        "requests/s",
        "of it in the kernel",
        "core used",
    ]
    return "### CPU per request\n\n" + table(head, rows)


def _processes(run: Run) -> str:
    samples = run.samples
    rows = [
        [entry.name, quantity.partition(":")[2], cell(samples.figure(entry.name, quantity))]
        for entry in run.entries
        for quantity in sorted(samples.quantities(entry.name, "cpu_us:"))
    ]
    return (
        "### The gateway's processes\n\n" + table(["candidate", "process", "CPU µs per request"], rows) if rows else ""
    )


def _latency(run: Run) -> str:
    samples, rows = run.samples, []
    for entry in run.entries:
        rate = samples.figure(entry.name, "half_rate")
        if rate is not None:
            quantities = ("half_p50_us", "half_p99_us", "common_p50_us", "common_p99_us")
            rows.append(
                [entry.name, number(rate.median), *(cell(samples.figure(entry.name, name)) for name in quantities)]
            )
    if not rows:
        return ""
    head = [
        "candidate",
        "half load, requests/s",
        "p50 added, µs",
        "p99 added, µs",
        "p50 added at 2,000/s, µs",
        "p99 added at 2,000/s, µs",
    ]
    return "### Latency added\n\n" + table(head, rows)


def _transfer(run: Run) -> str:
    samples, rows = run.samples, []
    quantities = ("download_mib_s", "download_cpu_ms_gib", "tls_cpu_us", "tls_per_second", "handshake_us")
    for entry in run.entries:
        figures = [samples.figure(entry.name, name) for name in quantities]
        if any(figures):
            rows.append([entry.name, *map(cell, figures)])
    if not rows:
        return ""
    head = [
        "candidate", "10 MiB downloads, MiB/s", "CPU ms per GiB", "TLS: CPU µs per request", "TLS: requests/s", "CPU µs per handshake and request",
    ]  # fmt: skip
    return "### Downloads and TLS\n\n" + table(head, rows)


def _http2(run: Run) -> str:
    samples, rows = run.samples, []
    for entry in run.entries:
        figure = samples.figure(entry.name, "http2_cpu_us")
        if figure is not None:
            ratio = samples.ratio(REFERENCE, entry.name, "http2_cpu_us")
            rows.append(
                [
                    entry.name,
                    cell(figure),
                    cell(ratio, "{:.2f}".format),
                    cell(samples.figure(entry.name, "http2_per_second")),
                ]
            )
    if not rows:
        return ""
    return "### HTTP/2 over TLS\n\n" + table(["candidate", "CPU µs per request", "of nginx", "requests/s"], rows)


def _scaling(run: Run) -> str:
    samples, rows = run.samples, []
    quantities = ("scaling_1_per_second", "scaling_2_per_second", "scaling_1_cpu_us", "scaling_2_cpu_us")
    for entry in run.entries:
        figures = [samples.figure(entry.name, name) for name in quantities]
        if any(figures):
            rows.append([entry.name, *map(cell, figures)])
    if not rows:
        return ""
    head = ["candidate", "1 worker: requests/s", "2 workers: requests/s", "1 worker: CPU µs per request", "2 workers: CPU µs per request"]  # fmt: skip
    words = "Load generator and upstream share these cores with the workers."
    return f"### One worker and two\n\n{words}\n\n" + table(head, rows)


def _standing(run: Run) -> str:
    samples, rows = run.samples, []
    for entry in run.entries:
        quantities = ("start_s", "rss_mib", "pss_mib", "tunnel_kib", "idle_kib", "idle_tls_kib")
        figures = [samples.figure(entry.name, name) for name in quantities]
        if any(figures):
            count = samples.figure(entry.name, "processes")
            rows.append([entry.name, *map(cell, figures), f"{count.median:.0f}" if count else NOTHING])
    if not rows:
        return ""
    head = [
        "candidate",
        "start to first good answer, s",
        "RSS, MiB",
        "PSS, MiB",
        "RSS per idle WebSocket, KiB",
        "per idle connection, KiB",
        "per idle TLS connection, KiB",
        "processes",
    ]
    return "### Start, memory, WebSockets\n\n" + table(head, rows)


def _evidence(run: Run) -> str:
    lines = [f"- {name}: {text}" for name, text in run.samples.evidence.items()]
    return "### Evidence\n\n" + "\n".join(lines) if lines else ""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing the project set out to reach."""

    text: str
    value: float | None
    met: bool


def targets(samples: Samples) -> list[Target]:
    """Compare the run with the targets: cheaper than Envoy's chain, 0.5 (group) and 0.6 (async) of nginx, with inspection a third of ModSecurity's cost."""
    found = []
    for name, least in (
        ("gateway", 0.5),
        ("gateway-async", 0.6),
        ("gateway-compiled", 0.5),
        ("gateway-compiled-async", 0.6),
    ):
        ratio = samples.ratio(REFERENCE, name, "cpu_us")
        if ratio is not None:
            found.append(Target(f"{name} at least {least} of nginx", ratio.median, ratio.median >= least))
    ratio = samples.ratio("envoy", "gateway", "cpu_us")
    if ratio is not None:
        found.append(
            Target("gateway cheaper than Envoy's chain (Envoy / gateway above 1)", ratio.median, ratio.median > 1)
        )
    for name in ("gateway-waf", "gateway-compiled-waf"):
        ratio = samples.ratio("nginx-crs", name, "cpu_us")
        if ratio is not None:
            told = f"inspecting costs a third of ModSecurity with the Core Rule Set (nginx-crs / {name} at least 3)"
            found.append(Target(told, ratio.median, ratio.median >= 3))
    return found


def _targets(run: Run) -> str:
    lines = [f"- {'met' if each.met else 'missed'}: {each.text}: {each.value:.2f}" for each in targets(run.samples)]
    return "### Targets\n\n" + "\n".join(lines) if lines else ""


def _troubles(run: Run) -> str:
    samples = run.samples
    lines = [f"- {name} was not measured: {why}" for name, why in samples.missing.items()]
    lines += [f"- {name}: {text}" for name, texts in samples.faults.items() for text in texts]
    for entry in run.entries:
        foreign = samples.figure(entry.name, "foreign_share")
        if foreign is not None and foreign.median > DISTURBED:
            lines.append(
                f"- {entry.name}: others (kernel threads, other programs, the hypervisor) used {foreign.median:.0%} of the proxy's core"
                " while it was measured"
            )
    return "### Not measured, or not undisturbed\n\n" + "\n".join(lines) if lines else ""


def as_json(run: Run) -> str:
    """Write everything, each round, for machines."""
    return json.dumps(
        {
            "started": run.started.isoformat(timespec="seconds"),
            "rounds": run.rounds,
            "seconds": run.seconds,
            "idle_load": round(run.idle_load, 4),
            "machine": run.machine,
            "candidates": {entry.name: {"work": entry.work, "version": entry.version} for entry in run.entries},
            "missing": run.samples.missing,
            "faults": run.samples.faults,
            "evidence": run.samples.evidence,
            "targets": [{"text": each.text, "value": each.value, "met": each.met} for each in targets(run.samples)],
            "samples": {
                name: {quantity: [round(value, 4) for value in values] for quantity, values in quantities.items()}
                for name, quantities in run.samples.plain().items()
            },
        },
        indent=1,
        ensure_ascii=False,
    ) + "\n"  # fmt: skip


def save(run: Run, directory: Path) -> tuple[Path, Path]:
    """Write both forms into `directory`, named after the start of the run; return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{run.started:%Y-%m-%dT%H%MZ}"
    table_file, numbers_file = directory / f"{stem}.md", directory / f"{stem}.json"
    table_file.write_text(markdown(run), encoding="utf-8")
    numbers_file.write_text(as_json(run), encoding="utf-8")
    return table_file, numbers_file


def unfit(run: Run) -> str | None:
    """Say why a run is not to be published: the machine was not quiet; None for a good one."""
    if run.idle_load > UNFIT:
        return f"the proxy's core was {run.idle_load:.0%} in use before the run began"
    foreign = run.samples.figure(REFERENCE, "foreign_share")
    if foreign is not None and foreign.median > UNFIT:
        return f"others used {foreign.median:.0%} of the proxy's core while {REFERENCE} was measured"
    return None


def publish(run: Run, page: Path) -> None:
    """Put the tables between the marks of the documentation page. Raises ValueError when the marks are gone."""
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{page.name} has lost the marks {BEGIN} and {END}")
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n{markdown(run)}{END}", text), encoding="utf-8")
