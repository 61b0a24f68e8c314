"""Where the frames of a WebSocket end, and the frame that closes one (RFC 6455 §5).

Follows the headers of frames by their lengths, so that somebody in the middle knows where he may speak.
Nothing is unmasked, put together or looked into: what frames say is not this module's business.
"""

from __future__ import annotations

from typing import Final

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
"""Status codes of RFC 6455 §7.4.1."""

_CLOSE: Final = 0x8
_FIN_CLOSE: Final = 0x88
_MASKED: Final = 0x80
_SHORT: Final = 126
_LONG: Final = 127


class FrameTracker:
    """One direction of a WebSocket."""

    __slots__ = ("_left", "_must_mask", "_partial", "has_message", "is_closed", "is_faulty")

    def __init__(self, *, from_client: bool) -> None:
        self._must_mask = from_client
        self._left = 0
        """Bytes of the frame under way that are still to come."""
        self._partial = b""
        """The beginning of a frame whose header is not whole yet."""
        self.is_closed = False
        """A Close frame passed: nothing may follow it (RFC 6455 §5.5.1)."""
        self.has_message = False
        """A frame passed that is no control frame (RFC 6455 §5.5). Whoever looks may set it back."""
        self.is_faulty = False
        """Something passed that is no frame, or one of a client without its mask (RFC 6455 §5.1). Stays so."""

    @property
    def at_boundary(self) -> bool:
        """True if a frame may begin here, and it is known that it may."""
        return not self._left and not self._partial and not self.is_faulty

    def feed(self, data: bytes) -> None:
        """Take the bytes that pass."""
        size = len(data)
        if self._left >= size:
            self._left -= size
            return
        at = self._left
        if self._partial:
            data, self._partial = self._partial + data, b""
            size = len(data)
        while at < size and not self.is_faulty:
            header, payload = self._header(data, at)
            if not header:
                self._partial = data[at:]
                at = size
            else:
                at += header + payload
        self._left = at - size

    def rest_of_frame(self, data: bytes) -> bytes:
        """Take what still belongs to the frame under way from the front of `data`, and let only that pass."""
        if self._partial:
            known = len(self._partial)
            whole, self._partial = self._partial + data, b""
            header, payload = self._header(whole, 0)
            if not header:
                self._partial = whole if not self.is_faulty else b""
                return data
            end = header + payload - known
        else:
            end = self._left
        self._left = max(0, end - len(data))
        return data[:end]

    def _header(self, data: bytes, at: int) -> tuple[int, int]:
        """Lengths of a frame's header and payload; (0, 0) while the header is not whole, or when it is none."""
        size = len(data)
        if at + 2 > size:
            return 0, 0
        masked = data[at + 1] & _MASKED
        payload = data[at + 1] & 0x7F
        header = 2
        if payload == _SHORT:
            header = 4
        elif payload == _LONG:
            header = 10
        if masked:
            header += 4
        elif self._must_mask:
            self.is_faulty = True
            return 0, 0
        if at + header > size:
            return 0, 0
        if payload == _SHORT:
            payload = int.from_bytes(data[at + 2 : at + 4], "big")
        elif payload == _LONG:
            if data[at + 2] & 0x80:  # RFC 6455 §5.2: the most significant bit is 0
                self.is_faulty = True
                return 0, 0
            payload = int.from_bytes(data[at + 2 : at + 10], "big")
        opcode = data[at] & 0xF
        if opcode < _CLOSE:
            self.has_message = True
        elif opcode == _CLOSE:
            self.is_closed = True
        return header, payload


def close_frame(code: int) -> bytes:
    """A Close frame as a server sends it."""
    return bytes((_FIN_CLOSE, 2)) + code.to_bytes(2, "big")


def masked_close_frame(code: int, mask: bytes) -> bytes:
    """A Close frame as a client sends it, under four random bytes (RFC 6455 §5.3)."""
    payload = code.to_bytes(2, "big")
    return bytes((_FIN_CLOSE, _MASKED | 2)) + mask + bytes((payload[0] ^ mask[0], payload[1] ^ mask[1]))
