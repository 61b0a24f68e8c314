"""A closed log file, compressed and sealed again: the same entries under the same signatures, an eighth of the bytes.

Little endian:

    front "GWS1" | front_len u32 | count u32 | note_len u16 | salt 6 | bundle_len u64 | blob_len u64
          | first time u64 ns | last time u64 ns | next_frame u64 | last_frame_sha256 32 | tail u64
          | head of the log file as it was | its last signed tree head (note_len bytes)
    blob  zstd of the entries as (u16 length | entry)*, in chunks of 1 MiB, each AES-256-GCM(DEK of the log
          file, nonce = salt 6 | chunk u16 | FF FF FF FF, additional data = front)
    SHA-256 of everything before 32

Nothing in it is signed anew: the leaves, hashed again from the blob, must lead from the frontier in the
head to the root in the note. `next_frame`, `last_frame_sha256` and `tail` say how the log file ended; the
head of the file after it says the same and is signed. A file without entries has no note and no blob.

What it decides: whether a segment holds exactly what its log file held. It does not decide when a
file becomes one, and it reads and deletes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from struct import Struct

import msgspec
from backports.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.checkpoint import CheckpointError, Vkey, verify_checkpoint
from gateway.audit.entry import EntryError, split_bundle
from gateway.audit.filehead import FileHead, FileHeadError, parse_head, verify_head
from gateway.audit.frame import TAG_BYTES, FrameError, open_frame, parse_frame
from gateway.audit.merkle import HASH_BYTES, Tree
from gateway.exchange.errors import GatewayError

MAGIC = b"GWS1"
FIXED = Struct("<4sIIH6sQQQQQ32sQ")
SALT_BYTES = 6
"""Random for each sealing: a file that is sealed twice, because the first try was interrupted, repeats no nonce."""
CHUNK_BYTES = 1 << 20
"""Compressed bytes under one authentication tag."""
MAX_CHUNKS = 1 << 16
MAX_FRONT_BYTES = (16 << 20) + (1 << 17)
LEVEL = 3
"""Of zstd; docs/audit.md has what others cost."""
_NONCE_END = b"\xff\xff\xff\xff"
"""A frame's nonce is its number in 12 bytes: its last four are zero."""
_SLICE_BYTES = 1 << 20
_LEAVES_AT_ONCE = 4096
_TIME_AT = 8
_TIME_END = 16


class SegmentError(GatewayError):
    """Bytes that are no intact segment, or a log file that must not become one."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment says of itself. Only `verify_contents` proves it."""

    head: FileHead
    head_bytes: bytes
    note: bytes
    """Tree head after its last entry, as the log's key signed it; empty without entries."""
    count: int
    first_ns: int
    """Earliest time of an entry, unix nanoseconds; 0 without entries."""
    last_ns: int
    """Latest."""
    next_frame: int
    last_sha256: bytes
    """SHA-256 of the last frame; of the one before the file where it had none."""
    tail: int
    """Bytes of the log file up to the end of its last frame."""
    salt: bytes
    bundle_bytes: int
    blob_bytes: int
    front: bytes
    """Everything before the blob: the additional data of the cipher."""
    blob: bytes | memoryview = b""
    """Empty when only the front was read."""
    sha256: bytes = b""
    """Of everything before it; empty when only the front was read."""

    @property
    def next_index(self) -> int:
        """Index of the entry after its last."""
        return self.head.first_index + self.count

    @property
    def size(self) -> int:
        """Bytes of the whole segment."""
        return len(self.front) + self.blob_bytes + HASH_BYTES


def seal(data: bytes | memoryview, following: FileHead, cipher: AESGCM, public: bytes, *, salt: bytes) -> bytes:
    """Return the segment of a closed log file, `following` being the head of the file after it.

    Checks the file as it goes: signatures of its head and of its last tree head, chain, contents, and that
    it ended as its successor says. Raises `SegmentError`, and then the file must stay as it is.
    """
    try:
        head, start = parse_head(bytes(data[: int.from_bytes(data[4:8], "little")]))
        head_bytes = bytes(data[:start])
        verify_head(head_bytes, start, public)
        walk = _Walk(head)
        walk.follow(memoryview(data)[: following.prev_tail], start, cipher)
        walk.require_end(following, Vkey(head.origin, public))
    except (FileHeadError, FrameError, EntryError, CheckpointError) as exc:
        raise SegmentError(str(exc)) from exc
    return walk.pack(head_bytes, cipher, salt)


