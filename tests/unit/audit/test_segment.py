"""A segment holds exactly what its log file held, and nothing that was changed in either passes."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.entry import split_bundle
from gateway.audit.filehead import FileHead, parse_head
from gateway.audit.frame import open_frame, parse_frame
from gateway.audit.segment import (
    CHUNK_BYTES,
    FIXED,
    Segment,
    SegmentError,
    entries_of,
    parse_front,
    parse_segment,
    seal,
    verify_contents,
)
from tests.unit.audit.conftest import Forge

SALT = b"sixsix"


class Closed:
    """A log file and the head of the one after it."""

    def __init__(self, forge: Forge, frames: list[list[bytes]]) -> None:
        files = forge.build([[[b"before"]], frames, [[b"after"]]])
        self.data = files[1][1]
        self.head, self.start = parse_head(self.data)
        self.following: FileHead = parse_head(files[2][1])[0]
        self.cipher: AESGCM = forge.opener.open(self.head)
        self.vkey = forge.signer.vkey

    def seal(self, data: bytes | None = None, *, salt: bytes = SALT) -> bytes:
        return seal(data or self.data, self.following, self.cipher, self.vkey.public, salt=salt)

    def entries(self) -> list[bytes]:
        at, found = self.start, []
        while at < self.following.prev_tail:
            frame = parse_frame(self.data, at)
            found += split_bundle(open_frame(self.cipher, frame), frame.header.count)
            at = frame.end
        return found


@pytest.fixture
def closed() -> Closed:
    return Closed(Forge(), [[b"one", b"two"], [b"three"] * 50, [bytes(60_000)]])


def test_a_segment_holds_the_entries_of_its_log_file(closed: Closed) -> None:
    segment = parse_segment(closed.seal())
    assert list(entries_of(segment, closed.cipher)) == closed.entries()
    tree = verify_contents(segment, closed.cipher, closed.vkey)
    assert (tree.size, tuple(tree.frontier)) == (closed.following.first_index, closed.following.frontier)


def test_a_segment_says_what_the_file_after_its_log_file_says(closed: Closed) -> None:
    segment = parse_segment(closed.seal())
    after = closed.following
    assert segment.head == closed.head
    assert (segment.tail, segment.next_frame, segment.last_sha256) == (
        after.prev_tail,
        after.first_frame,
        after.prev_sha256,
    )
    assert segment.next_index == after.first_index
    assert 0 < segment.first_ns < segment.last_ns


def test_the_front_can_be_read_without_the_contents(closed: Closed) -> None:
    data = closed.seal()
    front = parse_front(data[: len(data) // 2 + len(parse_front(data).front)])
    assert (front.count, front.size) == (53, len(data))


def test_a_file_without_entries_becomes_a_segment_without_contents() -> None:
    closed = Closed(Forge(), [])
    segment = parse_segment(closed.seal())
    assert (segment.count, segment.blob_bytes, segment.note) == (0, 0, b"")
    assert verify_contents(segment, closed.cipher, closed.vkey).size == 1


def test_contents_longer_than_a_chunk_are_cut_into_chunks() -> None:
    noise = [sha256(b"%d" % i).digest() * 1 for i in range(60_000)]
    frames = [[b"".join(noise[i : i + 1500])] for i in range(0, len(noise), 1500)]
    closed = Closed(Forge(), frames)
    segment = parse_segment(closed.seal())
    assert segment.blob_bytes > CHUNK_BYTES
    assert list(entries_of(segment, closed.cipher)) == closed.entries()


def test_the_nonces_of_a_segment_are_none_that_a_frame_can_have(closed: Closed) -> None:
    segment = parse_segment(closed.seal())
    nonce = SALT + b"\0\0" + b"\xff" * 4
    assert closed.cipher.decrypt(nonce, bytes(segment.blob), segment.front)
    assert nonce[8:] != ((1 << 64) - 1).to_bytes(12, "little")[8:]


def test_sealing_again_repeats_no_nonce(closed: Closed) -> None:
    first, second = closed.seal(), closed.seal(salt=b"others")
    assert parse_segment(first).blob != parse_segment(second).blob
    assert list(entries_of(parse_segment(second), closed.cipher)) == closed.entries()


def test_every_flipped_bit_is_found(closed: Closed) -> None:
    data = closed.seal()

    @given(st.integers(0, len(data) * 8 - 1))
    def flip(bit: int) -> None:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SegmentError):
            parse_segment(bytes(changed))

    flip()


def test_a_changed_front_does_not_open_even_with_a_fresh_sha_256(closed: Closed) -> None:
    """attack: whoever can write the file can also hash it."""
    data = closed.seal()
    segment = parse_segment(data)
    fields = list(FIXED.unpack_from(data))
    for at in (7, 8, 9, 10, 11):  # times, frame number, chain, tail
        changed = fields.copy()
        changed[at] = bytes(32) if isinstance(changed[at], bytes) else changed[at] + 1
        body = FIXED.pack(*changed) + data[FIXED.size : -32]
        other = parse_segment(body + sha256(body).digest())
        with pytest.raises(SegmentError, match="authenticated decryption fails"):
            verify_contents(other, closed.cipher, closed.vkey)
    verify_contents(segment, closed.cipher, closed.vkey)


def test_a_segment_does_not_open_under_another_files_key(closed: Closed) -> None:
    with pytest.raises(SegmentError, match="authenticated decryption fails"):
        list(entries_of(parse_segment(closed.seal()), AESGCM(bytes(32))))


def test_the_note_of_another_tree_is_found(closed: Closed) -> None:
    forge = Forge()
    segment = parse_segment(closed.seal())
    other = forge.signer.checkpoint(segment.next_index, bytes(32))
    assert len(other) == len(segment.note)
    resealed = _reseal(segment, other, closed.cipher)
    with pytest.raises(SegmentError, match="do not lead to the root that was signed"):
        verify_contents(resealed, closed.cipher, closed.vkey)


def test_a_note_of_another_key_is_found(closed: Closed) -> None:
    segment = parse_segment(closed.seal())
    thief = Forge(seed=b"t" * 32)
    other = thief.signer.checkpoint(segment.next_index, bytes(32))
    with pytest.raises(SegmentError, match="not signed by"):
        verify_contents(_reseal(segment, other, closed.cipher), closed.cipher, closed.vkey)


def _reseal(segment: Segment, note: bytes, cipher: AESGCM) -> Segment:
    """Give a segment another note, as somebody could who has the file's data key."""
    front = segment.front[: len(segment.front) - len(segment.note)] + note
    nonce = segment.salt + b"\0\0" + b"\xff" * 4
    blob = cipher.encrypt(nonce, cipher.decrypt(nonce, bytes(segment.blob), segment.front), front)
    return msgspec.structs.replace(segment, note=note, front=front, blob=blob)


