"""Everything the state holds about one person: told in full for who asks for it, removed in full for who is erased.

`REACH` says for every table how it is reached; a test holds it to the list of tables, so that nobody adds one and
forgets it here. Secrets are never told: only that they are there. Whether a person is to be erased is not decided here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import msgspec

from gateway.authn.address import canonical_address
from gateway.exchange.letter import Letter
from gateway.inspection.abuse.standing import Standing
from gateway.store.attempts import AttemptKeys
from gateway.store.erasures import Erasure, Erasures
from gateway.store.federated import SignInNote
from gateway.store.keyring import Keyring
from gateway.store.mailed import Mailed
from gateway.store.records import User
from gateway.store.rows import Row, Table, Transaction
from gateway.store.sealing import SealBrokenError
from gateway.store.shelf import Shelf
from gateway.store.standings import is_about
from gateway.store.state import Store
from gateway.store.strays import Stray
from gateway.store.subjects import StoredSubject
from gateway.store.tables import (
    ATTEMPTS,
    ENROLMENTS,
    FORMS,
    MAILED,
    OUTBOX,
    OWNERS,
    PROVIDER_SIGN_INS,
    PROVIDER_TOKENS,
    STANDINGS,
    STRAYS,
    SUBJECT_KEYS,
    USERS,
    VAULTS,
)

REACH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "marks": "names nobody",
        "users": "by id",
        "sessions": "by person",
        "seen": "with the session",
        "owners": "by the person each row names",
        "factors": "by id",
        "recovery": "by id",
        "enrolments": "by person",
        "attempts": "by the keys of name, address, id and devices",
        "forms": "by person",
        "outbox": "by whom each letter is to",
        "mailed": "by whom each code is for",
        "passkeys": "by person",
        "challenges": "names nobody",
        "devices": "by person",
        "strays": "by whose session each was",
        "vaults": "with the session",
        "portal_accounts": "by person",
        "provider_metadata": "names nobody",
        "provider_tokens": "by the handles of the sessions",
        "spent": "names nobody",
        "provider_sign_ins": "by whom each note names",
        "api_keys": "by owner",
        "api_key_use": "with the key",
        "issuer_keys": "names nobody",
        "subject_keys": "by person",
        "erasures": "holds look-up tokens alone, and stays",
        "standings": "by whom each is about",
        "abuse_memory": "names nobody: keyed digests, for 30 days at most",
        "page_counts": "names nobody: origins and scripts by route, for 30 days at most",
    }
)
"""Table -> how what it holds about a person is found."""
_BATCH: Final = 100


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who is meant: an account, or somebody of whom only records know."""

    id: str
    tenant: str
    user: User | None = None

    @property
    def sealed_as(self) -> frozenset[str]:
        """By what the log may have keys for the person: a portal may say whose data something is by the account's name."""
        return frozenset((self.id,) if self.user is None else (self.id, self.user.name))

    @property
    def names(self) -> frozenset[str]:
        """Under which names and ids the state and the log may know the person."""
        found = {self.id}
        if self.user is not None:
            found |= {self.user.name, self.user.email, self.user.subject}
        return frozenset(name for name in found if name)

    def gets(self, letter: Letter) -> bool:
        """Tell whether a letter is to the person."""
        user = self.user
        return letter.user_id == self.id or (user is not None and user.email != "" and letter.to == user.email)

    def signed_in(self, note: SignInNote) -> bool:
        """Tell whether a note of a sign-in is about the person, also where the sign-in was refused."""
        if note.user_id:
            return note.user_id == self.id
        user = self.user
        if user is None or note.provider != user.provider:
            return False
        return note.user == user.name or (user.subject != "" and note.claims.get("sub") == user.subject)


