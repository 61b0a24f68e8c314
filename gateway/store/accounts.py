"""What a person can do with an account: sign in, prove a second factor, manage sessions and secrets.

The pages call this and nothing else of the store. Each method decides whole: throttling, hashing,
compare-and-set and session rotation happen here, so a page cannot forget one. It renders nothing,
sets no cookie and writes no audit record; each result carries the events that the record must say.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from gateway.authn import recovery, totp
from gateway.authn.assurance import Method, Signal
from gateway.authn.password import SALT_BYTES, BreachedPasswords, Hasher
from gateway.authn.throttle import ACCOUNT, FACTOR
from gateway.exchange.envelope import Event
from gateway.exchange.notice import Circumstances, Notice
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed, Session
from gateway.session.token import (
    is_handle,
    row_of,
)
from gateway.store.account_options import AccountOptions
from gateway.store.admission import Admission, Admissions
from gateway.store.attempts import AttemptKeys
from gateway.store.breach_online import OnlineBreachedPasswords
from gateway.store.executor import BoundedExecutor, OverloadedError
from gateway.store.keyring import Keyring
from gateway.store.new_passwords import NewPasswords
from gateway.store.openings import (
    Client,
    Openings,
    Refused,
    SignedIn,
    event_of,
    refused,
    revoked_events,
    session_event,
)
from gateway.store.records import Factor, PendingFactor, StoredSession, User
from gateway.store.state import Store

ENROLMENT_S: Final = 600.0
"""A secret waits ten minutes for its first code."""
LONGEST_RETRY_S: Final = 86_400
MANY_FAILURES: Final = 5
"""More failed attempts than these make a sign-in unusual (`mfa.required: risk`)."""


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """A TOTP secret waiting for its first code. Valid for ten minutes and for this session alone."""

    secret: str
    """Base32 without padding."""
    uri: str
    """`otpauth://totp/...` for the QR code."""
    expires: float
    events: tuple[Event, ...] = ()
    """The code that was spent to get here."""


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """The factor is active; the codes are shown once and exist nowhere in the clear."""

    token: bytes
    session: Session
    recovery_codes: tuple[str, ...]
    events: tuple[Event, ...]
    device: bytes = b""
    """The browser's device cookie from now on; empty = it keeps the one it has."""


