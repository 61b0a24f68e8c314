"""One batch of entries on disk: encrypted, chained to the batch before, and signed.

Little endian:

    header  "GWB1" | frame_no u64 | first_index u64 | count u32 | blob_len u32 | prev_frame_sha256 32 | key_id 8
    blob    AES-256-GCM(DEK, nonce = frame_no in 12 bytes, additional data = header, bundle of entries)
    trailer note_len u16 | signed tree head after this frame | SHA-256 of everything before 32 | "GWBE"

The signature stands last, so that a torn frame normally has none. This module says what one frame
is; what may follow what is `verify`'s to decide.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.merkle import HASH_BYTES
from gateway.exchange.errors import GatewayError

MAGIC = b"GWB1"
END = b"GWBE"
HEADER = Struct("<4sQQII32s8s")
NOTE_LENGTH = Struct("<H")
TAG_BYTES = 16
NONCE_BYTES = 12
MAX_BUNDLE_BYTES = 1 << 20
"""Writers cut frames well before this; readers refuse a blob much longer before they believe its length."""
MAX_BLOB_BYTES = MAX_BUNDLE_BYTES + (1 << 16) + TAG_BYTES
OVERHEAD_BYTES = HEADER.size + TAG_BYTES + NOTE_LENGTH.size + HASH_BYTES + len(END)
"""What a frame costs beside its bundle and its note."""


class FrameError(GatewayError):
    """Bytes that are no intact frame."""


class Header(msgspec.Struct, frozen=True, gc=False):
    """The clear part of a frame."""

    frame_no: int
    first_index: int
    count: int
    blob_bytes: int
    prev_sha256: bytes
    key_id: bytes


class Frame(msgspec.Struct, frozen=True):
    """An intact frame, still encrypted."""

    header: Header
    head: bytes | memoryview
    """The header as it stands on disk: the additional data of the cipher."""
    blob: bytes | memoryview
    note: bytes | memoryview
    sha256: bytes
    end: int
    """Offset of the first byte after it."""


def pack_header(header: Header) -> bytes:
    """Encode a frame's header."""
    return HEADER.pack(
        MAGIC,
        header.frame_no,
        header.first_index,
        header.count,
        header.blob_bytes,
        header.prev_sha256,
        header.key_id,
    )


def seal_frame(aead: AESGCM, header: Header, bundle: bytes, note: bytes) -> tuple[bytes, bytes]:
    """Return the bytes of a frame and its SHA-256. `header.blob_bytes` is `len(bundle) + TAG_BYTES`."""
    head = pack_header(header)
    blob = aead.encrypt(header.frame_no.to_bytes(NONCE_BYTES, "little"), bundle, head)
    trailer = NOTE_LENGTH.pack(len(note)) + note
    hashed = sha256(head)
    hashed.update(blob)
    hashed.update(trailer)
    digest = hashed.digest()
    return b"".join((head, blob, trailer, digest, END)), digest  # one copy: half a megabyte


def open_frame(aead: AESGCM, frame: Frame) -> bytes:
    """Return the bundle of a frame. Raises `FrameError` when the key or a bit is wrong."""
    nonce = frame.header.frame_no.to_bytes(NONCE_BYTES, "little")
    try:
        return aead.decrypt(nonce, frame.blob, frame.head)
    except InvalidTag as exc:
        raise FrameError("its authenticated decryption fails") from exc


def parse_header(data: bytes | memoryview, at: int) -> Header:
    """Read the header at `at`. Raises `FrameError`."""
    if len(data) - at < HEADER.size:
        raise FrameError("the file ends inside a frame's header")
    magic, frame_no, first_index, count, blob_bytes, prev, key_id = HEADER.unpack_from(data, at)
    if magic != MAGIC:
        raise FrameError("no frame begins here")
    if not TAG_BYTES < blob_bytes <= MAX_BLOB_BYTES or count == 0:
        raise FrameError(f"a frame with {count} entries in {blob_bytes} bytes is impossible")
    return Header(frame_no, first_index, count, blob_bytes, prev, key_id)


def parse_frame(data: bytes | memoryview, at: int) -> Frame:
    """Read the frame at `at` and check its SHA-256. Raises `FrameError`."""
    header = parse_header(data, at)
    note_at = at + HEADER.size + header.blob_bytes + NOTE_LENGTH.size
    if note_at > len(data):
        raise FrameError("the file ends inside a frame")
    (note_bytes,) = NOTE_LENGTH.unpack_from(data, note_at - NOTE_LENGTH.size)
    hash_at = note_at + note_bytes
    end = hash_at + HASH_BYTES + len(END)
    if end > len(data):
        raise FrameError("the file ends inside a frame")
    if data[end - len(END) : end] != END:
        raise FrameError("the frame has no end mark")
    digest = sha256(data[at:hash_at]).digest()
    if data[hash_at : hash_at + HASH_BYTES] != digest:
        raise FrameError("the frame does not have its SHA-256")
    blob_at = at + HEADER.size
    return Frame(
        header=header,
        head=data[at:blob_at],
        blob=data[blob_at : blob_at + header.blob_bytes],
        note=data[note_at:hash_at],
        sha256=digest,
        end=end,
    )


def find_frame(data: bytes, at: int, limit: int) -> tuple[int, Frame] | None:
    """Return the first intact frame that begins at `at` or later and ends by `limit`, and where; None when there is none."""
    view = memoryview(data)[:limit]
    while (at := data.find(MAGIC, at, limit)) >= 0:
        try:
            return at, parse_frame(view, at)
        except FrameError:
            at += 1
    return None
