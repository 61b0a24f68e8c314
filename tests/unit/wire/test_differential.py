"""What we accept, other parsers read alike; what we write, they read as one request with the same body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.policy.declaration import METHODS as POLICY_METHODS
from gateway.wire.chunked import ChunkedDecoder, ChunkedError
from gateway.wire.request import Fields, parse_fields, parse_request_line
from gateway.wire.response import parse_response_head
from gateway.wire.target import parse_target
from tests.unit.wire.witnesses import WITNESSES, Message, RefusedError, Witness

CRLF = b"\r\n"
ENDS = st.sampled_from([CRLF] * 12 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
SPACES = st.sampled_from([b" "] * 10 + [b"", b"\t", b"  ", b" \t ", b"\x0b", b"\xa0", b"\x00"])
METHODS = st.sampled_from(
    [b"GET", b"POST", b"POST", b"PUT", b"OPTIONS", b"get", b"M-SEARCH", b"G\x00T", b"POST:", b"X" * 33]
)
TARGETS = st.sampled_from(
    [b"/", b"/a?b=c", b"/a%20b", b"http://a/b", b"*", b"/a b", b"/\xc3\xa9", b"/a#b", b"/[x]", b"//a", b"/a\x7f", b"a"]
)
VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.01", b"HTTP/1.1 "]
)
NAMES = st.sampled_from(
    [b"Content-Length", b"content-length", b"Transfer-Encoding", b"transfer-encoding", b"Host", b"X-A", b"x-a", b"Connection", b"Expect", b"Cookie", b"Upgrade", b"TE", b"Trailer",
     b"Content_Length", b"Content-Length ", b" X", b"X\t", b"", b"X(Y", b"X\x00", b"Transfer-Encoding\x0b"]
)  # fmt: skip
VALUES = st.sampled_from(
    [b"5", b"5", b"0", b"05", b"chunked", b"chunked", b"Chunked", b"a", b"", b"+5", b"5, 5", b"-1", b"0x5", b"chunked, chunked", b"gzip, chunked", b"identity", b"xchunked", b"chunked;a",
     b",chunked", b"a\tb", b"a\x00b", b"a\x7f", b"\xe9", b"\xc3\xa9", b"close", b"100-continue", b"a=b; c", b"h2c", b"\x0bchunked", b"a\rb", b"5 ", b"\t5"]
)  # fmt: skip
LINES = st.builds(
    lambda method, one, target, two, version, end: method + one + target + two + version + end,
    METHODS,
    SPACES,
    TARGETS,
    SPACES,
    VERSIONS,
    ENDS,
)
FIELD = st.builds(lambda name, space, value, end: name + b":" + space + value + end, NAMES, SPACES, VALUES, ENDS)
CHUNKS = st.lists(
    st.sampled_from(
        [b"5\r\nhello\r\n", b"05\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"5 ;a\r\nhello\r\n", b'5;a="b"\r\nhello\r\n', b"5\nhello\r\n", b"5\r\nhello\n", b"+5\r\nhello\r\n", b"5 \r\nhello\r\n",
         b"0x5\r\nhello\r\n", b"5;a\nb\r\nhello\r\n", b"5\r\nhello", b"a\r\nhelloworld\r\n", b"A\r\nhelloworld\r\n", b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\n\n", b"\r\n", b"0;a\r\n\r\n", b"00\r\n\r\n"]
    ),
    max_size=4,
).map(b"".join)  # fmt: skip
BODIES = st.one_of(CHUNKS, st.sampled_from([b"", b"hello", b"hell", b"hello!"]))


def ours(data: bytes) -> tuple[Message, Fields, bytes] | None:
    """Read the first request as the edge does: message, fields, and what is left; None when it is refused or incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    line = parse_request_line(data, 8192)
    if isinstance(line, Reason):
        return None
    method, target, minor, at = line
    if method.decode("ascii") not in POLICY_METHODS:  # no route has it: 405
        return None
    fields = parse_fields(data[at : end + 2], max_fields=100, mapped=frozenset())
    if isinstance(fields, Reason) or (fields.chunked and minor == 0):
        return None
    if fields.authority is None or isinstance(parse_target(target, fields.authority), Reason):
        return None
    rest = data[end + 4 :]
    if fields.chunked:
        decoder = ChunkedDecoder()
        try:
            body = b"".join(decoder.feed(rest))
        except ChunkedError:
            return None
        if not decoder.done:
            return None
        rest = decoder.rest
    else:
        size = fields.length or 0
        if len(rest) < size:
            return None
        body, rest = rest[:size], rest[size:]
    return Message(method, target, (), body), fields, rest


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


