"""Everything the gateway remembers: the nouns of `store` over one place, and the changes that span them.

A change that concerns an account, its factors and its sessions is one transaction. It decides nothing
about passwords or codes: it compares, sets and counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.authn.assurance import Method
from gateway.exchange.errors import KeyringError
from gateway.exchange.session import Owed, Session
from gateway.session.selection import Selection
from gateway.store.api_keys import ApiKey, ApiKeys
from gateway.store.attempt_counts import AttemptCounts
from gateway.store.devices import Devices
from gateway.store.emergencies import Emergencies
from gateway.store.enrolments import Enrolments
from gateway.store.factors import Factors
from gateway.store.forms import Forms
from gateway.store.keyring import Keyring
from gateway.store.live_sessions import LiveSessions
from gateway.store.measured import MeasuredRows, Observe
from gateway.store.passkeys import Passkey, Passkeys
from gateway.store.people import People
from gateway.store.portal_accounts import PortalAccounts
from gateway.store.records import Factor, PendingFactor, StoredSession, User
from gateway.store.redis_options import RedisOptions
from gateway.store.redis_rows import open_redis
from gateway.store.rows import Backend, Row, Table, Transaction
from gateway.store.sealing import SealBrokenError, Sealer
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.subjects import SubjectKeys
from gateway.store.tables import MARKS, SEEN, SESSIONS, TABLES

RESEAL_ROUND: Final = 500
_RESEAL_BATCH: Final = 50
_KEYRING_MARK: Final = b"keyring"


class Upkeep(msgspec.Struct, frozen=True, kw_only=True):
    """What one round of maintenance did."""

    expired: int
    """Sessions that were over anyway."""
    resealed: int
    """Values moved to the newest key."""
    healed: int
    """Generation slots that a killed process had left closed."""


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of removing a factor."""

    outcome: Literal["removed", "gone", "last"]
    """`last`: the person may not be without, so nothing happened."""
    ended: int = 0
    """Other sessions of the person that ended."""


class _GoneError(Exception):
    """The session is not there any more; undoes the transaction."""


class _OwnerError(Exception):
    """The owner is not the one any more that the key was made for; undoes the transaction."""


class _LastError(Exception):
    """It would be the last factor; undoes the transaction."""


