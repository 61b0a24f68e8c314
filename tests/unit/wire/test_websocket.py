"""Where frames end, however the bytes of them arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.websocket import (
    GOING_AWAY,
    POLICY_VIOLATION,
    FrameTracker,
    close_frame,
    masked_close_frame,
)

MASK = b"\x01\x02\x03\x04"


def frame(payload: bytes, *, opcode: int = 1, masked: bool = False, fin: bool = True) -> bytes:
    """Build one frame with the shortest length that holds (RFC 6455 section 5.2)."""
    size = len(payload)
    bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    return head + (MASK if masked else b"") + payload


def fed(*pieces: bytes, from_client: bool = False) -> FrameTracker:
    tracker = FrameTracker(from_client=from_client)
    for piece in pieces:
        tracker.feed(piece)
    return tracker


def test_a_connection_that_just_opened_is_at_a_boundary() -> None:
    assert FrameTracker(from_client=True).at_boundary


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("masked", [False, True])
def test_a_whole_frame_of_any_length_ends_at_a_boundary(size: int, masked: bool) -> None:
    data = frame(bytes(size), masked=masked)
    assert fed(data, from_client=masked).at_boundary
    assert not fed(data[:-1], from_client=masked).at_boundary


def test_a_header_without_its_payload_is_not_at_a_boundary() -> None:
    assert not fed(b"\x81").at_boundary
    assert not fed(b"\x81\x05").at_boundary
    assert not fed(b"\x81\x7e\x00").at_boundary


def test_fragments_are_frames_of_their_own() -> None:
    assert fed(frame(b"a", fin=False), frame(b"b", opcode=0)).at_boundary


def test_a_close_frame_is_noticed_alone_and_after_others() -> None:
    assert fed(frame(b"\x03\xe8", opcode=8)).is_closed
    assert fed(frame(b"text") + frame(b"", opcode=8)).is_closed
    assert not fed(frame(b"\x88\x02\x03\xe8")).is_closed, "a payload is not a frame"


def test_an_unmasked_frame_of_a_client_is_a_fault_rfc_6455_5_1() -> None:
    tracker = fed(frame(b"GET / HTTP/1.1"), from_client=True)
    assert tracker.is_faulty
    assert not tracker.at_boundary


def test_a_masked_frame_of_a_server_is_its_clients_business() -> None:
    assert fed(frame(b"x", masked=True)).at_boundary


def test_a_length_of_more_than_63_bits_is_a_fault() -> None:
    tracker = fed(b"\x82\x7f" + b"\xff" * 8)
    assert tracker.is_faulty
    assert not tracker.at_boundary
    tracker.feed(frame(b"x"))
    assert not tracker.at_boundary, "nobody knows where frames begin any more"


def test_only_the_rest_of_the_frame_under_way_may_still_pass() -> None:
    tracker = fed(frame(b"hello")[:4])
    assert tracker.rest_of_frame(b"llo" + frame(b"secret")) == b"llo"
    assert tracker.at_boundary


def test_the_rest_of_a_frame_may_come_in_pieces_and_begin_within_its_header() -> None:
    data = frame(bytes(300))
    tracker = fed(data[:1])
    assert tracker.rest_of_frame(data[1:3]) == data[1:3]
    assert not tracker.at_boundary
    assert tracker.rest_of_frame(data[3:100]) == data[3:100]
    assert tracker.rest_of_frame(data[100:] + frame(b"secret")) == data[100:]
    assert tracker.at_boundary


def test_at_a_boundary_nothing_more_may_pass() -> None:
    assert fed(frame(b"x")).rest_of_frame(frame(b"secret")) == b""


def test_a_close_frame_says_its_code() -> None:
    assert close_frame(POLICY_VIOLATION) == b"\x88\x02\x03\xf0"
    masked = masked_close_frame(GOING_AWAY, MASK)
    assert masked[:6] == b"\x88\x82" + MASK
    assert bytes(byte ^ MASK[index] for index, byte in enumerate(masked[6:])) == b"\x03\xe9"
    assert fed(masked, from_client=True).is_closed


FRAMES = st.lists(
    st.builds(
        frame,
        st.binary(max_size=300),
        opcode=st.sampled_from([0, 1, 2, 9, 10]),
        masked=st.just(True),
        fin=st.booleans(),
    ),
    max_size=6,
)


@given(FRAMES, st.lists(st.integers(1, 40), max_size=60), st.binary(max_size=3))
def test_the_boundary_is_found_however_the_bytes_are_cut(frames: list[bytes], cuts: list[int], more: bytes) -> None:
    data = b"".join(frames)
    ends = {0}
    for one in frames:
        ends.add(max(ends) + len(one))
    tracker = FrameTracker(from_client=True)
    at = 0
    for cut in [*cuts, len(data)]:
        piece = data[at : at + cut]
        tracker.feed(piece)
        at += len(piece)
        assert tracker.at_boundary is (at in ends)
    assert not tracker.is_faulty


@given(FRAMES.filter(bool), st.integers(0, 2000), st.lists(st.integers(1, 40), max_size=60))
def test_what_may_still_pass_ends_exactly_where_the_frame_does(
    frames: list[bytes], start: int, cuts: list[int]
) -> None:
    data = b"".join(frames)
    start = min(start, len(data))
    tracker = FrameTracker(from_client=True)
    tracker.feed(data[:start])
    ends = [0]
    for one in frames:
        ends.append(ends[-1] + len(one))
    end = min(end for end in ends if end >= start)
    passed = b""
    at = start
    for cut in [*cuts, len(data)]:
        passed += tracker.rest_of_frame(data[at : at + cut])
        at = min(at + cut, len(data))
        if tracker.at_boundary:
            break
    assert data[start:end] == passed


@given(st.binary(max_size=200), st.lists(st.integers(1, 30), max_size=10))
def test_any_bytes_are_followed_without_an_exception(data: bytes, cuts: list[int]) -> None:
    for from_client in (True, False):
        tracker = FrameTracker(from_client=from_client)
        at = 0
        for cut in [*cuts, len(data)]:
            tracker.feed(data[at : at + cut])
            at += cut
        tracker.rest_of_frame(data)