FOLLOWER = b"GET /follower HTTP/1.1\r\nHost: b\r\n\r\n"


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda witness: witness.__name__)
@settings(max_examples=300, deadline=None)
@given(line=LINES, fields=st.lists(FIELD, max_size=4), body=BODIES)
@example(line=b"POST / HTTP/1.1\r\n", fields=[b"Transfer-Encoding: chunked\r\n"], body=b"5;a\r\nhello\r\n0\r\n\r\n")
def test_what_we_accept_other_parsers_read_alike(
    loop: asyncio.AbstractEventLoop, witness: Witness, line: bytes, fields: list[bytes], body: bytes
) -> None:
    head = line + b"Host: a\r\n" + b"".join(fields) + CRLF
    read = ours(head + body)
    if read is None or read[2]:
        return
    message, known, _ = read
    closes = known.close or (b" HTTP/1.0\r\n" in line and not known.keep_alive)
    if known.chunked and b"0\r\nX:" in body and witness.__name__ == "llhttp":
        return  # aiohttp adds trailers to the fields of the next message
    try:
        theirs = witness(head + body + (b"" if closes else FOLLOWER), loop)
    except RefusedError as error:
        pytest.fail(f"we accept what {witness.__name__} refuses: {head + body!r}: {error}")
    assert (theirs[0].method, theirs[0].body) == (message.method, message.body)
    assert theirs[0].target == message.target
    assert [each.target for each in theirs[1:]] == ([] if closes else [b"/follower"])
    named = dict(theirs[0].fields)
    assert known.chunked == (b"transfer-encoding" in named)
    assert known.length == (int(named[b"content-length"]) if b"content-length" in named else None)


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda witness: witness.__name__)
@settings(max_examples=150, deadline=None)
@given(line=LINES, fields=st.lists(FIELD, max_size=6), body=BODIES)
def test_what_we_write_other_parsers_read_as_one_request(
    loop: asyncio.AbstractEventLoop, witness: Witness, line: bytes, fields: list[bytes], body: bytes
) -> None:
    read = ours(line + b"Host: a\r\n" + b"".join(fields) + CRLF + body)
    if read is None or read[0].target[:1] != b"/" or b"[" in read[0].target:
        return
    message, known, _ = read
    if known.chunked:
        framing, framed = (
            b"transfer-encoding: chunked\r\n",
            (b"%x\r\n%b\r\n" % (len(message.body), message.body) if message.body else b"") + b"0\r\n\r\n",
        )
    else:
        framing, framed = (b"content-length: %d\r\n" % known.length if known.length is not None else b""), message.body
    written = (
        message.method + b" " + message.target + b" HTTP/1.1\r\nhost: a\r\n" + known.forward + framing + CRLF + framed
    )
    theirs = witness(written + FOLLOWER, loop)
    assert [(each.method, each.target, each.body) for each in theirs] == [
        (message.method, message.target, message.body),
        (b"GET", b"/follower", b""),
    ]
    forwarded = [tuple(text.split(b": ", 1)) for text in known.forward.split(CRLF) if text]
    assert [pair for pair in theirs[0].fields if pair in forwarded] == forwarded


STATUS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 204 No\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.2 200 OK\r\n",
        b"HTTP/1.1 200 \xff\r\n",
    ]
)


@settings(max_examples=300)
@given(status=STATUS, fields=st.lists(FIELD, max_size=5))
def test_an_answer_that_we_accept_has_one_framing_and_no_line_that_is_none(status: bytes, fields: list[bytes]) -> None:
    head = parse_response_head(status + b"".join(fields))
    if head is None:
        return
    block = b"".join(fields).lower()
    assert not (head.chunked and head.length is not None)
    assert head.chunked == (b"transfer-encoding:" in block)
    for line in head.forward.split(CRLF)[:-1]:
        name, colon, value = line.partition(b": ")
        assert colon
        assert name == name.lower()
        assert name not in (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"te", b"trailer")
        assert not any(byte < 0x20 and byte != 9 for byte in value)


@settings(max_examples=300)
@given(body=CHUNKS, cuts=st.lists(st.integers(0, 60), max_size=6))
def test_chunks_mean_the_same_wherever_they_are_cut(body: bytes, cuts: list[int]) -> None:
    def decode(pieces: list[bytes]) -> tuple[bytes, bool, bytes] | None:
        decoder = ChunkedDecoder()
        found = b""
        try:
            for number, piece in enumerate(pieces):
                found += b"".join(decoder.feed(piece))
                if decoder.done:
                    return found, True, decoder.rest + b"".join(pieces[number + 1 :])
        except ChunkedError:
            return None
        return found, False, b""

    at = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    pieces = [body[one:two] for one, two in pairwise(at)] or [body]
    assert decode(pieces) == decode([body])
