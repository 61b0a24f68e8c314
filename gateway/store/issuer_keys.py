"""The last good keys of issuers of access tokens, and which of them somebody asked for again: what pages fetch and edges read.

Sealed like everything in the state, so that nobody but a holder of the keyring can put a key there. It fetches nothing, and
judges no document.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import ISSUER_KEYS

WANTED_GRAIN_S: Final = 10.0
"""A wish is noted this often at most, whatever tokens name."""


class KeptKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JWK Set as it was fetched. A format on disk."""

    document: bytes
    fetched: float
    """Unix seconds."""


class _Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody met a key that the set lacks. A format on disk."""

    at: float


class IssuerKeyStore:
    """Keys by issuer. Methods raise `StoreUnavailableError`."""

    __slots__ = ("_keys", "_rows", "_wishes")

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._keys = Shelf(ISSUER_KEYS, KeptKeys, rows, sealer)
        self._wishes = Shelf(ISSUER_KEYS, _Wish, rows, sealer)

    def load(self, issuer: str) -> KeptKeys | None:
        """Return what was kept last."""
        return self._keys.get(_row("keys", issuer))

    def keep(self, issuer: str, keys: KeptKeys, *, now: float) -> bool:
        """Keep keys in place of older ones; False when another node has fetched later ones already."""
        row = _row("keys", issuer)

        def work(tx: Transaction) -> bool:
            before = self._keys.get_in(tx, row)
            if before is not None and keys.fetched < before.fetched <= now:
                return False
            self._keys.put_in(tx, row, keys, now=now)
            return True

        return self._rows.transact(work)

    def wish(self, issuer: str, *, now: float) -> None:
        """Note that newer keys are wanted."""
        row = _row("wish", issuer)
        known = self._wishes.get(row)
        if known is None or not known.at <= now < known.at + WANTED_GRAIN_S:
            self._rows.transact(lambda tx: self._wishes.put_in(tx, row, _Wish(at=now), now=now))

    def wished(self, issuer: str) -> float:
        """Return when newer keys were wanted last; 0 = never."""
        found = self._wishes.get(_row("wish", issuer))
        return 0.0 if found is None else found.at


def _row(kind: str, issuer: str) -> bytes:
    return sha256(f"{kind}\0{issuer}".encode()).digest()
