"""Accounts of people: found by name, id, e-mail address or what a provider calls them; changed by compare-and-set.

A change that somebody else was faster with is not made. What a change means for sessions and factors is `state`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from gateway.store.records import User
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import SealBrokenError, Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import USERS

STAMP_BYTES: Final = 16


class Follow(Protocol):
    """What must not lag behind an account: it is told of every one that is stored, in the same transaction."""

    def __call__(self, tx: Transaction, user: User, *, now: float) -> None:
        """Make true of others what is now true of the account."""


class People:
    """The accounts of one gateway."""

    __slots__ = ("_follow", "_random", "_rows", "_shelf")

    def __init__(self, rows: Rows, sealer: Sealer, random: Callable[[int], bytes], follow: Follow) -> None:
        self._rows = rows
        self._shelf = Shelf(USERS, User, rows, sealer)
        self._random = random
        self._follow = follow

    def get(self, user_id: str) -> User | None:
        """Find an account by its id."""
        return self._shelf.get(user_id.encode())

    def named(self, name: str) -> User | None:
        """Find an account by its canonical name."""
        return _one(self._shelf.find("name", self._shelf.token("name", name)))

    def of_subject(self, issuer: str, subject: str) -> User | None:
        """Find the account of a person whom a provider calls `subject` (OpenID Connect Core §5.7)."""
        return _one(self._shelf.find("subject", self._shelf.token("subject", f"{issuer}\0{subject}")))

    def with_email(self, email: str) -> list[User]:
        """List the accounts with that address, whether proven or not, in any spelling of its letters."""
        return self._shelf.find("email", self._shelf.token("email", email.casefold()))

    def is_disabled(self, user: str, tenant: str) -> bool:
        """Whether a certificate for an account of that canonical name and tenant counts for nothing; False when there is none."""
        found = self.named(user)
        return found is not None and found.lends_nothing and found.tenant == tenant

    def opened(self) -> list[User]:
        """List the accounts that were opened for an emergency, over or not; those that do not open are left out."""
        found = []
        for row in self._rows.all(USERS):
            try:
                user = self._shelf.open(row)
            except SealBrokenError:
                continue
            if user.until:
                found.append(user)
        return found

    def all(self, *, tenant: str | None = None) -> list[User]:
        """List accounts by name."""
        found = self._shelf.all() if tenant is None else self._shelf.find("tenant", self._shelf.token("tenant", tenant))
        return sorted(found, key=lambda user: user.name)

    def rehash(self, user_id: str, *, old: str, new: str, now: float) -> bool:
        """Store the same password under newer parameters if `old` is still its hash. The stamp stays."""

        def work(tx: Transaction) -> bool:
            user = self.get_in(tx, user_id)
            if user is None or user.password != old:
                return False
            self.put_in(tx, msgspec.structs.replace(user, password=new), now=now)
            return True

        return self._rows.transact(work)

    def get_in(self, tx: Transaction, user_id: str) -> User | None:
        """Return the account as this transaction sees it."""
        return self._shelf.get_in(tx, user_id.encode())

    def add_in(self, tx: Transaction, user: User, *, now: float) -> bool:
        """Store a new account; False when its id, its name or what its provider calls it belongs to another."""
        tokens = self._tokens(user)
        unique = (name for name in ("name", "subject") if name in tokens)
        if self.get_in(tx, user.id) is not None or any(tx.count(USERS, name, tokens[name]) for name in unique):
            return False
        self.put_in(tx, user, now=now)
        return True

    def replace_in(self, tx: Transaction, old: User, new: User, *, now: float) -> User | None:
        """Store a changed account if it is still `old`; name and id stay. Returns it with its new stamp.

        None as well where one that is restricted would be enabled.
        """
        current = self.get_in(tx, old.id)
        if current is None or current.stamp != old.stamp:
            return None
        stamp = self._random(STAMP_BYTES).hex()
        stored = msgspec.structs.replace(new, id=current.id, name=current.name, stamp=stamp)
        if stored.restricted and not stored.disabled:  # only lifting the restriction enables it
            return None
        self.put_in(tx, stored, now=now)
        return stored

    def put_in(self, tx: Transaction, user: User, *, now: float) -> None:
        """Store an account as it is."""
        self._shelf.put_in(tx, user.id.encode(), user, now=now, tokens=self._tokens(user))
        self._follow(tx, user, now=now)

    def delete_in(self, tx: Transaction, user_id: str) -> bool:
        """Remove an account; False when there was none."""
        return self._shelf.delete_in(tx, user_id.encode())

    def _tokens(self, user: User) -> dict[str, bytes]:
        token = self._shelf.token
        tokens = {"name": token("name", user.name), "tenant": token("tenant", user.tenant)}
        if user.subject:
            tokens["subject"] = token("subject", f"{user.issuer}\0{user.subject}")
        if user.email:
            tokens["email"] = token("email", user.email.casefold())
        return tokens


def _one(found: list[User]) -> User | None:
    return found[0] if found else None