class RecoveryCodes(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh set; every earlier code is void."""

    codes: tuple[str, ...]
    events: tuple[Event, ...]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """It happened, to `count` sessions."""

    count: int
    events: tuple[Event, ...]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One session of the person, for the account page."""

    handle: str
    current: bool
    created: float
    seen: float
    expires: float
    client_ip: str
    user_agent: str
    amr: tuple[str, ...]


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """What the account page shows."""

    session: Session
    has_totp: bool
    recovery_codes_left: int
    password_changed: float
    """Unix seconds."""
    devices: tuple[Device, ...]
    """Current session first, then by last seen, newest first."""
    remembered_devices: int = 0
    """How many browsers are not asked for a second factor."""


class Accounts:
    """All of it, for one process. Methods raise `StoreUnavailableError` (503, nobody is signed out) and `OverloadedError` (503)."""

    def __init__(
        self,
        store: Store,
        *,
        options: AccountOptions,
        keyring: Keyring,
        hasher: Hasher,
        breached: BreachedPasswords | None,
        online: OnlineBreachedPasswords | None = None,
        store_executor: BoundedExecutor,
        hashing_executor: BoundedExecutor,
        random: Callable[[int], bytes] = os.urandom,
        country: Callable[[str], str] | None = None,
        tell: Callable[[str, Notice, Circumstances], None] | None = None,
        holds: Callable[[str, float], bool] | None = None,
    ) -> None:
        """Serve the accounts of `store`; `country` and `tell` are as for `Openings`, `holds` as for `Admissions`."""
        self._store = store
        self._options = options
        self._openings = Openings(store, options=options, random=random, country=country, tell=tell)
        self._keys = AttemptKeys(keyring)
        self._recovery_key = recovery_key(keyring)
        self._hasher = hasher
        self._passwords = NewPasswords(
            options.passwords,
            hasher=hasher,
            breached=breached,
            online=online,
            threads=hashing_executor.run,
            random=random,
        )
        self._admissions = Admissions(store, self._keys, holds)
        self._tell = tell
        self._run = store_executor.run
        self._hash = hashing_executor.run
        self._random = random

    @property
    def options(self) -> AccountOptions:
        """What gateway.yaml says."""
        return self._options

    @property
    def passwords(self) -> NewPasswords:
        """What judges new passwords."""
        return self._passwords

    @property
    def openings(self) -> Openings:
        """Where sessions begin, for ways to sign in that need no password; runs in the store's thread."""
        return self._openings

    async def identify(self, token: bytes, *, client: Client, now: float) -> Session | None:
        """Find the live session of a cookie value, bound to `client.host` and to TLS or not."""
        stored = await self._run(partial(self._openings.live, token, client, now))
        return None if stored is None else stored.session

    async def sign_in(
        self, name: str, password: str, *, client: Client, now: float, replaces: bytes = b""
    ) -> SignedIn | Refused:
        """Check a name and a password; `replaces` is the token of the cookie that came along: its session ends.

        An unknown name costs the same work and gets the same answer as a wrong password. Attempts are
        charged before they are checked, on the canonical name and on the network.
        """
        admission = await self._run(partial(self._admissions.admit, name, client=client, now=now))
        user = admission.user
        if admission.told_s:
            event = event_of("login.locked", user, reason=Reason.TOO_MANY_ATTEMPTS, account=admission.account)
            return _too_many(admission.told_s, event)
        try:
            known = None if user is None or not user.password else user.password
            matches = await self._hash(partial(self._hasher.matches, known, password))
        except OverloadedError:  # nothing was checked, so nothing is charged
            await self._run(partial(self._admissions.forgive, admission))
            raise
        if admission.is_held:  # says no more to the person than a wrong password does
            event = event_of("login.locked", user, reason=Reason.TOO_MANY_ATTEMPTS, account=admission.account)
            return refused(Reason.CREDENTIALS_REFUSED, event)
        if user is None or not matches or user.rests(now):
            event = event_of("login.failed", user, reason=Reason.CREDENTIALS_REFUSED, account=admission.account)
            return refused(Reason.CREDENTIALS_REFUSED, event)
        renewed = await self._rehashed(user, password)
        return await self._run(
            partial(self._open_session, user, renewed, client, admission=admission, replaces=replaces, now=now)
        )

    async def verify_code(
        self, token: bytes, code: str, *, client: Client, now: float, remember: bool = False
    ) -> SignedIn | Refused:
        """Take a TOTP or recovery code; the session is rotated and owes nothing any more. Also the step-up of a complete session."""
        proven = await self._run(partial(self._verify_code, token, code, client, now, remember=remember))
        if any(event.name == "recovery.used" for event in proven.events):
            await self._run(partial(self._told, proven.events[0].user_id, Notice.RECOVERY_USED, client))
        return proven

    async def begin_enrolment(self, token: bytes, *, client: Client, now: float, code: str = "") -> Enrolment | Refused:
        """Make (or show again) the TOTP secret of this session's enrolment.

        A person who already has a factor gives its `code` (else FRESH_SIGN_IN_REQUIRED); showing again needs
        none. A complete session without a factor must have given its password within a quarter of an hour.
        """
        return await self._run(partial(self._begin_enrolment, token, code, client, now))

    async def confirm_enrolment(self, token: bytes, code: str, *, client: Client, now: float) -> Enrolled | Refused:
        """Activate the secret by its first code: the session is rotated, every other session of the person ends."""
        enrolled = await self._run(partial(self._confirm_enrolment, token, code, client, now))
        if isinstance(enrolled, Enrolled):
            await self._run(partial(self._told, enrolled.session.user_id, Notice.FACTOR_ADDED, client))
        return enrolled

    async def account(self, token: bytes, *, client: Client, now: float) -> AccountView | Refused:
        """Everything the account page shows; refuses a session that still owes a factor."""
        return await self._run(partial(self._account, token, client, now))

    async def change_password(
        self, token: bytes, current: str, new: str, *, client: Client, now: float, code: str = ""
    ) -> SignedIn | Refused:
        """Replace the password: needs the current one and, with a factor, a fresh code. Rotates this session, ends the others."""
        found = await self._run(partial(self._openings.whole, token, client, now))
        if isinstance(found, Refused):
            return found
        user = await self._run(partial(self._store.user, found.session.user_id))
        if user is None:
            return refused(Reason.SESSION_EXPIRED)
        alone = not self._options.mfa_always and await self._run(partial(self._is_alone, user))
        objection = await self._passwords.object(new, user, alone=alone)
        if objection is not None:
            return Refused(reason=Reason.PASSWORD_REFUSED, problem=objection.sentence, score=objection.score)
        keys = [(self._keys.current(user.id), ACCOUNT)]
        wait = await self._run(partial(self._store.admit_attempt, keys, now=now))
        if wait:
            return _too_many(wait, session_event("login.locked", found.session, reason=Reason.TOO_MANY_ATTEMPTS))
        try:
            matches = await self._hash(partial(self._hasher.matches, user.password or None, current))
            if not matches:
                event = session_event("login.failed", found.session, reason=Reason.CREDENTIALS_REFUSED)
                return refused(Reason.CREDENTIALS_REFUSED, event)
            phc = await self._passwords.hash(new)
        except OverloadedError:
            await self._run(partial(self._store.forgive_attempt, keys))
            raise
        await self._run(partial(self._store.forgive_attempt, keys))
        changed = await self._run(partial(self._change_password, found, user, phc, code, now))
        if isinstance(changed, SignedIn):
            await self._run(partial(self._told, user.id, Notice.PASSWORD_CHANGED, client))
        return changed

    async def replace_recovery_codes(
        self, token: bytes, code: str, *, client: Client, now: float
    ) -> RecoveryCodes | Refused:
        """Make ten new codes against a fresh code."""
        made = await self._run(partial(self._replace_recovery_codes, token, code, client, now))
        if isinstance(made, RecoveryCodes):
            await self._run(partial(self._told, made.events[-1].user_id, Notice.RECOVERY_REPLACED, client))
        return made

    async def waiting_for(self, token: bytes, *, client: Client, now: float) -> tuple[Device, ...] | Refused:
        """List the whole sessions of the person whose session waits until one of them has ended, longest unused first."""
        return await self._run(partial(self._waiting_for, token, client, now))

    async def make_room(self, token: bytes, handle: str, *, client: Client, now: float) -> SignedIn | Refused:
        """End a session of the person so that the one that waits goes on; TOO_MANY_SESSIONS while it cannot."""
        return await self._run(partial(self._openings.make_room, token, handle, client=client, now=now))

    async def revoke_session(self, token: bytes, handle: str, *, client: Client, now: float) -> Done | Refused:
        """End one session of the same person by its handle; unknown handles and other people's count as 0."""
        return await self._run(partial(self._revoke_session, token, handle, client, now))

    async def revoke_others(self, token: bytes, *, client: Client, now: float) -> Done | Refused:
        """End every session of the person but this one."""
        done = await self._run(partial(self._revoke_others, token, client, now))
        if isinstance(done, Done) and done.count:
            await self._run(partial(self._told, done.events[0].user_id, Notice.SESSIONS_REVOKED, client))
        return done

    async def forget_devices(self, token: bytes, *, client: Client, now: float) -> Done | Refused:
        """Remember no device of the person any more: each is asked for a second factor again. `count` devices were."""
        return await self._run(partial(self._forget_devices, token, client, now))

    async def sign_out(self, token: bytes, *, client: Client, now: float) -> Done:
        """End the session of the token; no session counts as done."""
        return await self._run(partial(self._sign_out, token, client, now))

    # Everything below runs in the store's thread.

    def _told(self, user_id: str, notice: Notice, client: Client) -> None:
        """Have the owner of an account told what was done to it, and from where."""
        if self._tell is not None:
            where = Circumstances(address=client.ip, device=client.user_agent, language=client.language)
            self._tell(user_id, notice, where)

    def _open_session(
        self,
        user: User,
        renewed: str | None,
        client: Client,
        *,
        admission: Admission,
        replaces: bytes,
        now: float,
    ) -> SignedIn | Refused:
        failures = self._store.attempts.failures(self._keys.account(user.name))
        signals = frozenset({Signal.MANY_FAILURES} if failures > MANY_FAILURES else ())
        opened = self._openings.open(user, amr=("pwd",), client=client, now=now, replaces=replaces, signals=signals)
        if isinstance(opened, SignedIn):
            self._admissions.settle(admission)
            if renewed is not None:
                self._store.rehash(user.id, old=user.password, new=renewed, now=now)
        return opened

    def _verify_code(
        self, token: bytes, code: str, client: Client, now: float, *, remember: bool
    ) -> SignedIn | Refused:
        stored = self._openings.live(token, client, now)
        if stored is None:
            return refused(Reason.SESSION_EXPIRED)
        if stored.session.owes in {Owed.ENROLMENT, Owed.DEVICE}:
            return self._openings.debt_of(stored.session) or refused(Reason.FORM_EXPIRED)
        if not code.strip():
            return refused(Reason.CODE_REFUSED)
        taken = self._take_code(stored.session, code, now)
        if isinstance(taken, Refused):
            return taken
        return self._openings.elevate(token, method="otp", client=client, now=now, spent=taken, remember=remember)

    def _begin_enrolment(self, token: bytes, code: str, client: Client, now: float) -> Enrolment | Refused:
        stored = self._openings.live(token, client, now)
        if stored is None:
            return refused(Reason.SESSION_EXPIRED)
        session = stored.session
        if session.owes in {Owed.MFA, Owed.DEVICE}:
            return self._openings.debt_of(session) or refused(Reason.FORM_EXPIRED)
        if session.owes is Owed.ROOM:  # attack: a remembered device proved no factor today
            return refused(Reason.TOO_MANY_SESSIONS)
        if Method.TOTP not in self._options.rule.methods:
            return refused(Reason.MFA_ENROLMENT_REQUIRED)
        pending = self._store.enrolment(session.handle, now=now)
        if pending is not None and pending.user_id == session.user_id:
            return self._shown(pending, session)
        has_factor = self._store.factor(session.user_id) is not None
        spent: tuple[Event, ...] = ()
        if has_factor:
            taken = self._take_code(session, code, now)
            if isinstance(taken, Refused):
                return taken
            spent = taken
        elif session.owes is Owed.NOTHING and not self._openings.is_fresh(session, now):
            return refused(Reason.FRESH_SIGN_IN_REQUIRED)
        pending = PendingFactor(
            user_id=session.user_id,
            secret=totp.make_secret(self._random(totp.SECRET_BYTES)),
            expires=now + ENROLMENT_S,
            replacing=has_factor,
        )
        self._store.put_enrolment(session.handle, pending, now=now)
        return self._shown(pending, session, spent)

    def _confirm_enrolment(self, token: bytes, code: str, client: Client, now: float) -> Enrolled | Refused:
        stored = self._openings.live(token, client, now)
        if stored is None:
            return refused(Reason.SESSION_EXPIRED)
        if stored.session.owes in {Owed.MFA, Owed.DEVICE}:
            return self._openings.debt_of(stored.session) or refused(Reason.FORM_EXPIRED)
        if stored.session.owes is Owed.ROOM:
            return refused(Reason.TOO_MANY_SESSIONS)
        pending = self._store.enrolment(stored.session.handle, now=now)
        if pending is None or pending.user_id != stored.session.user_id:
            return refused(Reason.FORM_EXPIRED)
        step = totp.step_of(pending.secret, totp.parse_code(code) or "", after=0, now=now)
        if step is None:
            event = session_event("factor.failed", stored.session, reason=Reason.CODE_REFUSED)
            return refused(Reason.CODE_REFUSED, event)
        grown = self._openings.grow(stored.session, method="otp", client=client, now=now)
        session = grown.session
        codes = self._make_codes()
        moved = self._openings.new_token()
        ended = self._store.activate(
            pending,
            step=step,
            recovery=self._digests(codes, session.user_id),
            row=stored.row,
            to=row_of(moved),
            session=session,
            now=now,
        )
        if ended is None:
            return refused(Reason.FORM_EXPIRED)
        self._store.clear_attempts([self._keys.factor(session.user_id)])
        events = (session_event("factor.enrolled", session), session_event("session.rotated", session), *grown.events)
        return Enrolled(
            token=moved,
            session=session,
            recovery_codes=codes,
            events=(*events, *revoked_events(session, ended)),
            device=grown.device,
        )

    def _account(self, token: bytes, client: Client, now: float) -> AccountView | Refused:
        stored = self._openings.whole(token, client, now)
        if isinstance(stored, Refused):
            return stored
        user = self._store.user(stored.session.user_id)
        if user is None:
            return refused(Reason.SESSION_EXPIRED)
        devices = [_device(other, stored.row) for other in self._store.sessions(now=now, user_id=user.id)]
        devices.sort(key=lambda device: (not device.current, -device.seen))
        return AccountView(
            session=stored.session,
            has_totp=self._store.factor(user.id) is not None,
            recovery_codes_left=self._store.count_recovery(user.id),
            password_changed=user.password_changed,
            devices=tuple(devices),
            remembered_devices=sum(known.is_remembered(now) for known in self._store.devices.of(user.id, now=now)),
        )

    def _waiting_for(self, token: bytes, client: Client, now: float) -> tuple[Device, ...] | Refused:
        found = self._openings.waiting_for(token, client, now)
        if isinstance(found, Refused):
            return found
        own, others = found
        return tuple(sorted((_device(other, own.row) for other in others), key=lambda device: device.seen))

    def _change_password(
        self, stored: StoredSession, user: User, phc: str, code: str, now: float
    ) -> SignedIn | Refused:
        taken = self._prove_again(stored.session, code, now)
        if isinstance(taken, Refused):
            return taken
        new = self._passwords.changed(user, phc, now=now)
        moved = self._openings.new_token()
        changed = self._store.change_password(
            user, new, row=stored.row, to=row_of(moved), session=stored.session, now=now
        )
        if changed is None:
            return Refused(reason=Reason.SESSION_EXPIRED, events=taken)
        self._store.clear_attempts([self._keys.account(user.name), self._keys.current(user.id)])
        events = (
            *taken,
            session_event("password.changed", stored.session),
            session_event("session.rotated", stored.session),
            *revoked_events(stored.session, changed[1]),
        )
        return SignedIn(token=moved, session=stored.session, events=events)

    def _replace_recovery_codes(self, token: bytes, code: str, client: Client, now: float) -> RecoveryCodes | Refused:
        stored = self._openings.whole(token, client, now)
        if isinstance(stored, Refused):
            return stored
        taken = self._prove_again(stored.session, code, now)
        if isinstance(taken, Refused):
            return taken
        codes = self._make_codes()
        user_id = stored.session.user_id
        if not self._store.replace_recovery(user_id, self._digests(codes, user_id), now=now):
            return Refused(reason=Reason.MFA_ENROLMENT_REQUIRED, events=taken)
        return RecoveryCodes(codes=codes, events=(*taken, session_event("recovery.replaced", stored.session)))

    def _revoke_session(self, token: bytes, handle: str, client: Client, now: float) -> Done | Refused:
        stored = self._openings.whole(token, client, now)
        if isinstance(stored, Refused):
            return stored
        ended = self._store.end_handle(handle, user_id=stored.session.user_id) if is_handle(handle) else []
        return Done(
            count=len(ended),
            events=tuple(session_event("session.revoked", other.session, count=1) for other in ended),
        )

    def _revoke_others(self, token: bytes, client: Client, now: float) -> Done | Refused:
        stored = self._openings.whole(token, client, now)
        if isinstance(stored, Refused):
            return stored
        count = self._store.end_user(stored.session.user_id, but=stored.row)
        return Done(count=count, events=revoked_events(stored.session, count))

    def _forget_devices(self, token: bytes, client: Client, now: float) -> Done | Refused:
        stored = self._openings.whole(token, client, now)
        if isinstance(stored, Refused):
            return stored
        count = self._store.devices.ask_again(stored.session.user_id, now=now)
        events = (session_event("device.forgotten", stored.session, count=count),) if count else ()
        return Done(count=count, events=events)

    def _sign_out(self, token: bytes, client: Client, now: float) -> Done:
        stored = self._openings.live(token, client, now)
        if stored is None:
            return Done(count=0, events=())
        count = len(self._store.end_session(stored.row))
        return Done(count=count, events=(session_event("logout", stored.session),))

    # Codes and passwords

    def _is_alone(self, user: User) -> bool:
        """Tell whether no second factor stands beside the password."""
        return not self._store.factors_of(user) & {Method.TOTP, Method.WEBAUTHN}

    def _prove_again(self, session: Session, code: str, now: float) -> tuple[Event, ...] | Refused:
        """Have a change confirmed: by a code where the person has an app, by a passkey used lately where there are passkeys alone."""
        if not code.strip() and self._store.factor(session.user_id) is None:
            return (
                ()
                if self._openings.is_fresh(session, now) or not self._store.passkeys.of(session.user_id)
                else refused(Reason.FRESH_SIGN_IN_REQUIRED)
            )
        return self._take_code(session, code, now)

    def _take_code(self, session: Session, code: str, now: float) -> tuple[Event, ...] | Refused:
        """Spend a TOTP or recovery code of the person: charged before it is checked, good once."""
        if not code.strip():
            return refused(Reason.FRESH_SIGN_IN_REQUIRED)  # nothing was tried
        keys = [(self._keys.factor(session.user_id), FACTOR)]
        wait = self._store.admit_attempt(keys, now=now)
        if wait:
            return _too_many(wait, session_event("factor.failed", session, reason=Reason.TOO_MANY_ATTEMPTS))
        digits, phrase = totp.parse_code(code), recovery.parse_code(code)
        factor = self._store.factor(session.user_id)
        events: tuple[Event, ...] = ()
        if digits is not None and factor is not None and self._takes_step(session.user_id, factor, digits, now):
            events = (session_event("factor.verified", session),)
        elif phrase is not None and self._options.recovery_codes:
            digest = recovery.digest_of(phrase, user_id=session.user_id, key=self._recovery_key)
            if self._store.use_recovery(session.user_id, digest, now=now):
                events = (session_event("factor.verified", session), session_event("recovery.used", session))
        if not events:
            return refused(Reason.CODE_REFUSED, session_event("factor.failed", session, reason=Reason.CODE_REFUSED))
        self._store.clear_attempts(key for key, _ in keys)
        return events

    def _takes_step(self, user_id: str, factor: Factor, digits: str, now: float) -> bool:
        step = totp.step_of(factor.secret, digits, after=factor.last_step, now=now)
        return step is not None and self._store.advance_step(user_id, after=factor.last_step, step=step, now=now)

    def _shown(self, pending: PendingFactor, session: Session, spent: tuple[Event, ...] = ()) -> Enrolment:
        uri = totp.enrolment_uri(pending.secret, name=session.user, issuer=self._options.issuer)
        return Enrolment(secret=pending.secret, uri=uri, expires=pending.expires, events=spent)

    def _make_codes(self) -> tuple[str, ...]:
        if not self._options.recovery_codes:
            return ()
        return recovery.make_codes(self._random(recovery.COUNT * recovery.CODE_BYTES))

    def _digests(self, codes: tuple[str, ...], user_id: str) -> list[bytes]:
        return [recovery.digest_of(code, user_id=user_id, key=self._recovery_key) for code in codes]

    async def _rehashed(self, user: User, password: str) -> str | None:
        """Return the hash under newer parameters, if they are newer and there is time for it."""
        if not self._hasher.is_outdated(user.password):
            return None
        try:
            return await self._hash(partial(self._hasher.hash, password, salt=self._random(SALT_BYTES)))
        except OverloadedError:
            return None  # the next sign-in does it


def recovery_key(keyring: Keyring) -> bytes:
    """Return the key under which recovery codes are stored."""
    return keyring.derive("recovery")


def _too_many(wait: float, event: Event) -> Refused:
    retry = LONGEST_RETRY_S if math.isinf(wait) else min(LONGEST_RETRY_S, max(1, math.ceil(wait)))
    return Refused(reason=Reason.TOO_MANY_ATTEMPTS, retry_after_s=retry, events=(event,))


def _device(stored: StoredSession, current: bytes) -> Device:
    session = stored.session
    return Device(
        handle=session.handle,
        current=stored.row == current,
        created=session.created,
        seen=stored.seen,
        expires=session.expires,
        client_ip=session.client_ip,
        user_agent=session.user_agent,
        amr=session.amr,
    )
