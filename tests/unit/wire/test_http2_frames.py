"""Frames of HTTP/2: written as another implementation reads them, and refused where RFC 9113 says so."""

from __future__ import annotations

import pytest
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from gateway.wire.http2_frames import (
    END_STREAM,
    ErrorCode,
    Http2Error,
    check_priority,
    data_header,
    goaway,
    header_frames,
    number,
    parse_settings,
    rst_stream,
    settings_frame,
    unpadded,
    window_update,
    without_priority,
)


def read(data: bytes) -> list[Frame]:
    frames = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]), strict=True)
        frame.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(frame)
        data = data[9 + length :]
    return frames


def test_another_implementation_reads_our_frames() -> None:
    data, end, reset, settings, room = read(
        data_header(70_000, END_STREAM, 5)
        + b"x" * 70_000
        + goaway(7, ErrorCode.ENHANCE_YOUR_CALM)
        + rst_stream(3, ErrorCode.CANCEL)
        + settings_frame({3: 100, 4: 65_536})
        + window_update(9, 12_345)
    )
    assert isinstance(data, DataFrame)
    assert (data.stream_id, data.data, "END_STREAM" in data.flags) == (5, b"x" * 70_000, True)
    assert isinstance(end, GoAwayFrame)
    assert (end.last_stream_id, end.error_code, end.additional_data) == (7, 11, b"")
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (3, 8)
    assert isinstance(settings, SettingsFrame)
    assert settings.settings == {3: 100, 4: 65_536}
    assert isinstance(room, WindowUpdateFrame)
    assert (room.stream_id, room.window_increment) == (9, 12_345)


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 50_000])
def test_a_header_block_is_cut_into_frames(size: int) -> None:
    block = bytes(at % 251 for at in range(size))
    frames = read(header_frames(block, END_STREAM, 1, 16_384))
    assert b"".join(frame.data for frame in frames) == block  # type: ignore[attr-defined]
    assert ["END_HEADERS" in frame.flags for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert isinstance(frames[0], HeadersFrame)
    assert "END_STREAM" in frames[0].flags


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (bytes(5), ErrorCode.FRAME_SIZE_ERROR),
        (bytes(6 * 33), ErrorCode.ENHANCE_YOUR_CALM),
        (b"\0\2\0\0\0\2", ErrorCode.PROTOCOL_ERROR),
        (b"\0\x08\0\0\0\2", ErrorCode.PROTOCOL_ERROR),
        (b"\0\x09\0\0\0\2", ErrorCode.PROTOCOL_ERROR),
        (b"\0\4\x80\0\0\0", ErrorCode.FLOW_CONTROL_ERROR),
        (b"\0\5\0\0\x3f\xff", ErrorCode.PROTOCOL_ERROR),
        (b"\0\5\x01\0\0\0", ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_settings_out_of_bounds_are_refused(payload: bytes, code: ErrorCode) -> None:
    with pytest.raises(Http2Error) as caught:
        parse_settings(payload)
    assert caught.value.code is code


def test_unknown_settings_are_read_past() -> None:
    assert parse_settings(b"\xff\xff\0\0\0\1\0\4\x7f\xff\xff\xff") == [(0xFFFF, 1), (4, 2**31 - 1)]


def test_padding_is_taken_off_and_must_fit() -> None:
    assert unpadded(b"\x02abc\0\0") == b"abc"
    assert unpadded(b"\0") == b""
    for payload, code in (
        (b"", ErrorCode.FRAME_SIZE_ERROR),
        (b"\1", ErrorCode.PROTOCOL_ERROR),
        (b"\x04abc", ErrorCode.PROTOCOL_ERROR),
    ):
        with pytest.raises(Http2Error) as caught:
            unpadded(payload)
        assert caught.value.code is code


def test_priorities_are_checked_and_dropped() -> None:
    assert without_priority(3, b"\x80\0\0\1\x10block") == b"block"
    for payload, code in ((b"\0\0\0\3\x10", ErrorCode.PROTOCOL_ERROR), (b"\0\0\0\1", ErrorCode.FRAME_SIZE_ERROR)):
        with pytest.raises(Http2Error) as caught:
            check_priority(3, payload)
        assert caught.value.code is code


def test_a_number_is_four_bytes() -> None:
    assert number(b"\0\0\1\0") == 256
    with pytest.raises(Http2Error):
        number(b"\0\0\1")
