"""The form of an API key, so that people, scanners and the edge know one when they see it.

    gwk_ | 43 characters: 256 random bits | 6 characters: CRC-32 of what stands before, both base 62, most significant first

The prefix and the checksum are for secret scanners, which can tell a leaked key from noise without asking anybody
(`gwk_[0-9A-Za-z]{49}`), and for mistakes in typing. They are no protection: that is the 256 bits. A key is stored as its
SHA-256 alone. A slow password hash would add nothing to that, because nobody can try 2^256 keys at any speed, and would cost a
tenth of a second on every request. Whom a key stands for is not decided here.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import Final

from gateway.wire.request import API_KEY_PREFIX as PREFIX

ENTROPY_BYTES: Final = 32
HANDLE_BYTES: Final = 8
_ALPHABET: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY: Final = 43
"""Characters of base 62 that hold 256 bits."""
_CHECK: Final = 6
"""Characters of base 62 that hold 32 bits."""
_FORM: Final = re.compile(rb"gwk_[0-9A-Za-z]{43}[0-9A-Za-z]{6}").fullmatch
_HANDLE: Final = re.compile(r"k_[0-9a-f]{16}").fullmatch


def make_key(random: bytes) -> bytes:
    """Write `random`, which has 32 bytes, as a key."""
    if len(random) != ENTROPY_BYTES:
        raise ValueError(f"a key is made of {ENTROPY_BYTES} random bytes")
    start = PREFIX + _digits(int.from_bytes(random), _BODY)
    return start + _digits(zlib.crc32(start), _CHECK)


def is_key(text: bytes) -> bool:
    """Tell whether a text has the form of a key, checksum included: what has not needs no look at the store."""
    return _FORM(text) is not None and text[-_CHECK:] == _digits(zlib.crc32(text[:-_CHECK]), _CHECK)


def row_of(key: bytes) -> bytes:
    """Return the id of the row of a key: its SHA-256."""
    return hashlib.sha256(key).digest()


def make_handle(random: bytes) -> str:
    """Return the public name of a key (lists, audit, revocation), which says nothing about the key."""
    return f"k_{random[:HANDLE_BYTES].hex()}"


def is_handle(text: str) -> bool:
    """Tell whether a text has the form of a key's public name."""
    return _HANDLE(text) is not None


def _digits(number: int, count: int) -> bytes:
    found = bytearray()
    for _ in range(count):
        number, digit = divmod(number, 62)
        found.append(_ALPHABET[digit])
    return bytes(reversed(found))
