"""Forms that wait for a sign-in: encrypted, for a quarter of an hour, for one browser and one person, once.

The key is made from a secret that only the browser's sealed cookie holds and from the keyring, so
neither the file nor the cookie opens a form alone. What a form is and who may be shown one is the pages' to say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.session.token import is_token, row_of
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import KEY_BYTES, Keyring
from gateway.store.state import Store

KEPT_S: Final = 900.0
"""Time enough for a password and a code."""
_NONCE_BYTES: Final = 12  # SP 800-38D §8.2


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept for a browser; it is kept no longer."""

    form: bytes = b""
    """Empty when there was nothing, or somebody else's."""
    foreign: bool = False
    """It was somebody else's."""


class KeptForms:
    """Keeps and returns forms for one process. Methods raise `StoreUnavailableError` and `OverloadedError`."""

    def __init__(
        self,
        store: Store,
        *,
        keyring: Keyring,
        executor: BoundedExecutor,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self._salt = keyring.derive("kept form")
        self._run = executor.run
        self._random = random

    async def keep(self, secret: bytes, form: bytes, *, token: bytes, now: float) -> bool:
        """Keep `form` under the browser's `secret`, in place of an earlier one; False when there is no room.

        `token` is the session cookie that came along, dead or alive: the form is its person's alone. Where
        nobody remembers whose it was, whoever signs in next in this browser is asked.
        """
        return await self._run(partial(self._keep, secret, form, token, now))

    async def take(self, secret: bytes, *, user_id: str, now: float) -> Taken:
        """Remove what is kept under `secret`, and return it if it is this person's."""
        return await self._run(partial(self._take, secret, user_id, now))

    async def drop(self, secret: bytes) -> bool:
        """Remove what is kept under `secret`; False when there was nothing."""
        return await self._run(partial(self._store.drop_form, _row(secret)))

    def _keep(self, secret: bytes, form: bytes, token: bytes, now: float) -> bool:
        row, nonce = _row(secret), self._random(_NONCE_BYTES)
        person = self._store.person_of(row_of(token)) if is_token(token) else b""
        value = nonce + self._cipher(secret).encrypt(nonce, form, row)
        return self._store.keep_form(row, value, person=person, expires=now + KEPT_S, now=now)

    def _take(self, secret: bytes, user_id: str, now: float) -> Taken:
        row = _row(secret)
        found = self._store.take_form(row, now=now)
        if found is None:
            return Taken()
        person, value = found
        if person and person != self._store.person(user_id):
            return Taken(foreign=True)
        return Taken(form=self._cipher(secret).decrypt(value[:_NONCE_BYTES], value[_NONCE_BYTES:], row))

    def _cipher(self, secret: bytes) -> AESGCM:
        return AESGCM(
            HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=self._salt, info=b"gateway kept form 1").derive(secret)
        )


def _row(secret: bytes) -> bytes:
    """Return the row of a secret: nothing of the secret can be found from it."""
    return sha256(b"gateway kept form row\0" + secret).digest()
