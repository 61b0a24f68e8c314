"""Sealed values: AES-256-GCM envelopes that open only in the row they were made for.

    envelope = 0x01 | key version, u32 | nonce, 12 bytes | ciphertext and tag

The additional data is the table and the row id, so a value copied to another row does not open
(SP 800-38D; ASVS 11.3.2). Nonces are random: one key version seals at most 2**32 values (SP 800-38D
section 8.3), which `gateway keys rotate` resets. Which key is used when is the keyring's to say.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.exchange.errors import KeyringError, StoreUnavailableError
from gateway.store.keyring import Keyring

_HEAD: Final = struct.Struct(">BI")
_FORMAT: Final = 1
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
TOKEN_BYTES: Final = 16


class SealBrokenError(StoreUnavailableError):
    """A stored value does not open: changed, moved to another row, or sealed under a key we do not have."""


class KeyNotHeldError(SealBrokenError):
    """The keyring has no key of that version: whole or not, it cannot be told."""


class Sealer:
    """Seals and opens values of one store under one keyring."""

    __slots__ = ("_ciphers", "_keyring", "_lookup_key", "_random")

    def __init__(self, keyring: Keyring, random: Callable[[int], bytes] = os.urandom) -> None:
        self._keyring = keyring
        self._random = random
        self._ciphers: dict[int, AESGCM] = {}
        self._lookup_key = keyring.lookup_key

    def adopt(self, keyring: Keyring) -> None:
        """Use another version of the same keyring from now on, after a reload.

        Raises:
            KeyringError: it is not the keyring this state was written under; nothing changed.

        """
        if not hmac.compare_digest(keyring.lookup_key, self._lookup_key):
            raise KeyringError("keyring: is another one than the gateway runs with; restart it to use another state")
        self._keyring, self._ciphers = keyring, {}

    def version(self, now: float) -> int:
        """Return the key version that seals at `now`."""
        return self._keyring.seal_version(now)

    def seal(self, table: str, row: bytes, value: bytes, now: float) -> tuple[int, bytes]:
        """Return the key version and the envelope of `value` for one row."""
        version = self._keyring.seal_version(now)
        nonce = self._random(_NONCE_BYTES)
        head = _HEAD.pack(_FORMAT, version)
        return version, head + nonce + self._cipher(version).encrypt(nonce, value, _additional(head, table, row))

    @staticmethod
    def version_of(envelope: bytes) -> int:
        """Return the key version that an envelope names; 0 = it is cut short."""
        version: int = _HEAD.unpack_from(envelope)[1] if len(envelope) >= _HEAD.size else 0
        return version

    def open(self, table: str, row: bytes, envelope: bytes) -> bytes:
        """Return the value sealed for this row.

        Raises:
            SealBrokenError: it was not sealed for this row under a key we hold. Nothing of it is returned.

        """
        if len(envelope) < _HEAD.size + _NONCE_BYTES + _TAG_BYTES:
            raise SealBrokenError(f"a row of {table} is cut short; restore the state from a backup")
        form, version = _HEAD.unpack_from(envelope)
        if form != _FORMAT:
            raise SealBrokenError(
                f"a row of {table} has an unknown format; it was written by another version of the gateway"
            )
        start = _HEAD.size + _NONCE_BYTES
        try:
            return self._cipher(version).decrypt(
                envelope[_HEAD.size : start], envelope[start:], _additional(envelope[: _HEAD.size], table, row)
            )
        except InvalidTag:
            raise SealBrokenError(
                f"a row of {table} does not open: it was changed, moved, or sealed under another keyring"
            ) from None

    def token(self, purpose: str, value: str) -> bytes:
        """Return the 16-byte look-up token of an index value: HMAC-SHA-256 under the keyring, one purpose apart from another."""
        return hmac.digest(self._lookup_key, purpose.encode() + b"\0" + value.encode(), "sha256")[:TOKEN_BYTES]

    def _cipher(self, version: int) -> AESGCM:
        cipher = self._ciphers.get(version)
        if cipher is None:
            key = self._keyring.seal_key(version)
            if key is None:
                raise KeyNotHeldError(
                    f"a row is sealed under key {version}, which this process does not hold; run: gateway reload"
                )
            cipher = self._ciphers[version] = AESGCM(key)
        return cipher


def _additional(head: bytes, table: str, row: bytes) -> bytes:
    return head + table.encode() + b"\0" + row
