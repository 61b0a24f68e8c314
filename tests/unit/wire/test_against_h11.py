"""A second parser as a witness: what we accept, h11 accepts, and both see the same message."""

from __future__ import annotations

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.wire.request import Fields, parse_fields, parse_request_line

NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"Transfer-Encoding",
        b"Host",
        b"X",
        b"Content-Length ",
        b" X",
        b"X_Y",
        b"Connection",
        b"Expect",
        b"",
    ]
)
VALUES = st.sampled_from(
    [
        b"0",
        b"5",
        b"+5",
        b"5, 5",
        b"05",
        b"chunked",
        b"Chunked",
        b"chunked, chunked",
        b"identity",
        b"a",
        b"",
        b" b ",
        b"a\tb",
        b"a\x00",
        b"a\x7f",
        b"\xe9",
        b"close",
        b"100-continue",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n "])
FIELDS = st.lists(st.builds(lambda name, value, end: name + b":" + value + end, NAMES, VALUES, ENDS), max_size=5)
LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/1.1\n",
        b"G\x00T / HTTP/1.1\r\n",
    ]
)


def witness(head: bytes) -> h11.Request | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Request) else None


@settings(max_examples=300)
@given(LINES, FIELDS, st.booleans())
def test_every_head_we_accept_is_the_same_message_to_h11(line: bytes, fields: list[bytes], has_host: bool) -> None:
    block = (b"Host: a\r\n" if has_host else b"") + b"".join(fields)
    parsed = parse_request_line(line, 8192)
    if isinstance(parsed, Reason):
        return
    ours = parse_fields(block, max_fields=100, mapped=frozenset())
    if not isinstance(ours, Fields):
        return
    theirs = witness(line + block + b"\r\n")
    assert theirs is not None, "we accept what h11 refuses"
    assert (theirs.method, theirs.target) == parsed[:2]
    seen = {bytes(name): bytes(value) for name, value in theirs.headers}
    assert (ours.length if ours.length is not None else None) == (
        int(seen[b"content-length"]) if b"content-length" in seen else None
    )
    assert ours.chunked == (b"transfer-encoding" in seen)
