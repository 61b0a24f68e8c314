from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.checkpoint import Signer
from gateway.audit.filehead import FileHead, FileHeadError, pack_head, parse_head, unwrap_key, verify_head, wrap_key

SIGNER = Signer("gateway/node/main", b"s" * 32)
KEK = AESGCM(b"k" * 32)
HEAD = FileHead(
    file_no=2,
    created_ns=3,
    first_frame=4,
    first_index=5,
    capacity=6,
    prev_sha256=b"h" * 32,
    prev_tail=7,
    prev_discarded=8,
    prev_discarded_sha256=b"d" * 32,
    kek_id=b"kek-kek-",
    key_id=b"key-key-",
    wrap_nonce=b"n" * 12,
    wrapped_key=wrap_key(KEK, b"D" * 32, nonce=b"n" * 12, origin="gateway/node/main", file_no=2, key_id=b"key-key-"),
    public=SIGNER.vkey.public,
    origin="gateway/node/main",
    boot="boot",
    frontier=(b"a" * 32, b"b" * 32),
    sequences={1: 10, 1002: 1 << 60},
    intents={"r1": 3, "r2": 4},
)
DATA = pack_head(HEAD, SIGNER)


def test_a_head_is_read_back_and_its_signature_verifies() -> None:
    head, length = parse_head(DATA + b"frames")
    assert head == HEAD
    assert length == len(DATA)
    verify_head(DATA, length, SIGNER.vkey.public)
    assert unwrap_key(KEK, head) == b"D" * 32


def test_the_bytes_begin_as_documented() -> None:
    assert DATA[:4] == b"GWF1"
    assert int.from_bytes(DATA[4:8], "little") == len(DATA)
    assert DATA[8:16] == (2).to_bytes(8, "little")
    assert DATA[-32:] == sha256(DATA[:-32]).digest()


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    for i in range(len(DATA)):
        for bit in range(8):
            with pytest.raises(FileHeadError):
                parse_head(DATA[:i] + bytes([DATA[i] ^ (1 << bit)]) + DATA[i + 1 :])
        with pytest.raises(FileHeadError):
            parse_head(DATA[:i])


def test_a_head_that_was_rewritten_with_its_hash_fails_its_signature() -> None:
    """The hash is for accidents; the signature is for attackers."""
    changed = bytearray(DATA[:-32])
    changed[8] ^= 1
    forged = bytes(changed) + sha256(bytes(changed)).digest()
    _, length = parse_head(forged)
    with pytest.raises(FileHeadError, match="signature"):
        verify_head(forged, length, SIGNER.vkey.public)
    with pytest.raises(FileHeadError, match="signature"):
        verify_head(DATA, len(DATA), bytes(32))


def test_a_data_key_opens_only_in_its_own_file_under_its_own_key() -> None:
    import msgspec

    for change in ({"file_no": 3}, {"origin": "other"}, {"key_id": b"another-"}, {"wrapped_key": bytes(48)}):
        with pytest.raises(FileHeadError, match="does not open"):
            unwrap_key(KEK, msgspec.structs.replace(HEAD, **change))
    with pytest.raises(FileHeadError, match="does not open"):
        unwrap_key(AESGCM(b"x" * 32), HEAD)


@settings(max_examples=100)
@given(st.integers(0, len(DATA) - 97), st.binary(min_size=1, max_size=12))
def test_fields_that_lie_about_their_lengths_never_raise_anything_else(at: int, junk: bytes) -> None:
    body = DATA[:at] + junk + DATA[at + len(junk) : -32]
    forged = body + sha256(body).digest()
    try:
        parse_head(forged)
    except FileHeadError:
        return
    if forged != DATA:
        with pytest.raises(FileHeadError):
            verify_head(forged, len(forged), SIGNER.vkey.public)
