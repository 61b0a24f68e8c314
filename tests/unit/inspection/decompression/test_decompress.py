"""Encoded bodies are read within a budget, and bombs are given up."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.decompress import (
    PIECE_BYTES,
    Budget,
    Coding,
    DecompressError,
    Decompressor,
    Fault,
    coding_of,
    compress,
    decompress,
)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, tuple[Coding, Callable[[bytes], bytes]]] = {
    "gzip": (Coding.GZIP, gzip.compress),
    "deflate": (Coding.DEFLATE, zlib.compress),
    "bare deflate": (Coding.DEFLATE, raw_deflate),
    "br": (Coding.BROTLI, brotli.compress),
    "zstd": (Coding.ZSTD, zstd.compress),
}
EACH = pytest.mark.parametrize(("coding", "encode"), ENCODERS.values(), ids=ENCODERS)


def fault_of(body: bytes, coding: Coding, budget: Budget | None = None) -> Fault:
    with pytest.raises(DecompressError) as caught:
        decompress(body, coding, budget or Budget())
    return caught.value.fault


@EACH
@given(data=st.binary(max_size=500), cuts=st.lists(st.integers(1, 40), max_size=12))
def test_a_body_is_the_same_however_it_is_cut(
    coding: Coding, encode: Callable[[bytes], bytes], data: bytes, cuts: list[int]
) -> None:
    body = encode(data)
    decompressor = Decompressor(coding, Budget())
    decoded = b""
    at = 0
    for cut in cuts:
        decoded += b"".join(decompressor.feed(body[at : at + cut]))
        at += cut
    decoded += b"".join(decompressor.feed(body[at:]))
    decompressor.finish()
    assert decoded == data


@EACH
def test_a_large_body_comes_in_pieces(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    data = bytes(range(256)) * 4096
    pieces = list(Decompressor(coding, Budget(ratio=10_000)).feed(encode(data)))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= PIECE_BYTES


@EACH
def test_decompression_bomb_by_size_is_given_up(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    body = encode(b"\0" * (8 << 20))
    assert fault_of(body, coding, Budget(1 << 20, 1_000_000)) is Fault.TOO_LARGE


@EACH
def test_decompression_bomb_by_ratio_is_given_up(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    body = encode(b"\0" * (8 << 20))
    decompressor = Decompressor(coding, Budget(1 << 30, 100))
    pieces: list[bytes] = []
    with pytest.raises(DecompressError) as caught:
        pieces.extend(decompressor.feed(body))
    assert caught.value.fault is Fault.TOO_DENSE
    assert caught.value.is_bomb
    assert sum(map(len, pieces)) <= 65_536 + 100 * len(body)


@EACH
def test_a_short_page_of_blanks_is_no_bomb(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    assert decompress(encode(b" " * 60_000), coding, Budget(ratio=10)) == b" " * 60_000


@EACH
def test_a_body_that_ends_in_the_middle_is_refused(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    assert fault_of(encode(b"invoice " * 100)[:-3], coding) is Fault.TRUNCATED


@EACH
def test_bytes_behind_the_end_are_refused(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    assert fault_of(encode(b"invoice") + b"' or 1=1", coding) in {Fault.TRAILING, Fault.CORRUPT}


@EACH
def test_what_is_not_so_encoded_is_refused(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    assert fault_of(b"\xffplain text, not encoded at all", coding) is Fault.CORRUPT


@EACH
def test_nothing_at_all_is_complete(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    assert decompress(b"", coding, Budget()) == b""


@pytest.mark.parametrize(("coding", "encode"), [ENCODERS["gzip"], ENCODERS["zstd"]])
def test_members_in_a_row_are_all_read(coding: Coding, encode: Callable[[bytes], bytes]) -> None:
    """Attack: the second member holds what the first does not show."""
    assert decompress(encode(b"harmless") + encode(b"<script>"), coding, Budget()) == b"harmless<script>"


def test_many_empty_members_end() -> None:
    assert decompress(gzip.compress(b"") * 5_000, Coding.GZIP, Budget()) == b""


def test_a_zstd_window_beyond_eight_mebibytes_is_refused() -> None:
    body = zstd.compress(b"x" * (9 << 20), options={zstd.CompressionParameter.window_log: 27})
    assert fault_of(body, Coding.ZSTD) is Fault.CORRUPT


def test_a_damaged_checksum_is_noticed() -> None:
    body = bytearray(gzip.compress(b"invoice"))
    body[-6] ^= 1
    assert fault_of(bytes(body), Coding.GZIP) is Fault.CORRUPT


@pytest.mark.parametrize(
    ("field", "coding"),
    [
        (b"", None),
        (b"identity", None),
        (b"gzip", Coding.GZIP),
        (b"X-GZip", Coding.GZIP),
        (b"GZIP, identity", Coding.GZIP),
        (b" br\t", Coding.BROTLI),
        (b"deflate", Coding.DEFLATE),
        (b"zstd", Coding.ZSTD),
    ],
)
def test_a_content_encoding_is_read(field: bytes, coding: Coding | None) -> None:
    assert coding_of(field) is coding


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        (b"gzip, gzip", Fault.DOUBLED_CODING),
        (b"br,gzip", Fault.DOUBLED_CODING),
        (b"compress", Fault.UNKNOWN_CODING),
        (b"gzip;q=1", Fault.UNKNOWN_CODING),
        (b"\xff", Fault.UNKNOWN_CODING),
        (b"aes128gcm", Fault.UNKNOWN_CODING),
    ],
)
def test_an_unknown_or_doubled_coding_is_refused(field: bytes, fault: Fault) -> None:
    with pytest.raises(DecompressError) as caught:
        coding_of(field)
    assert caught.value.fault is fault
    assert not caught.value.is_bomb


@given(st.sampled_from(list(Coding)), st.binary(max_size=300))
def test_no_bytes_raise_anything_else(coding: Coding, body: bytes) -> None:
    with suppress(DecompressError):
        decompress(body, coding, Budget())


@given(st.sampled_from(list(Coding)), st.binary(max_size=300))
def test_what_was_changed_is_encoded_again(coding: Coding, body: bytes) -> None:
    assert decompress(compress(body, coding), coding, Budget()) == body