class _Walk:
    """Follows a log file from frame to frame and compresses what is in it."""

    def __init__(self, head: FileHead) -> None:
        self._tree = Tree(head.first_index, head.frontier)
        self._next_frame = head.first_frame
        self._last_sha256 = head.prev_sha256
        self._note = b""
        self._at = 0
        self._count = self._bundle_bytes = 0
        self._first_ns = self._last_ns = 0
        self._compressor = ZstdCompressor(options={CompressionParameter.compression_level: LEVEL})
        self._parts: list[bytes] = []

    def follow(self, view: memoryview, start: int, cipher: AESGCM) -> None:
        """Take in every frame; each must continue the one before it."""
        self._at = start
        while self._at < len(view):
            frame = parse_frame(view, self._at)
            header = frame.header
            expected = (self._next_frame, self._tree.size, self._last_sha256)
            if (header.frame_no, header.first_index, header.prev_sha256) != expected:
                raise SegmentError(f"frame {header.frame_no} at byte {self._at} does not continue the one before it")
            bundle = open_frame(cipher, frame)
            entries = split_bundle(bundle, header.count)
            times = [int.from_bytes(entry[_TIME_AT:_TIME_END], "little") for entry in entries]
            self._first_ns = min(self._first_ns or times[0], *times)
            self._last_ns = max(self._last_ns, *times)
            self._tree.extend([sha256(b"\0" + entry).digest() for entry in entries])
            self._parts.append(self._compressor.compress(bundle))
            self._bundle_bytes += len(bundle)
            self._count += header.count
            self._next_frame += 1
            self._last_sha256, self._note, self._at = frame.sha256, bytes(frame.note), frame.end

    def require_end(self, following: FileHead, vkey: Vkey) -> None:
        """Compare what was found with the head of the file after it, and with what was signed last."""
        if (
            self._at != following.prev_tail
            or self._next_frame != following.first_frame
            or self._last_sha256 != following.prev_sha256
            or self._tree.size != following.first_index
            or tuple(self._tree.frontier) != tuple(following.frontier)
        ):
            raise SegmentError("the file does not end as the head of the one after it says")
        if self._count:
            _require_root(self._note, vkey, self._tree)
            self._parts.append(self._compressor.flush())

    def pack(self, head_bytes: bytes, cipher: AESGCM, salt: bytes) -> bytes:
        """Encrypt what was compressed, and put the front before it. It is in memory twice, and no more often, at the worst."""
        compressed = memoryview(b"".join(self._parts))
        self._parts.clear()
        chunks = range(0, len(compressed), CHUNK_BYTES)
        if len(chunks) > MAX_CHUNKS:
            raise SegmentError(f"{len(compressed)} compressed bytes are more than a segment can hold")
        fixed = FIXED.pack(
            MAGIC,
            FIXED.size + len(head_bytes) + len(self._note),
            self._count,
            len(self._note),
            salt,
            self._bundle_bytes,
            len(compressed) + TAG_BYTES * len(chunks),
            self._first_ns,
            self._last_ns,
            self._next_frame,
            self._last_sha256,
            self._at,
        )
        front = b"".join((fixed, head_bytes, self._note))
        sealed = [
            cipher.encrypt(_nonce(salt, number), compressed[offset : offset + CHUNK_BYTES], front)
            for number, offset in enumerate(chunks)
        ]
        del compressed
        digest = sha256(front)
        for chunk in sealed:
            digest.update(chunk)
        return b"".join((front, *sealed, digest.digest()))


def front_length(data: bytes) -> int:
    """Return how many bytes come before the blob of the segment that `data` begins. Raises `SegmentError`."""
    if len(data) < FIXED.size or data[: len(MAGIC)] != MAGIC:
        raise SegmentError("the file does not begin as a segment does")
    length = int.from_bytes(data[4:8], "little")
    if not FIXED.size < length <= MAX_FRONT_BYTES:
        raise SegmentError(f"a front of {length} bytes is impossible")
    return length


def parse_front(data: bytes) -> Segment:
    """Read what comes before the blob, without proof of a single bit of it. Raises `SegmentError`."""
    length = front_length(data)
    if len(data) < length:
        raise SegmentError("the file ends before its contents begin")
    front = bytes(data[:length])
    (_, _, count, note_bytes, salt, bundle_bytes, blob_bytes, first_ns, last_ns, next_frame, last_sha256, tail) = (
        FIXED.unpack_from(front)
    )
    head_end = length - note_bytes
    try:
        head, head_bytes = parse_head(front[FIXED.size : head_end])
    except FileHeadError as exc:
        raise SegmentError(str(exc)) from exc
    if FIXED.size + head_bytes != head_end or bool(count) != bool(note_bytes) or bool(count) != bool(blob_bytes):
        raise SegmentError("the lengths in the front of the segment contradict each other")
    return Segment(
        head=head,
        head_bytes=front[FIXED.size : head_end],
        note=front[head_end:],
        count=count,
        first_ns=first_ns,
        last_ns=last_ns,
        next_frame=next_frame,
        last_sha256=last_sha256,
        tail=tail,
        salt=salt,
        bundle_bytes=bundle_bytes,
        blob_bytes=blob_bytes,
        front=front,
    )


