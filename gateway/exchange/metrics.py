"""Counters as plain numbers, declared beside the code that moves them and collected on scrape.

A process owns its instances; nothing is shared between processes. The supervisor asks each
process for `dump()` and merges the answers, so that one scrape shows the whole node.
Labels come from closed sets: route names, `Reason`, stages. Never a user, path, address or session.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

import msgspec

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one process, as sent to the supervisor."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    values: list[tuple[tuple[str, ...], float]]
    """For counters and gauges: label values and the number."""
    buckets: tuple[float, ...] = ()
    counts: list[tuple[tuple[str, ...], list[int], float]] = []
    """For histograms: label values, one count a bucket and one for +Inf (not cumulative), the sum."""


class Registry:
    """All metrics of one process."""

    def __init__(self) -> None:
        self._metrics: list[Counter | Gauge | Histogram] = []

    def counter(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Counter:  # noqa: A002 - Prometheus's word
        """Declare a counter; `name` ends in `_total`. Declared again, after a reload, it counts on."""
        for known in self._metrics:
            if isinstance(known, Counter) and (known.name, known.labels) == (name, labels):
                return known
        metric = Counter(name, help, labels)
        self._metrics.append(metric)
        return metric

    def gauge(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Gauge:  # noqa: A002 - Prometheus's word
        """Declare a gauge; values of several processes are added up, and so are those of several owners in one."""
        metric = Gauge(name, help, labels)
        self._metrics.append(metric)
        return metric

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002 - Prometheus's word
        labels: tuple[str, ...] = (),
        buckets: tuple[float, ...] = LATENCY_BUCKETS_S,
    ) -> Histogram:
        """Declare a histogram."""
        metric = Histogram(name, help, labels, buckets)
        self._metrics.append(metric)
        return metric

    def dump(self) -> list[Sample]:
        """Everything counted so far."""
        return [metric.sample() for metric in self._metrics]


class Counter:
    """A number that only grows. `values[labels] += 1` is the hot path: label values as a tuple."""

    __slots__ = ("help", "labels", "name", "values")

    def __init__(self, name: str, help: str, labels: tuple[str, ...]) -> None:  # noqa: A002 - Prometheus's word
        self.name = name
        self.help = help
        self.labels = labels
        self.values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def inc(self, labels: tuple[str, ...] = (), by: float = 1) -> None:
        """Add `by` to the child with these label values."""
        values = self.values
        values[labels] = values.get(labels, 0) + by

    def sample(self) -> Sample:
        """The current values."""
        return Sample(
            name=self.name, kind="counter", help=self.help, labels=self.labels, values=list(self.values.items())
        )


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("help", "labels", "name", "values")

    def __init__(self, name: str, help: str, labels: tuple[str, ...]) -> None:  # noqa: A002 - Prometheus's word
        self.name = name
        self.help = help
        self.labels = labels
        self.values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def set(self, value: float, labels: tuple[str, ...] = ()) -> None:
        """Put the child with these label values at `value`."""
        self.values[labels] = value

    def inc(self, labels: tuple[str, ...] = (), by: float = 1) -> None:
        """Move the child with these label values by `by`."""
        self.values[labels] = self.values.get(labels, 0) + by

    def forget(self, labels: tuple[str, ...]) -> None:
        """Show the child with these label values no more: what it was about is gone."""
        self.values.pop(labels, None)

    def sample(self) -> Sample:
        """The current values."""
        return Sample(
            name=self.name, kind="gauge", help=self.help, labels=self.labels, values=list(self.values.items())
        )


class Histogram:
    """How a number is distributed over fixed buckets."""

    __slots__ = ("buckets", "counts", "help", "labels", "name", "sums")

    def __init__(self, name: str, help: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> None:  # noqa: A002 - Prometheus's word
        self.name = name
        self.help = help
        self.labels = labels
        self.buckets = buckets
        self.counts: dict[tuple[str, ...], list[int]] = {}
        self.sums: dict[tuple[str, ...], float] = {}

    def observe(self, value: float, labels: tuple[str, ...] = ()) -> None:
        """Count one value."""
        counts = self.counts.get(labels)
        if counts is None:
            counts = self.counts[labels] = [0] * (len(self.buckets) + 1)
            self.sums[labels] = 0.0
        counts[bisect_left(self.buckets, value)] += 1
        self.sums[labels] += value

    def sample(self) -> Sample:
        """The current values."""
        return Sample(
            name=self.name,
            kind="histogram",
            help=self.help,
            labels=self.labels,
            values=[],
            buckets=self.buckets,
            counts=[(labels, list(counts), self.sums[labels]) for labels, counts in self.counts.items()],
        )
