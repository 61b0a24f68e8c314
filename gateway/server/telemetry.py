"""One set of numbers for the whole node, out of what each process counted.

Counters and histograms are added up, those of processes that ended included, so that no counter
ever falls while the gateway runs. Gauges are added up over the living. Rendering is
prometheus_client's; what is counted is declared beside the code that counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from gateway.exchange.metrics import Sample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Merged:
    """One metric over several processes."""

    def __init__(self, first: Sample) -> None:
        self.kind = first.kind
        self.help = first.help
        self.labels = first.labels
        self.buckets = first.buckets
        self.values: dict[tuple[str, ...], float] = {}
        self.counts: dict[tuple[str, ...], tuple[list[int], float]] = {}

    def add(self, sample: Sample) -> None:
        """Add one process's numbers; a sample of another shape under the same name is left out."""
        if (sample.kind, sample.labels, sample.buckets) != (self.kind, self.labels, self.buckets):
            return
        for labels, value in sample.values:
            self.values[labels] = self.values.get(labels, 0.0) + value
        for labels, counts, total in sample.counts:
            known, known_total = self.counts.get(labels, ([0] * len(counts), 0.0))
            self.counts[labels] = ([a + b for a, b in zip(known, counts, strict=True)], known_total + total)

    def family(self, name: str) -> Metric:
        """Turn it into prometheus_client's form."""
        match self.kind:
            case "counter":
                counter = CounterMetricFamily(name.removesuffix("_total"), self.help, labels=self.labels)
                for labels, value in self.values.items():
                    counter.add_metric(labels, value)
                return counter
            case "gauge":
                gauge = GaugeMetricFamily(name, self.help, labels=self.labels)
                for labels, value in self.values.items():
                    gauge.add_metric(labels, value)
                return gauge
            case "histogram":
                histogram = HistogramMetricFamily(name, self.help, labels=self.labels)
                bounds = [*map(str, self.buckets), "+Inf"]
                for labels, (counts, total) in self.counts.items():
                    histogram.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
                return histogram


def merge(samples: Iterable[Sample]) -> dict[str, Merged]:
    """Add up samples of any number of processes, by name."""
    merged: dict[str, Merged] = {}
    for sample in samples:
        if sample.name not in merged:
            merged[sample.name] = Merged(sample)
        merged[sample.name].add(sample)
    return merged


class Retired:
    """What processes that ended had counted: kept, so that counters never fall."""

    def __init__(self) -> None:
        self._merged: dict[str, Merged] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Take over the last known counters of a process that ended; its gauges ended with it."""
        for sample in samples:
            if sample.kind != "gauge":
                self._merged.setdefault(sample.name, Merged(sample)).add(sample)

    def samples(self) -> list[Sample]:
        """Give them as if one process had them."""
        return [
            Sample(
                name=name,
                kind=merged.kind,
                help=merged.help,
                labels=merged.labels,
                values=list(merged.values.items()),
                buckets=merged.buckets,
                counts=[(labels, counts, total) for labels, (counts, total) in merged.counts.items()],
            )
            for name, merged in self._merged.items()
        ]


class Outcomes:
    """How often something succeeded and failed, and when it last did."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        """Go on from `counts`."""
        self.counts = {"success": 0, "failure": 0, **counts}
        self._last: dict[str, float] = {}

    def count(self, *, success: bool) -> None:
        """Note one outcome, now."""
        result = "success" if success else "failure"
        self.counts[result] += 1
        self._last[result] = time.time()

    def totals(self) -> list[tuple[tuple[str, ...], float]]:
        """How often, by result."""
        return [((result,), float(count)) for result, count in self.counts.items()]

    def times(self) -> list[tuple[tuple[str, ...], float]]:
        """When last, by result; what never happened to this program is absent."""
        return [((result,), at) for result, at in self._last.items()]


class _Families(Collector):
    def __init__(self, merged: dict[str, Merged]) -> None:
        self._merged = merged

    def collect(self) -> Iterator[Metric]:
        for name, merged in sorted(self._merged.items()):
            yield merged.family(name)


def render(samples: Iterable[Sample]) -> bytes:
    """Write Prometheus's text exposition format, version 0.0.4."""
    return bytes(generate_latest(_Families(merge(samples))))


def process_samples(processes: Iterable[tuple[str, int]]) -> list[Sample]:
    """Measure living processes, given as name and process id, from /proc: CPU, memory, open files."""
    cpu: list[tuple[tuple[str, ...], float]] = []
    memory: list[tuple[tuple[str, ...], float]] = []
    files: list[tuple[tuple[str, ...], float]] = []
    for name, pid in processes:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - /proc on each scrape
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        cpu.append(((name,), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S))  # proc(5): utime, stime
        memory.append(((name,), float(int(fields[21]) * _PAGE_BYTES)))  # proc(5): rss
        with suppress(OSError):  # a hardened process of ours shows this only to root
            files.append(((name,), float(len(os.listdir(f"/proc/{pid}/fd")))))  # noqa: PTH208 - counted, not used
    labels = ("process",)
    return [
        Sample(
            name="gateway_process_cpu_seconds_total",
            kind="counter",
            help="CPU time used by a process.",
            labels=labels,
            values=cpu,
        ),
        Sample(
            name="gateway_process_resident_memory_bytes",
            kind="gauge",
            help="Memory of a process.",
            labels=labels,
            values=memory,
        ),
        Sample(
            name="gateway_process_open_fds",
            kind="gauge",
            help="Open files and sockets of a process.",
            labels=labels,
            values=files,
        ),
    ]
