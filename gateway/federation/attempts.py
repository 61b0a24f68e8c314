"""What travels to a provider and back as `state`: an attempt to sign in, sealed for one browser and one origin.

Nothing is stored until an answer comes, so a flood of attempts costs nothing; any number of tabs may be on their
way at once. The seal opens only with the secret in the browser's own cookie.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.authn.oidc import Attempt

MAX_STATE: Final = 2048
MAX_RETURN_TO: Final = 768
"""A longer address stays in the login state, where the next tab may overwrite it."""
_NONCE_BYTES: Final = 12  # SP 800-38D §8.2


class AttemptSeal:
    """Seals and opens attempts under one key of 32 bytes."""

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        self._aead = AESGCM(key)
        self._random = random

    def close(self, attempt: Attempt, *, origin: str, browser: bytes) -> str:
        """Return the value of `state`."""
        nonce = self._random(_NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, msgspec.msgpack.encode(attempt), _binding(origin, browser))
        return urlsafe_b64encode(nonce + sealed).decode("ascii").rstrip("=")

    def open(self, state: str, *, origin: str, browser: bytes) -> Attempt | None:
        """Return the attempt; None for what was not begun at this origin in this browser."""
        if not browser or not state.isascii() or len(state) > MAX_STATE:
            return None
        try:
            raw = urlsafe_b64decode(state.encode("ascii") + b"=" * (-len(state) % 4))
            opened = self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _binding(origin, browser))
            return msgspec.msgpack.decode(opened, type=Attempt)
        except (Base64Error, ValueError, InvalidTag):
            return None


def _binding(origin: str, browser: bytes) -> bytes:
    return b"gateway attempt 1\0" + sha256(origin.encode()).digest() + sha256(browser).digest()
