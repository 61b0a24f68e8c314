"""How every session begins and grows, whatever proved the person: password, passkey, provider, reset.

So concurrency, binding, what is owed and rotation are decided once. It checks no password and no code, and
runs in the store's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from gateway.authn.address import is_address
from gateway.authn.assurance import Method, Required, Signal, owed, owed_after
from gateway.exchange.envelope import Event
from gateway.exchange.marked import marked
from gateway.exchange.notice import Circumstances, Notice
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed, Session
from gateway.session.device import device_id, make_device
from gateway.session.life import confirmed, elevate, is_bound_to, start, unconfirmed, waiting, whole_end
from gateway.session.rules import NewDevice
from gateway.session.token import ENTROPY_BYTES, HANDLE_BYTES, is_handle, is_token, make_handle, make_token, row_of
from gateway.store.account_options import AccountOptions
from gateway.store.attempts import network_of
from gateway.store.devices import KnownDevice
from gateway.store.records import StoredSession, User
from gateway.store.state import Store

_LOCAL: Final = "local"
_DEVICE_NAME_BYTES: Final = 16
RESET_S: Final = 86_400.0
"""A sign-in within a day of a new password is unusual."""
NO_ADDRESS: Final = marked(
    "A new device is confirmed by a code that we mail, and your account has no e-mail address. Please ask those who run this site."
)
_BOUND_TO_HOST: Final = frozenset(("hwk", "swk"))
"""A passkey, by its RFC 8176 names: no other site was shown it, so nobody has it who lured the person elsewhere."""
RECENT_S: Final = 900.0
"""Whoever changes factors or the password proved who they are within a quarter of an hour."""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request to the pages came from, as the edge's envelope says."""

    ip: str
    host: str
    secure: bool
    """The browser speaks TLS to us (`scheme == "https"`)."""
    tenant: str = ""
    """Tenant of the host; empty when the host is shared."""
    user_agent: str = ""
    device: bytes = b""
    """Value of the device cookie; empty where none came. It says that a browser was here before, and opens nothing."""
    certificate: str = ""
    """SHA-256 of the client certificate of the connection; empty = none that counts."""
    language: str = ""
    """Of the pages that the browser is shown, a tag of the catalogue."""


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A new token for the cookie; whatever token came with the request is dead."""

    token: bytes
    session: Session
    """`session.owes` says what the next page is."""
    events: tuple[Event, ...]
    device: bytes = b""
    """The browser's device cookie from now on; empty = it keeps the one it has."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """No, and why. The reason is safe to show; the event may know more."""

    reason: Reason
    """CREDENTIALS_REFUSED, CODE_REFUSED, TOO_MANY_ATTEMPTS, PASSWORD_REFUSED, FRESH_SIGN_IN_REQUIRED,
    SESSION_EXPIRED (no live session for the token), MFA_REQUIRED, MFA_ENROLMENT_REQUIRED and DEVICE_UNCONFIRMED
    (the session still owes it)."""
    retry_after_s: int = 0
    problem: str = ""
    """For PASSWORD_REFUSED one sentence for the person: what is wrong with the new password."""
    score: int | None = None
    """The meter, where the new password is too easy to guess."""
    events: tuple[Event, ...] = ()


class Grown(NamedTuple):
    """A session that became whole, and what its browser gets."""

    session: Session
    device: bytes
    """The device cookie from now on; empty = it stays."""
    events: tuple[Event, ...]


class _Standing(NamedTuple):
    """What a new session owes, and when its second factor was proven."""

    owes: Owed
    mfa_time: float


