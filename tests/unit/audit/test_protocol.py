from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit import protocol
from gateway.audit.protocol import (
    Ack,
    Elsewhere,
    Hello,
    ProtocolError,
    Receipt,
    Records,
    Refusal,
    Refused,
    ReplyDecoder,
    Request,
    RequestDecoder,
    Shipped,
    Welcome,
)
from gateway.exchange.route import Durability

BADGE = bytes(range(protocol.BADGE_BYTES))
MARKS = st.sampled_from([0, protocol.RESERVED, protocol.RECEIPTED, protocol.RESERVED | protocol.RECEIPTED])
PAYLOADS = st.lists(
    st.tuples(st.builds(int.__or__, st.integers(1, 3), MARKS), st.binary(min_size=1, max_size=300)),
    min_size=1,
    max_size=20,
)


def in_traffic(count: int) -> bytes:
    return bytes([3]) * count


def cut(data: bytes, at: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(i % (len(data) + 1) for i in at)})
    return [data[a:b] for a, b in pairwise(points)]


@settings(max_examples=60)
@given(PAYLOADS, st.integers(0, 3), st.integers(1, 1 << 62), st.lists(st.integers(0, 10_000), max_size=8))
def test_requests_survive_any_cutting_of_the_stream(
    numbered: list[tuple[int, bytes]], grade: int, seq: int, cuts: list[int]
) -> None:
    payloads, streams = [payload for _, payload in numbered], bytes(stream for stream, _ in numbered)
    frames = b"".join(protocol.pack_records(grade, seq, payloads, streams))
    data = protocol.pack_hello(7, BADGE) + frames + protocol.pack_elsewhere(2, seq, b"gateway/n/1")
    decoder = RequestDecoder()
    got: list[Request] = [request for piece in cut(data, cuts) for request in decoder.feed(piece)]
    assert got == [
        Hello(7, BADGE),
        Records(grade, seq, payloads, streams),
        Elsewhere(2, seq, b"gateway/n/1"),
    ]
    assert decoder.pending == 0


@settings(max_examples=60)
@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_replies_survive_any_cutting_of_the_stream(cuts: list[int]) -> None:
    data = (
        protocol.pack_welcome(9)
        + protocol.pack_ack(10)
        + protocol.pack_refused(11, Refusal.DISK_FULL)
        + protocol.pack_shipped(12)
        + protocol.pack_receipt(13, b"origin#5 code")
        + protocol.pack_receipt(14, b"")
        + protocol.pack_ack(1 << 63)
    )
    decoder = ReplyDecoder()
    got = [reply for piece in cut(data, cuts) for reply in decoder.feed(piece)]
    assert got == [
        Welcome(9),
        Ack(10),
        Refused(11, Refusal.DISK_FULL),
        Shipped(12),
        Receipt(13, b"origin#5 code"),
        Receipt(14, b""),
        Ack(1 << 63),
    ]


def test_the_wire_form_is_the_documented_one() -> None:
    assert protocol.pack_hello(0x0102, BADGE) == bytes.fromhex("14000000 01 01 0201") + BADGE
    records = b"".join(protocol.pack_records(protocol.GROUP, 5, [b"ab", b"c"], b"\1\2"))
    assert records == bytes.fromhex("15000000 02 01 0200 0500000000000000 01 0200 6162 02 0100 63")
    assert protocol.pack_ack(5) == bytes.fromhex("0200000000000000 0500000000000000")
    assert protocol.pack_welcome(5) == bytes.fromhex("0100000000000000 0500000000000000")
    assert protocol.pack_refused(5, 1) == bytes.fromhex("0301000000000000 0500000000000000")
    assert protocol.pack_receipt(5, b"ab") == bytes.fromhex("0700020000000000 0500000000000000 6162")


def test_every_durability_has_a_grade() -> None:
    assert set(protocol.GRADE) == set(Durability)


def test_a_producer_counts_from_above_everything_it_ever_sent() -> None:
    assert protocol.first_sequence(1000.0, 5) == 1_000_000 << 20
    assert protocol.first_sequence(1000.0, 1 << 60) == (1 << 60) + 1, "a clock that went back does not repeat sequences"


def test_many_payloads_become_several_frames_with_contiguous_sequences() -> None:
    payloads = [bytes([i % 256]) * 30_000 for i in range(100)]
    decoder = RequestDecoder()
    got = decoder.feed(b"".join(protocol.pack_records(protocol.ASYNC, 10, payloads, in_traffic(100))))
    assert len(got) > 1
    seq = 10
    for request in got:
        assert isinstance(request, Records)
        assert request.first_seq == seq
        seq += len(request.payloads)
    assert [p for r in got if isinstance(r, Records) for p in r.payloads] == payloads
    assert b"".join(r.streams for r in got if isinstance(r, Records)) == in_traffic(100)


