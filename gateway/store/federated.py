"""What is remembered of identity providers and of the people they vouch for.

People are accounts like any other, found by issuer and subject; roles and tenant are what the provider's table gave
at the last sign-in. It judges no answer of a provider.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, Final

import msgspec

from gateway.authn.claims import Mapped, Step
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.provider_tokens import KeptTokens, ProviderTokens
from gateway.store.records import User
from gateway.store.rows import Row, Transaction
from gateway.store.shelf import Shelf
from gateway.store.state import Store
from gateway.store.tables import PROVIDER_METADATA, PROVIDER_SIGN_INS, SPENT, USERS

KEPT_SIGN_INS: Final = 100
"""Of each provider; at one more the oldest goes."""
SIGN_IN_S: Final = 7 * 86_400.0
_ID_BYTES: Final = 16
_STAMP_BYTES: Final = 16


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document as it came. A format on disk."""

    document: bytes
    fetched: float


class _Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the next sign-in of a provider is noted. A format on disk."""

    next: int


class SignInNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sign-in at a provider and what came of it. A format on disk; times are unix seconds."""

    provider: str
    at: float
    request_id: str
    outcome: str
    """`signed_in`, or the `Reason` of the refusal."""
    fault: str = ""
    error: str = ""
    """Registered error code of the provider."""
    user: str = ""
    user_id: str = ""
    tenant: str = ""
    roles: tuple[str, ...] = ()
    claims: Mapping[str, Any] = {}
    """As they came, without tokens and without what only proves that they are genuine."""
    steps: tuple[Step, ...] = ()
    client_ip: str = ""
    user_agent: str = ""