class Openings:
    """Begins, finds and elevates sessions. Methods raise `StoreUnavailableError` (503, nobody is signed out)."""

    __slots__ = ("_country", "_options", "_random", "_store", "_tell")

    def __init__(
        self,
        store: Store,
        *,
        options: AccountOptions,
        random: Callable[[int], bytes] = os.urandom,
        country: Callable[[str], str] | None = None,
        tell: Callable[[str, Notice, Circumstances], None] | None = None,
    ) -> None:
        """Begin sessions in `store`.

        `country` names that of an address, where the operator has a database of places; `tell` has the owner of an
        account told, and returns at once.
        """
        self._store = store
        self._options = options
        self._random = random
        self._country = country
        self._tell = tell

    def open(
        self,
        user: User,
        *,
        amr: Iterable[str],
        client: Client,
        now: float,
        replaces: bytes = b"",
        provider: str = "local",
        provider_session: str = "",
        acr: str = "",
        auth_time: float | None = None,
        second_factor_done: bool = False,
        signals: frozenset[Signal] = frozenset(),
    ) -> SignedIn | Refused:
        """Begin a session of a person whose first factor is proven.

        Args:
            user: the account as it was when the proof was checked; one that changed meanwhile is refused.
            amr: methods of the proof, RFC 8176 names.
            client: the browser.
            now: unix seconds.
            replaces: token of the cookie that came along: its session ends.
            provider: id of the identity provider that vouched.
            provider_session: what the provider calls its own session.
            acr: authentication context that the provider named.
            auth_time: when the person was seen, if not now.
            second_factor_done: the proof was a second factor as well (a passkey that verified its user, a trusted provider).
            signals: what the caller knows to be unusual about the sign-in.

        """
        if not self._options.admits(
            user.tenant, client.tenant
        ):  # says no more to the person than a wrong password does
            return refused(Reason.CREDENTIALS_REFUSED, event_of("login.failed", user, reason=Reason.TENANT_MISMATCH))
        allowed = self._options.password_tenants
        if provider == _LOCAL and allowed and user.tenant not in allowed:  # theirs sign in at a provider alone
            return refused(Reason.CREDENTIALS_REFUSED, event_of("login.failed", user, reason=Reason.TENANT_MISMATCH))
        rules = self._options.rules_of(user.tenant, user.roles)
        country = self._country(client.ip) if self._country is not None else ""
        if second_factor_done:
            # attack: a provider that asked for nothing repeats what was proven when it last saw the person
            standing = _Standing(Owed.NOTHING, now if auth_time is None else min(auth_time, now))
        else:
            standing = self._standing(user, client, country, signals, now)
        session = start(
            handle=make_handle(self._random(HANDLE_BYTES)),
            user_id=user.id,
            user=user.name,
            tenant=user.tenant,
            roles=user.roles,
            email=user.email,
            owes=standing.owes,
            lifetimes=rules.lifetimes,
            host=client.host,
            secure=client.secure,
            client_ip=client.ip,
            user_agent=client.user_agent,
            now=now,
            amr=amr,
            auth_time=auth_time,
            mfa_time=standing.mfa_time,
            provider=provider,
            provider_session=provider_session,
            acr=acr,
            network=rules.binding.network.of(client.ip),
            certificate=client.certificate if rules.binding.certificate else "",
            country=country,
        )
        by_passkey = provider == _LOCAL and not _BOUND_TO_HOST.isdisjoint(session.amr)
        if not by_passkey and self._is_unconfirmed(session, client, now):
            # attack: who knows a password and adds a factor before the code is asked for has two
            if session.owes is Owed.MFA:
                session = msgspec.structs.replace(session, owes_next=Owed.DEVICE)
            elif is_address(user.email):
                session = unconfirmed(session, now, then=session.owes)
            elif not session.mfa_time:
                event = event_of("login.failed", user, reason=Reason.DEVICE_UNCONFIRMED)
                return Refused(reason=Reason.DEVICE_UNCONFIRMED, problem=NO_ADDRESS, events=(event,))
        grown = self._settled(session, client, now) if session.owes is Owed.NOTHING else Grown(session, b"", ())
        token = self.new_token()
        waits = self._may_wait(grown.session)
        ended = self._store.create_session(
            row_of(token),
            waiting(grown.session, now) if waits else grown.session,
            stamp=user.stamp,
            keep=rules.lifetimes.concurrent,
            now=now,
            replaces=row_of(replaces) if is_token(replaces) else b"",
        )
        if ended is None:  # disabled, reset or changed while the proof was checked
            return refused(
                Reason.CREDENTIALS_REFUSED, event_of("login.failed", user, reason=Reason.CREDENTIALS_REFUSED)
            )
        session = self._admitted(row_of(token), grown.session, now) if waits else grown.session
        events = (session_event("login.succeeded", session), session_event("session.created", session), *grown.events)
        if user.until:
            events = (*events, session_event("break_glass.used", session))
        events = (*events, *revoked_events(session, len(ended)))
        return SignedIn(token=token, session=session, events=events, device=grown.device)

    def elevate(
        self,
        token: bytes,
        *,
        method: str,
        client: Client,
        now: float,
        spent: tuple[Event, ...] = (),
        remember: bool = False,
    ) -> SignedIn | Refused:
        """Rotate a live session whose second factor was proven by `method`: it owes nothing.

        `spent` says what that took; `remember`: the person wants not to be asked on this device for a while. Whoever has
        only factors that are no longer allowed owes the setting up of another.
        """
        stored = self.live(token, client, now)
        if stored is None:
            return Refused(reason=Reason.SESSION_EXPIRED, events=spent)
        if stored.session.owes is Owed.DEVICE:
            return Refused(reason=Reason.DEVICE_UNCONFIRMED, events=spent)
        grown = self.grow(stored.session, method=method, client=client, now=now)
        return self._rotate(stored, grown, client, now, spent=spent, remember=remember)

    def confirm(
        self, token: bytes, *, client: Client, now: float, spent: tuple[Event, ...] = (), remember: bool = False
    ) -> SignedIn | Refused:
        """Rotate a live session whose device was just confirmed: it is whole, or owes what it owes next.

        `spent` and `remember` as for `elevate`; a device is remembered for a second factor alone, so one must have been
        proven in this session.
        """
        stored = self.live(token, client, now)
        if stored is None:
            return Refused(reason=Reason.SESSION_EXPIRED, events=spent)
        session = stored.session
        if session.owes is not Owed.DEVICE:
            return self.debt_of(session) or refused(Reason.FORM_EXPIRED)
        lifetimes = self._options.rules_of(session.tenant, session.roles).lifetimes
        session = confirmed(session, lifetimes=lifetimes, now=now)
        grown = Grown(session, b"", ())
        if session.owes is Owed.NOTHING:
            grown = self._settled(session, client, now, told=True)
        remember = remember and "mfa" in session.amr and session.owes is Owed.NOTHING
        return self._rotate(stored, grown, client, now, spent=spent, remember=remember)

    def _rotate(
        self,
        stored: StoredSession,
        grown: Grown,
        client: Client,
        now: float,
        *,
        spent: tuple[Event, ...],
        remember: bool,
    ) -> SignedIn | Refused:
        """Give a session that paid a debt its new token, and hold the number of sessions."""
        session = grown.session
        lifetimes = self._options.rules_of(session.tenant, session.roles).lifetimes
        waits = stored.session.owes is not Owed.NOTHING and self._may_wait(session)
        moved = self.new_token()
        ended = self._store.rotate_session(
            stored.row,
            row_of(moved),
            waiting(session, now) if waits else session,
            keep=None if lifetimes.when_full == "refuse" else lifetimes.concurrent,
            now=now,
        )
        if ended is None:
            return Refused(reason=Reason.SESSION_EXPIRED, events=spent)
        if waits:
            session = self._admitted(row_of(moved), session, now)
        events = (*spent, session_event("session.rotated", session), *grown.events)
        if remember:
            events = (*events, *self._remember(session, grown.device or client.device, client, now))
        events = (*events, *revoked_events(session, len(ended)))
        return SignedIn(token=moved, session=session, events=events, device=grown.device)

    def grow(self, session: Session, *, method: str, client: Client, now: float) -> Grown:
        """Return a session whose second factor was proven by `method`, to be stored: it owes nothing.

        When it owed something before, its browser is noted: it becomes a known device, and the session is bound to it
        where the rules say so.
        """
        if session.owes is Owed.DEVICE:  # a factor is no answer to a code by mail
            return Grown(session, b"", ())
        lifetimes = self._options.rules_of(session.tenant, session.roles).lifetimes
        whole = elevate(session, method=method, lifetimes=lifetimes, now=now)
        if session.owes is Owed.MFA and self._must_set_up(session.user_id):
            pending = min(session.expires, whole.expires)
            whole = msgspec.structs.replace(whole, owes=Owed.ENROLMENT, expires=pending)
        by_passkey = method in _BOUND_TO_HOST
        if session.owes is Owed.MFA and not by_passkey and self._is_unconfirmed(session, client, now):
            user = self._store.user(session.user_id)
            if user is not None and is_address(user.email):
                return Grown(unconfirmed(whole, now, then=whole.owes), b"", ())
        if session.owes is Owed.NOTHING or whole.owes is not Owed.NOTHING:
            return Grown(whole, b"", ())
        # Whoever set up a first factor on a new device confirmed the device before.
        return self._settled(whole, client, now, told=session.owes is Owed.ENROLMENT)

    def make_room(self, token: bytes, handle: str, *, client: Client, now: float) -> SignedIn | Refused:
        """End a session of the person so that the one which waits can go on; TOO_MANY_SESSIONS while it cannot.

        An unknown handle, or somebody else's, ends nothing.
        """
        stored = self.live(token, client, now)
        if stored is None:
            return refused(Reason.SESSION_EXPIRED)
        session = stored.session
        if session.owes is not Owed.ROOM:
            return self.debt_of(session) or refused(Reason.FORM_EXPIRED)
        ended = (
            self._store.end_handle(handle, user_id=session.user_id)
            if is_handle(handle) and handle != session.handle
            else []
        )
        events = tuple(session_event("session.revoked", other.session, count=1) for other in ended)
        lifetimes = self._options.rules_of(session.tenant, session.roles).lifetimes
        whole = msgspec.structs.replace(session, owes=Owed.NOTHING, expires=whole_end(session, lifetimes))
        moved = self.new_token()
        if not self._store.take_room(stored.row, row_of(moved), whole, keep=lifetimes.concurrent, now=now):
            return Refused(reason=Reason.TOO_MANY_SESSIONS, events=events)
        return SignedIn(token=moved, session=whole, events=(*events, session_event("session.rotated", whole)))

    def waiting_for(
        self, token: bytes, client: Client, now: float
    ) -> tuple[StoredSession, list[StoredSession]] | Refused:
        """Return the session that waits for room and the person's whole ones, one of which has to end."""
        stored = self.live(token, client, now)
        if stored is None:
            return refused(Reason.SESSION_EXPIRED)
        if stored.session.owes is not Owed.ROOM:
            return self.debt_of(stored.session) or refused(Reason.FORM_EXPIRED)
        others = self._store.sessions(now=now, user_id=stored.session.user_id)
        return stored, [other for other in others if other.session.owes is Owed.NOTHING]

    def live(self, token: bytes, client: Client, now: float) -> StoredSession | None:
        """Find the live session of a cookie value, bound to `client.host` and to TLS or not."""
        if not is_token(token):
            return None
        stored = self._store.session(row_of(token), now)
        if stored is None or not is_bound_to(stored.session, host=client.host, secure=client.secure):
            return None
        return stored if self._options.admits(stored.session.tenant, client.tenant) else None

    def whole(self, token: bytes, client: Client, now: float) -> StoredSession | Refused:
        """Return the live session if it owes nothing."""
        stored = self.live(token, client, now)
        if stored is None:
            return refused(Reason.SESSION_EXPIRED)
        return self.debt_of(stored.session) or stored

    def is_fresh(self, session: Session, now: float) -> bool:
        """Tell whether the person proved lately what they have: a second factor, or without one the first.

        Whoever has one never changes factors or the password by the first alone.
        """
        user_id = session.user_id
        has_factor = self._store.factor(user_id) is not None or bool(self._store.passkeys.of(user_id))
        return now < (session.mfa_time if has_factor else session.auth_time) + RECENT_S

    def new_token(self) -> bytes:
        """Make a token for a session that moves."""
        return make_token(self._random(ENTROPY_BYTES))

    def _must_set_up(self, user_id: str) -> bool:
        """Tell whether nothing of what the person has is allowed any more."""
        user = self._store.user(user_id)
        factors = frozenset[Method]() if user is None else self._store.factors_of(user)
        return owed_after(self._options.rule, factors=factors) is Owed.ENROLMENT

    @staticmethod
    def debt_of(session: Session) -> Refused | None:
        """Refuse a session that owes something; None when it owes nothing."""
        match session.owes:
            case Owed.NOTHING:
                return None
            case Owed.MFA:
                return refused(Reason.MFA_REQUIRED)
            case Owed.ENROLMENT:
                return refused(Reason.MFA_ENROLMENT_REQUIRED)
            case Owed.DEVICE:
                return refused(Reason.DEVICE_UNCONFIRMED)
            case Owed.ROOM:
                return refused(Reason.TOO_MANY_SESSIONS)

    def held(self, session: Session, now: float) -> Session:
        """Return a session that becomes whole by other means than `elevate`, as it is stored until it was seated."""
        return waiting(session, now) if self._may_wait(session) else session

    def seat(self, row: bytes, session: Session, now: float) -> tuple[Session, tuple[Event, ...]]:
        """Have the number of sessions hold for one that became whole in `row`; return it as it stands now."""
        if self._may_wait(session):
            return self._admitted(row, session, now), ()
        keep = self._options.rules_of(session.tenant, session.roles).lifetimes.concurrent
        ended = self._store.trim_sessions(session, keep=keep, now=now)
        return session, revoked_events(session, len(ended))

    def _may_wait(self, session: Session) -> bool:
        """Tell whether a session that is about to be whole waits when the person has too many."""
        if session.owes is not Owed.NOTHING:
            return False
        lifetimes = self._options.rules_of(session.tenant, session.roles).lifetimes
        return lifetimes.concurrent is not None and lifetimes.when_full == "refuse"

    def _admitted(self, row: bytes, session: Session, now: float) -> Session:
        """Make the session of `row`, which waits, whole if there is room; return it as it stands now."""
        keep = self._options.rules_of(session.tenant, session.roles).lifetimes.concurrent
        return session if self._store.take_room(row, row, session, keep=keep, now=now) else waiting(session, now)

    def _is_unconfirmed(self, session: Session, client: Client, now: float) -> bool:
        """Tell whether a new device has to be confirmed, and this browser is one; the first of an account is one too."""
        rules = self._options.rules_of(session.tenant, session.roles)
        return rules.new_device is NewDevice.CONFIRM and not self._store.devices.knows(
            client.device, user_id=session.user_id, host=client.host, now=now
        )

    def _settled(self, session: Session, client: Client, now: float, *, told: bool = False) -> Grown:
        """Note the browser of a session that became whole: now it has proven everything.

        `told`: where new devices are confirmed, the person had a letter about this one.
        """
        rules = self._options.rules_of(session.tenant, session.roles)
        is_told = rules.new_device is NewDevice.NOTIFY or (rules.new_device is NewDevice.CONFIRM and not told)
        has_any = is_told and bool(self._store.devices.of(session.user_id, now=now))
        renewed = make_device(self._random(ENTROPY_BYTES))
        marked = self._store.devices.mark(
            client.device,
            user_id=session.user_id,
            host=client.host,
            renewed=renewed,
            name=f"d_{self._random(_DEVICE_NAME_BYTES).hex()}",
            user_agent=session.user_agent,
            client_ip=client.ip,
            country=session.country,
            now=now,
        )
        # The code that was mailed makes a new device as good as a known one.
        known = not marked.is_new or (told and rules.new_device is NewDevice.CONFIRM)
        session = msgspec.structs.replace(
            session, known_device=known, device=device_id(renewed) if rules.binding.device else session.device
        )
        if marked.is_new and has_any and self._tell is not None:  # the very first one is no news
            where = Circumstances(address=client.ip, device=client.user_agent, language=client.language)
            self._tell(session.user_id, Notice.NEW_DEVICE, where)
        events = (session_event("device.added", session),) if marked.is_new else ()
        return Grown(session, renewed, events)

    def _standing(self, user: User, client: Client, country: str, signals: frozenset[Signal], now: float) -> _Standing:
        """Say what the session owes after the first factor; a device that is remembered brings the time of its proof along."""
        rule, roles = self._options.rule, frozenset(user.roles)
        own = self._options.tenant_rules.get(user.tenant)
        if user.until:  # attack: a browser that was remembered in the emergency before, and the password alone
            signals |= {Signal.EMERGENCY}
        device, remembered = None, False
        weighs = rule.required is Required.RISK or (own is not None and own.required is Required.RISK)
        if weighs or rule.remember_s:
            known = self._store.devices.of(user.id, now=now)
            device = self._store.devices.find(client.device, user_id=user.id, host=client.host, now=now)
            signals |= _unusual(user, client, country, known, is_new=device is None, now=now)
            remembered = device is not None and device.is_remembered(now)
        factors = self._store.factors_of(user)
        owes = owed(rule, roles=roles, factors=factors, proven=False, remembered=remembered, signals=signals)
        if owes is Owed.NOTHING and own is not None:
            owes = owed(own, roles=roles, factors=factors, proven=False, remembered=remembered, signals=signals)
        spared = remembered and owes is Owed.NOTHING and device is not None
        return _Standing(owes, device.mfa_time if spared and device is not None else 0.0)

    def _remember(self, session: Session, cookie: bytes, client: Client, now: float) -> tuple[Event, ...]:
        """Ask for no second factor on this device for a while, where the rule allows that."""
        rule = self._options.rule
        if not rule.remembers(frozenset(session.roles)):
            return ()
        device = self._store.devices.find(cookie, user_id=session.user_id, host=client.host, now=now)
        until = now + rule.remember_s
        if device is None or not self._store.devices.remember(
            device.name, user_id=session.user_id, until=until, now=now
        ):
            return ()
        return (session_event("device.remembered", session),)