def test_more_records_than_a_frame_holds_become_several_frames() -> None:
    payloads = [b"x"] * (protocol.MAX_FRAME_RECORDS + 1)
    got = RequestDecoder().feed(b"".join(protocol.pack_records(protocol.GROUP, 1, payloads, in_traffic(len(payloads)))))
    assert [len(r.payloads) for r in got if isinstance(r, Records)] == [protocol.MAX_FRAME_RECORDS, 1]


@pytest.mark.parametrize("size", [0, protocol.MAX_PAYLOAD_BYTES + 1])
def test_an_impossible_payload_is_refused_before_it_is_sent(size: int) -> None:
    with pytest.raises(ValueError, match="audit payload"):
        protocol.pack_records(protocol.GROUP, 1, [b"x" * size], in_traffic(1))


def test_a_payload_longer_than_a_frame_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="longer than a frame"):
        protocol.pack_records(protocol.GROUP, 1, [b"x" * (protocol.MAX_FRAME_BYTES + 1)], in_traffic(1))


def records(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param(struct.pack("<I", 0xFFFFFFFF), id="4 GiB length"),
        pytest.param(struct.pack("<I", 0), id="empty frame"),
        pytest.param(struct.pack("<I", protocol.MAX_FRAME_BYTES + 1), id="one byte too long"),
        pytest.param(records(b"\x09"), id="unknown type"),
        pytest.param(records(b"\x01\x00\x00\x00"), id="HELLO of another version"),
        pytest.param(records(b"\x01\x01\x00\x00\x00"), id="long HELLO"),
        pytest.param(records(struct.pack("<BBHQ", 5, 1, 0, 1)), id="ELSEWHERE of no log"),
        pytest.param(records(struct.pack("<BBHQ", 5, 4, 0, 1) + b"o"), id="ELSEWHERE of no stream"),
        pytest.param(records(struct.pack("<BBHQ", 5, 1, 1, 1) + b"o"), id="ELSEWHERE with a flag"),
        pytest.param(records(struct.pack("<BBH", 2, 1, 1)), id="head cut short"),
        pytest.param(records(struct.pack("<BBHQ", 2, 4, 1, 1) + b"\x01\x01\x00x"), id="unknown durability"),
        pytest.param(records(struct.pack("<BBHQ", 2, 1, 0, 1)), id="no records"),
        pytest.param(records(struct.pack("<BBHQ", 2, 1, 1, 0) + b"\x01\x01\x00x"), id="sequence zero"),
        pytest.param(
            records(struct.pack("<BBHQ", 2, 1, 2, (1 << 64) - 1) + b"\x01\x01\x00x\x01\x01\x00x"),
            id="sequence overflow",
        ),
        pytest.param(records(struct.pack("<BBHQ", 2, 1, 2, 1) + b"\x01\x01\x00x"), id="fewer records than announced"),
        pytest.param(records(struct.pack("<BBHQ", 2, 1, 1, 1) + b"\x00\x01\x00x"), id="no stream"),
        pytest.param(records(struct.pack("<BBHQ", 2, 1, 1, 1) + b"\x04\x01\x00x"), id="unknown stream"),
        pytest.param(records(struct.pack("<BBHQ", 2, 1, 1, 1) + b"\x01\x05\x00x"), id="record longer than the frame"),
        pytest.param(records(struct.pack("<BBHQ", 2, 1, 1, 1) + b"\x01\x00\x00"), id="empty record"),
        pytest.param(records(struct.pack("<BBHQ", 2, 1, 1, 1) + b"\x01\x01\x00xy"), id="bytes after the last record"),
        pytest.param(
            records(struct.pack("<BBHQ", 2, 1, 1, 1) + b"\x01\xff\xff" + b"x" * 65535), id="record over the entry limit"
        ),
    ],
)
def test_junk_from_a_producer_is_an_error_and_not_a_guess(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        RequestDecoder().feed(junk)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    for decoder in (RequestDecoder(), ReplyDecoder()):
        try:
            decoder.feed(data)
        except ProtocolError:
            continue


@pytest.mark.parametrize("junk", [b"\x09" + bytes(15), b"\x04" + bytes(15)])
def test_junk_from_a_daemon_is_an_error_too(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        ReplyDecoder().feed(junk)
