"""Answers of an upstream that may be hostile."""

from __future__ import annotations

import pytest

from gateway.wire.response import parse_response_head


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 099 OK\r\n",
        b"HTTP/1.1  200 OK\r\n",
        b"200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_a_malformed_or_ambiguous_answer_is_not_passed_on(head: bytes) -> None:
    assert parse_response_head(head) is None


def test_a_status_without_a_phrase_is_ordinary() -> None:
    head = parse_response_head(b"HTTP/1.1 200\r\n")
    assert head is not None
    assert head.status == 200


def test_what_reveals_the_portal_and_what_we_write_ourselves_is_dropped() -> None:
    head = parse_response_head(
        b"HTTP/1.1 200 OK\r\nServer: Apache\r\nX-Powered-By: PHP\r\nStrict-Transport-Security: max-age=1\r\nX-Gateway-User: x\r\nX-Ok: y\r\nConnection: X-Drop\r\nX-Drop: z\r\n",
    )
    assert head is not None
    assert head.forward == b"x-ok: y\r\n"


def test_an_equal_repeated_length_is_one_length() -> None:
    head = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n")
    assert head is not None
    assert head.length == 5


def test_http_1_0_closes_unless_it_says_otherwise() -> None:
    closing = parse_response_head(b"HTTP/1.0 200 OK\r\n")
    keeping = parse_response_head(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n")
    assert closing is not None
    assert keeping is not None
    assert closing.close
    assert not keeping.close
