"""The keys of data subjects: under which the personal fields of a person's records are sealed, until the person is erased.

One row for a key, by its token; a person has one for each tenant, and perhaps more where processes that did not know of
each other began at once. A row of nobody in particular (strangers of a day) ends by itself. What a key opens is
`audit.subject`'s business; this module destroys keys, and never decides that one is to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from gateway.exchange.subject import ERASED, RESTRICTED, SUBJECT_KEY_BYTES, TOKEN_BYTES, SubjectKey
from gateway.store.rows import Row, Rows, Transaction
from gateway.store.sealing import KeyNotHeldError, SealBrokenError, Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import SUBJECT_KEYS

RECALLED: Final = 65_536
DAY_S: Final = 86_400


class StoredSubject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key as it stands in the store. A format on disk: fields are added with defaults, never renamed."""

    token: bytes
    key: bytes
    user_id: str = ""
    """Whose it is; empty = of strangers, or of nobody yet."""
    tenant: str = ""
    created: float
    restricted: bool = False
    """What it opens may be stored and not looked at (Art. 18 GDPR)."""

    @property
    def subject(self) -> SubjectKey:
        """The key itself."""
        return SubjectKey(self.token, self.key)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A key that is to be stored: whose, and until when."""

    subject: SubjectKey
    user_id: str = ""
    tenant: str = ""
    expires: float | None = None


class SubjectKeys:
    """The subject keys of one gateway. Usable from any thread; methods raise `StoreUnavailableError`."""

    __slots__ = ("_random", "_rows", "_shelf")

    def __init__(self, rows: Rows, sealer: Sealer, random: Callable[[int], bytes]) -> None:
        self._rows = rows
        self._shelf = Shelf(SUBJECT_KEYS, StoredSubject, rows, sealer)
        self._random = random

    def make(self) -> SubjectKey:
        """Return a new key, which nobody has yet."""
        return SubjectKey(self._random(TOKEN_BYTES), self._random(SUBJECT_KEY_BYTES))

    def recall(self, user_id: str, tenant: str) -> SubjectKey | None:
        """Return the key of a person, if there is one."""
        return _oldest(self.of_person(user_id), tenant)

    def of(self, user_id: str, tenant: str, *, now: float) -> SubjectKey:
        """Return the key of a person, made now where there was none."""
        return self.recall(user_id, tenant) or self._rows.transact(
            lambda tx: self.of_in(tx, user_id, tenant, now=now), confirmed=True
        )

    def of_despite_damage(self, user_id: str, tenant: str, *, now: float) -> SubjectKey:
        """Return a key of a person that opens, made now where none does: it is destroyed with the others."""
        subject = _oldest(self.readable(user_id), tenant)
        if subject is None:
            subject = self.make()
            self.keep([Kept(subject=subject, user_id=user_id, tenant=tenant)], now=now)
        return subject

    def of_nobody(self, *, now: float, kept_s: float) -> SubjectKey:
        """Return a new key for what somebody wrote about they know not whom; it ends with those of the day's strangers."""
        subject = self.make()
        self.keep([Kept(subject=subject, expires=(now // DAY_S + 1) * DAY_S + kept_s)], now=now)
        return subject

    def of_person(self, user_id: str) -> list[StoredSubject]:
        """List the keys of a person in all tenants, oldest first."""
        return sorted(self._shelf.find("subject", self._token(user_id)), key=lambda stored: stored.created)

    def unreadable(self, user_id: str) -> list[bytes]:
        """List the tokens of keys of a person that are damaged: of which tenant they are is not known.

        Raises `KeyNotHeldError`: the keyring cannot open one that may be whole.
        """
        rows = self._rows.find(SUBJECT_KEYS, "subject", self._token(user_id))
        return sorted(row.id for row in rows if self._unless_damaged(row) is None)

    def readable(self, user_id: str) -> list[StoredSubject]:
        """List the keys of a person in all tenants, oldest first, without those that do not open."""
        rows = self._rows.find(SUBJECT_KEYS, "subject", self._token(user_id))
        found = [stored for row in rows if (stored := self._opened(row)) is not None]
        return sorted(found, key=lambda stored: stored.created)

    def _opened(self, row: Row) -> StoredSubject | None:
        try:
            return self._shelf.open(row)
        except SealBrokenError:
            return None

    def _unless_damaged(self, row: Row) -> StoredSubject | None:
        """Return what a row holds; None where it is damaged.

        attack: an old keyring is put back, and what is whole under a newer key is destroyed for damaged, at whichever tenant
        """
        try:
            return self._shelf.open(row)
        except KeyNotHeldError:
            if Sealer.version_of(row.value) == row.key:  # else it is the version that is damaged
                raise
            return None
        except SealBrokenError:
            return None

    def of_tokens(self, tokens: Iterable[bytes], *, now: float) -> dict[bytes, StoredSubject]:
        """Return those of the keys that there are, by token."""
        found = self._rows.get_many(SUBJECT_KEYS, list(tokens))
        return {
            token: self._shelf.open(row) for token, row in found.items() if row.expires is None or now < row.expires
        }

    def finder(self, *, now: float, restricted: bool = False) -> Callable[[str], SubjectKey | str]:
        """Return a function for `audit.subject.reveal` that remembers what it found; with `restricted` it shows that too."""
        known: dict[str, SubjectKey | str] = {}

        def find(token: str) -> SubjectKey | str:
            found = known.get(token)
            if found is None:
                if len(known) >= RECALLED:
                    known.clear()
                found = known[token] = self._shown(token, now, restricted=restricted)
            return found

        return find

    def keep(self, batch: Sequence[Kept], *, now: float) -> None:
        """Store keys in one transaction; one that is there already gets the owner and the end that are given."""

        def work(tx: Transaction) -> None:
            for kept in batch:
                self._put_in(tx, kept, now=now)

        self._rows.transact(work)

    # Inside a transaction

    def of_in(self, tx: Transaction, user_id: str, tenant: str, *, now: float) -> SubjectKey:
        """Return the key of a person, made in this transaction where there was none."""
        found = sorted(self._shelf.find_in(tx, "subject", self._token(user_id)), key=lambda stored: stored.created)
        subject = _oldest(found, tenant)
        if subject is None:
            subject = self.make()
            self._put_in(tx, Kept(subject=subject, user_id=user_id, tenant=tenant), now=now)
        return subject

    def restrict_in(self, tx: Transaction, user_id: str, *, tenant: str, restricted: bool) -> int:
        """Restrict what the keys of a person at a tenant open, or lift that; returns how many keys changed."""
        changed = 0
        for row in tx.find(SUBJECT_KEYS, "subject", self._token(user_id)):
            stored = self._shelf.open(row)
            if stored.tenant == tenant and stored.restricted is not restricted:
                self._shelf.put_in(
                    tx,
                    row.id,
                    msgspec.structs.replace(stored, restricted=restricted),
                    now=stored.created,
                    tokens=row.tokens,
                    expires=row.expires,
                )
                changed += 1
        return changed

    def destroy_in(self, tx: Transaction, user_id: str, *, tenant: str, until: float) -> int:
        """Remove the keys of a person at a tenant that were made until then, damaged ones too; returns how many.

        Raises `KeyNotHeldError`.
        """
        gone = 0
        for row in tx.find(SUBJECT_KEYS, "subject", self._token(user_id)):
            stored = self._unless_damaged(row)
            if stored is None or (stored.tenant == tenant and stored.created <= until):
                gone += tx.delete(SUBJECT_KEYS, row.id)
        return gone

    def destroy_unreadable_in(self, tx: Transaction, tokens: Iterable[bytes]) -> int:
        """Remove those of the keys that do not open; returns how many."""
        found = tx.get_many(SUBJECT_KEYS, list(tokens))
        return sum(tx.delete(SUBJECT_KEYS, row.id) for row in found.values() if self._opened(row) is None)

    def _put_in(self, tx: Transaction, kept: Kept, *, now: float) -> None:
        stored = StoredSubject(
            token=kept.subject.token, key=kept.subject.key, user_id=kept.user_id, tenant=kept.tenant, created=now
        )
        tokens = {"subject": self._token(kept.user_id)} if kept.user_id else {}
        self._shelf.put_in(tx, kept.subject.token, stored, now=now, tokens=tokens, expires=kept.expires)

    def _shown(self, token: str, now: float, *, restricted: bool) -> SubjectKey | str:
        try:
            row_id = bytes.fromhex(token)
        except ValueError:
            return ERASED
        stored = self._shelf.get(row_id, now=now)
        if stored is None:
            return ERASED
        return RESTRICTED if stored.restricted and not restricted else stored.subject

    def _token(self, user_id: str) -> bytes:
        return self._shelf.token("audit subject", user_id)


def _oldest(found: Sequence[StoredSubject], tenant: str) -> SubjectKey | None:
    return next((stored.subject for stored in found if stored.tenant == tenant), None)
