"""The head of a log file: which part of the log it holds, under which key, and how the file before it ended.

It carries everything a writer needs to go on and a verifier needs to begin in the middle: the tree's
frontier, the last sequence of each producer, the intents still open. It is signed by the log's key,
and the file's data key stands in it wrapped by the key-encryption key.

    "GWF1" | head_len u32 | file_no u64 | created u64 ns | first_frame u64 | first_index u64 | capacity u64
    | prev_frame_sha256 32 | prev_tail u64 | prev_discarded u64 | prev_discarded_sha256 32
    | kek_id 8 | key_id 8 | wrap_nonce 12 | wrapped DEK 48 | public key 32
    | origin (u16 len, bytes) | boot (u16 len, bytes)
    | frontier (u8 count, 32 each) | sequences (u16 count, u16 slot u64 sequence each)
    | intents (u32 count, u16 slot, u16 len, correlation uid each)
    | Ed25519 signature 64 | SHA-256 of everything before 32
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception, named as one

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.checkpoint import CheckpointError, Signer, verify_signature
from gateway.audit.merkle import HASH_BYTES
from gateway.exchange.errors import GatewayError

MAGIC = b"GWF1"
SIGNATURE_CONTEXT = b"gateway audit file head v1\n"
WRAP_CONTEXT = b"gateway audit data key v1\n"
SIGNATURE_BYTES = 64
MAX_HEAD_BYTES = 16 << 20
NO_HASH = bytes(HASH_BYTES)

_FIXED = Struct("<4sIQQQQQ32sQQ32s8s8s12s48s32s")
_U8 = Struct("<B")
_U16 = Struct("<H")
_U32 = Struct("<I")
_SEQUENCE = Struct("<HQ")
_INTENT = Struct("<HH")


class FileHeadError(GatewayError):
    """Bytes that are no intact head of a log file."""


class FileHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a log file says about itself."""

    file_no: int
    """1 for the first file of a log."""
    created_ns: int
    first_frame: int
    first_index: int
    capacity: int
    """Bytes that were allocated; the file has this length, or ends with its last frame."""
    prev_sha256: bytes = NO_HASH
    """SHA-256 of the frame before the first one here; zeros in the first file."""
    prev_tail: int = 0
    """Where the last valid frame of the file before ends; 0 in the first file."""
    prev_discarded: int = 0
    """Bytes after `prev_tail` that never became part of the log: an interrupted or failed write."""
    prev_discarded_sha256: bytes = NO_HASH
    kek_id: bytes
    key_id: bytes
    wrap_nonce: bytes
    wrapped_key: bytes
    public: bytes
    origin: str
    boot: str
    """Random name of the gateway's run that made the file; empty when it was made from the command line."""
    frontier: tuple[bytes, ...] = ()
    sequences: dict[int, int] = {}
    """Slot -> last sequence in the log."""
    intents: dict[str, int] = {}
    """Correlation uid of each intent without an outcome -> slot of its producer."""


def wrap_key(kek: AESGCM, key: bytes, *, nonce: bytes, origin: str, file_no: int, key_id: bytes) -> bytes:
    """Encrypt a data key, bound to its log, file and id."""
    return kek.encrypt(nonce, key, _wrap_data(origin, file_no, key_id))


def unwrap_key(kek: AESGCM, head: FileHead) -> bytes:
    """Return the data key of a file. Raises `FileHeadError` when it was not wrapped by this key."""
    try:
        return kek.decrypt(head.wrap_nonce, head.wrapped_key, _wrap_data(head.origin, head.file_no, head.key_id))
    except InvalidTag as exc:
        raise FileHeadError("its data key does not open under the key-encryption key") from exc


def _wrap_data(origin: str, file_no: int, key_id: bytes) -> bytes:
    return WRAP_CONTEXT + origin.encode() + b"\n" + file_no.to_bytes(8, "little") + key_id


def pack_head(head: FileHead, signer: Signer) -> bytes:
    """Encode and sign a head."""
    variable = b"".join(_variable(head))
    length = _FIXED.size + len(variable) + SIGNATURE_BYTES + HASH_BYTES
    fixed = _FIXED.pack(
        MAGIC,
        length,
        head.file_no,
        head.created_ns,
        head.first_frame,
        head.first_index,
        head.capacity,
        head.prev_sha256,
        head.prev_tail,
        head.prev_discarded,
        head.prev_discarded_sha256,
        head.kek_id,
        head.key_id,
        head.wrap_nonce,
        head.wrapped_key,
        head.public,
    )
    message = fixed + variable
    signed = message + signer.sign(SIGNATURE_CONTEXT, message)
    return signed + sha256(signed).digest()


