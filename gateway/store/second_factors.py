"""What a person can do with passkeys and second factors: sign in, prove, add, rename, remove.

As `accounts`, each method decides whole: the ceremony, the challenge that is good once, freshness, rotation and what
the owner is told. It renders nothing and sets no cookie.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from gateway.authn import recovery
from gateway.authn.assurance import Method
from gateway.authn.passkey import (
    MAX_NAME_CHARACTERS,
    SPENT_S,
    AuthenticatorRule,
    Fault,
    PasskeyRefusedError,
    Presented,
    Proven,
    RelyingParty,
    creation_options,
    methods_of,
    read_presented,
    relying_party_id,
    request_options,
    verify_registration,
    verify_use,
)
from gateway.exchange.envelope import Event
from gateway.exchange.notice import Circumstances, Notice
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed, Session
from gateway.session.token import row_of
from gateway.store.account_options import AccountOptions
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.openings import (
    Client,
    Grown,
    Openings,
    Refused,
    SignedIn,
    event_of,
    refused,
    revoked_events,
    session_event,
)
from gateway.store.passkeys import Passkey, find_by_handle
from gateway.store.records import StoredSession, User
from gateway.store.state import Store

_DEFAULT_NAME: Final = "Passkey"
_LOCAL: Final = "local"


class PasskeyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml says about passkeys."""

    name: str
    """Of the gateway, as the browser shows it."""
    bound_to: str
    """The host that passkeys are bound to where the page is under it."""
    rule: AuthenticatorRule = AuthenticatorRule()
    passwordless: bool = True
    refuse_copied: bool = True


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey was added; the codes, if there are any, are shown once."""

    token: bytes
    session: Session
    recovery_codes: tuple[str, ...]
    events: tuple[Event, ...]
    device: bytes = b""
    """The browser's device cookie from now on; empty = it keeps the one it has."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Something about the factors changed; `token` is the session's new one, empty where it stays."""

    token: bytes
    events: tuple[Event, ...]


class PasskeyView(msgspec.Struct, frozen=True, kw_only=True):
    """One passkey in the list. Times are unix seconds."""

    handle: str
    name: str
    created: float
    last_used: float
    synchronised: bool
    here: bool
    """It can be used on this host."""


class FactorsView(msgspec.Struct, frozen=True, kw_only=True):
    """What a person has."""

    passkeys: tuple[PasskeyView, ...]
    has_totp: bool
    recovery_codes_left: int
    is_fresh: bool
    """A change needs no further proof right now."""
    may_remove_last: bool


class _Answer(msgspec.Struct, frozen=True):
    """What the browser answered, to which challenge, on a page of which origin."""

    text: str
    challenge: bytes
    origin: str


class _RefusalError(Exception):
    """Carries a refusal out of a helper."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class SecondFactors:
    """All of it, for one process. Methods raise `StoreUnavailableError` (503, nobody is signed out) and `OverloadedError` (503)."""

    def __init__(
        self,
        store: Store,
        openings: Openings,
        *,
        options: AccountOptions,
        passkeys: PasskeyOptions,
        keyring: Keyring,
        tell: Callable[[str, Notice, Circumstances], None] | None = None,
        store_executor: BoundedExecutor,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self._openings = openings
        self._options = options
        self._passkeys = passkeys
        self._rule = options.rule
        self._recovery_key = keyring.derive("recovery")
        self._handle_key = keyring.derive("passkey handle")
        self._tell = tell
        self._run = store_executor.run
        self._random = random

    # What the browser is asked

    def can_be_used(self, client: Client) -> bool:
        """Tell whether browsers do passkeys on this host: it has a name, and a page that nobody could have changed on the way."""
        is_secure = client.secure or client.host == "localhost" or client.host.endswith(".localhost")
        return (
            Method.WEBAUTHN in self._rule.methods
            and is_secure
            and bool(relying_party_id(client.host, self._passkeys.bound_to))
        )

    def sign_in_request(self, challenge: bytes, *, client: Client) -> str:
        """Write the options for a sign-in without a user name; empty where there is none."""
        if not self._passkeys.passwordless or not self.can_be_used(client):
            return ""
        party = self._party(client, "")
        return request_options(party, challenge=challenge, allowed=(), user_verification="required")

    async def proof_request(self, token: bytes, challenge: bytes, *, client: Client, now: float) -> str:
        """Write the options for a second factor; empty where the person has no passkey that works here."""
        return await self._run(partial(self._proof_request, token, challenge, client, now))

    async def creation_request(self, token: bytes, challenge: bytes, *, client: Client, now: float) -> str | Refused:
        """Write the options for a new passkey; refuses a session that may not add one now."""
        return await self._run(partial(self._creation_request, token, challenge, client, now))

    # What comes of its answer

    async def sign_in(
        self, answer: str, challenge: bytes, *, origin: str, client: Client, now: float, replaces: bytes = b""
    ) -> SignedIn | Refused:
        """Begin a session by a passkey that verified its user; `replaces` is the token that came along: its session ends."""
        return await self._run(partial(self._sign_in, _Answer(answer, challenge, origin), client, now, replaces))

    async def prove(
        self,
        token: bytes,
        answer: str,
        challenge: bytes,
        *,
        origin: str,
        client: Client,
        now: float,
        remember: bool = False,
    ) -> SignedIn | Refused:
        """Take a passkey as second factor; the session is rotated and owes nothing any more.

        `remember`: the person wants not to be asked on this device for a while.
        """
        given = _Answer(answer, challenge, origin)
        return await self._run(partial(self._prove, token, given, client, now, remember=remember))

    async def register(
        self, token: bytes, answer: str, challenge: bytes, name: str, *, origin: str, client: Client, now: float
    ) -> Registered | Refused:
        """Add a passkey; the session is rotated. Recovery codes are made when the person has none."""
        made = await self._run(partial(self._register, token, _Answer(answer, challenge, origin), name, client, now))
        if isinstance(made, Registered):
            told = partial(self._told, made.session.user_id, Notice.FACTOR_ADDED, client, clean_name(name))
            await self._run(told)
        return made

    # The list

    async def view(self, token: bytes, *, client: Client, now: float) -> FactorsView | Refused:
        """Everything the page of passkeys shows; refuses a session that still owes something."""
        return await self._run(partial(self._view, token, client, now))

    async def has_factor(self, token: bytes, *, client: Client, now: float) -> frozenset[Method]:
        """Say which second factors the person of a live session has; nothing without one."""
        return await self._run(partial(self._has_factor, token, client, now))

    async def rename(self, token: bytes, handle: str, name: str, *, client: Client, now: float) -> Changed | Refused:
        """Give one passkey of the person another name; an unknown one changes nothing."""
        return await self._run(partial(self._rename, token, handle, name, client, now))

    async def remove(self, token: bytes, handle: str, *, client: Client, now: float) -> Changed | Refused:
        """Remove one passkey of the person: the session is rotated, the others end (ASVS 7.4.3)."""
        removed, user_id, name = await self._run(partial(self._remove, token, handle, client, now))
        if isinstance(removed, Changed) and user_id:
            await self._run(partial(self._told, user_id, Notice.FACTOR_REMOVED, client, name))
        return removed

    async def remove_totp(self, token: bytes, *, client: Client, now: float) -> Changed | Refused:
        """Remove the authenticator app of the person: as `remove`."""
        removed, user_id, name = await self._run(partial(self._remove, token, "", client, now))
        if isinstance(removed, Changed) and user_id:
            await self._run(partial(self._told, user_id, Notice.FACTOR_REMOVED, client, name))
        return removed

    # Everything below runs in the store's thread.

    def _proof_request(self, token: bytes, challenge: bytes, client: Client, now: float) -> str:
        stored = self._openings.live(token, client, now)
        if stored is None or not self.can_be_used(client):
            return ""
        party = self._party(client, "")
        usable = [(p.id, p.transports) for p in self._store.passkeys.of(stored.session.user_id) if _is_of(p, party)]
        if not usable:
            return ""
        verification = self._passkeys.rule.user_verification
        return request_options(party, challenge=challenge, allowed=usable, user_verification=verification)

    def _creation_request(self, token: bytes, challenge: bytes, client: Client, now: float) -> str | Refused:
        try:
            stored, user = self._changing(token, client, now)
        except _RefusalError as error:
            return error.refusal
        party = self._party(client, "")
        return creation_options(
            party,
            challenge=challenge,
            handle=self._handle(user.id),
            name=user.email or user.name,
            existing=[
                (p.id, p.transports) for p in self._store.passkeys.of(stored.session.user_id) if _is_of(p, party)
            ],
            rule=self._passkeys.rule,
        )

    def _sign_in(self, answer: _Answer, client: Client, now: float, replaces: bytes) -> SignedIn | Refused:
        user: User | None = None
        try:
            if not self._passkeys.passwordless or not self.can_be_used(client):
                raise PasskeyRefusedError(Fault.UNKNOWN_PASSKEY)  # noqa: TRY301 - one way out for all
            presented = self._presented(answer, now)
            passkey = self._known(presented)
            user = self._store.user(passkey.user_id)
            # §7.2 step 6: nobody said who signs in, so the authenticator has to, and has to be right.
            if user is None or presented.user_handle != self._handle(passkey.user_id):
                raise PasskeyRefusedError(Fault.ANOTHER_PERSON)  # noqa: TRY301 - one way out for all
            proven, copied = self._used(passkey, presented, answer, client, now, required=True)
        except PasskeyRefusedError as error:
            return refused(Reason.PASSKEY_REFUSED, _failed("login.failed", user, error.fault))
        # A provider vouches for these people at each sign-in, and may have stopped to; a passkey alone would not ask it.
        if user.rests(now) or user.provider != _LOCAL:
            return refused(Reason.PASSKEY_REFUSED, _failed("login.failed", user, Fault.UNKNOWN_PASSKEY))
        methods = methods_of(proven, backup_eligible=passkey.backup_eligible)
        signed_in = self._openings.open(
            user, amr=(*methods, "mfa"), client=client, now=now, replaces=replaces, second_factor_done=True
        )
        return msgspec.structs.replace(signed_in, events=(*copied, *signed_in.events))

    def _prove(
        self, token: bytes, answer: _Answer, client: Client, now: float, *, remember: bool
    ) -> SignedIn | Refused:
        stored = self._openings.live(token, client, now)
        if stored is None:
            return refused(Reason.SESSION_EXPIRED)
        session = stored.session
        if session.owes in {Owed.ENROLMENT, Owed.DEVICE}:
            return self._openings.debt_of(session) or refused(Reason.FORM_EXPIRED)
        try:
            if not self.can_be_used(client):
                raise PasskeyRefusedError(Fault.UNKNOWN_PASSKEY)  # noqa: TRY301 - one way out for all
            presented = self._presented(answer, now)
            passkey = self._known(presented)
            if passkey.user_id != session.user_id:  # attack: somebody else's passkey as the second factor
                raise PasskeyRefusedError(Fault.ANOTHER_PERSON)  # noqa: TRY301 - one way out for all
            if presented.user_handle and presented.user_handle != self._handle(session.user_id):
                raise PasskeyRefusedError(Fault.ANOTHER_PERSON)  # noqa: TRY301 - one way out for all
            proven, copied = self._used(passkey, presented, answer, client, now)
        except PasskeyRefusedError as error:
            return refused(Reason.PASSKEY_REFUSED, _factor_failed(session, error.fault))
        method = methods_of(proven, backup_eligible=passkey.backup_eligible)[0]
        verified = (*copied, _factor_event("factor.verified", session, Method.WEBAUTHN))
        return self._openings.elevate(token, method=method, client=client, now=now, spent=verified, remember=remember)

    def _register(self, token: bytes, answer: _Answer, name: str, client: Client, now: float) -> Registered | Refused:
        try:
            stored, user = self._changing(token, client, now)
        except _RefusalError as error:
            return error.refusal
        session = stored.session
        party = self._party(client, answer.origin)
        try:
            if not self._store.passkeys.spend(answer.challenge, expires=now + SPENT_S, now=now):
                raise PasskeyRefusedError(Fault.WRONG_CHALLENGE)  # noqa: TRY301 - one way out for all
            made = verify_registration(
                answer.text, challenge=answer.challenge, relying_party=party, rule=self._passkeys.rule
            )
        except PasskeyRefusedError as error:
            reason = Reason.PASSKEY_NOT_ALLOWED if error.fault is Fault.AUTHENTICATOR else Reason.PASSKEY_REFUSED
            return refused(reason, _factor_failed(session, error.fault, reason))
        passkey = Passkey(
            id=made.id,
            user_id=user.id,
            relying_party=party.id,
            public_key=made.public_key,
            sign_count=made.sign_count,
            aaguid=made.aaguid,
            backup_eligible=made.backup_eligible,
            backed_up=made.backed_up,
            transports=made.transports,
            name=clean_name(name) or _DEFAULT_NAME,
            created=now,
        )
        grown = Grown(session, b"", ())
        if session.owes is not Owed.NOTHING:
            method = "swk" if made.backup_eligible else "hwk"
            grown = self._openings.grow(session, method=method, client=client, now=now)
        codes: tuple[str, ...] = ()
        if self._options.recovery_codes and not self._store.count_recovery(user.id):
            codes = recovery.make_codes(self._random(recovery.COUNT * recovery.CODE_BYTES))
        digests = [recovery.digest_of(code, user_id=user.id, key=self._recovery_key) for code in codes]
        moved = self._openings.new_token()
        became_whole = session.owes is not Owed.NOTHING
        kept = self._openings.held(grown.session, now) if became_whole else grown.session
        begun = self._store.add_passkey(
            passkey, recovery=digests, row=stored.row, to=row_of(moved), session=kept, now=now
        )
        if begun is None:
            return refused(Reason.PASSKEY_REFUSED, _factor_failed(session, Fault.ANOTHER_PERSON))
        ended: tuple[Event, ...] = ()
        if became_whole:
            kept, ended = self._openings.seat(row_of(moved), grown.session, now)
        events = (
            _factor_event("factor.enrolled", kept, Method.WEBAUTHN),
            session_event("session.rotated", kept),
        )
        return Registered(
            token=moved,
            session=kept,
            recovery_codes=codes,
            events=(*events, *grown.events, *revoked_events(kept, begun), *ended),
            device=grown.device,
        )

    def _view(self, token: bytes, client: Client, now: float) -> FactorsView | Refused:
        stored = self._openings.whole(token, client, now)
        if isinstance(stored, Refused):
            return stored
        user = self._store.user(stored.session.user_id)
        if user is None:
            return refused(Reason.SESSION_EXPIRED)
        party = self._party(client, "")
        return FactorsView(
            passkeys=tuple(
                PasskeyView(
                    handle=passkey.handle,
                    name=passkey.name,
                    created=passkey.created,
                    last_used=passkey.last_used,
                    synchronised=passkey.backup_eligible,
                    here=_is_of(passkey, party),
                )
                for passkey in self._store.passkeys.of(user.id)
            ),
            has_totp=self._store.factor(user.id) is not None,
            recovery_codes_left=self._store.count_recovery(user.id),
            is_fresh=self._openings.is_fresh(stored.session, now),
            may_remove_last=self._may_be_without(user),
        )

    def _has_factor(self, token: bytes, client: Client, now: float) -> frozenset[Method]:
        stored = self._openings.live(token, client, now)
        user = None if stored is None else self._store.user(stored.session.user_id)
        return frozenset() if user is None else self._store.factors_of(user)

    def _rename(self, token: bytes, handle: str, name: str, client: Client, now: float) -> Changed | Refused:
        stored = self._openings.whole(token, client, now)
        if isinstance(stored, Refused):
            return stored
        cleaned = clean_name(name)
        renamed = self._store.passkeys.rename(stored.session.user_id, handle, cleaned, now=now) if cleaned else None
        events = (_factor_event("factor.renamed", stored.session, Method.WEBAUTHN),) if renamed is not None else ()
        return Changed(token=b"", events=events)

    def _remove(self, token: bytes, handle: str, client: Client, now: float) -> tuple[Changed | Refused, str, str]:
        """Remove the passkey of a handle, or the authenticator app for none; returns also whom to tell of what."""
        try:
            stored, user = self._changing(token, client, now, may_owe=False)
        except _RefusalError as error:
            return error.refusal, "", ""
        session = stored.session
        passkey = find_by_handle(self._store.passkeys.of(user.id), handle) if handle else None
        if handle and passkey is None:
            return Changed(token=b"", events=()), "", ""
        kind = Method.WEBAUTHN if handle else Method.TOTP
        moved = self._openings.new_token()
        removed = self._store.remove_factor(
            user,
            passkey,
            may_be_last=self._may_be_without(user),
            row=stored.row,
            to=row_of(moved),
            session=session,
            now=now,
        )
        match removed.outcome:
            case "gone":
                return Changed(token=b"", events=()), "", ""
            case "last":
                return (
                    refused(Reason.LAST_FACTOR, _factor_event("factor.removed", session, kind, Reason.LAST_FACTOR)),
                    "",
                    "",
                )
            case "removed":
                events = (
                    _factor_event("factor.removed", session, kind),
                    session_event("session.rotated", session),
                    *revoked_events(session, removed.ended),
                )
                name = passkey.name if passkey is not None else ""
                return Changed(token=moved, events=events), user.id, name

    # Parts

    def _changing(
        self, token: bytes, client: Client, now: float, *, may_owe: bool = True
    ) -> tuple[StoredSession, User]:
        """Return the session and the person that may change factors now. Raises _RefusalError."""
        stored = self._openings.live(token, client, now)
        if stored is None:
            raise _RefusalError(refused(Reason.SESSION_EXPIRED))
        user = self._store.user(stored.session.user_id)
        if user is None or user.rests(now):
            raise _RefusalError(refused(Reason.SESSION_EXPIRED))
        if stored.session.owes is Owed.ENROLMENT and may_owe:
            return stored, user
        whole = self._openings.whole(token, client, now)
        if isinstance(whole, Refused):
            raise _RefusalError(whole)
        if not self._openings.is_fresh(whole.session, now):
            raise _RefusalError(refused(Reason.FRESH_SIGN_IN_REQUIRED))
        return whole, user

    def _may_be_without(self, user: User) -> bool:
        # attack: whoever has the password of an administrator without a factor sets up one of their own
        if user.gateway_roles and user.provider == _LOCAL:
            return False
        rules = (self._rule, self._options.tenant_rules.get(user.tenant))
        return not any(rule is not None and rule.demands(frozenset(user.roles), frozenset()) for rule in rules)

    def _presented(self, answer: _Answer, now: float) -> Presented:
        """Read what is shown, and take the challenge out of use whatever comes of it. Raises PasskeyRefusedError."""
        presented = read_presented(answer.text)
        if not self._store.passkeys.spend(answer.challenge, expires=now + SPENT_S, now=now):  # attack: replay
            raise PasskeyRefusedError(Fault.WRONG_CHALLENGE)
        return presented

    def _known(self, presented: Presented) -> Passkey:
        passkey = self._store.passkeys.get(presented.id)
        if passkey is None:
            raise PasskeyRefusedError(Fault.UNKNOWN_PASSKEY)
        return passkey

    def _used(
        self,
        passkey: Passkey,
        presented: Presented,
        answer: _Answer,
        client: Client,
        now: float,
        *,
        required: bool = False,
    ) -> tuple[Proven, tuple[Event, ...]]:
        """Verify the use of a passkey and note it; returns also what the record must say of a copy. Raises PasskeyRefusedError."""
        party = self._party(client, answer.origin)
        if passkey.relying_party != party.id:
            raise PasskeyRefusedError(Fault.WRONG_HOST)
        proven = verify_use(
            presented,
            challenge=answer.challenge,
            relying_party=party,
            public_key=passkey.public_key,
            sign_count=passkey.sign_count,
            backup_eligible=passkey.backup_eligible,
            user_verification="required" if required else self._passkeys.rule.user_verification,
        )
        if proven.copied and self._passkeys.refuse_copied:
            raise PasskeyRefusedError(Fault.COPIED)
        count = max(proven.sign_count, passkey.sign_count)
        if not self._store.passkeys.note_use(passkey, sign_count=count, backed_up=proven.backed_up, now=now):
            raise PasskeyRefusedError(Fault.COPIED)  # another use of this counter was faster, or it is gone
        if not proven.copied:
            return proven, ()
        return proven, (Event(name="factor.copied", user_id=passkey.user_id, factor="webauthn", fault=Fault.COPIED),)

    def _party(self, client: Client, origin: str) -> RelyingParty:
        bound_to = relying_party_id(client.host, self._passkeys.bound_to)
        return RelyingParty(id=bound_to, name=self._passkeys.name, origin=origin)

    def _handle(self, user_id: str) -> bytes:
        """Derive the 64 bytes under which authenticators file a person's passkeys: as good as random, and nothing to store."""
        return hmac.digest(self._handle_key, user_id.encode(), "sha512")

    def _told(self, user_id: str, notice: Notice, client: Client, subject: str) -> None:
        """Have the owner of an account told what was done to it, and from where."""
        if self._tell is not None:
            where = Circumstances(
                address=client.ip, device=client.user_agent, subject=subject, language=client.language
            )
            self._tell(user_id, notice, where)


def clean_name(name: str) -> str:
    """Return the name of a passkey as it is kept: one line of printable characters, 64 at most."""
    line = " ".join("".join(character for character in name if character.isprintable()).split())
    return line[:MAX_NAME_CHARACTERS].strip()


def _is_of(passkey: Passkey, party: RelyingParty) -> bool:
    return bool(party.id) and passkey.relying_party == party.id


def _failed(name: str, user: User | None, fault: Fault) -> Event:
    return msgspec.structs.replace(
        event_of(name, user, reason=Reason.PASSKEY_REFUSED), factor=Method.WEBAUTHN.value, fault=fault.value
    )


def _factor_failed(session: Session, fault: Fault, reason: Reason = Reason.PASSKEY_REFUSED) -> Event:
    return msgspec.structs.replace(_factor_event("factor.failed", session, Method.WEBAUTHN, reason), fault=fault.value)


def _factor_event(name: str, session: Session, kind: Method, reason: Reason | None = None) -> Event:
    return msgspec.structs.replace(session_event(name, session, reason=reason), factor=kind.value)
