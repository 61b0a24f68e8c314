"""Codes that go by mail: eight digits, once, for ten minutes, five guesses, for the browser that asked alone.

Mail proves that somebody reads an address, and nothing more: a code by mail replaces a forgotten password or names
a new device. As a second factor it does not count (SP 800-63B-4 §3.1.3.1: mail is no out-of-band device). It keeps
nothing; what is stored of a code is an HMAC under a key that the database does not hold.
"""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from typing import Final

LIFETIME_S: Final = 600.0
"""SP 800-63B-4 §3.1.3.2: at most ten minutes."""
GUESSES: Final = 5
"""Of a hundred million; then the code is void."""
DIGITS: Final = 8
RANDOM_BYTES: Final = 16
_CODE: Final = re.compile(r"[0-9]{8}", re.ASCII)


class Purpose(StrEnum):
    """What a code is for. One for one thing opens no other."""

    RESET = "reset"
    DEVICE = "device"
    SIGN_IN = "sign_in"


def make_code(random: bytes) -> str:
    """Return eight digits from 16 random bytes; no code is likelier than another by more than 2**-100."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a code is made of {RANDOM_BYTES} random bytes")
    return f"{int.from_bytes(random) % 10**DIGITS:0{DIGITS}d}"


def parse_code(text: str) -> str:
    """Return the bare digits of a code as people type it; empty when it is something else."""
    bare = re.sub(r"[\s-]", "", text)
    return bare if _CODE.fullmatch(bare) else ""


def digest_of(code: str, *, purpose: Purpose, browser: bytes, key: bytes) -> bytes:
    """Return what is stored of a code: bound to its purpose and to the secret of the browser that asked."""
    return hmac.digest(key, f"mailed\0{purpose}\0{code}\0".encode() + browser, "sha256")