def _variable(head: FileHead) -> list[bytes]:
    parts: list[bytes] = []
    for text in (head.origin, head.boot):
        data = text.encode()
        parts += (_U16.pack(len(data)), data)
    parts += (_U8.pack(len(head.frontier)), *head.frontier)
    parts.append(_U16.pack(len(head.sequences)))
    parts += (_SEQUENCE.pack(slot, sequence) for slot, sequence in sorted(head.sequences.items()))
    parts.append(_U32.pack(len(head.intents)))
    for uid, slot in head.intents.items():
        data = uid.encode()
        parts += (_INTENT.pack(slot, len(data)), data)
    return parts


def head_length(data: bytes) -> int:
    """Return how many bytes the head at the beginning of `data` has. Raises `FileHeadError`."""
    if len(data) < _FIXED.size or data[: len(MAGIC)] != MAGIC:
        raise FileHeadError("the file does not begin with the head of a log file")
    (length,) = _U32.unpack_from(data, len(MAGIC))
    if not _FIXED.size + SIGNATURE_BYTES + HASH_BYTES < length <= MAX_HEAD_BYTES:
        raise FileHeadError(f"a head of {length} bytes is impossible")
    return int(length)


def parse_head(data: bytes) -> tuple[FileHead, int]:
    """Read the head at the beginning of a file; return it and its length.

    Checks its SHA-256, not its signature. Raises `FileHeadError`.
    """
    length = head_length(data)
    if len(data) < length:
        raise FileHeadError("the file ends inside its head")
    if sha256(data[: length - HASH_BYTES]).digest() != data[length - HASH_BYTES : length]:
        raise FileHeadError("the head does not have its SHA-256")
    try:
        return _parse(data, length - HASH_BYTES - SIGNATURE_BYTES), length
    except (StructError, UnicodeDecodeError, IndexError) as exc:
        raise FileHeadError("the head's fields run out of it") from exc


def verify_head(data: bytes, length: int, public: bytes) -> None:
    """Check the signature of the head at the beginning of `data`. Raises `FileHeadError`."""
    signed = length - HASH_BYTES - SIGNATURE_BYTES
    try:
        verify_signature(public, data[signed : signed + SIGNATURE_BYTES], SIGNATURE_CONTEXT, data[:signed])
    except CheckpointError as exc:
        raise FileHeadError("the head's signature is wrong") from exc


def _parse(data: bytes, end: int) -> FileHead:
    fields = _FIXED.unpack_from(data)
    at = _FIXED.size
    texts: list[str] = []
    for _ in range(2):
        (n,) = _U16.unpack_from(data, at)
        texts.append(_take(data, at + 2, n, end).decode())
        at += 2 + n
    count = data[at]
    at += 1
    frontier = tuple(_take(data, at + i * HASH_BYTES, HASH_BYTES, end) for i in range(count))
    at += count * HASH_BYTES
    (count,) = _U16.unpack_from(data, at)
    at += 2
    _take(data, at, count * _SEQUENCE.size, end)
    sequences = dict(_SEQUENCE.unpack_from(data, at + i * _SEQUENCE.size) for i in range(count))
    at += count * _SEQUENCE.size
    (count,) = _U32.unpack_from(data, at)
    at += 4
    intents: dict[str, int] = {}
    for _ in range(count):
        slot, n = _INTENT.unpack_from(data, at)
        intents[_take(data, at + _INTENT.size, n, end).decode()] = slot
        at += _INTENT.size + n
    if at != end:
        raise FileHeadError("the head has bytes after its last field")
    return FileHead(
        file_no=fields[2],
        created_ns=fields[3],
        first_frame=fields[4],
        first_index=fields[5],
        capacity=fields[6],
        prev_sha256=fields[7],
        prev_tail=fields[8],
        prev_discarded=fields[9],
        prev_discarded_sha256=fields[10],
        kek_id=fields[11],
        key_id=fields[12],
        wrap_nonce=fields[13],
        wrapped_key=fields[14],
        public=fields[15],
        origin=texts[0],
        boot=texts[1],
        frontier=frontier,
        sequences=sequences,
        intents=intents,
    )


def _take(data: bytes, at: int, count: int, end: int) -> bytes:
    if at + count > end:
        raise FileHeadError("the head's fields run out of it")
    return data[at : at + count]
