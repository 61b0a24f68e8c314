"""RESP2 is read however it arrives, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import resp
from gateway.wire.resp import ErrorReply, Reply, RespError, RespReader, command, commands

REPLIES = st.recursive(
    st.one_of(st.binary(max_size=40), st.integers(-(2**63), 2**63 - 1), st.none()),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def written(value: Reply) -> bytes:
    match value:
        case None:
            return b"$-1\r\n"
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case int():
            return b":%d\r\n" % value
        case list():
            return b"*%d\r\n" % len(value) + b"".join(map(written, value))
        case _:
            raise AssertionError(value)


def depth(value: Reply) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(
    replies=st.lists(REPLIES.filter(lambda reply: depth(reply) <= resp.MAX_DEPTH), max_size=4),
    cuts=st.lists(st.integers(0, 400)),
)
def test_replies_are_the_same_however_they_arrive(replies: list[Reply], cuts: list[int]) -> None:
    data = b"".join(map(written, replies))
    reader, got = RespReader(), []
    before = 0
    for cut in sorted(min(cut, len(data)) for cut in [*cuts, len(data)]):
        got += reader.feed(data[before:cut])
        before = cut
    assert got == replies


@given(data=st.binary(max_size=80))
def test_whatever_arrives_is_replies_or_an_error(data: bytes) -> None:
    try:
        RespReader().feed(data)
    except RespError:
        pass


def test_an_error_keeps_its_code_apart() -> None:
    (reply,) = RespReader().feed(b"-NOSCRIPT No matching script.\r\n")
    assert isinstance(reply, ErrorReply)
    assert (reply.code, reply.text) == ("NOSCRIPT", "NOSCRIPT No matching script.")


def test_a_status_and_the_empty_array_are_values() -> None:
    assert RespReader().feed(b"+OK\r\n*0\r\n*-1\r\n") == [b"OK", [], None]


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 400 Bad Request\r\n", b"$3\r\nabcdef\r\n", b":1_0\r\n", b": 1\r\n", b"$-2\r\n", b"*-5\r\n", b"$99999999999\r\n", b":\r\n", b"_\r\n"],
)  # fmt: skip
def test_what_is_no_resp_is_refused(data: bytes) -> None:
    with pytest.raises(RespError):
        RespReader().feed(data)


def test_arrays_within_arrays_without_end_are_refused() -> None:
    with pytest.raises(RespError):
        RespReader().feed(b"*1\r\n" * 100)


def test_a_reply_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "MAX_REPLY_BYTES", 100)
    with pytest.raises(RespError):
        RespReader().feed(b"+" + b"x" * 200)


def test_commands_are_arrays_of_strings() -> None:
    assert command(b"GET", b"a\r\nb") == b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n"
    assert commands([(b"PING",), (b"PING",)]) == b"*1\r\n$4\r\nPING\r\n" * 2
