"""Requests out of header blocks: what is remembered of them, and when it is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hpack import Encoder

from gateway.edge.http2_heads import MEMO_REQUESTS, RequestHeads
from gateway.exchange.reason import Reason
from gateway.wire.http2_frames import END_HEADERS, END_STREAM, ErrorCode, Http2Error
from gateway.wire.request import Fields
from tests.unit.edge.conftest import make_snapshot

SNAPSHOT = make_snapshot(1)
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/x")]


def read(heads: RequestHeads, block: bytes, *, ended: bool = True) -> tuple[bytes, bytes, Fields | Reason]:
    return heads.request(block, SNAPSHOT, ended=ended, any_scheme=False)


@pytest.mark.pure
def test_a_block_that_changes_nothing_is_read_once() -> None:
    heads = RequestHeads()
    block = Encoder().encode([(name, value, True) for name, value in GET])
    one, two = read(heads, block), read(heads, block)
    assert one is two
    assert one[:2] == (b"GET", b"/x")


def test_a_block_that_inserts_is_read_each_time() -> None:
    heads = RequestHeads()
    block = Encoder().encode([*GET, (b"x", b"y")])
    one, two = read(heads, block), read(heads, block)
    assert one is not two
    assert one[2] is two[2], "but its fields are the same"


@pytest.mark.pure
def test_an_insertion_forgets_what_blocks_meant() -> None:
    heads, encoder = RequestHeads(), Encoder()
    read(heads, encoder.encode([*GET, (b"x", b"1")]))
    block = encoder.encode([*GET, (b"x", b"1")])
    before = read(heads, block)
    assert read(heads, block) is before
    read(heads, encoder.encode([*GET, (b"x", b"2")]))
    after = read(heads, block)
    assert isinstance(before[2], Fields)
    assert after[2] is Reason.INVALID_HOST, "every index stands for another field now"


@pytest.mark.pure
def test_large_requests_leave_nothing_on_a_connection_that_is_idle_after_them() -> None:
    heads = RequestHeads()
    for byte in b"abcdefgh":
        extra = [(b"x-%d" % at, bytes((byte,)) * 1000, True) for at in range(10)]
        block = Encoder().encode([(name, value, True) for name, value in GET] + extra)
        assert isinstance(read(heads, block)[2], Fields)
    assert not heads._fields
    assert not heads._requests


def test_a_request_with_a_body_is_not_remembered() -> None:
    heads = RequestHeads()
    block = Encoder().encode([(name, value, True) for name, value in GET])
    one, two = read(heads, block, ended=False), read(heads, block, ended=False)
    assert isinstance(one[2], Fields)
    assert one[2].chunked
    assert one is not two
    plain = read(heads, block)[2]
    assert isinstance(plain, Fields)
    assert not plain.chunked


def test_a_new_configuration_reads_anew() -> None:
    heads = RequestHeads()
    block = Encoder().encode([(name, value, True) for name, value in (*GET, (b"x-name", b"1"))])
    before = read(heads, block)[2]
    heads.forget()
    after = heads.request(block, replace(SNAPSHOT, mapped_names=frozenset((b"x-name",))), ended=True, any_scheme=False)[
        2
    ]
    assert isinstance(before, Fields)
    assert isinstance(after, Fields)
    assert (before.forward, after.forward) == (b"x-name: 1\r\n", b"")


def test_what_is_remembered_is_bounded() -> None:
    heads = RequestHeads()
    for at in range(100):
        read(heads, Encoder().encode([(name, value, True) for name, value in (*GET, (b"x", b"%d" % at))]))
    assert len(heads._requests) <= MEMO_REQUESTS
    assert len(heads._fields) <= MEMO_REQUESTS


def test_a_refused_head_keeps_its_method_and_target_where_it_has_them() -> None:
    heads = RequestHeads()
    assert read(heads, Encoder().encode([*GET, (b"connection", b"close")])) == (b"GET", b"/x", Reason.MALFORMED_HEAD)
    assert read(heads, Encoder().encode([*GET[:3], (b":path", b"")])) == (b"GET", b"/", Reason.MALFORMED_HEAD)
    large = [(b"x-%d" % at, b"a" * 4000) for at in range(5)]
    assert read(heads, Encoder().encode([*GET, *large])) == (b"GET", b"/", Reason.HEAD_TOO_LARGE)


def test_a_block_comes_in_frames_of_which_the_last_says_so() -> None:
    heads = RequestHeads()
    heads.begin(5, END_STREAM, b"a", 10.0)
    assert (heads.stream_id, heads.until) == (5, 10.0)
    assert heads.add(0, b"b", 100) is None
    assert heads.add(END_HEADERS, b"c", 100) == (b"abc", True)
    assert (heads.stream_id, heads.until) == (0, float("inf"))


@pytest.mark.parametrize("piece", [b"", b"a" * 1000])
def test_a_block_without_end_is_cut_off(piece: bytes) -> None:
    heads = RequestHeads()
    heads.begin(1, 0, b"", 10.0)
    frames = 0
    with pytest.raises(Http2Error) as caught:  # noqa: PT012 - which of them is the point
        while frames := frames + 1:
            heads.add(0, piece, 16_384)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
    assert frames < 30
