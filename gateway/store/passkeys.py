"""Passkeys of people, and the challenges that were answered: rows found by digests alone.

Whether an answer proves anything is `authn.passkey`'s to say; who may add or remove one is the ceremonies'.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import CHALLENGES, PASSKEYS

MAX_PASSKEYS: Final = 20
"""A person may have so many: a list that people still understand, and a request that browsers still send."""
_NAME: Final = "passkey"


class Passkey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One passkey of one person. Times are unix seconds. A format on disk: fields are added with defaults, never renamed."""

    id: bytes
    """What the authenticator calls it; unique over all people."""
    user_id: str
    relying_party: str
    """The host it is bound to; at another one browsers do not offer it."""
    public_key: bytes
    sign_count: int
    aaguid: str
    backup_eligible: bool
    backed_up: bool
    transports: tuple[str, ...]
    name: str
    """As the person calls it."""
    created: float
    last_used: float = 0.0
    """0 = never since it was made."""

    @property
    def handle(self) -> str:
        """What forms call it: the digest under which it stands."""
        return f"p_{passkey_row(self.id)[:16].hex()}"


class _Spent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A challenge that was answered; that the row exists is all it says."""

    at: float


def passkey_row(identifier: bytes) -> bytes:
    """Return the row id of a passkey: two people cannot have the same."""
    return sha256(b"passkey\0" + identifier).digest()


class Passkeys:
    """All passkeys of one state. Methods raise `StoreUnavailableError`."""

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._passkeys = Shelf(PASSKEYS, Passkey, rows, sealer)
        self._spent = Shelf(CHALLENGES, _Spent, rows, sealer)

    def get(self, identifier: bytes) -> Passkey | None:
        """Return a passkey by what its authenticator calls it."""
        return self._passkeys.get(passkey_row(identifier))

    def of(self, user_id: str) -> list[Passkey]:
        """Return the passkeys of a person, the oldest first."""
        return _sorted(self._passkeys.find("user", self._token(user_id)))

    def of_in(self, tx: Transaction, user_id: str) -> list[Passkey]:
        """Return the passkeys of a person, inside a transaction."""
        return _sorted(self._passkeys.find_in(tx, "user", self._token(user_id)))

    def add_in(self, tx: Transaction, passkey: Passkey, *, now: float) -> bool:
        """Store a new passkey; False when its id is somebody's already or the person has as many as can be."""
        row = passkey_row(passkey.id)
        if self._passkeys.get_in(tx, row) is not None or len(self.of_in(tx, passkey.user_id)) >= MAX_PASSKEYS:
            return False
        self._put_in(tx, passkey, now)
        return True

    def note_use(self, passkey: Passkey, *, sign_count: int, backed_up: bool, now: float) -> bool:
        """Note that a passkey was used; False when it is gone, or another use of it was faster: the counter is compared and set."""

        def work(tx: Transaction) -> bool:
            known = self._passkeys.get_in(tx, passkey_row(passkey.id))
            if known is None or known.user_id != passkey.user_id or known.sign_count != passkey.sign_count:
                return False
            used = msgspec.structs.replace(known, sign_count=sign_count, backed_up=backed_up, last_used=now)
            self._put_in(tx, used, now)
            return True

        return self._rows.transact(work, confirmed=True)

    def rename(self, user_id: str, handle: str, name: str, *, now: float) -> Passkey | None:
        """Give one passkey of a person another name; None when the person has no such."""

        def work(tx: Transaction) -> Passkey | None:
            known = find_by_handle(self.of_in(tx, user_id), handle)
            if known is not None:
                self._put_in(tx, msgspec.structs.replace(known, name=name), now)
            return known

        return self._rows.transact(work)

    def remove_in(self, tx: Transaction, passkey: Passkey) -> bool:
        """Remove a passkey; False when it was gone."""
        return self._passkeys.delete_in(tx, passkey_row(passkey.id))

    def remove_all_in(self, tx: Transaction, user_id: str) -> int:
        """Remove every passkey of a person, unopened: a damaged row must go too. Returns how many there were."""
        return sum(tx.delete(PASSKEYS, row.id) for row in tx.find(PASSKEYS, "user", self._token(user_id)))

    def spend(self, challenge: bytes, *, expires: float, now: float) -> bool:
        """Take a challenge out of use; False when it was taken before. After `expires` its maker refuses it by itself."""
        row = sha256(b"challenge\0" + challenge).digest()

        def work(tx: Transaction) -> bool:
            if self._spent.get_in(tx, row, now=now) is not None:
                return False
            self._spent.put_in(tx, row, _Spent(at=now), now=now, expires=expires)
            return True

        return self._rows.transact(work, durable=False, confirmed=True)

    def _put_in(self, tx: Transaction, passkey: Passkey, now: float) -> None:
        tokens = {"user": self._token(passkey.user_id)}
        self._passkeys.put_in(tx, passkey_row(passkey.id), passkey, now=now, tokens=tokens)

    def _token(self, user_id: str) -> bytes:
        return self._passkeys.token(_NAME, user_id)


def find_by_handle(passkeys: list[Passkey], handle: str) -> Passkey | None:
    """Return the passkey that a form calls `handle`."""
    return next((passkey for passkey in passkeys if passkey.handle == handle), None)


def _sorted(passkeys: list[Passkey]) -> list[Passkey]:
    return sorted(passkeys, key=lambda passkey: (passkey.created, passkey.id))
