"""Bytes in a file, in pieces that each open alone: AES-256-GCM under a key of that file (SP 800-38D).

    piece = ciphertext of 64 KiB, tag;  the last is shorter, and an empty one follows one that is full

The nonce is the number of the piece and whether it is the last, so that a file that was cut, extended or put together
from others does not open. A key seals one file, never two.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PIECE_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16
SEALED_BYTES: Final = PIECE_BYTES + TAG_BYTES
KEY_BYTES: Final = 32


class BrokenPieceError(Exception):
    """A piece is not what was sealed there."""


class Sealing:
    """Seals and opens the pieces of one file."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, number: int, piece: bytes, *, is_last: bool = False) -> bytes:
        """Return the piece as it stands in the file."""
        return self._cipher.encrypt(_nonce(number, is_last=is_last), piece, None)

    def open(self, number: int, sealed: bytes, *, is_last: bool = False) -> bytes:
        """Return the piece. Raises `BrokenPieceError`."""
        try:
            return self._cipher.decrypt(_nonce(number, is_last=is_last), sealed, None)
        except (InvalidTag, ValueError):
            raise BrokenPieceError from None


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11) + bytes((is_last,))
