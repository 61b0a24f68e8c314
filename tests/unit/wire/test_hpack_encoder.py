"""Answer heads as header blocks: what another decoder reads, and what never enters a table."""

from __future__ import annotations

import pytest
from hpack import Decoder, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.hpack_encoder import CONNECTION_SPECIFIC, MAX_INSERTED, HeaderEncoder, KnownLines

NAMES = st.sampled_from(
    [
        b"content-type",
        b"date",
        b"set-cookie",
        b"location",
        b"x-request-id",
        b"vary",
        b"etag",
        b"connection",
        b"Keep-Alive",
        b"X-Mixed",
    ]
) | st.from_regex(rb"[a-z0-9-]{1,40}", fullmatch=True)
VALUES = st.from_regex(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]{0,60}[!-~\x80-\xff])?)?", fullmatch=True)
HEADS = st.tuples(st.integers(100, 999), st.lists(st.tuples(NAMES, VALUES), max_size=10))


def compose(status: int, fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"HTTP/1.1 %d X\r\n" % status + b"".join(b"%b: %b\r\n" % pair for pair in fields) + b"\r\n"


@given(st.lists(st.tuples(HEADS, st.sampled_from([None, None, None, 0, 100, 4096, 65536])), max_size=12))
def test_another_decoder_reads_what_was_composed(
    heads: list[tuple[tuple[int, list[tuple[bytes, bytes]]], int | None]],
) -> None:
    known = KnownLines()
    connections = [(HeaderEncoder(known), Decoder()) for _ in range(2)]
    for (status, fields), table in heads:
        for encoder, decoder in connections:
            if table is not None:
                encoder.resize(table)
                decoder.max_allowed_table_size = table
            read = [(bytes(n), bytes(v)) for n, v in decoder.decode(encoder.encode(compose(status, fields)), raw=True)]
            expected = [(n.lower(), v) for n, v in fields if n.lower() not in CONNECTION_SPECIFIC]
            assert read == [(b":status", b"%d" % status), *expected]


def test_a_line_that_comes_again_becomes_one_byte() -> None:
    known = KnownLines()
    encoder = HeaderEncoder(known)
    head = compose(200, [(b"x-content-type-options", b"nosniff"), (b"permissions-policy", b"camera=()")])
    sizes = [len(encoder.encode(head)) for _ in range(3)]
    assert sizes[2] == 3
    assert sizes[0] > 50
    assert len(HeaderEncoder(known).encode(head)) > 50, "another connection has a table of its own"


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"set-cookie", b"sid=secret"), (b"location", b"/cb?code=secret"), (b"etag", b'"secret"'), (b"refresh", b"0;url=/?t=secret"), (b"www-authenticate", b"Digest nonce=secret")],
)  # fmt: skip
def test_what_may_hold_a_secret_is_never_put_into_a_table_crime(name: bytes, value: bytes) -> None:
    """A length that depends on a secret and on an attacker's text tells the secret (RFC 7541 §7.1)."""
    known = KnownLines()
    encoder, decoder = HeaderEncoder(known), Decoder()
    for _ in range(4):
        block = encoder.encode(compose(200, [(name, value)]))
        assert value in block
        decoder.decode(block, raw=True)
    assert not [entry for entry in decoder.header_table.dynamic_entries if entry[0] == name]
    assert known.get(b"%b: %b" % (name, value)) is None


def test_cookies_forbid_every_hop_to_index_them() -> None:
    block = HeaderEncoder(KnownLines()).encode(compose(200, [(b"set-cookie", b"a=b")]))
    (cookie,) = [field for field in Decoder().decode(block, raw=True) if field[0] == b"set-cookie"]
    assert isinstance(cookie, NeverIndexedHeaderTuple)


def test_a_full_table_stays_as_it_is() -> None:
    known = KnownLines()
    encoder, decoder = HeaderEncoder(known), Decoder()
    lines = [(b"x-%d" % at, b"value-%d" % at) for at in range(MAX_INSERTED * 2)]
    for _ in range(3):
        read = [(bytes(n), bytes(v)) for n, v in decoder.decode(encoder.encode(compose(200, lines)), raw=True)]
        assert read[1:] == lines
    assert len(decoder.header_table.dynamic_entries) == MAX_INSERTED


@pytest.mark.pure
def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.wire.hpack_encoder.MAX_LINES", 10)
    known = KnownLines()
    for at in range(100):
        known.add(b"x-%d: 1" % at)
    assert known.get(b"") is not None
    assert sum(known.get(b"x-%d: 1" % at) is not None for at in range(100)) < 11
    known.add(b"x-long: " + b"a" * 2000)
    assert known.get(b"x-long: " + b"a" * 2000) is None
