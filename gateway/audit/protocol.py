"""The byte protocol between producers of audit records and the audit daemon, both directions.

Little endian throughout. A producer sends HELLO once, with the badge that shows that its slot was given to it, waits for
WELCOME, then sends RECORDS; the
daemon answers with ACK and REFUSED, and says FAREWELL when another takes its place. Replies are 16 bytes each, so that
a producer can read acknowledgements in bulk; only RECEIPT, which none gets that asks for none, has a text after them. Sequences grow strictly per slot, for ever, over all streams together.

This module decides what is well-formed; it does not decide what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from struct import Struct

import msgspec

from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason
from gateway.exchange.route import Durability
from gateway.exchange.stream import STREAM_NUMBERS

HELLO = 1
RECORDS = 2
ELSEWHERE = 5

WELCOME = 1
ACK = 2
REFUSED = 3
FAREWELL = 5
SHIPPED = 6
RECEIPT = 7

VERSION = 1
"""In HELLO: who speaks another version is cut off before its records are misread."""

PAGES_SLOT = 1000
SUPERVISOR_SLOT = 1001
CLI_SLOT = 1002
DAEMON_SLOT = 1003
"""The daemon's own records; no producer may claim it."""
CUSTODIAN_SLOT = 1004
SHIPPING_SLOT = 1005
"""Of the custodian too: on it ELSEWHERE is said, and nothing is recorded."""

BADGE_BYTES = 16

RESERVED = 0x80
"""In the byte that names a record's stream: it may use the space that is kept for when the disk is full."""
RECEIPTED = 0x40
"""In the same byte: its receipt is asked for."""
STREAM_MASK = 0x3F

MAX_PAYLOAD_BYTES = 65_535 - 40
"""An entry is at most 65,535 bytes (C2SP tlog-tiles: u16 prefix), 40 of them its head."""
MAX_FRAME_BYTES = 1 << 20
"""Longest `length` that the daemon reads. A producer that announces more is cut off before a byte is kept."""
MAX_FRAME_RECORDS = 4096
MAX_ORIGIN_BYTES = 1024

REPLY_BYTES = 16

GRADE: Mapping[Durability, int] = {Durability.ASYNC: 0, Durability.GROUP: 1, Durability.STRICT: 2, Durability.REMOTE: 3}
"""The durability byte of a RECORDS frame."""
ASYNC, GROUP, STRICT, REMOTE = 0, 1, 2, 3

SEQUENCE_MASK = (1 << 53) - 1
"""A record repeats the low 53 bits of its sequence in `metadata.sequence`: JSON has no larger integers (RFC 8785)."""

_HELLO = Struct("<IBBH16s")
_HELLO_BYTES = _HELLO.size - 4
_RECORDS = Struct("<IBBHQ")
_LENGTH = Struct("<I")
_U16 = Struct("<H")
_SEQUENCE = Struct("<B7xQ")
_REFUSED = Struct("<BB6xQ")
_RECEIPT = Struct("<BxH4xQ")
_BODY = Struct("<BBHQ")
_PREFIX_BYTES = 4096
_LARGEST_STREAM = max(STREAM_NUMBERS.values())
_PREFIX = tuple(
    tuple(bytes([stream]) + _U16.pack(n) for n in range(_PREFIX_BYTES)) for stream in range(_LARGEST_STREAM + 1)
)
"""Stream -> length -> the three bytes before a payload."""
_STREAMS = bytes(
    number | mark for number in STREAM_NUMBERS.values() for mark in (0, RESERVED, RECEIPTED, RESERVED | RECEIPTED)
)
_RECORD_HEAD_BYTES = 3


class Refusal(IntEnum):
    """Why the daemon cannot store records."""

    DISK_FULL = 1
    IO_ERROR = 2


class ProtocolError(GatewayError):
    """The other end does not speak this protocol; its connection must be closed."""

    reason = Reason.AUDIT_UNAVAILABLE


class Hello(msgspec.Struct, frozen=True, gc=False):
    """A producer names its slot."""

    slot: int
    badge: bytes
    """What `AuditKeys.badge` says of that slot: whoever starts a producer gives it this, and no other."""


class Records(msgspec.Struct, frozen=True):
    """Payloads numbered `first_seq`, `first_seq + 1`, … and how safe they must be before they are acknowledged."""

    grade: int
    first_seq: int
    payloads: list[bytes]
    streams: bytes
    """One byte for each payload: the number of its stream, `RESERVED` and `RECEIPTED`."""


class Elsewhere(msgspec.Struct, frozen=True, gc=False):
    """The custodian says that a sink that is required has the first `size` records of the log `origin`."""

    stream: int
    size: int
    origin: bytes
    """A stream that begins anew is another log: what sinks have of the one before says nothing of it."""