def parse_segment(data: bytes | memoryview) -> Segment:
    """Read a whole segment and check its SHA-256. Raises `SegmentError`."""
    length = front_length(bytes(data[: FIXED.size]))
    segment = parse_front(bytes(data[:length]))
    if len(data) < segment.size:
        raise SegmentError("the file ends inside the segment")
    if len(data) > segment.size:
        raise SegmentError("bytes after the end of the segment")
    end = segment.size - HASH_BYTES
    digest = sha256(memoryview(data)[:end]).digest()
    if digest != data[end:]:
        raise SegmentError("the segment does not have its SHA-256")
    return msgspec.structs.replace(segment, blob=memoryview(data)[length:end], sha256=digest)


def entries_of(segment: Segment, cipher: AESGCM) -> Iterator[bytes]:
    """Yield the entries of a parsed segment in order. Raises `SegmentError` when the key or a bit is wrong."""
    buffer = b""
    found = 0
    for fresh in bundle_slices(segment, cipher):
        buffer += fresh
        at, end = 0, len(buffer)
        while end - at >= 2:
            stop = at + 2 + (buffer[at] | buffer[at + 1] << 8)
            if stop > end:
                break
            yield buffer[at + 2 : stop]
            found += 1
            at = stop
        buffer = buffer[at:]
    if buffer or found != segment.count:
        raise SegmentError(f"{found} entries where the segment says {segment.count}")


def verify_contents(segment: Segment, cipher: AESGCM, vkey: Vkey) -> Tree:
    """Hash every entry again and return the tree after the last one, whose root the log's key signed.

    The head's own signature is `verify_head`'s. Raises `SegmentError`.
    """
    tree = Tree(segment.head.first_index, segment.head.frontier)
    leaves: list[bytes] = []
    first_ns = last_ns = 0
    for entry in entries_of(segment, cipher):
        taken_ns = int.from_bytes(entry[_TIME_AT:_TIME_END], "little")
        first_ns, last_ns = min(first_ns or taken_ns, taken_ns), max(last_ns, taken_ns)
        leaves.append(sha256(b"\0" + entry).digest())
        if len(leaves) == _LEAVES_AT_ONCE:
            tree.extend(leaves)
            leaves = []
    tree.extend(leaves)
    if (first_ns, last_ns) != (segment.first_ns, segment.last_ns):
        raise SegmentError("its entries are of other times than it says")
    if segment.count:
        try:
            _require_root(segment.note, vkey, tree)
        except CheckpointError as exc:
            raise SegmentError(str(exc)) from exc
    return tree


def bundle_slices(segment: Segment, cipher: AESGCM) -> Iterator[bytes]:
    """Decrypt and decompress in slices; no more bytes than the segment says, however small it is (attack: a bomb)."""
    decompressor = ZstdDecompressor()
    left = segment.bundle_bytes
    step = CHUNK_BYTES + TAG_BYTES
    for number, offset in enumerate(range(0, segment.blob_bytes, step)):
        try:
            data = cipher.decrypt(_nonce(segment.salt, number), segment.blob[offset : offset + step], segment.front)
        except InvalidTag as exc:
            raise SegmentError("its authenticated decryption fails") from exc
        try:
            while True:
                fresh = decompressor.decompress(data, min(_SLICE_BYTES, left + 1))
                data = b""
                left -= len(fresh)
                if left < 0:
                    raise SegmentError("more bytes of entries than the segment says")
                yield fresh
                if decompressor.eof or decompressor.needs_input:
                    break
        except (ZstdError, EOFError) as exc:
            raise SegmentError(f"it cannot be decompressed: {exc}") from exc
    if decompressor.unused_data:
        raise SegmentError("bytes after the end of the compressed entries")
    if left or (segment.count and not decompressor.eof):
        raise SegmentError("fewer bytes of entries than the segment says")


def _nonce(salt: bytes, number: int) -> bytes:
    return salt + number.to_bytes(2, "little") + _NONCE_END


def _require_root(note: bytes, vkey: Vkey, tree: Tree) -> None:
    """Raise `SegmentError` unless the log's key signed this very tree; `CheckpointError` for a bad signature."""
    signed = verify_checkpoint(note, vkey)
    if (signed.size, signed.root) != (tree.size, tree.root()):
        raise SegmentError("its entries do not lead to the root that was signed")
