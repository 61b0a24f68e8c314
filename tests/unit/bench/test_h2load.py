"""What h2load prints is read whole, or not at all."""

from __future__ import annotations

import pytest

from tests.bench import h2load
from tests.bench.wrk import LoadError

REPORT = """\
starting benchmark...
Application protocol: h2
progress: 100% done

finished in 250.51ms, 399.18 req/s, 430.11KB/s
requests: 100 total, 100 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 100 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 107.75KB (110331) total, 5.16KB (5281) headers (space savings 91.28%), 100.00KB (102400) data
"""


def test_a_report_is_read() -> None:
    load = h2load.parse(REPORT)
    assert (load.requests, load.protocol, load.failed) == (100, "h2", 0)
    assert load.per_second == pytest.approx(399.18, rel=0.01)
    assert load.fault(1024) is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("protocol: h2", "protocol: http/1.1", "instead of h2"),
        ("100 2xx, 0 3xx, 0 4xx", "90 2xx, 0 3xx, 10 4xx", "10 requests failed"),
        ("0 failed, 0 errored", "0 failed, 3 errored", "3 requests failed"),
        ("(102400) data", "(1024) data", "not the upstream's"),
    ],
)
def test_a_run_that_proves_nothing_says_why(old: str, new: str, told: str) -> None:
    assert told in (h2load.parse(REPORT.replace(old, new)).fault(1024) or "")


def test_a_report_without_its_lines_is_refused() -> None:
    with pytest.raises(LoadError):
        h2load.parse("h2load: could not connect")