def test_fewer_or_more_entries_than_the_segment_says_are_found(closed: Closed) -> None:
    segment = parse_segment(closed.seal())
    for change in ({"count": 52}, {"count": 54}):
        with pytest.raises(SegmentError, match="entries where the segment says"):
            list(entries_of(msgspec.structs.replace(segment, **change), closed.cipher))
    for more, what in ((-1, "more bytes"), (1, "fewer bytes")):
        with pytest.raises(SegmentError, match=what):
            list(entries_of(msgspec.structs.replace(segment, bundle_bytes=segment.bundle_bytes + more), closed.cipher))


@pytest.mark.parametrize("cut", [1, 31, 32, 200])
def test_a_segment_that_is_cut_or_continued_is_refused(closed: Closed, cut: int) -> None:
    data = closed.seal()
    with pytest.raises(SegmentError, match="ends inside"):
        parse_segment(data[:-cut])
    with pytest.raises(SegmentError, match="after the end"):
        parse_segment(data + bytes(cut))


@given(st.binary(max_size=400))
def test_no_bytes_make_the_parser_fail_otherwise(data: bytes) -> None:
    for junk in (
        data,
        b"GWS1" + data,
        FIXED.pack(b"GWS1", FIXED.size + 4, 1, 1, SALT, 1, 1, 1, 1, 1, bytes(32), 1) + data,
    ):
        with pytest.raises(SegmentError):
            parse_segment(junk)


# a log file that must stay as it is


def test_a_damaged_log_file_does_not_become_a_segment(closed: Closed) -> None:
    data = closed.data[: closed.following.prev_tail]

    @given(st.integers(0, len(data) * 8 - 1))
    def flip(bit: int) -> None:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SegmentError):
            closed.seal(bytes(changed))

    flip()


def test_a_log_file_that_is_shorter_than_its_successor_says_does_not_become_a_segment(closed: Closed) -> None:
    with pytest.raises(SegmentError):
        closed.seal(closed.data[: closed.following.prev_tail - 500])


def test_a_log_file_whose_successor_says_otherwise_does_not_become_a_segment(closed: Closed) -> None:
    closed.following = msgspec.structs.replace(closed.following, prev_sha256=bytes(32))
    with pytest.raises(SegmentError, match="does not end as the head of the one after it says"):
        closed.seal()


def test_what_an_interrupted_write_left_behind_is_not_sealed(closed: Closed) -> None:
    with_rest = closed.data[: closed.following.prev_tail] + b"torn frame" + bytes(100)
    assert list(entries_of(parse_segment(closed.seal(with_rest)), closed.cipher)) == closed.entries()
