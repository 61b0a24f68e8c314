"""Tokens that identity providers gave for sessions: each opens with the cookie of its session and the keyring together.

Neither a stolen state nor a stolen keyring gives them away. Whoever refreshes them holds a lease in the row, so that one
refresh token is used by one process of one node only. What the tokens are is not read here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.session.token import is_token
from gateway.store.keyring import KEY_BYTES, Keyring
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import PROVIDER_TOKENS

MAX_TOKENS_BYTES: Final = 48 * 1024
_NONCE_BYTES: Final = 12  # SP 800-38D §8.2


class _Tokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens of one session. A format on disk."""

    provider: str
    sealed: bytes
    """Under the cookie's value and the keyring."""
    version: int = 1
    """Grows with each refresh."""
    lease: str = ""
    """Who refreshes at the moment."""
    lease_until: float = 0.0
    expires: float
    """When no session can be left that it belongs to."""


class KeptTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as they stand in the store, opened."""

    provider: str
    version: int
    packed: bytes
    busy: bool
    """Somebody refreshes them at the moment."""

    def __repr__(self) -> str:
        return f"KeptTokens(provider={self.provider!r}, version={self.version})"


class ProviderTokens:
    """The tokens of all sessions, by handle. Usable from any thread; methods raise `StoreUnavailableError`."""

    def __init__(
        self, rows: Rows, sealer: Sealer, keyring: Keyring, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._rows = rows
        self._shelf = Shelf(PROVIDER_TOKENS, _Tokens, rows, sealer)
        self._salt = keyring.derive("provider tokens")
        self._random = random

    def put(self, token: bytes, handle: str, provider: str, packed: bytes, *, now: float, expires: float) -> bool:
        """Keep what a provider gave for a session, sealed under its cookie's value; False when it is too much."""
        if len(packed) > MAX_TOKENS_BYTES or not is_token(token):
            return False
        value = _Tokens(provider=provider, sealed=self._seal(token, handle, packed), expires=expires)
        self._rows.transact(partial(self._put_in, handle, value, now))
        return True

    def get(self, token: bytes, handle: str, *, now: float) -> KeptTokens | None:
        """Return the tokens of a session; None when there are none that this cookie opens."""
        found = self._shelf.get(handle.encode(), now=now)
        return None if found is None else self._opened(token, handle, found, now)

    def carry(self, old: bytes, new: bytes, handle: str, *, now: float) -> None:
        """Seal the tokens of a session anew, whose cookie changed. Without tokens nothing happens."""
        if self._shelf.get(handle.encode(), now=now) is None:
            return

        def work(tx: Transaction) -> None:
            found = self._shelf.get_in(tx, handle.encode(), now=now)
            opened = None if found is None else self._opened(old, handle, found, now)
            if found is not None and opened is not None:
                sealed = self._seal(new, handle, opened.packed)
                self._put_in(handle, msgspec.structs.replace(found, sealed=sealed), now, tx)

        self._rows.transact(work)

    def drop(self, handle: str) -> None:
        """Remove the tokens of a session."""
        self._rows.transact(partial(self._drop_in, handle))

    def lease(self, handle: str, *, version: int, holder: str, now: float, until: float) -> bool:
        """Take the right to refresh the tokens of a session, over all processes and nodes; False when another has it or was faster."""

        def work(tx: Transaction) -> bool:
            found = self._shelf.get_in(tx, handle.encode(), now=now)
            if found is None or found.version != version or (found.lease and now < found.lease_until):
                return False
            self._put_in(handle, msgspec.structs.replace(found, lease=holder, lease_until=until), now, tx)
            return True

        return self._rows.transact(work)

    def renew(self, token: bytes, handle: str, packed: bytes, *, holder: str, now: float) -> bool:
        """Store refreshed tokens and give the lease back; False when it was lost meanwhile. `packed` empty = as they were."""

        def work(tx: Transaction) -> bool:
            found = self._shelf.get_in(tx, handle.encode(), now=now)
            if found is None or found.lease != holder:
                return False
            changes: dict[str, Any] = {"lease": "", "lease_until": 0.0}
            if packed:
                changes |= {"sealed": self._seal(token, handle, packed), "version": found.version + 1}
            self._put_in(handle, msgspec.structs.replace(found, **changes), now, tx)
            return True

        return self._rows.transact(work)

    def _put_in(self, handle: str, value: _Tokens, now: float, tx: Transaction) -> None:
        tokens = {"provider": self._shelf.token("provider", value.provider)}
        self._shelf.put_in(tx, handle.encode(), value, now=now, tokens=tokens, expires=value.expires)

    def _drop_in(self, handle: str, tx: Transaction) -> None:
        self._shelf.delete_in(tx, handle.encode())

    def _opened(self, token: bytes, handle: str, found: _Tokens, now: float) -> KeptTokens | None:
        try:
            nonce, sealed = found.sealed[:_NONCE_BYTES], found.sealed[_NONCE_BYTES:]
            packed = self._cipher(token).decrypt(nonce, sealed, handle.encode())
        except (InvalidTag, ValueError):  # the cookie is another one
            return None
        busy = bool(found.lease) and now < found.lease_until
        return KeptTokens(provider=found.provider, version=found.version, packed=packed, busy=busy)

    def _seal(self, token: bytes, handle: str, packed: bytes) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return nonce + self._cipher(token).encrypt(nonce, packed, handle.encode())

    def _cipher(self, token: bytes) -> AESGCM:
        kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=self._salt, info=b"gateway provider tokens 1")
        return AESGCM(kdf.derive(token))
