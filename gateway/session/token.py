"""The session token: what stands in the cookie, and what is kept of it.

Opaque, 256 random bits, so guessing one of a million live sessions takes 2**236 tries (ASVS 7.2.3).
The prefix lets secret scanners find a leaked one. Nothing about the person can be read from it, and
the store keeps only its SHA-256.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

PREFIX: Final = b"gws_"
ENTROPY_BYTES: Final = 32
HANDLE_BYTES: Final = 16
TOKEN_BYTES: Final = len(PREFIX) + 43
MAX_COOKIE_BYTES: Final = 100
"""No cookie value of ours is longer; whoever reads one looks at nothing longer."""

# token = "gws_" 42*42base64url 1*1( last ); 256 bits leave 4 of the last character's 6 used,
# so it is one of 16: two spellings of one token do not exist.
_TOKEN: Final = re.compile(rb"gws_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_HANDLE: Final = re.compile(r"s_[0-9a-f]{32}")


def make_token(random: bytes) -> bytes:
    """Return the token of 32 random bytes."""
    if len(random) != ENTROPY_BYTES:
        raise ValueError(f"a token is made of {ENTROPY_BYTES} random bytes")
    return PREFIX + urlsafe_b64encode(random).rstrip(b"=")


def is_token(value: bytes) -> bool:
    """Tell whether a cookie's value has the form of a token; anything else needs no look into the store."""
    return len(value) == TOKEN_BYTES and _TOKEN.fullmatch(value) is not None


def row_of(token: bytes) -> bytes:
    """Return the id of the token's row: 32 bytes from which the token cannot be found."""
    return sha256(token).digest()


def make_handle(random: bytes) -> str:
    """Return the public name of a session, from 16 random bytes of its own: it says nothing of the token."""
    if len(random) != HANDLE_BYTES:
        raise ValueError(f"a handle is made of {HANDLE_BYTES} random bytes")
    return f"s_{random.hex()}"


def is_handle(value: str) -> bool:
    """Tell whether `value` has the form of a handle."""
    return _HANDLE.fullmatch(value) is not None