class FederatedStore:
    """All of it, for one process. Methods raise `StoreUnavailableError` and `OverloadedError`."""

    def __init__(
        self,
        store: Store,
        *,
        keyring: Keyring,
        executor: BoundedExecutor,
        longest_s: float,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Use the state in `store`; no session lives longer than `longest_s`."""
        self._longest_s = longest_s
        self._store = store
        self._rows = store.rows
        self._run = executor.run
        self._random = random
        self._metadata = Shelf(PROVIDER_METADATA, _Metadata, store.rows, store.sealer)
        self._tokens = ProviderTokens(store.rows, store.sealer, keyring, random)
        self._heads = Shelf(PROVIDER_SIGN_INS, _Head, store.rows, store.sealer)
        self._notes = Shelf(PROVIDER_SIGN_INS, SignInNote, store.rows, store.sealer)
        self._users = Shelf(USERS, User, store.rows, store.sealer)

    # Metadata

    async def load(self, provider: str, *, now: float) -> bytes | None:
        """Return the metadata that was kept last."""
        found = await self._run(partial(self._metadata.get, _row("metadata", provider), now=now))
        return None if found is None else found.document

    async def keep(self, provider: str, document: bytes, *, now: float, expires: float) -> None:
        """Keep metadata in place of what was there."""

        def work(tx: Transaction) -> None:
            value = _Metadata(document=document, fetched=now)
            self._metadata.put_in(tx, _row("metadata", provider), value, now=now, expires=expires)

        await self._run(partial(self._rows.transact, work))

    # What is good once

    async def spend(self, kind: str, value: bytes, *, now: float, expires: float) -> bool:
        """Note that something was used; False when it was used before. It is forgotten at `expires`."""
        row = _row(kind, value.hex())

        def work(tx: Transaction) -> bool:
            found = tx.get(SPENT, row)
            if found is not None and (found.expires is None or now < found.expires):
                return False
            tx.put(SPENT, Row(id=row, value=b"", expires=expires))
            return True

        return await self._run(partial(self._rows.transact, work, durable=False, confirmed=True))

    async def is_spent(self, kind: str, value: bytes, *, now: float) -> bool:
        """Tell whether something was used before, as far as it is not forgotten."""
        found = await self._run(partial(self._rows.get, SPENT, _row(kind, value.hex())))
        return found is not None and (found.expires is None or now < found.expires)

    # People

    async def vouch(self, provider: str, mapped: Mapped, *, now: float) -> User | None:
        """Find or make the account of a person whom a provider vouches for, as its table says now.

        Where name, tenant, roles or address changed, every session of the person ends: each carries what was true before.

        Returns: the account; None when its name is another's: accounts are never joined by name.

        """
        return await self._run(partial(self._vouch, provider, mapped, now))

    def _vouch(self, provider: str, mapped: Mapped, now: float) -> User | None:
        for _ in range(3):  # somebody else may be making or changing the same account
            known = self._store.people.of_subject(mapped.issuer, mapped.subject)
            wanted = self._wanted(known, provider, mapped, now)
            if known == wanted:
                return known
            stored = self._rows.transact(partial(self._store_in, known, wanted, now), confirmed=True)
            if stored is not None:
                return stored
            named = self._store.people.named(mapped.user)
            if named is not None and (known is None or named.id != known.id):
                return None
        return None

    def _wanted(self, known: User | None, provider: str, mapped: Mapped, now: float) -> User:
        """Say how the account should look."""
        if known is None:
            return User(
                id=f"u_{self._random(_ID_BYTES).hex()}",
                stamp=self._random(_STAMP_BYTES).hex(),
                name=mapped.user,
                tenant=mapped.tenant,
                roles=mapped.roles,
                email=mapped.email,
                email_verified=bool(mapped.email),
                password="",
                password_changed=0.0,
                created=now,
                provider=provider,
                issuer=mapped.issuer,
                subject=mapped.subject,
            )
        return msgspec.structs.replace(
            known,
            name=mapped.user,
            tenant=mapped.tenant,
            roles=mapped.roles,
            email=mapped.email,
            email_verified=bool(mapped.email),
            provider=provider,
        )

    def _store_in(self, known: User | None, wanted: User, now: float, tx: Transaction) -> User | None:
        people = self._store.people
        if known is None:
            return wanted if people.add_in(tx, wanted, now=now) else None
        current = people.get_in(tx, known.id)
        if current is None or current.stamp != known.stamp:
            return None
        if wanted.name != known.name and tx.count(USERS, "name", self._users.token("name", wanted.name)):
            return None
        stored = msgspec.structs.replace(wanted, stamp=self._random(_STAMP_BYTES).hex())
        people.put_in(tx, stored, now=now)
        said = (stored.name, stored.tenant, stored.roles, stored.email)
        if said != (known.name, known.tenant, known.roles, known.email):
            self._store.live.end_owner_in(tx, known.id)
        return stored

    # Sessions

    async def end_provider_session(self, provider: str, session: str) -> list[tuple[str, str, str, str]]:
        """End the sessions that began in one session of a provider; handle, user id, name and tenant of each."""
        return await self._run(partial(self._end_provider_session, provider, session))

    def _end_provider_session(self, provider: str, session: str) -> list[tuple[str, str, str, str]]:
        ended = self._store.end_provider_session(provider, session)
        return [(s.session.handle, s.session.user_id, s.session.user, s.session.tenant) for s in ended]

    async def end_subject(
        self, provider: str, issuer: str, subject: str, *, now: float, unnamed: bool = False
    ) -> tuple[User, int] | None:
        """End every session of the person whom a provider calls `subject`; None when nobody is known by that name.

        With `unnamed` only those of which the provider did not say which of its own sessions they are.
        """
        return await self._run(partial(self._end_subject, provider, issuer, subject, now, unnamed=unnamed))

    def _end_subject(
        self, provider: str, issuer: str, subject: str, now: float, *, unnamed: bool
    ) -> tuple[User, int] | None:
        user = self._store.people.of_subject(issuer, subject)
        if user is None or user.provider != provider:
            return None
        if not unnamed:
            return user, self._store.end_user(user.id)
        own = self._store.sessions(now=now, user_id=user.id)
        unnamed_rows = [other.row for other in own if not other.session.provider_session]
        return user, sum(len(self._store.end_session(row)) for row in unnamed_rows)

    # Tokens

    async def put_tokens(self, token: bytes, handle: str, provider: str, packed: bytes, *, now: float) -> bool:
        """Keep what a provider gave for a session; see `ProviderTokens.put`."""
        keep = partial(self._tokens.put, token, handle, provider, packed, now=now, expires=now + self._longest_s)
        return await self._run(keep)

    async def tokens(self, token: bytes, handle: str, *, now: float) -> KeptTokens | None:
        """Return the tokens of a session; None when there are none that this cookie opens."""
        return await self._run(partial(self._tokens.get, token, handle, now=now))

    async def carry(self, old: bytes, new: bytes, handle: str, *, now: float) -> None:
        """Seal the tokens of a session anew, whose cookie changed."""
        await self._run(partial(self._tokens.carry, old, new, handle, now=now))

    async def drop_tokens(self, handle: str) -> None:
        """Remove the tokens of a session."""
        await self._run(partial(self._tokens.drop, handle))

    async def lease(self, handle: str, *, version: int, holder: str, now: float, until: float) -> bool:
        """Take the right to refresh the tokens of a session; see `ProviderTokens.lease`."""
        lease = partial(self._tokens.lease, handle, version=version, holder=holder, now=now, until=until)
        return await self._run(lease)

    async def renew_tokens(self, token: bytes, handle: str, packed: bytes, *, holder: str, now: float) -> bool:
        """Store refreshed tokens and give the lease back; see `ProviderTokens.renew`."""
        return await self._run(partial(self._tokens.renew, token, handle, packed, holder=holder, now=now))

    # What operators ask about

    async def note(self, note: SignInNote) -> None:
        """Remember a sign-in for a week, in place of the oldest of that provider."""
        await self._run(partial(self._note, note))

    def _note(self, note: SignInNote) -> None:
        head_row = _row("sign-ins", note.provider)

        def work(tx: Transaction) -> None:
            head = self._heads.get_in(tx, head_row, now=note.at)
            slot = 0 if head is None else head.next
            expires = note.at + SIGN_IN_S
            self._heads.put_in(tx, head_row, _Head(next=(slot + 1) % KEPT_SIGN_INS), now=note.at, expires=expires)
            self._notes.put_in(
                tx,
                _row(f"sign-in {slot}", note.provider),
                note,
                now=note.at,
                tokens={"provider": self._notes.token("provider", note.provider)},
                expires=expires,
            )

        self._rows.transact(work, durable=False)

    def sign_ins(self, provider: str, *, now: float) -> list[SignInNote]:
        """List the sign-ins at a provider that are remembered, the latest first. Reads in the caller's thread."""
        found = self._notes.find("provider", self._notes.token("provider", provider), now=now)
        return sorted(found, key=lambda note: note.at, reverse=True)


def _row(purpose: str, name: str) -> bytes:
    return sha256(f"gateway {purpose}\0{name}".encode()).digest()
