"""The device cookie: a random value that a browser keeps beyond its sessions, and the id that is made of it.

It says that a browser was here before, never whose it is: alone it opens nothing. The id stands in
sessions and in the store; the value is nowhere but in the browser.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

PREFIX: Final = b"gwd_"
ENTROPY_BYTES: Final = 32
ID_CHARACTERS: Final = 32
COOKIE_NAMES: Final = {"https": "__Host-gw-device", "http": "gw-device"}
"""By scheme."""

# value = "gwd_" 42*42base64url 1*1( last ), as of a session token: two spellings of one value do not exist
_VALUE: Final = re.compile(rb"gwd_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


def make_device(random: bytes) -> bytes:
    """Return the cookie's value, of 32 random bytes."""
    if len(random) != ENTROPY_BYTES:
        raise ValueError(f"a device cookie is made of {ENTROPY_BYTES} random bytes")
    return PREFIX + urlsafe_b64encode(random).rstrip(b"=")


def device_id(value: bytes) -> str:
    """Return the id of the device whose cookie has this value; empty for anything that is no such value."""
    if _VALUE.fullmatch(value) is None:
        return ""
    return "d_" + sha256(value).hexdigest()[:ID_CHARACTERS]