class Store:
    """The nouns of one gateway's state. Usable from any thread.

    All methods raise `StoreUnavailableError` when the place cannot be used; nothing happened then, unless it says
    that it may have.
    """

    def __init__(
        self,
        rows: Backend,
        keyring: Keyring,
        *,
        random: Callable[[int], bytes] = os.urandom,
        is_known: bool = False,
    ) -> None:
        """Use the state in `rows`; `is_known` where the keyring was tried on it by whoever started this process.

        Raises:
            KeyringError: the state was written under another keyring.

        """
        self.rows = rows
        self.sealer = sealer = Sealer(keyring, random)
        self.api_keys = api_keys = ApiKeys(rows, sealer, random)
        self.people = people = People(rows, sealer, random, api_keys.follow_in)
        self.emergencies = Emergencies(rows, people, random)
        self.subjects = SubjectKeys(rows, sealer, random)
        self.live = live = LiveSessions(rows, sealer, random)
        self.factors = factors = Factors(rows, sealer)
        self.passkeys = Passkeys(rows, sealer)
        self.devices = Devices(rows, sealer)
        self.enrolments = enrolments = Enrolments(rows, sealer)
        self.attempts = attempts = AttemptCounts(rows)
        self.forms = forms = Forms(rows, sealer)
        self.portal_accounts = PortalAccounts(rows, sealer)
        if not is_known:
            self._require_keyring()
        # What one noun does alone, by the names under which the rest of the gateway asks for it.
        self.adopt, self.close = sealer.adopt, rows.close
        self.user, self.user_named, self.users = people.get, people.named, people.all
        self.is_disabled, self.rehash = people.is_disabled, people.rehash
        self.session, self.sessions, self.open_session = live.get, live.all, live.open
        self.end_tenant, self.end_all = live.end_tenant, live.end_all
        self.person, self.person_of = live.owner, live.owner_of
        self.factor, self.put_factor, self.advance_step = factors.get, factors.put, factors.advance_step
        self.use_recovery = factors.use_recovery
        self.count_recovery = factors.count_recovery
        self.enrolment, self.put_enrolment = enrolments.get, enrolments.put
        self.keep_form, self.take_form, self.drop_form = forms.keep, forms.take, forms.drop
        self.admit_attempt, self.forgive_attempt = attempts.admit, attempts.forgive
        self.clear_attempts, self.blocked_s = attempts.clear, attempts.blocked_s

    # Sessions

    def create_session(
        self, row: bytes, session: Session, *, stamp: str, keep: int | None, now: float, replaces: bytes = b""
    ) -> list[str] | None:
        """Store a new session if the account is still as it was when its password was checked.

        The row `replaces` ends in the same transaction, and so do the person's oldest sessions beyond `keep`.

        Returns: handles of the sessions that ended; None when the account changed and nothing was stored.

        """

        def work(tx: Transaction) -> list[str] | None:
            user = self.people.get_in(tx, session.user_id)
            if user is None or user.rests(now) or user.stamp != stamp:
                return None
            self.people.put_in(tx, msgspec.structs.replace(user, last_sign_in=now), now=now)
            ended = self.live.end_in(tx, [replaces]) if replaces else []
            self.live.put_in(tx, row, _bounded(session, user), now=now)
            return ended + self.live.trim_in(tx, session, keep=keep, now=now)

        return self.rows.transact(work, confirmed=bool(replaces) or keep is not None)

    def rotate_session(
        self, old: bytes, new: bytes, session: Session, *, keep: int | None, now: float
    ) -> list[str] | None:
        """Move a session to a new token: the old row is gone in the same transaction.

        Returns: handles of other sessions that ended for `keep`; None when the old row was gone and nothing was stored.

        """
        return self.rows.transact(lambda tx: self._rotate_in(tx, old, new, session, keep=keep, now=now), confirmed=True)

    def trim_sessions(self, session: Session, *, keep: int | None, now: float) -> list[str]:
        """End the oldest sessions of the person beyond `keep`, never this one; returns their handles."""
        return self.rows.transact(lambda tx: self.live.trim_in(tx, session, keep=keep, now=now), confirmed=True)

    def take_room(self, old: bytes, new: bytes, session: Session, *, keep: int | None, now: float) -> bool:
        """Store a session that waited as the whole one it is given as, in row `new`, if the person has fewer than `keep`.

        False when there is no room, or the waiting session is gone; nothing happened then.
        """

        def work(tx: Transaction) -> bool:
            if keep is not None and self.live.count_whole_in(tx, session, now=now) >= keep:
                return False
            return self._rotate_in(tx, old, new, session, keep=None, now=now) is not None

        return self.rows.transact(work, confirmed=True)

    def end_session(self, row: bytes) -> list[str]:
        """End the session of one row; returns its handle, or nothing."""
        return self.rows.transact(lambda tx: self.live.end_in(tx, [row]), confirmed=True)

    def end_handle(self, handle: str, *, user_id: str | None = None) -> list[StoredSession]:
        """End the session of one handle, if it is that person's."""
        return self.rows.transact(lambda tx: self.live.end_handle_in(tx, handle, user_id=user_id), confirmed=True)

    def end_provider_session(self, provider: str, session: str) -> list[StoredSession]:
        """End the sessions that began in one session of an identity provider."""
        return self.rows.transact(lambda tx: self.live.end_provider_session_in(tx, provider, session), confirmed=True)

    def end_chosen(self, selection: Selection, *, now: float) -> int:
        """End every session that is meant; returns how many."""
        if selection.is_plain and selection.user_id is not None:
            return self.end_user(selection.user_id)
        if selection.is_plain:
            return self.end_all() if selection.tenant is None else self.end_tenant(selection.tenant)
        return self.live.end_chosen(selection, now=now)

    def end_user(self, user_id: str, *, but: bytes = b"") -> int:
        """End every session of a person, except the row `but`."""
        return self.rows.transact(lambda tx: self.live.end_owner_in(tx, user_id, but=but), confirmed=True)

    # API keys

    def create_api_key(self, key: ApiKey, *, now: float) -> tuple[bytes, ApiKey] | None:
        """Store a new key and return it; None when it is for a person who is gone or does not hold its roles by now."""

        def owned(tx: Transaction, made: ApiKey) -> ApiKey:
            if made.owner_roles is None:
                return made
            user = self.people.get_in(tx, made.user_id)
            if user is None or user.tenant != made.tenant or not set(made.roles) <= set(user.roles):
                raise _OwnerError
            return msgspec.structs.replace(
                made, user=user.name, owner_roles=user.roles, owner_rests=user.lends_nothing, email=user.email
            )

        try:
            return self.api_keys.create(key, now=now, owned=owned)
        except _OwnerError:
            return None

    # Accounts

    def add_user(self, user: User, *, now: float, factor: Factor | None = None, recovery: Iterable[bytes] = ()) -> bool:
        """Store a new account with its factor; False when the name is taken."""
        codes = tuple(recovery)

        def work(tx: Transaction) -> bool:
            if not self.people.add_in(tx, user, now=now):
                return False
            if factor is not None:
                self.factors.put_in(tx, user.id, factor, codes, now=now)
            return True

        return self.rows.transact(work, confirmed=True)

    def change_user(self, old: User, new: User, *, now: float, but: bytes = b"") -> tuple[User, int] | None:
        """Store a changed account if it is still `old` and end its sessions, except the row `but`, in one transaction.

        With another password no device of the person is remembered any more.
        """

        def work(tx: Transaction) -> tuple[User, int] | None:
            stored = self.people.replace_in(tx, old, new, now=now)
            if stored is None:
                return None
            self.emergencies.note_in(tx, stored)
            if stored.password != old.password:
                self.devices.ask_again_in(tx, old.id, now=now)
            return stored, self.live.end_owner_in(tx, old.id, but=but)

        return self.rows.transact(work, confirmed=True)

    def change_password(
        self, old: User, new: User, *, row: bytes, to: bytes, session: Session, now: float
    ) -> tuple[User, int] | None:
        """Store a new password if account and session are still there, move the session, end the others: one transaction.

        Returns: the account and how many other sessions ended; None when account or session changed meanwhile.

        """

        def work(tx: Transaction) -> tuple[User, int] | None:
            current = self.people.get_in(tx, old.id)
            if current is None or current.stamp != old.stamp:
                return None
            if self._rotate_in(tx, row, to, session, keep=None, now=now) is None:
                return None
            stored = self.people.replace_in(tx, old, new, now=now)
            self.devices.ask_again_in(tx, old.id, now=now)
            return None if stored is None else (stored, self.live.end_owner_in(tx, old.id, but=to))

        return self.rows.transact(work, confirmed=True)

    def reset_user(self, old: User, new: User, *, factor: Factor | None, now: float) -> tuple[User, int] | None:
        """Store a reset account with `factor` or none: recovery codes and sessions are gone with the old password."""

        def work(tx: Transaction) -> tuple[User, int] | None:
            stored = self.people.replace_in(tx, old, new, now=now)
            if stored is None:
                return None
            self._forget_in(tx, old.id)
            if factor is not None:
                self.factors.put_in(tx, old.id, factor, (), now=now)
            return stored, self.live.end_owner_in(tx, old.id)

        return self.rows.transact(work, confirmed=True)

    def delete_user(self, user_id: str) -> int | None:
        """Delete an account with its factors and sessions; returns how many sessions ended, None when there was no account."""

        def work(tx: Transaction) -> int | None:
            if not self.people.delete_in(tx, user_id):
                return None
            return self.forget_person_in(tx, user_id)["sessions"]

        return self.rows.transact(work, confirmed=True)

    def activate(
        self,
        pending: PendingFactor,
        *,
        step: int,
        recovery: Iterable[bytes],
        row: bytes,
        to: bytes,
        session: Session,
        now: float,
    ) -> int | None:
        """Make a proven secret the person's factor, move the session to row `to` and end the person's others: one transaction.

        Without `pending.replacing` a person who meanwhile has a factor keeps it.

        Returns: how many other sessions ended; None when enrolment, session or factor changed meanwhile.

        """
        codes = tuple(recovery)

        def work(tx: Transaction) -> int | None:
            if self.enrolments.get_in(tx, session.handle, now=now) != pending:
                return None
            if self.factors.has_in(tx, pending.user_id) is not pending.replacing:
                return None
            if self._rotate_in(tx, row, to, session, keep=None, now=now) is None:
                return None
            factor = Factor(secret=pending.secret, created=now, last_step=step)
            self.factors.put_in(tx, pending.user_id, factor, codes, now=now)
            self.enrolments.delete_in(tx, pending.user_id)
            self.devices.ask_again_in(tx, pending.user_id, now=now)
            return self.live.end_owner_in(tx, pending.user_id, but=to)

        return self.rows.transact(work, confirmed=True)

    # Factors

    def factors_of(self, user: User) -> frozenset[Method]:
        """Say what a person has; recovery codes are no factor."""
        return _factors(user, totp=self.factors.get(user.id) is not None, passkeys=bool(self.passkeys.of(user.id)))

    def add_passkey(
        self,
        passkey: Passkey,
        *,
        recovery: Iterable[bytes],
        row: bytes,
        to: bytes,
        session: Session,
        now: float,
    ) -> int | None:
        """Store a new passkey and move the session to row `to`, in one transaction; `recovery` replaces codes where there are any in it.

        Sessions of the person that wait for a first factor end: there is one now, and whoever has a password alone must
        not add another. Returns how many; None when the passkey is somebody's already, the person has as many as can be,
        or the session is gone.
        """
        codes = tuple(recovery)

        def work(tx: Transaction) -> int | None:
            if not self.passkeys.add_in(tx, passkey, now=now):
                return None
            if self._rotate_in(tx, row, to, session, keep=None, now=now) is None:
                raise _GoneError
            if codes:
                self.factors.put_recovery_in(tx, passkey.user_id, codes, now=now)
            self.devices.ask_again_in(tx, passkey.user_id, now=now)
            return len(self.live.end_owing_in(tx, passkey.user_id, Owed.ENROLMENT, but=to))

        try:
            return self.rows.transact(work, confirmed=True)
        except _GoneError:
            return None

    def remove_factor(
        self,
        user: User,
        passkey: Passkey | None,
        *,
        may_be_last: bool,
        row: bytes,
        to: bytes,
        session: Session,
        now: float,
    ) -> Removed:
        """Remove a passkey, or the TOTP factor where there is none given; move the session, end the others: one transaction.

        With the last factor go the recovery codes. Nothing happens where that is not allowed.
        """

        def work(tx: Transaction) -> Removed:
            if passkey is None:
                known = self.factors.remove_totp_in(tx, user.id)
                self.enrolments.delete_in(tx, user.id)
            else:
                known = self.passkeys.remove_in(tx, passkey)
            if not known:
                return Removed(outcome="gone")
            if self._rotate_in(tx, row, to, session, keep=None, now=now) is None:
                raise _GoneError
            if not self.factors.has_in(tx, user.id) and not self.passkeys.of_in(tx, user.id):
                if not may_be_last:
                    raise _LastError
                self.factors.delete_in(tx, user.id)
            self.devices.ask_again_in(tx, user.id, now=now)
            return Removed(outcome="removed", ended=self.live.end_owner_in(tx, user.id, but=to))

        try:
            return self.rows.transact(work, confirmed=True)
        except _GoneError:
            return Removed(outcome="gone")
        except _LastError:
            return Removed(outcome="last")

    def replace_recovery(self, user_id: str, codes: Iterable[bytes], *, now: float) -> bool:
        """Void a person's recovery codes and store new ones; False when the person has no factor."""
        fresh = tuple(codes)

        def work(tx: Transaction) -> bool:
            if not self.factors.has_in(tx, user_id) and not self.passkeys.of_in(tx, user_id):
                return False
            self.factors.put_recovery_in(tx, user_id, fresh, now=now)
            return True

        return self.rows.transact(work, confirmed=True)

    # Privacy

    def restrict(
        self, user_id: str, *, tenant: str, restricted: bool, now: float, aliases: Iterable[str] = ()
    ) -> int | None:
        """Restrict the processing of a person's data, or lift that (Art. 18 GDPR); returns how many sessions ended.

        Nothing is deleted. `aliases` are other names under which the log seals the person. None when there was nothing to change.
        """

        def work(tx: Transaction) -> int | None:
            changed = sum(
                self.subjects.restrict_in(tx, name, tenant=tenant, restricted=restricted)
                for name in {user_id, *aliases}
            )
            user = self.people.get_in(tx, user_id)
            if user is not None and user.tenant != tenant:  # attack: somebody of another organisation has the same id
                return 0 if changed else None
            if user is not None and bool(user.restricted) is not restricted:
                changed += 1
                was = "disabled" if user.disabled else "enabled"
                self.people.replace_in(
                    tx,
                    user,
                    msgspec.structs.replace(
                        user,
                        restricted=was if restricted else "",
                        disabled=restricted or user.restricted == "disabled",
                    ),
                    now=now,
                )
            ended = self.live.end_owner_in(tx, user_id) if restricted else 0
            return ended if changed else None

        return self.rows.transact(work, confirmed=True)

    # Upkeep

    def maintain(self, *, now: float) -> Upkeep:
        """Remove what is over, move some values to the newest key, heal generation slots. Call about once a minute."""
        expired = self.live.sweep(now)
        for table in TABLES:
            if table not in (SESSIONS, SEEN):
                self.rows.sweep(table, now)
        return Upkeep(expired=expired, resealed=self._reseal(now), healed=self.rows.heal())

    def key_use(self) -> dict[int, int]:
        """Count the values sealed under each key version."""
        use: dict[int, int] = {}
        for table in TABLES:
            for version, count in self.rows.keys(table).items():
                if version:
                    use[version] = use.get(version, 0) + count
        return use

    def _reseal(self, now: float) -> int:
        """Seal some old values again, under the newest key."""
        newest = self.sealer.version(now)
        done = 0
        for table in TABLES:
            found = self.rows.outdated(table, newest, RESEAL_ROUND - done)
            for start in range(0, len(found), _RESEAL_BATCH):
                done += self._reseal_batch(table, found[start : start + _RESEAL_BATCH], now)
        return done

    def _reseal_batch(self, table: Table, found: list[Row], now: float) -> int:
        def work(tx: Transaction) -> int:
            done = 0
            current = tx.get_many(table, [row.id for row in found])
            for row in found:
                if current.get(row.id) != row:
                    continue  # changed or gone meanwhile
                try:
                    value = self.sealer.open(table.name, row.id, row.value)
                except SealBrokenError:
                    continue  # whoever asks for it gets the error
                key, sealed = self.sealer.seal(table.name, row.id, value, now)
                tx.put(table, msgspec.structs.replace(row, key=key, value=sealed))
                done += 1
            return done

        return self.rows.transact(work)

    # Inside a transaction

    def _rotate_in(
        self, tx: Transaction, old: bytes, new: bytes, session: Session, *, keep: int | None, now: float
    ) -> list[str] | None:
        user = self.people.get_in(tx, session.user_id)
        if user is None or user.rests(now):
            return None
        return self.live.rotate_in(tx, old, new, _bounded(session, user), keep=keep, now=now)

    def forget_person_in(self, tx: Transaction, user_id: str) -> dict[str, int]:
        """Remove everything that look-up tokens find of a person beside the account itself; returns how much by kind."""
        passkeys = self.passkeys.remove_all_in(tx, user_id)
        self._forget_in(tx, user_id)
        self.portal_accounts.drop_person_in(tx, user_id)
        return {
            "passkeys": passkeys,
            "api_keys": self.api_keys.end_owner_in(tx, user_id),
            "sessions": self.live.end_owner_in(tx, user_id),
        }

    def _forget_in(self, tx: Transaction, user_id: str) -> None:
        """Remove what a person leaves behind beside the account and its sessions."""
        self.factors.delete_in(tx, user_id)
        self.passkeys.remove_all_in(tx, user_id)
        self.devices.forget_all_in(tx, user_id)
        self.enrolments.delete_in(tx, user_id)
        self.forms.drop_person_in(tx, self.live.owner(user_id))

    def _require_keyring(self) -> None:
        """Refuse a keyring that did not write this state, before anything is sealed under it."""
        mark = Row(id=_KEYRING_MARK, value=self.sealer.token("keyring", "mark"))

        def leave(tx: Transaction) -> Row:
            found = tx.get(MARKS, _KEYRING_MARK)
            if found is None:
                tx.put(MARKS, mark)
            return found or mark

        stored = self.rows.get(MARKS, _KEYRING_MARK) or self.rows.transact(leave)
        if stored.value != mark.value:
            raise KeyringError(
                f"{self.rows.place}: was written under another keyring; put that keyring back, or use a state that is empty"
            )


def _factors(user: User, *, totp: bool, passkeys: bool) -> frozenset[Method]:
    found = {Method.TOTP} if totp else set()
    if passkeys:
        found.add(Method.WEBAUTHN)
    if user.email and user.email_verified:
        found.add(Method.EMAIL)
    return frozenset(found)


def open_store(
    state_dir: Path,
    keyring: Keyring,
    *,
    redis: RedisOptions | None = None,
    create: bool = False,
    observe: Observe | None = None,
) -> Store:
    """Open the state in Redis, or without `redis` in a file; with `create` make what is missing of it.

    Raises:
        KeyringError: the state was written under another keyring.
        StoreUnavailableError: it is missing, damaged, locked or not ours.

    """
    rows: Backend = SQLiteRows(state_dir, create=create) if redis is None else open_redis(redis)
    try:
        return Store(rows if observe is None else MeasuredRows(rows, observe), keyring)
    except BaseException:
        rows.close()
        raise


def _bounded(session: Session, user: User) -> Session:
    """Return a session that does not outlive its account: every one that begins or grows is stored through here."""
    if not user.until:
        return session
    return msgspec.structs.replace(session, until=user.until, expires=min(session.expires, user.until))
