from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.frame import (
    MAX_BLOB_BYTES,
    OVERHEAD_BYTES,
    TAG_BYTES,
    FrameError,
    Header,
    open_frame,
    pack_header,
    parse_frame,
    parse_header,
    seal_frame,
)

AEAD = AESGCM(b"k" * 32)
HEADER = Header(7, 3, 2, 6 + TAG_BYTES, b"p" * 32, b"i" * 8)
DATA, DIGEST = seal_frame(AEAD, HEADER, b"bundle", b"note")


def test_the_bytes_are_the_documented_ones() -> None:
    header = b"GWB1" + bytes.fromhex("0700000000000000 0300000000000000 02000000 16000000") + b"p" * 32 + b"i" * 8
    blob = AEAD.encrypt(bytes.fromhex("070000000000000000000000"), b"bundle", header)
    body = header + blob + b"\x04\0note"
    assert body + sha256(body).digest() + b"GWBE" == DATA
    assert sha256(body).digest() == DIGEST
    assert len(DATA) == OVERHEAD_BYTES + len(b"bundle") + len(b"note")


def test_a_frame_is_read_back_wherever_it_stands() -> None:
    frame = parse_frame(b"xyz" + DATA + b"rest", 3)
    assert (frame.header, frame.note, frame.sha256, frame.end) == (HEADER, b"note", DIGEST, 3 + len(DATA))
    assert open_frame(AEAD, frame) == b"bundle"
    assert open_frame(AEAD, parse_frame(memoryview(DATA), 0)) == b"bundle"


def test_every_flipped_byte_and_every_cut_is_found() -> None:
    for i in range(len(DATA)):
        with pytest.raises(FrameError):
            parse_frame(DATA[:i] + bytes([DATA[i] ^ 1]) + DATA[i + 1 :], 0)
        with pytest.raises(FrameError):
            parse_frame(DATA[:i], 0)


def test_another_key_or_another_place_does_not_open_it() -> None:
    with pytest.raises(FrameError, match="decryption"):
        open_frame(AESGCM(b"x" * 32), parse_frame(DATA, 0))
    moved, _ = seal_frame(AEAD, Header(8, 3, 2, 6 + TAG_BYTES, b"p" * 32, b"i" * 8), b"bundle", b"note")
    frame = parse_frame(DATA, 0)
    other = parse_frame(moved, 0)
    with pytest.raises(FrameError, match="decryption"):
        open_frame(
            AEAD, type(frame)(header=other.header, head=other.head, blob=frame.blob, note=b"", sha256=b"", end=0)
        )


@pytest.mark.parametrize(("count", "blob"), [(0, 100), (1, TAG_BYTES), (1, MAX_BLOB_BYTES + 1), (1, 0xFFFFFFFF)])
def test_impossible_sizes_are_not_believed(count: int, blob: int) -> None:
    with pytest.raises(FrameError, match="impossible"):
        parse_header(pack_header(Header(1, 0, count, blob, bytes(32), bytes(8))), 0)
