"""Frames of HTTP/2: their layout, their codes, and what their payload must be (RFC 9113 §4, §6, §7).

What a frame means in the state of a stream or a connection is decided by the connection.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 §3.4
HEADER_BYTES: Final = 9
DEFAULT_WINDOW: Final = 65_535  # RFC 9113 §6.9.2
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_FRAME_BYTES: Final = 16_384
"""The largest payload, unless the receiver asks for more; we never do (RFC 9113 §4.2)."""
MAX_FRAME_BYTES: Final = 2**24 - 1
MAX_STREAM_ID: Final = 2**31 - 1
MAX_SETTINGS: Final = 32
"""Settings in one frame; there are seven that mean something (CVE-2020-11080)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20

# RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1
HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8
NO_RFC7540_PRIORITIES: Final = 0x9

_SWITCHES: Final = frozenset((ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES))
_FRAME: Final = struct.Struct(">HBBBL")
_SETTING: Final = struct.Struct(">HL")
_PRIORITY_BYTES: Final = 5

frame_header = _FRAME.unpack_from
"""Upper 16 bits of the length, lower 8, type, flags, stream with its reserved bit."""


class ErrorCode(IntEnum):
    """RFC 9113 §7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Http2Error(ValueError):
    """The connection must end with `code` (RFC 9113 §5.4.1)."""

    def __init__(self, code: ErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Compose one frame."""
    size = len(payload)
    return _FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def data_header(size: int, flags: int, stream_id: int) -> bytes:
    """Compose the header of a DATA frame, whose payload is written as it is."""
    return _FRAME.pack(size >> 8, size & 0xFF, DATA, flags, stream_id)


def header_frames(block: bytes, flags: int, stream_id: int, max_frame: int) -> bytes:
    """Compose HEADERS, with CONTINUATION where the block exceeds a frame."""
    if len(block) <= max_frame:
        return frame(HEADERS, flags | END_HEADERS, stream_id, block)
    pieces = [block[at : at + max_frame] for at in range(0, len(block), max_frame)]
    last = len(pieces) - 1
    return b"".join(
        frame(
            CONTINUATION if at else HEADERS, (0 if at else flags) | (END_HEADERS if at == last else 0), stream_id, piece
        )
        for at, piece in enumerate(pieces)
    )


def settings_frame(settings: dict[int, int]) -> bytes:
    """Compose SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*pair) for pair in settings.items()]))


def goaway(last_stream_id: int, code: ErrorCode) -> bytes:
    """Compose GOAWAY; without debug data, which would tell an attacker what we noticed."""
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last_stream_id, code))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """Compose RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, struct.pack(">L", code))


def window_update(stream_id: int, increment: int) -> bytes:
    """Compose WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">L", increment))


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """Read what the client sets (RFC 9113 §6.5.2). Raises Http2Error."""
    if len(payload) % _SETTING.size:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of odd length")
    if len(payload) > MAX_SETTINGS * _SETTING.size:
        raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many settings")
    settings = list(_SETTING.iter_unpack(payload))
    for name, value in settings:
        if name in _SWITCHES and value > 1:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a switch that is neither on nor off")
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "an initial window beyond all bounds")
        if name == MAX_FRAME_SIZE and not DEFAULT_FRAME_BYTES <= value <= MAX_FRAME_BYTES:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame size out of bounds")
    return settings


def unpadded(payload: bytes) -> bytes:
    """Take the padding off DATA or HEADERS (RFC 9113 §6.1). Raises Http2Error."""
    if not payload:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "no padding in a padded frame")
    padding = payload[0]
    if padding >= len(payload):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - padding]


def without_priority(stream_id: int, payload: bytes) -> bytes:
    """Take the priority off HEADERS (RFC 9113 §6.2). Raises Http2Error."""
    check_priority(stream_id, payload[:_PRIORITY_BYTES])
    return payload[_PRIORITY_BYTES:]


def check_priority(stream_id: int, payload: bytes) -> None:
    """Check the payload of PRIORITY; what it says is ignored (RFC 9113 §5.3.2). Raises Http2Error."""
    if len(payload) != _PRIORITY_BYTES:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of wrong length")
    if int.from_bytes(payload[:4], "big") & MAX_STREAM_ID == stream_id:  # RFC 7540 §5.3.1
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")


def number(payload: bytes) -> int:
    """Read the payload of WINDOW_UPDATE or RST_STREAM. Raises Http2Error."""
    if len(payload) != 4:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a number that is not four bytes long")
    return int.from_bytes(payload, "big")
