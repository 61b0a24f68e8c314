"""HPACK of a client: against another implementation, and against what is none."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.hpack_decoder import HeaderBombError, HeaderDecoder, HpackError

NAMES = st.sampled_from([b":path", b":method", b"cookie", b"accept", b"x-a", b"x-b", b"", b"X-UPPER"]) | st.binary(
    max_size=40
)
FIELDS = st.tuples(NAMES, st.sampled_from([b"", b"GET", b"/", b"a" * 200]) | st.binary(max_size=60), st.booleans())
LISTS = st.lists(
    st.tuples(st.lists(FIELDS, max_size=12), st.sampled_from([None, 0, 64, 512, 4096]), st.booleans()), max_size=8
)


@given(LISTS)
def test_what_another_encoder_wrote_is_read_as_it_was(
    lists: list[tuple[list[tuple[bytes, bytes, bool]], int | None, bool]],
) -> None:
    encoder, decoder = Encoder(), HeaderDecoder()
    for fields, table, huffman in lists:
        if table is not None:
            encoder.header_table_size = table
        block = encoder.encode(fields, huffman=huffman)
        pairs = [(name, value) for name, value, _ in fields]
        assert decoder.decode(block, 1 << 20) == (pairs, sum(len(n) + len(v) + 32 for n, v in pairs))


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes_are_read_as_another_decoder_reads_them_or_refused(blocks: list[bytes]) -> None:
    ours, other = HeaderDecoder(), Decoder()
    for block in blocks:
        try:
            fields, _ = ours.decode(block, 1 << 16)
        except HpackError:
            return
        assert fields == [(bytes(name), bytes(value)) for name, value in other.decode(block, raw=True)]


# RFC 7541 appendix C.4 and C.6: three lists on one connection
@pytest.mark.parametrize(
    ("blocks", "lists"),
    [
        (
            ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"],
            [
                [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
                [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com"), (b"cache-control", b"no-cache")],
                [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), (b":authority", b"www.example.com"), (b"custom-key", b"custom-value")],
            ],
        ),
    ],
)  # fmt: skip
def test_the_examples_of_rfc_7541(blocks: list[str], lists: list[list[tuple[bytes, bytes]]]) -> None:
    decoder = HeaderDecoder()
    for block, expected in zip(blocks, lists, strict=True):
        assert decoder.decode(bytes.fromhex(block), 4096)[0] == expected


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "index 0 (RFC 7541 §6.1)"),
        (b"\xbe", "an empty dynamic table"),
        (b"\xff\x80\x80\x80\x80\x01", "an integer of many bytes (§5.1)"),
        (b"\xff\x80", "an integer cut off"),
        (b"\xff", "an integer cut off at once"),
        (b"\x40", "no name"),
        (b"\x40\x05abc", "a name cut off"),
        (b"\x40\x01a", "no value"),
        (b"\x40\x01a\x7f\xff\xff\xff\x7f", "a value longer than the block"),
        (b"\x41\x8a", "a Huffman string cut off"),
        (b"\x41\x81\xfe", "Huffman padding that is not ones (§5.2)"),
        (b"\x41\x82\x1f\xff", "Huffman padding of more than 7 bits"),
        (b"\x41\x84\xff\xff\xff\xff", "Huffman EOS"),
        (b"\x3f\xe2\x1f", "a table larger than 4096 (§6.3)"),
        (b"\x82\x20", "a size update after a field (§4.2)"),
        (b"\x20\x20\x20\x82", "more than two size updates"),
    ],
)
def test_what_is_no_hpack_is_an_error(block: bytes, why: str) -> None:
    with pytest.raises(HpackError):
        HeaderDecoder().decode(block, 4096)


def test_a_field_larger_than_the_table_empties_it() -> None:
    """RFC 7541 §4.4."""
    decoder = HeaderDecoder()
    decoder.decode(b"\x40\x01a\x01b", 1 << 20)
    assert decoder.decode(b"\xbe", 1 << 20)[0] == [(b"a", b"b")]
    decoder.decode(b"\x40\x01c\x7f\x81\x20" + b"d" * 4224, 1 << 20)
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe", 1 << 20)


def test_a_list_beyond_the_limit_is_cut_off_and_the_table_follows_all_the_same() -> None:
    decoder = HeaderDecoder()
    fields, size = decoder.decode(b"\x40\x01a\x01b" + b"\x40\x01c\x01d", 40)
    assert (fields, size) == ([(b"a", b"b")], 68)
    assert decoder.decode(b"\xbe", 40)[0] == [(b"c", b"d")]


def test_a_bomb_ends_before_it_grows_cve_2016_6581() -> None:
    decoder = HeaderDecoder()
    decoder.decode(b"\x40\x01a\x7f\x81\x1e" + b"b" * 3968, 16384)
    with pytest.raises(HeaderBombError):
        decoder.decode(b"\xbe" * 16384, 16384)


def test_changes_of_the_table_are_told() -> None:
    decoder = HeaderDecoder()
    before = decoder.changes
    decoder.decode(b"\x82\x86\x00\x01a\x01b\x10\x01a\x01b", 4096)
    assert decoder.changes == before
    decoder.decode(b"\x40\x01a\x01b", 4096)
    assert decoder.changes > before
    before = decoder.changes
    decoder.decode(b"\x20\x82", 4096)
    assert decoder.changes > before