def _unusual(
    user: User, client: Client, country: str, known: list[KnownDevice], *, is_new: bool, now: float
) -> frozenset[Signal]:
    """Find what is unusual about a sign-in, by the devices that are known of the person."""
    found = set()
    if is_new:
        found.add(Signal.NEW_DEVICE)
    if country and any(other.country for other in known) and all(other.country != country for other in known):
        found.add(Signal.NEW_COUNTRY)
    network = network_of(client.ip)
    if all(network_of(other.client_ip) != network for other in known):
        found.add(Signal.NEW_NETWORK)
    # A password that is not the first one of the account and is younger than a day was set anew, by whomever.
    if user.password_changed > user.created and now < user.password_changed + RESET_S:
        found.add(Signal.RECENT_RESET)
    return frozenset(found)


def refused(reason: Reason, *events: Event) -> Refused:
    """Make a refusal that says what happened."""
    return Refused(reason=reason, events=events)


def event_of(name: str, user: User | None, *, reason: Reason, account: str = "") -> Event:
    """Describe a failed sign-in; an unknown name is not repeated, because people type passwords into that field.

    `account` is what detectors know it by.
    """
    if user is None:
        return Event(name=name, outcome="failure", reason=reason, account=account)
    return Event(name=name, outcome="failure", reason=reason, user_id=user.id, user=user.name, tenant=user.tenant)


def session_event(name: str, session: Session, *, reason: Reason | None = None, count: int = 0) -> Event:
    """Describe what happened to a session, or with it."""
    return Event(
        name=name,
        outcome="success" if reason is None else "failure",
        reason=reason or "",
        user_id=session.user_id,
        user=session.user,
        tenant=session.tenant,
        session=session.handle,
        amr=session.amr,
        count=count,
    )


def revoked_events(session: Session, count: int) -> tuple[Event, ...]:
    """Describe that `count` other sessions of the person ended."""
    if not count:
        return ()
    others = Event(
        name="session.revoked", user_id=session.user_id, user=session.user, tenant=session.tenant, count=count
    )
    return (others,)
