from __future__ import annotations

import pytest

from gateway.document.quantity import duration, rate, size, written_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("250ms", 0.25),
        ("2s", 2),
        ("1.5m", 90),
        ("15m", 900),
        ("8h", 28800),
        ("30d", 2592000),
        ("2w", 1209600),
        ("2y", 63072000),
    ],
)
def test_a_length_of_time_is_read_in_seconds(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "m", "-1s", "1e3s", "15 m", "15M", "1h30m", "\uff115m", "15m\n", "1" * 10 + "s"]
)
def test_anything_else_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length of time; write"):
        duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.25, "0.25s"), (7.0, "7s"), (90.0, "90s"), (300.0, "5m"), (7200.0, "2h"), (86400.0, "1d")],
)
def test_a_length_of_time_is_written_as_it_is_read(seconds: float, text: str) -> None:
    assert written_duration(seconds) == text
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "number"),
    [(512, 512), ("512", 512), ("64KiB", 65536), ("25MiB", 26214400), ("1GiB", 1 << 30), ("10MB", 10**7), ("0B", 0)],
)
def test_a_size_is_read_in_bytes(value: str | int, number: int) -> None:
    assert size(value) == number


@pytest.mark.parametrize("value", ["", "MiB", "-1", -1, "1.5MiB", "25 MiB", "25mib", "9" * 15 + "TiB", "1PiB"])
def test_anything_else_is_no_size(value: str | int) -> None:
    with pytest.raises(ValueError, match="is not a size; write"):
        size(value)


@pytest.mark.parametrize(
    ("text", "per_second"), [("50/s", 50), ("10/m", 1 / 6), ("60/h", 1 / 60), ("86400/d", 1), ("0.5/s", 0.5)]
)
def test_a_rate_is_read_in_events_per_second(text: str, per_second: float) -> None:
    assert rate(text) == pytest.approx(per_second)


@pytest.mark.parametrize("text", ["", "50", "50/", "/s", "50/y", "50 / s", "-5/s"])
def test_anything_else_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate; write"):
        rate(text)
