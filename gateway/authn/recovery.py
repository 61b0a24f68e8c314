"""Recovery codes: ten of them, each good once, for the day the phone is gone.

80 random bits each (SP 800-63B-4 §3.1.2.1 wants 20), stored as an HMAC under a key that the database
does not hold, so a stolen database gives nothing to guess against. It shows and stores nothing.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from typing import Final

COUNT: Final = 10
CODE_BYTES: Final = 10
_GROUP: Final = 4
_CODE: Final = re.compile(r"[a-z2-7]{16}", re.ASCII)
_LOOKALIKES: Final = str.maketrans({"0": "o", "1": "l", "8": "b"})
"""Base32 has none of these digits, so reading them as letters is never ambiguous."""


def make_codes(random: bytes) -> tuple[str, ...]:
    """Return ten codes such as `k3vd-2xqm-rw5f-tj7a` from 100 random bytes."""
    if len(random) != COUNT * CODE_BYTES:
        raise ValueError(f"ten codes are made of {COUNT * CODE_BYTES} random bytes")
    pieces = [random[start : start + CODE_BYTES] for start in range(0, len(random), CODE_BYTES)]
    return tuple(_grouped(b32encode(piece).decode("ascii").lower()) for piece in pieces)


def parse_code(text: str) -> str | None:
    """Return the bare 16 characters of a code as people type it; None when it is something else."""
    bare = re.sub(r"[\s-]", "", text).lower().translate(_LOOKALIKES)
    return bare if _CODE.fullmatch(bare) else None


def digest_of(code: str, *, user_id: str, key: bytes) -> bytes:
    """Return what is stored of a code: HMAC-SHA-256, bound to its owner."""
    bare = parse_code(code)
    if bare is None:
        raise ValueError("not a recovery code")
    return hmac.digest(key, f"recovery\0{user_id}\0{bare}".encode(), "sha256")


def _grouped(code: str) -> str:
    return "-".join(code[start : start + _GROUP] for start in range(0, len(code), _GROUP))