class Welcome(msgspec.Struct, frozen=True, gc=False):
    """The daemon's answer to HELLO: the last sequence of the slot that is in the log, 0 if none."""

    last_seq: int


class Ack(msgspec.Struct, frozen=True, gc=False):
    """Every record with a sequence up to `seq` that was not refused is as safe as its frame asked."""

    seq: int


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Records that are neither acknowledged nor refused yet, up to `seq`, cannot be stored; their sequences are used up."""

    seq: int
    code: int


class Farewell(msgspec.Struct, frozen=True, gc=False):
    """The daemon ends as planned; its successor takes the place within `wait_ms`. What is not acknowledged, the successor gets."""

    wait_ms: int


class Shipped(msgspec.Struct, frozen=True, gc=False):
    """Every acknowledged record up to `seq` that was to be elsewhere too is."""

    seq: int


Request = Hello | Records | Elsewhere


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The record `seq` is in the log, and this is the proof for the upstream that its request goes to; said before its ACK."""

    seq: int
    text: bytes


Reply = Welcome | Ack | Refused | Farewell | Shipped | Receipt


def first_sequence(now: float, last_seq: int) -> int:
    """Return where a producer that starts at unix time `now` begins to count: above everything the slot ever sent."""
    return max(int(now * 1000) << 20, last_seq + 1)


# producer -> daemon


def pack_hello(slot: int, badge: bytes) -> bytes:
    """Encode HELLO. Raises `ValueError` for a badge of another length."""
    if len(badge) != BADGE_BYTES:
        raise ValueError(f"a badge of {len(badge)} bytes: it has {BADGE_BYTES}")
    return _HELLO.pack(_HELLO_BYTES, HELLO, VERSION, slot, badge)


def pack_elsewhere(stream: int, size: int, origin: bytes) -> bytes:
    """Encode ELSEWHERE. Raises `ValueError` for an origin that is none."""
    if not 0 < len(origin) <= MAX_ORIGIN_BYTES:
        raise ValueError(f"an origin of {len(origin)} bytes")
    return _RECORDS.pack(_BODY.size + len(origin), ELSEWHERE, stream, 0, size) + origin


def pack_records(grade: int, first_seq: int, payloads: Sequence[bytes], streams: bytes | bytearray) -> list[bytes]:
    """Encode RECORDS as pieces for `writelines`; more than one frame when a limit asks for it.

    `streams` has the number of the stream of each payload. Raises `ValueError` for an empty payload or one over `MAX_PAYLOAD_BYTES`: the caller's encoder
    caps records long before that.
    """
    count = len(payloads)
    total = sum(map(len, payloads)) + 3 * count + 12
    if total > MAX_FRAME_BYTES or count > MAX_FRAME_RECORDS:
        return _pack_split(grade, first_seq, payloads, streams)
    pieces = [_RECORDS.pack(total, RECORDS, grade, count, first_seq)]
    append = pieces.append
    for stream, payload in zip(streams, payloads, strict=True):
        n = len(payload)
        if not 0 < n <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"an audit payload of {n} bytes: it must have 1 to {MAX_PAYLOAD_BYTES}")
        append(
            _PREFIX[stream][n] if n < _PREFIX_BYTES and stream <= _LARGEST_STREAM else bytes([stream]) + _U16.pack(n)
        )
        append(payload)
    return pieces


def _pack_split(grade: int, first_seq: int, payloads: Sequence[bytes], streams: bytes | bytearray) -> list[bytes]:
    pieces: list[bytes] = []
    start = size = 0
    for i, payload in enumerate(payloads):
        cost = len(payload) + 3
        if i > start and (size + cost + 12 > MAX_FRAME_BYTES or i - start == MAX_FRAME_RECORDS):
            pieces += pack_records(grade, first_seq + start, payloads[start:i], streams[start:i])
            start, size = i, 0
        size += cost
    if start == 0 and size + 12 > MAX_FRAME_BYTES:
        raise ValueError("one audit payload is longer than a frame")
    return pieces + pack_records(grade, first_seq + start, payloads[start:], streams[start:])


