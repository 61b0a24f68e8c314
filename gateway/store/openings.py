"""How every session begins and grows, whatever proved the person: password, passkey, provider, reset.

So concurrency, binding, what is owed and rotation are decided once. It checks no password and no code, and
runs in the store's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gateway.exchange.envelope import Event
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed, Session
from gateway.session.life import elevate, is_bound_to, start
from gateway.session.token import ENTROPY_BYTES, HANDLE_BYTES, is_token, make_handle, make_token, row_of
from gateway.store.account_options import AccountOptions
from gateway.store.records import StoredSession, User
from gateway.store.state import Store

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
    language: str = ""
    """Of the pages that the browser is shown, a tag of the catalogue."""


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A new token for the cookie; whatever token came with the request is dead."""

    token: bytes
    session: Session
    """`session.owes` says what the next page is."""
    events: tuple[Event, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """No, and why. The reason is safe to show; the event may know more."""

    reason: Reason
    """CREDENTIALS_REFUSED, CODE_REFUSED, TOO_MANY_ATTEMPTS, PASSWORD_REFUSED, FRESH_SIGN_IN_REQUIRED,
    SESSION_EXPIRED (no live session for the token), MFA_REQUIRED and MFA_ENROLMENT_REQUIRED (the session still owes it)."""
    retry_after_s: int = 0
    problem: str = ""
    """For PASSWORD_REFUSED one sentence for the person: what is wrong with the new password."""
    score: int | None = None
    """The meter, where the new password is too easy to guess."""
    events: tuple[Event, ...] = ()


class Openings:
    """Begins, finds and elevates sessions. Methods raise `StoreUnavailableError` (503, nobody is signed out)."""

    __slots__ = ("_options", "_random", "_store")

    def __init__(self, store: Store, *, options: AccountOptions, random: Callable[[int], bytes] = os.urandom) -> None:
        self._store = store
        self._options = options
        self._random = random

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

        """
        if client.tenant not in {"", user.tenant}:  # says no more to the person than a wrong password does
            return refused(Reason.CREDENTIALS_REFUSED, event_of("login.failed", user, reason=Reason.TENANT_MISMATCH))
        lifetimes = self._options.lifetimes_of(user.tenant)
        session = start(
            handle=make_handle(self._random(HANDLE_BYTES)),
            user_id=user.id,
            user=user.name,
            tenant=user.tenant,
            roles=user.roles,
            email=user.email,
            owes=Owed.NOTHING if second_factor_done else self._owed(user),
            lifetimes=lifetimes,
            host=client.host,
            secure=client.secure,
            client_ip=client.ip,
            user_agent=client.user_agent,
            now=now,
            amr=amr,
            auth_time=auth_time,
            mfa_time=now if second_factor_done else 0.0,
            provider=provider,
            provider_session=provider_session,
            acr=acr,
        )
        token = self.new_token()
        ended = self._store.create_session(
            row_of(token),
            session,
            stamp=user.stamp,
            keep=lifetimes.concurrent,
            now=now,
            replaces=row_of(replaces) if is_token(replaces) else b"",
        )
        if ended is None:  # disabled, reset or changed while the proof was checked
            return refused(
                Reason.CREDENTIALS_REFUSED, event_of("login.failed", user, reason=Reason.CREDENTIALS_REFUSED)
            )
        events = (session_event("login.succeeded", session), session_event("session.created", session))
        return SignedIn(token=token, session=session, events=(*events, *revoked_events(session, len(ended))))

    def elevate(
        self, token: bytes, *, method: str, client: Client, now: float, spent: tuple[Event, ...] = ()
    ) -> SignedIn | Refused:
        """Rotate a live session whose second factor was proven by `method`: it owes nothing. `spent` says what that took."""
        stored = self.live(token, client, now)
        if stored is None:
            return Refused(reason=Reason.SESSION_EXPIRED, events=spent)
        lifetimes = self._options.lifetimes_of(stored.session.tenant)
        session = elevate(stored.session, method=method, lifetimes=lifetimes, now=now)
        moved = self.new_token()
        ended = self._store.rotate_session(stored.row, row_of(moved), session, keep=lifetimes.concurrent, now=now)
        if ended is None:
            return Refused(reason=Reason.SESSION_EXPIRED, events=spent)
        events = (*spent, session_event("session.rotated", session), *revoked_events(session, len(ended)))
        return SignedIn(token=moved, session=session, events=events)

    def live(self, token: bytes, client: Client, now: float) -> StoredSession | None:
        """Find the live session of a cookie value, bound to `client.host` and to TLS or not."""
        if not is_token(token):
            return None
        stored = self._store.session(row_of(token), now)
        if stored is None or not is_bound_to(stored.session, host=client.host, secure=client.secure):
            return None
        return stored if client.tenant in {"", stored.session.tenant} else None

    def whole(self, token: bytes, client: Client, now: float) -> StoredSession | Refused:
        """Return the live session if it owes nothing."""
        stored = self.live(token, client, now)
        if stored is None:
            return refused(Reason.SESSION_EXPIRED)
        match stored.session.owes:
            case Owed.NOTHING:
                return stored
            case Owed.MFA:
                return refused(Reason.MFA_REQUIRED)
            case Owed.ENROLMENT:
                return refused(Reason.MFA_ENROLMENT_REQUIRED)
            case Owed.ROOM:
                return refused(Reason.TOO_MANY_SESSIONS)

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

    def _owed(self, user: User) -> Owed:
        if self._store.factor(user.id) is not None:
            return Owed.MFA
        return Owed.ENROLMENT if self._options.mfa_always else Owed.NOTHING


def refused(reason: Reason, *events: Event) -> Refused:
    """Make a refusal that says what happened."""
    return Refused(reason=reason, events=events)


def event_of(name: str, user: User | None, *, reason: Reason) -> Event:
    """Describe a failed sign-in; an unknown name is not repeated, because people type passwords into that field."""
    if user is None:
        return Event(name=name, outcome="failure", reason=reason)
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
