"""API keys: whose they are, what they may, how long; made, listed, ended, replaced with an overlap.

A key itself is nowhere: its row is found by its SHA-256. A person's key follows the person: it holds no role that the person
lost, and rests while the account is disabled, from the transaction on that says so. When a key was used last stands in a
row of its own, written in batches. Whether a request may use a key where it comes from is the edge's to ask.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from gateway.authn.api_key import ENTROPY_BYTES, HANDLE_BYTES, make_handle, make_key, row_of
from gateway.authn.name import RESERVED
from gateway.exchange.session import Session
from gateway.exchange.subject import SubjectKey
from gateway.store.records import User
from gateway.store.rows import Backend, Row, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.subjects import SubjectKeys
from gateway.store.tables import API_KEY_USE, API_KEYS

SERVICE: Final = RESERVED
"""What the name of an owner that is no person begins with; no account can have such a name."""
_USED: Final = struct.Struct(">d")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key, without the key. A format on disk: fields are added with defaults, never renamed. Times are unix seconds."""

    handle: str
    """Public name: `k_` and 16 hexadecimal digits."""
    label: str
    """What its owner calls it."""
    user_id: str
    """Of the person, or `service:TENANT:NAME`."""
    user: str
    """What the portal is told: the person's name, or `service:NAME`."""
    tenant: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    email: str = ""
    created: float
    expires: float
    networks: tuple[str, ...] = ()
    """CIDR blocks it may be used from; empty = any."""
    rate_per_s: float = 0.0
    burst: int = 0
    """A limit of its own; 0 = none."""
    replaced_by: str = ""
    """Handle of the key that took its place; until it ends both serve."""
    owner_roles: tuple[str, ...] | None = None
    """What the person holds; None = a service, whose roles are the key's own."""
    owner_rests: bool = False
    """The account is disabled, or belongs to another tenant by now."""
    subject: SubjectKey | None = None
    """Under which its owner is sealed in the audit trail."""

    @property
    def granted(self) -> tuple[str, ...]:
        """The roles it gives: never one that its owner does not hold."""
        if self.owner_roles is None:
            return self.roles
        return tuple(role for role in self.roles if role in self.owner_roles)

    def is_live(self, now: float) -> bool:
        """Whether it serves."""
        return now < self.expires and not self.owner_rests

    def session(self) -> Session:
        """Make the session that it stands for on every request."""
        return Session(
            handle=self.handle,
            user_id=self.user_id,
            user=self.user,
            tenant=self.tenant,
            roles=self.granted,
            email=self.email,
            auth_time=self.created,
            created=self.created,
            expires=self.expires,
            idle_s=self.expires - self.created,
            host="",
            secure=True,
            credential="api_key",
            provider="",
            scopes=self.scopes,
            subject=self.subject,
        )


class KeptKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it stands in the store."""

    row: bytes
    """SHA-256 of the key."""
    key: ApiKey
    used: float
    """When it was used last, to the minute; 0 = never."""


class ApiKeys:
    """The API keys of one gateway. Methods raise `StoreUnavailableError`."""

    __slots__ = ("_random", "_rows", "_shelf", "_subjects")

    def __init__(self, rows: Backend, sealer: Sealer, random: Callable[[int], bytes]) -> None:
        self._rows = rows
        self._shelf = Shelf(API_KEYS, ApiKey, rows, sealer)
        self._random = random
        self._subjects = SubjectKeys(rows, sealer, random)

    def create(
        self, key: ApiKey, *, now: float, owned: Callable[[Transaction, ApiKey], ApiKey] | None = None
    ) -> tuple[bytes, ApiKey]:
        """Store a new key, with a handle made here where it has none; returns the key itself, which nothing can show again.

        `owned` returns it as its owner stands in the transaction that stores it, or raises.
        """
        text = make_key(self._random(ENTROPY_BYTES))
        named = msgspec.structs.replace(key, handle=key.handle or make_handle(self._random(HANDLE_BYTES)))

        def work(tx: Transaction) -> ApiKey:
            made = named if owned is None else owned(tx, named)
            return self._put_in(tx, row_of(text), made, now=now)

        return text, self._rows.transact(work, confirmed=True)

    def rotate(self, handle: str, *, overlap_s: float, now: float) -> tuple[bytes, ApiKey, ApiKey] | None:
        """Make a new key in place of another, which serves for `overlap_s` more: the new key, what it is, what the old one is now.

        The new one lives as long as the old one was to live. None when there is no such key, or it was replaced already.
        """
        text, fresh = make_key(self._random(ENTROPY_BYTES)), make_handle(self._random(HANDLE_BYTES))

        def work(tx: Transaction) -> tuple[ApiKey, ApiKey] | None:
            for row in tx.find(API_KEYS, "handle", self._shelf.token("handle", handle)):
                old = self._shelf.open(row)
                if old.replaced_by or not old.is_live(now):
                    return None
                lifetime = old.expires - old.created
                new = msgspec.structs.replace(old, handle=fresh, created=now, expires=now + lifetime)
                left = msgspec.structs.replace(old, replaced_by=fresh, expires=min(old.expires, now + overlap_s))
                new = self._put_in(tx, row_of(text), new, now=now)
                if overlap_s > 0:
                    left = self._put_in(tx, row.id, left, now=now)
                else:
                    self._delete_in(tx, row.id)
                return new, left
            return None

        made = self._rows.transact(work, confirmed=True)
        return None if made is None else (text, *made)

    def revoke(self, handle: str) -> ApiKey | None:
        """End a key at once; None when there is none of that handle."""

        def work(tx: Transaction) -> ApiKey | None:
            for row in tx.find(API_KEYS, "handle", self._shelf.token("handle", handle)):
                key = self._shelf.open(row)
                self._delete_in(tx, row.id)
                return key
            return None

        return self._rows.transact(work, confirmed=True)

    def revoke_owner(self, user_id: str) -> int:
        """End every key of an owner at once, unopened: a damaged row must be revocable too."""
        return self._rows.transact(lambda tx: self.end_owner_in(tx, user_id), confirmed=True)

    def get(self, handle: str) -> KeptKey | None:
        """Find a key by its public name."""
        return next(iter(self._kept(self._rows.find(API_KEYS, "handle", self._shelf.token("handle", handle)))), None)

    def all(self, *, user_id: str | None = None, tenant: str | None = None) -> list[KeptKey]:
        """List keys, of one owner, one tenant or all, those that ended lately too; newest first."""
        if user_id is not None:
            rows = self._rows.find(API_KEYS, "owner", self._owner(user_id))
        elif tenant is not None:
            rows = self._rows.find(API_KEYS, "tenant", self._shelf.token("tenant", tenant))
        else:
            rows = self._rows.all(API_KEYS)
        return sorted(self._kept(rows), key=lambda kept: kept.key.created, reverse=True)

    def read(self, row: bytes) -> Row | None:
        """Return the row of a key as it is now, for a cache; `open` says what it holds."""
        return self._rows.get(API_KEYS, row)

    def open(self, row: bytes, sealed: bytes) -> ApiKey:
        """Open an envelope. Raises `SealBrokenError`: refuse with 503."""
        return self._shelf.unseal(row, sealed)

    def used(self, row: bytes) -> float:
        """Return when a key was used last; 0 = never."""
        found = self._rows.get(API_KEY_USE, row)
        return 0.0 if found is None else _time(found)

    def note_used(self, batch: Sequence[tuple[float, bytes, float]]) -> None:
        """Store `(used, row, expires)` of many keys in one commit; a power cut may undo it."""

        def work(tx: Transaction) -> None:
            for used, row, expires in batch:
                tx.put(API_KEY_USE, Row(id=row, value=_USED.pack(used), expires=expires))

        self._rows.transact(work, durable=False)

    # Inside a transaction

    def follow_in(self, tx: Transaction, user: User, *, now: float) -> None:
        """Have the keys of a person hold no more than the account, which is as it is stored now."""
        for row in tx.find(API_KEYS, "owner", self._owner(user.id)):
            key = self._shelf.open(row)
            follows = msgspec.structs.replace(
                key,
                owner_roles=user.roles,
                owner_rests=user.lends_nothing or user.tenant != key.tenant,
                email=user.email,
            )
            if follows != key:
                self._put_in(tx, row.id, follows, now=now)

    def end_owner_in(self, tx: Transaction, user_id: str) -> int:
        """End every key of an owner; returns how many."""
        rows = tx.find(API_KEYS, "owner", self._owner(user_id))
        for row in rows:
            self._delete_in(tx, row.id)
        return len(rows)

    def _put_in(self, tx: Transaction, row: bytes, key: ApiKey, *, now: float) -> ApiKey:
        if key.subject is None:
            subject = self._subjects.of_in(tx, key.user_id, key.tenant, now=now)
            key = msgspec.structs.replace(key, subject=subject)
        tokens = {
            "handle": self._shelf.token("handle", key.handle),
            "owner": self._owner(key.user_id),
            "tenant": self._shelf.token("tenant", key.tenant),
        }
        self._shelf.put_in(tx, row, key, now=now, tokens=tokens, expires=key.expires)
        return key

    def _delete_in(self, tx: Transaction, row: bytes) -> None:
        tx.delete(API_KEYS, row)
        tx.delete(API_KEY_USE, row)

    def _kept(self, rows: Sequence[Row]) -> list[KeptKey]:
        used = self._rows.get_many(API_KEY_USE, [row.id for row in rows])
        return [
            KeptKey(row=row.id, key=self._shelf.open(row), used=_time(used[row.id]) if row.id in used else 0.0)
            for row in rows
        ]

    def _owner(self, user_id: str) -> bytes:
        return self._shelf.token("key owner", user_id)


def _time(row: Row) -> float:
    used: float = _USED.unpack(row.value)[0]
    return used