class RequestDecoder:
    """Turns the daemon's side of the byte stream into requests, however it is cut.

    Keeps at most one incomplete frame, so at most `MAX_FRAME_BYTES`; judges the announced length
    before it keeps a byte of it (attack: a 4 GiB length).
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Request]:
        """Decode what is complete. Raises `ProtocolError`; the decoder is of no use after it."""
        buffer = self._buffer + data if self._buffer else data
        end = len(buffer)
        at = 0
        requests: list[Request] = []
        while end - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, at)
            if not 0 < length <= MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes was announced; 1 to {MAX_FRAME_BYTES} are possible")
            stop = at + 4 + length
            if stop > end:
                break
            requests.append(_request(buffer, at + 4, stop))
            at = stop
        self._buffer = buffer[at:]
        return requests


def _request(buffer: bytes, at: int, stop: int) -> Request:
    kind = buffer[at]
    if kind == RECORDS:
        return _records(buffer, at, stop)
    if kind == HELLO and stop - at == _HELLO_BYTES and buffer[at + 1] == VERSION:
        (slot,) = _U16.unpack_from(buffer, at + 2)
        return Hello(slot, buffer[stop - BADGE_BYTES : stop])
    if kind == ELSEWHERE and 0 < stop - at - _BODY.size <= MAX_ORIGIN_BYTES:
        _, stream, zero, size = _BODY.unpack_from(buffer, at)
        if 0 < stream <= _LARGEST_STREAM and zero == 0:
            return Elsewhere(stream, size, buffer[at + _BODY.size : stop])
    raise ProtocolError(f"a frame of unknown type {kind} or wrong size {stop - at}")


def _records(buffer: bytes, at: int, stop: int) -> Records:
    if stop - at < _BODY.size:
        raise ProtocolError("a RECORDS frame that is shorter than its head")
    _, grade, count, first_seq = _BODY.unpack_from(buffer, at)
    if grade > REMOTE or not 0 < count <= MAX_FRAME_RECORDS or not 0 < first_seq <= (1 << 64) - count:
        raise ProtocolError(f"a RECORDS frame with durability {grade}, count {count}, sequence {first_seq}")
    payloads: list[bytes] = []
    streams = bytearray()
    append, note = payloads.append, streams.append
    at += 12
    for _ in range(count):
        if stop - at < _RECORD_HEAD_BYTES:
            raise ProtocolError("a RECORDS frame with fewer records than it announced")
        note(buffer[at])
        n = buffer[at + 1] | buffer[at + 2] << 8
        at += 3
        if not 0 < n <= MAX_PAYLOAD_BYTES or n > stop - at:
            raise ProtocolError(f"a record of {n} bytes in a frame that has {stop - at} left")
        append(buffer[at : at + n])
        at += n
    if at != stop:
        raise ProtocolError(f"a RECORDS frame with {stop - at} bytes after its last record")
    if streams.strip(_STREAMS):
        raise ProtocolError("a record for a stream that does not exist")
    return Records(grade, first_seq, payloads, bytes(streams))


# daemon -> producer


def pack_welcome(last_seq: int) -> bytes:
    """Encode WELCOME."""
    return _SEQUENCE.pack(WELCOME, last_seq)


def pack_ack(seq: int) -> bytes:
    """Encode ACK."""
    return _SEQUENCE.pack(ACK, seq)


def pack_refused(seq: int, code: int) -> bytes:
    """Encode REFUSED."""
    return _REFUSED.pack(REFUSED, code, seq)


def pack_farewell(wait_ms: int) -> bytes:
    """Encode FAREWELL."""
    return _SEQUENCE.pack(FAREWELL, wait_ms)


def pack_shipped(seq: int) -> bytes:
    """Encode SHIPPED."""
    return _SEQUENCE.pack(SHIPPED, seq)


def pack_receipt(seq: int, text: bytes) -> bytes:
    """Encode RECEIPT."""
    return _RECEIPT.pack(RECEIPT, len(text), seq) + text


class ReplyDecoder:
    """Turns the producer's side of the byte stream into replies, however it is cut."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Reply]:
        """Decode what is complete, in order. Raises `ProtocolError` on an unknown type."""
        buffer = self._buffer + data if self._buffer else data
        end = len(buffer)
        at = 0
        replies: list[Reply] = []
        while end - at >= REPLY_BYTES:
            kind = buffer[at]
            stop = at + REPLY_BYTES
            if kind == ACK:
                replies.append(Ack(_SEQUENCE.unpack_from(buffer, at)[1]))
            elif kind == WELCOME:
                replies.append(Welcome(_SEQUENCE.unpack_from(buffer, at)[1]))
            elif kind == REFUSED:
                _, code, seq = _REFUSED.unpack_from(buffer, at)
                replies.append(Refused(seq, code))
            elif kind == FAREWELL:
                replies.append(Farewell(_SEQUENCE.unpack_from(buffer, at)[1]))
            elif kind == SHIPPED:
                replies.append(Shipped(_SEQUENCE.unpack_from(buffer, at)[1]))
            elif kind == RECEIPT:
                _, length, seq = _RECEIPT.unpack_from(buffer, at)
                if stop + length > end:
                    break
                replies.append(Receipt(seq, buffer[stop : stop + length]))
                stop += length
            else:
                raise ProtocolError(f"a reply of unknown type {kind}")
            at = stop
        self._buffer = buffer[at:]
        return replies