class SubjectData:
    """What one gateway knows of people. Methods raise `StoreUnavailableError`."""

    def __init__(self, store: Store, keyring: Keyring, erasures: Erasures) -> None:
        self._store = store
        self._rows = store.rows
        self._attempts = AttemptKeys(keyring)
        self.erasures = erasures
        self._letters = Shelf(OUTBOX, Letter, store.rows, store.sealer)
        self._mailed = Shelf(MAILED, Mailed, store.rows, store.sealer)
        self._strays = Shelf(STRAYS, Stray, store.rows, store.sealer)
        self._standings = Shelf(STANDINGS, Standing, store.rows, store.sealer)
        self._notes = Shelf(PROVIDER_SIGN_INS, SignInNote, store.rows, store.sealer)
        self._keys = Shelf(SUBJECT_KEYS, StoredSubject, store.rows, store.sealer)
        self._users = Shelf(USERS, User, store.rows, store.sealer)

    def find(self, named: str, tenant: str, *, despite_damage: bool = False) -> Person | None:
        """Find somebody by name or id: an account of that tenant, or whoever the log has a key for; None = nobody.

        With `despite_damage` a key counts that does not open, and that may be of another tenant.
        """
        user = self._store.user(named) or self._store.user_named(named)
        if user is not None and user.tenant == tenant:
            return Person(id=user.id, tenant=tenant, user=user)
        subjects = self._store.subjects
        stored = subjects.readable(named) if despite_damage else subjects.of_person(named)
        is_known = any(each.tenant == tenant for each in stored) or (despite_damage and subjects.unreadable(named))
        return Person(id=named, tenant=tenant) if is_known else None

    def subject_keys(self, person: Person) -> list[StoredSubject]:
        """List the keys under which the log seals the person, oldest first."""
        return self._of_tenant(person, self._store.subjects.of_person)

    def readable_keys(self, person: Person) -> list[StoredSubject]:
        """List those of them that open, oldest first."""
        return self._of_tenant(person, self._store.subjects.readable)

    def unreadable_keys(self, person: Person) -> list[str]:
        """List the tokens of keys of the person that do not open, hexadecimal: an erasure destroys them too."""
        return [token.hex() for name in sorted(person.sealed_as) for token in self._store.subjects.unreadable(name)]

    @staticmethod
    def _of_tenant(person: Person, keys_of: Callable[[str], list[StoredSubject]]) -> list[StoredSubject]:
        found = [each for name in person.sealed_as for each in keys_of(name) if each.tenant == person.tenant]
        return sorted(found, key=lambda stored: stored.created)

    def elsewhere(self, person: Person) -> list[str]:
        """Name the other tenants where the log has a key for somebody of the same name: perhaps the same person."""
        subjects = self._store.subjects
        known = {stored.tenant for name in person.sealed_as for stored in subjects.readable(name)}
        return sorted(known - {person.tenant})

    # Told

    def tell(self, person: Person, *, now: float) -> dict[str, Any]:
        """Return everything the state holds about the person, by kind; secrets only as being there."""
        store, id_ = self._store, person.id
        if self._is_taken(person):
            return {"account": None, "keys_of_the_log": self._keys_told(person)}
        user = person.user
        factor = store.factor(id_)
        return {
            "account": None if user is None else _account(user),
            "second_factors": [] if factor is None else [{"kind": "totp", "created": factor.created}],
            "recovery_codes_left": store.count_recovery(id_),
            "passkeys": [
                {
                    "name": passkey.name,
                    "host": passkey.relying_party,
                    "created": passkey.created,
                    "last_used": passkey.last_used,
                    "authenticator_model": passkey.aaguid,
                }
                for passkey in store.passkeys.of(id_)
            ],
            "devices": [
                {
                    "host": device.host,
                    "user_agent": device.user_agent,
                    "client_ip": device.client_ip,
                    "country": device.country,
                    "created": device.created,
                    "seen": device.seen,
                    "remembered_until": device.remembered_until,
                }
                for device in store.devices.of(id_, now=now)
            ],
            "sessions": [
                {
                    "handle": stored.session.handle,
                    "host": stored.session.host,
                    "client_ip": stored.session.client_ip,
                    "user_agent": stored.session.user_agent,
                    "country": stored.session.country,
                    "provider": stored.session.provider,
                    "created": stored.session.created,
                    "seen": stored.seen,
                    "expires": stored.session.expires,
                    "provider_tokens": self._rows.get(PROVIDER_TOKENS, stored.session.handle.encode()) is not None,
                    "portal_cookies": bool(self._rows.find(VAULTS, "session", stored.row)),
                }
                for stored in store.sessions(now=now, user_id=id_)
            ],
            "api_keys": [
                {
                    "handle": kept.key.handle,
                    "label": kept.key.label,
                    "roles": list(kept.key.roles),
                    "created": kept.key.created,
                    "expires": kept.key.expires,
                    "used": kept.used,
                    "networks": list(kept.key.networks),
                }
                for kept in store.api_keys.all(user_id=id_)
            ],
            "portal_accounts": [
                {"portal": account.upstream, "username": account.username, "since": account.since}
                for account in store.portal_accounts.of(id_)
            ],
            "letters_waiting": [
                {"matter": letter.matter.value, "to": letter.to, "created": letter.created, "expires": letter.expires}
                for letter in self._opened(OUTBOX, self._letters, person.gets)
            ],
            "mailed_codes": [
                {"expires": mailed.expires}
                for mailed in self._opened(MAILED, self._mailed, lambda mailed: mailed.user_id == id_)
            ],
            "strays": [
                {"handle": stray.handle, "client_ip": stray.address, "noticed": stray.noticed}
                for stray in self._opened(STRAYS, self._strays, lambda stray: stray.user_id == id_)
            ],
            "answers_of_detectors": [
                {
                    "detector": standing.detector,
                    "answer": standing.answer.value,
                    "since": standing.since,
                    "until": standing.until,
                }
                for standing in self._opened(STANDINGS, self._standings, partial(is_about, user_id=id_))
            ],
            "sign_ins_at_providers": [
                {
                    "provider": note.provider,
                    "at": note.at,
                    "outcome": note.outcome,
                    "claims": dict(note.claims),
                    "client_ip": note.client_ip,
                    "user_agent": note.user_agent,
                }
                for note in self._opened(PROVIDER_SIGN_INS, self._notes, person.signed_in)
            ],
            "enrolments_waiting": len(self._rows.find(ENROLMENTS, "user", self._token("user", id_))),
            "forms_waiting": len(self._rows.find(FORMS, "person", store.person(id_))),
            "keys_of_the_log": self._keys_told(person),
        }

    def _keys_told(self, person: Person) -> list[dict[str, Any]]:
        return [
            {"token": stored.token.hex(), "created": stored.created, "restricted": stored.restricted}
            for stored in self.subject_keys(person)
        ]

    def _is_taken(self, person: Person) -> bool:
        """Tell whether an account of another tenant goes by the id of somebody who has none: its data are not theirs."""
        return person.user is None and (self._store.user(person.id) or self._store.user_named(person.id)) is not None

    # Removed

    def erasure(self, person: Person, *, now: float) -> Erasure:
        """Return the entry of the journal for erasing the person now."""
        tokens = [stored.token.hex() for stored in self.readable_keys(person)]
        damaged = tuple(self.unreadable_keys(person))
        return Erasure(at=now, person=self.reference(person), tokens=(*tokens, *damaged), damaged=damaged)

    def reference(self, person: Person) -> str:
        """Return what stands for the person where no name and no pseudonym may: a look-up token, hexadecimal."""
        return self._reference(person.id, person.tenant)

    def forget(self, person: Person, erasure: Erasure, *, now: float, until: float = math.inf) -> dict[str, int]:
        """Remove everything of the person, keys first; returns how much of each kind. Repeating it does no harm.

        Keys that were made after `until` stay. The journal has the entry before: `Erasures.note`.
        """
        gone = {} if self._is_taken(person) else self._gather(person, now)
        counts = self._rows.transact(
            lambda tx: self._forget_in(tx, person, erasure, now=now, until=until), confirmed=True
        )
        for table, ids in gone.items():
            counts[table.name] = self._remove(table, ids)
        return counts

    def apply_journal(self, *, now: float) -> list[Erasure]:
        """Erase again who was erased, where this state does not know it: it was restored. Returns what was applied."""
        erasures = self.erasures.all()
        if self.erasures.are_applied(erasures):
            return []
        by_person = {erasure.person: erasure for erasure in erasures}
        for user in self._users.all():
            erasure = by_person.get(self._reference(user.id, user.tenant))
            if erasure is not None and user.created <= erasure.at:
                person = Person(id=user.id, tenant=user.tenant, user=user)
                self.forget(person, erasure, now=now, until=erasure.at)
        for erasure in erasures:
            self._destroy(erasure, now)
        self._rows.transact(lambda tx: self.erasures.mark_in(tx, erasures))
        return erasures

    def mark(self) -> None:
        """Have the state say that it went through the whole journal."""
        erasures = self.erasures.all()
        self._rows.transact(lambda tx: self.erasures.mark_in(tx, erasures))

    def _destroy(self, erasure: Erasure, now: float) -> None:
        """Remove keys that a backup brought back, and what else it has of people who had no account."""
        tokens = [bytes.fromhex(token) for token in erasure.tokens]
        self._rows.transact(lambda tx: self._store.subjects.destroy_unreadable_in(tx, tokens), confirmed=True)
        restored = self._store.subjects.of_tokens(tokens, now=now)
        for stored in restored.values():
            is_sure = stored.token.hex() not in erasure.damaged
            if not is_sure and self._reference(stored.user_id, stored.tenant) != erasure.person:
                # attack: the backup has it whole, and it is of a namesake at another tenant, who would go with it
                self._rows.transact(partial(_delete_key, stored.token), confirmed=True)
                continue
            self.forget(Person(id=stored.user_id, tenant=stored.tenant), erasure, now=now, until=erasure.at)

    def _forget_in(
        self, tx: Transaction, person: Person, erasure: Erasure, *, now: float, until: float
    ) -> dict[str, int]:
        store, id_ = self._store, person.id
        destroyed = (
            store.subjects.destroy_in(tx, name, tenant=person.tenant, until=until) for name in person.sealed_as
        )
        counts = {SUBJECT_KEYS.name: sum(destroyed)}
        if not self._is_anothers(tx, person):
            counts[USERS.name] = int(store.people.delete_in(tx, id_))
            counts |= store.forget_person_in(tx, id_)
        self.erasures.note_in(tx, erasure, now=now)
        return counts

    def _is_anothers(self, tx: Transaction, person: Person) -> bool:
        """Tell whether the account of that id is of another tenant (attack: an erasure there that reaches over here)."""
        try:
            user = self._store.people.get_in(tx, person.id)
        except SealBrokenError:
            return False
        return user is not None and user.tenant != person.tenant

    def _gather(self, person: Person, now: float) -> dict[Table, list[bytes]]:
        """List rows that no look-up token of the person finds. The sessions are still there: they say what belongs to them."""
        id_, store = person.id, self._store
        sessions = store.sessions(now=now, user_id=id_)
        devices = store.devices.of(id_, now=now)
        owner = store.person(id_)
        keys = self._attempts
        counted = [keys.current(id_), keys.factor(id_), keys.confirmation(id_)]
        counted += [keys.device(id_, device.cookie) for device in devices]
        counted += [keys.own_letter(id_, device.cookie) for device in devices]
        addresses = {stored.session.client_ip for stored in sessions} | {device.client_ip for device in devices}
        for name in person.names:
            counted += [keys.account(name), keys.typed(name), keys.typed(canonical_address(name)), keys.letter(name)]
            counted += [keys.letter(name, address) for address in addresses if address]
        counted += [keys.confirmation(id_, address) for address in addresses if address]
        return {
            PROVIDER_TOKENS: [stored.session.handle.encode() for stored in sessions],
            ATTEMPTS: counted,
            OWNERS: [row.id for row in self._rows.all(OWNERS) if row.value == owner],
            OUTBOX: self._meant(OUTBOX, self._letters, person.gets),
            MAILED: self._meant(MAILED, self._mailed, lambda mailed: mailed.user_id == id_),
            STRAYS: self._meant(STRAYS, self._strays, lambda stray: stray.user_id == id_),
            STANDINGS: self._meant(STANDINGS, self._standings, partial(is_about, user_id=id_)),
            PROVIDER_SIGN_INS: self._meant(PROVIDER_SIGN_INS, self._notes, person.signed_in),
        }

    def _remove(self, table: Table, ids: Iterable[bytes]) -> int:
        wanted, removed = list(ids), 0
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]

            def work(tx: Transaction, batch: list[bytes] = batch) -> int:
                return sum(tx.delete(table, row) for row in batch)

            removed += self._rows.transact(work, durable=table.durable)
        return removed

    def _meant(self, table: Table, shelf: Shelf[Any], is_theirs: Callable[[Any], bool]) -> list[bytes]:
        return [row.id for row, value in self._readable(table, shelf) if is_theirs(value)]

    def _opened(self, table: Table, shelf: Shelf[Any], is_theirs: Callable[[Any], bool]) -> list[Any]:
        return [value for _, value in self._readable(table, shelf) if is_theirs(value)]

    def _readable(self, table: Table, shelf: Shelf[Any]) -> Iterable[tuple[Row, Any]]:
        """Open the rows of a table that hold what the shelf is for: one that does not open names nobody."""
        for row in self._rows.all(table):
            try:
                yield row, shelf.open(row)
            except SealBrokenError:
                continue

    def _reference(self, user_id: str, tenant: str) -> str:
        return self._token("erased", f"{tenant}\0{user_id}").hex()

    def _token(self, purpose: str, value: str) -> bytes:
        return self._store.sealer.token(purpose, value)


def _account(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "tenant": user.tenant,
        "email": user.email,
        "email_verified": user.email_verified,
        "roles": [*user.roles, *user.gateway_roles],
        "password": bool(user.password),
        "password_changed": user.password_changed,
        "created": user.created,
        "last_sign_in": user.last_sign_in,
        "disabled": user.disabled,
        "until": user.until,
        "restricted": bool(user.restricted),
        "provider": user.provider,
        "issuer": user.issuer,
        "subject": user.subject,
    }


def _delete_key(token: bytes, tx: Transaction) -> bool:
    return tx.delete(SUBJECT_KEYS, token)
