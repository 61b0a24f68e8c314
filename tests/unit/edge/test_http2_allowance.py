"""What a client of HTTP/2 may cost: spent by frames and streams in vain, earned by time and work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.edge.http2_allowance import FRAMES, FRAMES_PER_S, Allowance
from gateway.edge.http2_shared import Http2Shared
from gateway.wire.http2_frames import ErrorCode, Http2Error


def count(spend: Callable[[], None]) -> int:
    """How often it can be spent."""
    times = 0
    with pytest.raises(Http2Error) as caught:  # noqa: PT012 - how often is the point
        while True:
            spend()
            times += 1
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
    return times


def exhausted(allowance: Allowance) -> int:
    return count(allowance.spend)


def streams(allowance: Allowance) -> int:
    return count(allowance.spend_stream)


def test_so_many_frames_at_once_and_so_many_a_second() -> None:
    allowance = Allowance(100, 0.0)
    assert exhausted(allowance) == FRAMES
    allowance.refill(1.0)
    assert exhausted(allowance) == FRAMES_PER_S - 1


def test_time_never_saves_up_more_than_the_burst() -> None:
    allowance = Allowance(100, 0.0)
    allowance.refill(3600.0)
    assert exhausted(allowance) == FRAMES


def test_answers_earn_frames_unless_the_client_keeps_them_tiny() -> None:
    allowance = Allowance(100, 0.0)
    exhausted(allowance)
    for _ in range(100):
        allowance.sent(1)
    with pytest.raises(Http2Error):
        allowance.spend()
    for _ in range(100):
        allowance.sent(16_384)
    assert exhausted(allowance) > 300


def test_streams_in_vain_are_bounded_by_how_many_may_be_open() -> None:
    allowance = Allowance(10, 0.0)
    assert streams(allowance) == 20
    allowance.refill(1.0)
    assert streams(allowance) == 9
    for _ in range(20):
        allowance.answered()
    assert streams(allowance) == 9


def test_reports_come_once_a_minute_with_the_number_of_others() -> None:
    reports: list[tuple[str, str]] = []
    shared = Http2Shared(lambda event, detail: reports.append((event, detail)))
    for at in (100.0, 101.0, 159.9, 160.1, 300.0):
        shared.warn(at, ErrorCode.PROTOCOL_ERROR, "no preface")
    assert reports == [
        ("http2.ended", "PROTOCOL_ERROR: no preface"),
        ("http2.ended", "PROTOCOL_ERROR: no preface; 2 more since the last report"),
        ("http2.ended", "PROTOCOL_ERROR: no preface"),
    ]
