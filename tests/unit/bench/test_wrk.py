"""What wrk says, and when it is not believed."""

from __future__ import annotations

import pytest

from tests.bench import wrk

OUTPUT = """\
Running 3s test @ http://127.0.0.1:8080/invoices/42
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.02ms  200.00us   9.00ms   90.00%
  120000 requests in 3.00s, 150.00MB read
Requests/sec:  40000.00
bench-report {"requests": 120000, "duration_s": 3.000000, "body_and_head_bytes": 157286400, "connect_errors": 0, \
"read_errors": 0, "write_errors": 0, "timeouts": 0, "bad_statuses": 0, "p50_us": 1500.0, "p99_us": 4200.0}
"""


def load(**changed: int) -> wrk.Load:
    sound: dict[str, float] = {
        "requests": 100, "duration_s": 2.0, "body_and_head_bytes": 120_000, "connect_errors": 0, "read_errors": 0,
        "write_errors": 0, "timeouts": 0, "bad_statuses": 0, "p50_us": 1.0, "p99_us": 2.0,
    }  # fmt: skip
    return wrk.Load(**{**sound, **changed})  # type: ignore[arg-type]  # a table of numbers


def test_the_report_line_is_found_among_the_text() -> None:
    found = wrk.parse(OUTPUT)
    assert found.requests == 120_000
    assert found.per_second == pytest.approx(40_000)
    assert (found.p50_us, found.p99_us) == (1500.0, 4200.0)


def test_output_without_a_report_is_an_error_that_shows_its_end() -> None:
    with pytest.raises(wrk.LoadError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_sound_run_has_no_fault() -> None:
    assert load().fault(1024) is None


@pytest.mark.parametrize("kind", ["connect_errors", "read_errors", "write_errors", "timeouts"])
def test_a_run_with_broken_connections_is_thrown_away(kind: str) -> None:
    assert "1" in (load(**{kind: 1}).fault(1024) or "")


def test_a_run_with_error_answers_is_thrown_away() -> None:
    assert "3 of 100" in (load(bad_statuses=3).fault(1024) or "")


def test_a_run_of_redirects_is_thrown_away_because_they_are_too_small() -> None:
    """wrk does not count 302 as an error: only the size tells a sign-in redirect from the page."""
    assert "300 bytes" in (load(body_and_head_bytes=30_000).fault(1024) or "")


def test_a_run_without_requests_is_thrown_away() -> None:
    assert load(requests=0).fault(1024) == "no request was answered"
