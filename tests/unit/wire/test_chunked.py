"""The chunked coding: strict, incremental, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.chunked import MAX_TRAILER_BYTES, ChunkedDecoder, ChunkedError


def decode(raw: bytes, cut: int = 1 << 20) -> tuple[bytes, ChunkedDecoder]:
    decoder = ChunkedDecoder()
    out = b""
    for at in range(0, len(raw), cut):
        assert not decoder.done
        out += b"".join(decoder.feed(raw[at : at + cut]))
    return out, decoder


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
def test_a_body_is_the_same_however_it_is_cut(cut: int) -> None:
    body, decoder = decode(b'5\r\nhello\r\n6;x="y"\r\n world\r\n0\r\nX: y\r\n\r\n', cut)
    assert body == b"hello world"
    assert decoder.done


def test_what_follows_the_body_is_the_rest() -> None:
    _, decoder = decode(b"0\r\n\r\nGET / HTTP/1.1\r\n")
    assert decoder.rest == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"5\nhello\r\n0\r\n\r\n",  # bare LF
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",  # CVE-2025-43859
        b"+5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\t\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"\r\nhello\r\n",
        b"fffffffffffffffff\r\n",
        b"5;a\nb\r\nhello\r\n",  # LF in an extension
        b"5;\x00\r\nhello\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n\n",
    ],
)
def test_anything_else_than_the_grammar_is_an_error(raw: bytes) -> None:
    with pytest.raises(ChunkedError):
        decode(raw)


def test_endless_trailers_are_cut_off_cve_2026_22815() -> None:
    with pytest.raises(ChunkedError):
        decode(b"0\r\n" + b"X: yyyyyyyy\r\n" * (MAX_TRAILER_BYTES // 10))


def test_endless_extensions_are_cut_off() -> None:
    with pytest.raises(ChunkedError):
        decode(b"1;" + b"a" * 5000)
    with pytest.raises(ChunkedError):
        decode((b"1;" + b"a" * 900 + b"\r\nx\r\n") * 40)


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 60))
def test_encoding_and_decoding_is_the_identity(chunks: list[bytes], cut: int) -> None:
    raw = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    body, decoder = decode(raw, cut)
    assert body == b"".join(chunks)
    assert decoder.done
