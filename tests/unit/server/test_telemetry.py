from __future__ import annotations

import os

from gateway.exchange.metrics import Registry
from gateway.server.telemetry import Retired, process_samples, render


def lines(exposition: bytes) -> list[str]:
    return [line for line in exposition.decode().splitlines() if not line.startswith("#")]


def test_counters_of_all_processes_are_added_up() -> None:
    one, other = Registry(), Registry()
    for registry, count in ((one, 2), (other, 3)):
        registry.counter("gateway_requests_total", "Requests.", ("code",)).inc(("200",), count)
    assert lines(render([*one.dump(), *other.dump()])) == ['gateway_requests_total{code="200"} 5.0']


def test_gauges_of_the_living_are_added_up() -> None:
    one, other = Registry(), Registry()
    one.gauge("gateway_connections", "Connections.").set(4)
    other.gauge("gateway_connections", "Connections.").set(5)
    assert lines(render([*one.dump(), *other.dump()])) == ["gateway_connections 9.0"]


def test_histograms_become_cumulative_and_are_added_up() -> None:
    one, other = Registry(), Registry()
    for registry in (one, other):
        histogram = registry.histogram("gateway_seconds", "Time.", buckets=(0.1, 1.0))
        histogram.observe(0.05)
        histogram.observe(0.5)
        histogram.observe(5)
    assert lines(render([*one.dump(), *other.dump()])) == [
        'gateway_seconds_bucket{le="0.1"} 2.0',
        'gateway_seconds_bucket{le="1.0"} 4.0',
        'gateway_seconds_bucket{le="+Inf"} 6.0',
        "gateway_seconds_count 6.0",
        "gateway_seconds_sum 11.1",
    ]


def test_counters_of_a_crashed_process_never_fall() -> None:
    retired, first, second = Retired(), Registry(), Registry()
    first.counter("gateway_requests_total", "Requests.").inc(by=7)
    first.gauge("gateway_connections", "Connections.").set(7)
    first.histogram("gateway_seconds", "Time.", buckets=(1.0,)).observe(0.5)
    retired.add(first.dump())
    second.counter("gateway_requests_total", "Requests.").inc(by=1)
    retired.add(second.dump())
    assert lines(render(retired.samples())) == [
        "gateway_requests_total 8.0",
        'gateway_seconds_bucket{le="1.0"} 1.0',
        'gateway_seconds_bucket{le="+Inf"} 1.0',
        "gateway_seconds_count 1.0",
        "gateway_seconds_sum 0.5",
    ]


def test_a_sample_of_another_shape_under_the_same_name_is_left_out() -> None:
    one, other = Registry(), Registry()
    one.counter("gateway_requests_total", "Requests.").inc()
    other.counter("gateway_requests_total", "Requests.", ("code",)).inc(("200",))
    assert lines(render([*one.dump(), *other.dump()])) == ["gateway_requests_total 1.0"]


def test_label_values_cannot_break_out_of_their_quotes() -> None:
    registry = Registry()
    registry.counter("gateway_requests_total", "Requests.", ("route",)).inc(('a"} 1\nevil 2',))
    assert len(lines(render(registry.dump()))) == 1


def test_processes_are_measured_from_outside_and_the_gone_are_left_out() -> None:
    samples = process_samples([("me", os.getpid()), ("gone", 2**22 + 1)])
    values = {sample.name: dict(sample.values) for sample in samples}
    assert values["gateway_process_resident_memory_bytes"].keys() == {("me",)}
    assert values["gateway_process_resident_memory_bytes"][("me",)] > 1 << 20
    assert values["gateway_process_cpu_seconds_total"][("me",)] > 0
