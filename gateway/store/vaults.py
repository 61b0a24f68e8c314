"""The cookies of portals, kept for one session each, where a stolen state file opens none of them.

A vault is sealed twice: under a key made from the session cookie's secret, then under the keyring. It is a row of its
own, written only when it changes, and goes with its session. Two writers never undo each other: a change is merged
cookie by cookie, in one transaction. What is kept is not decided here.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from threading import Lock
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.session.token import row_of
from gateway.session.vault import EMPTY_VAULT, Owner, Vault, VaultRules, changed_vault
from gateway.store.generations import Generations, slot_of
from gateway.store.keyring import KEY_BYTES, Keyring
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import SealBrokenError, Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import SESSIONS, VAULTS
from gateway.wire.set_cookie import Cookie

UNUSED_S: Final = 60.0
"""A cached vault that nobody asked for is dropped."""
REREAD_S: Final = 1.0
"""Longest life of a cached vault without a look at its row."""
_NONCE_BYTES: Final = 12  # SP 800-38D section 8.2
_ENCODER: Final = msgspec.msgpack.Encoder()


class Wrapped(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the keyring opens: a nonce and a vault that only the cookie's secret opens."""

    sealed: bytes


class Changed(NamedTuple):
    """A vault after a change."""

    vault: Vault
    evicted: int
    """Cookies that gave way to newer ones."""


class Vaults:
    """The vaults of all sessions. Usable from any thread; methods raise `StoreUnavailableError`."""

    __slots__ = ("_decoder", "_random", "_rows", "_salt", "_shelf")

    def __init__(
        self, rows: Rows, sealer: Sealer, keyring: Keyring, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._rows = rows
        self._shelf = Shelf(VAULTS, Wrapped, rows, sealer)
        self._salt = keyring.derive("vault")  # the same after every rotation
        self._random = random
        self._decoder = msgspec.msgpack.Decoder(Vault)

    def read(self, owner: Owner, *, now: float) -> Vault:
        """Return what is kept; an empty vault where there is nothing, or where it belongs to another cookie."""
        row = vault_row(owner)
        found = self._shelf.get(row, now=now)
        return EMPTY_VAULT if found is None else self._open(owner.token, row, found)

    def change(
        self, owner: Owner, changes: Sequence[Cookie], rules: VaultRules, *, now: float, signed_on: float | None = None
    ) -> Changed:
        """Merge cookies into a vault, and note a sign-on; nothing is written where nothing changes or the session is over.

        A sign-on replaces what was kept: nothing of the portal's session before it stays.
        """
        cookies = tuple(changes)

        def work(tx: Transaction) -> Changed:
            row = vault_row(owner)
            found = self._shelf.get_in(tx, row, now=now)
            before = EMPTY_VAULT if found is None or signed_on is not None else self._open(owner.token, row, found)
            after, evicted = changed_vault(before, cookies, rules, now)
            if signed_on is not None:
                after = msgspec.structs.replace(after, signed_on=signed_on)
            if after == before or tx.get(SESSIONS, row_of(owner.token)) is None:
                return Changed(before, evicted)
            tokens = {"session": row_of(owner.token), "tenant": self._shelf.token("tenant", owner.session.tenant)}
            wrapped = Wrapped(sealed=self._seal(owner.token, row, after))
            self._shelf.put_in(tx, row, wrapped, now=now, tokens=tokens, expires=owner.session.expires)
            return Changed(after, evicted)

        return self._rows.transact(work)

    def move(self, old: bytes, new: bytes, *, now: float) -> None:
        """Seal the vaults of a session, whose cookie's value was `old`, under its new value."""

        def work(tx: Transaction) -> None:
            for row in tx.find(VAULTS, "session", row_of(new)):  # the rows went with the session; their seals did not
                vault = self._open(old, row.id, self._shelf.open(row))
                if vault != EMPTY_VAULT:
                    wrapped = Wrapped(sealed=self._seal(new, row.id, vault))
                    self._shelf.put_in(tx, row.id, wrapped, now=now, tokens=row.tokens, expires=row.expires)

        self._rows.transact(work)

    def _seal(self, token: bytes, row: bytes, vault: Vault) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return nonce + self._cipher(token).encrypt(nonce, _ENCODER.encode(vault), row)

    def _open(self, token: bytes, row: bytes, wrapped: Wrapped) -> Vault:
        sealed = wrapped.sealed
        try:
            plain = self._cipher(token).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row)
        except InvalidTag:
            return EMPTY_VAULT  # a crash between the session's move and the vault's: the portal is signed on to again
        try:
            return self._decoder.decode(plain)
        except msgspec.DecodeError:
            raise SealBrokenError("a vault was written by another version of the gateway") from None

    def _cipher(self, token: bytes) -> AESGCM:
        return AESGCM(
            HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=self._salt, info=b"gateway vault 1").derive(token)
        )


def vault_row(owner: Owner) -> bytes:
    """Return the row of a vault: the session's handle outlives a change of the cookie's value."""
    return sha256(f"gateway vault row\0{owner.session.handle}\0{owner.upstream}".encode()).digest()


class _Cached(NamedTuple):
    token: bytes
    vault: Vault
    slot: int
    generation: int
    fresh_until: float


class VaultCache:
    """The vaults that one worker knows: never older than the last change anybody's answer left with.

    `peek` belongs to one thread, the others may run in any. Without a table of generations nothing is remembered.
    """

    def __init__(self, vaults: Vaults, generations: Generations | None, *, capacity: int = 8192) -> None:
        self._vaults = vaults
        self._generations = generations
        self._capacity = capacity
        self._cached: OrderedDict[tuple[str, str], _Cached] = OrderedDict()
        self._changing = Lock()

    @property
    def is_local(self) -> bool:
        """A read is a matter of microseconds: nothing need wait for it."""
        return self._generations is not None

    def peek(self, owner: Owner, now: float) -> Vault | None:
        """Return the vault if it is known and unchanged since; None = `load` must say."""
        generations = self._generations
        if generations is None:
            return None
        cached = self._cached.get((owner.session.handle, owner.upstream))
        if (
            cached is None
            or cached.token != owner.token
            or not cached.fresh_until - REREAD_S <= now < cached.fresh_until
            or generations.slots[cached.slot] != cached.generation
        ):
            return None
        return cached.vault

    def load(self, owner: Owner, now: float) -> Vault:
        """Read the vault. Raises `StoreUnavailableError`."""
        generations = self._generations
        if generations is None:
            return self._vaults.read(owner, now=now)
        generations.refresh()
        slots, slot = generations.slots, slot_of(vault_row(owner))
        generation = slots[slot]  # before the row: a writer that commits after this changes it
        vault = self._vaults.read(owner, now=now)
        key = (owner.session.handle, owner.upstream)
        with self._changing:
            if not generation or slots[slot] != generation:
                self._cached.pop(key, None)  # a writer is at work: right for this request, not for the next
                return vault
            self._cached[key] = _Cached(owner.token, vault, slot, generation, now + REREAD_S)
            self._cached.move_to_end(key)
            while len(self._cached) > self._capacity or self._oldest() < now - UNUSED_S:
                self._cached.popitem(last=False)
        return vault

    def change(self, owner: Owner, changes: Sequence[Cookie], rules: VaultRules, now: float) -> int:
        """Merge cookies into a vault; returns how many gave way. It is stored when this returns."""
        return self._vaults.change(owner, changes, rules, now=now).evicted

    def _oldest(self) -> float:
        return next(iter(self._cached.values())).fresh_until
