"""What administrators do to accounts and sessions through the console.

Each method decides whole, in one go of the store's thread: whether who asks is an administrator at this moment, whether
the person is theirs to see or to change, and the change. Whatever is not theirs is answered as if it did not exist. It
gives nobody a role and reads no secret; each result carries the events that the record must say.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import msgspec

from gateway.authn.address import canonical_address
from gateway.authn.assurance import ENROLLABLE
from gateway.authn.name import InvalidNameError, canonical_name
from gateway.authn.throttle import ACCOUNT, FACTOR
from gateway.exchange.administration import Acted, Administrator, Individual, Listing, LiveSession, Portrait
from gateway.exchange.built_in import OPERATOR, TENANT_ADMIN
from gateway.exchange.envelope import Event
from gateway.exchange.notice import NOWHERE, Circumstances, Notice
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.session.token import is_handle
from gateway.store.attempts import AttemptKeys
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.records import StoredSession, User
from gateway.store.state import Store

CONSOLE_QUEUE: Final = 16
LONGEST_LOCK_S: Final = 1e9


def console_executor() -> BoundedExecutor:
    """Make the thread for the console: a list of ten thousand people must not keep anybody from signing in."""
    return BoundedExecutor("console", threads=1, waiting=CONSOLE_QUEUE)


class PeopleDesk:
    """All of it, for one process. Methods raise `StoreUnavailableError` and `OverloadedError`: then nothing happened."""

    __slots__ = ("_ask", "_keys", "_run", "_store", "_tell")

    def __init__(
        self,
        store: Store,
        *,
        keyring: Keyring,
        executor: BoundedExecutor,
        asking: BoundedExecutor,
        tell: Callable[[str, Notice, Circumstances], None] | None = None,
    ) -> None:
        """Manage the people of `store`; `tell` has the owner of an account told what was done to it.

        Lists are read in the thread of `executor`, all that is about one person in that of `asking`, where signing in is.
        """
        self._store = store
        self._keys = AttemptKeys(keyring)
        self._run = executor.run
        self._ask = asking.run
        self._tell = tell

    async def administrator(self, session: Session) -> Administrator | None:
        """Return who asks, if they hold a role of the gateway's own now; the session itself carries none."""
        # attack: whoever is signed in fills the few places of the console, or waits with their account page for a long list;
        # or an administrator of one organisation lists people without end, and nobody can disable an account
        return await self._ask(partial(self._administrator, session.user_id, session.handle, session.tenant))

    async def people(self, asker: Administrator, words: str, *, start: int, size: int) -> Listing:
        """List people whose name, address, role or organisation has `words` in it, by name."""
        return await self._run(partial(self._people, asker, words, start, size))

    async def holders(self, asker: Administrator, roles: frozenset[str], *, size: int) -> Listing:
        """List people who were given one of `roles`, the first `size` of them by name."""
        return await self._run(partial(self._holders, asker, roles, size))

    async def person(self, asker: Administrator, user_id: str, *, now: float) -> Portrait | None:
        """Show one person; None when there is none that the asker may see."""
        return await self._ask(partial(self._person, asker, user_id, now))

    async def named(self, asker: Administrator, name: str) -> Individual | None:
        """Find a person by any spelling of their name; None when there is none that the asker may see."""
        return await self._ask(partial(self._named, asker, name))

    async def sessions(self, asker: Administrator, words: str, *, start: int, size: int, now: float) -> Listing:
        """List live sessions of which person, host, address or organisation has `words` in it, newest first."""
        return await self._run(partial(self._sessions, asker, words, start, size, now))

    async def set_disabled(self, asker: Administrator, user_id: str, *, disabled: bool, now: float) -> Acted:
        """Keep a person from signing in and end their sessions, or let them in again and forget failed attempts."""
        return await self._ask(partial(self._set_disabled, asker, user_id, disabled=disabled, now=now))

    async def end_session(self, asker: Administrator, user_id: str, handle: str) -> Acted:
        """End one session of a person."""
        return await self._ask(partial(self._end_session, asker, user_id, handle))

    async def end_sessions(self, asker: Administrator, user_id: str) -> Acted:
        """End every session of a person."""
        return await self._ask(partial(self._end_sessions, asker, user_id))

    async def reset_factors(self, asker: Administrator, user_id: str, *, now: float) -> Acted:
        """Forget every second factor of a person and end their sessions; the password stays."""
        return await self._ask(partial(self._reset_factors, asker, user_id, now))

    # Everything below runs in the store's thread.

    def _administrator(self, user_id: str, handle: str, tenant: str) -> Administrator | None:
        user = self._store.user(user_id)
        if user is None or user.disabled or user.tenant != tenant:
            return None
        roles = _counting_roles(user)
        if not roles:
            return None
        return Administrator(
            user_id=user.id, user=user.name, tenant=user.tenant, handle=handle, is_operator=OPERATOR in roles
        )

    def _visible(self, asker: Administrator) -> list[User]:
        return self._store.users(tenant=None if asker.is_operator else asker.tenant)

    def _people(self, asker: Administrator, words: str, start: int, size: int) -> Listing:
        wanted = words.casefold()
        found = [user for user in self._visible(asker) if not wanted or _mentions(user, wanted)]
        return Listing(people=tuple(map(_individual, found[start : start + size])), total=len(found))

    def _holders(self, asker: Administrator, roles: frozenset[str], size: int) -> Listing:
        found = [user for user in self._visible(asker) if not roles.isdisjoint((*user.roles, *_counting_roles(user)))]
        return Listing(people=tuple(map(_individual, found[:size])), total=len(found))

    def _seen(self, asker: Administrator, user_id: str) -> User | None:
        user = self._store.user(user_id)
        return user if user is not None and asker.sees(user.tenant) else None

    def _named(self, asker: Administrator, name: str) -> Individual | None:
        try:
            user = self._store.user_named(canonical_name(name))
        except InvalidNameError:
            return None
        return _individual(user) if user is not None and asker.sees(user.tenant) else None

    def _person(self, asker: Administrator, user_id: str, now: float) -> Portrait | None:
        user = self._seen(asker, user_id)
        if user is None:
            return None
        locked = max(
            self._store.blocked_s(self._keys.account(user.name), ACCOUNT, now=now),
            self._store.blocked_s(self._keys.factor(user.id), FACTOR, now=now),
        )
        return Portrait(
            individual=_individual(user),
            created=user.created,
            password_changed=user.password_changed if user.password else 0.0,
            factors=tuple(sorted(kind.value for kind in self._store.factors_of(user) & ENROLLABLE)),
            recovery_codes_left=self._store.count_recovery(user.id),
            locked_s=min(locked, LONGEST_LOCK_S),
            sessions=tuple(
                _live(stored)
                for stored in self._store.sessions(now=now, user_id=user.id)
                if asker.sees(stored.session.tenant)
            ),
            may_change=_may_change(asker, user),
            is_self=user.id == asker.user_id,
        )

    def _sessions(self, asker: Administrator, words: str, start: int, size: int, now: float) -> Listing:
        wanted = words.casefold()
        found = [
            stored
            for stored in self._store.sessions(now=now, tenant=None if asker.is_operator else asker.tenant)
            if asker.sees(stored.session.tenant) and (not wanted or _concerns(stored.session, wanted))
        ]
        return Listing(sessions=tuple(map(_live, found[start : start + size])), total=len(found))

    def _target(self, asker: Administrator, user_id: str) -> User | Acted:
        """Find whom an act is about; what `asker` was at the beginning of the request may be true no more."""
        still = self._administrator(asker.user_id, asker.handle, asker.tenant)
        if still is None or still.is_operator is not asker.is_operator:
            return Acted(outcome="gone", events=(_event("admin", asker, reason=Reason.ROLE_MISSING),))
        user = self._seen(still, user_id)
        if user is None:
            return Acted(outcome="gone")
        if not _may_change(still, user):
            return Acted(outcome="not_allowed", events=(_event("admin", user, reason=Reason.ROLE_MISSING),))
        return user

    def _set_disabled(self, asker: Administrator, user_id: str, *, disabled: bool, now: float) -> Acted:
        user = self._target(asker, user_id)
        if isinstance(user, Acted):
            return user
        name = "user.disabled" if disabled else "user.enabled"
        if user.id == asker.user_id:  # nobody locks themselves out by a slip
            return Acted(outcome="not_allowed")
        if user.until and not disabled:
            # attack: an emergency that was ended early, opened again without a reason on record
            return Acted(outcome="not_allowed", events=(_event(name, user, outcome="failure"),))
        new = user.disabled_for_good() if disabled else msgspec.structs.replace(user, disabled=False)
        changed = self._store.change_user(user, new, now=now)
        if changed is None:
            return Acted(outcome="changed", events=(_event(name, user, outcome="failure"),))
        if not disabled:
            self._unlock(user)
        return Acted(outcome="done", count=changed[1], events=(_event(name, user), *_ended(user, changed[1])))

    def _end_session(self, asker: Administrator, user_id: str, handle: str) -> Acted:
        user = self._target(asker, user_id)
        if isinstance(user, Acted):
            return user
        # attack: a handle of somebody else, on the page of a person whom the asker may change
        ended = self._store.end_handle(handle, user_id=user.id) if is_handle(handle) else []
        if not ended:
            return Acted(outcome="gone")
        self._told(user, Notice.SESSIONS_REVOKED)
        return Acted(outcome="done", count=1, events=(_event("session.revoked", user, session=handle, count=1),))

    def _end_sessions(self, asker: Administrator, user_id: str) -> Acted:
        user = self._target(asker, user_id)
        if isinstance(user, Acted):
            return user
        count = self._store.end_user(user.id)
        if count:
            self._told(user, Notice.SESSIONS_REVOKED)
        return Acted(outcome="done", count=count, events=(_event("session.revoked", user, count=count),))

    def _reset_factors(self, asker: Administrator, user_id: str, now: float) -> Acted:
        user = self._target(asker, user_id)
        if isinstance(user, Acted):
            return user
        if user.id == asker.user_id:  # attack: a session left open takes the factor away that protects the account
            return Acted(outcome="not_allowed")
        changed = self._store.reset_user(user, user, factor=None, now=now)
        if changed is None:
            return Acted(outcome="changed", events=(_event("factor.removed", user, outcome="failure"),))
        self._unlock(user)
        self._told(user, Notice.FACTOR_REMOVED)
        events = (_event("factor.removed", user), *_ended(user, changed[1]))
        return Acted(outcome="done", count=changed[1], events=events)

    def _unlock(self, user: User) -> None:
        keys = self._keys
        self._store.clear_attempts(
            [
                keys.account(user.name),
                keys.typed(user.name),
                keys.typed(canonical_address(user.email)),
                keys.current(user.id),
                keys.factor(user.id),
            ]
        )

    def _told(self, user: User, notice: Notice) -> None:
        if self._tell is not None:
            self._tell(user.id, notice, NOWHERE)


def _counting_roles(user: User) -> tuple[str, ...]:
    """Return the gateway's roles that count.

    attack: a provider says another organisation of a tenant administrator, who would administer that one then.
    """
    return tuple(role for role in user.gateway_roles if role != TENANT_ADMIN or user.administers == user.tenant)


def _may_change(asker: Administrator, user: User) -> bool:
    """Tell whether an act on this person is the asker's: a tenant administrator changes no operator."""
    return asker.is_operator or (asker.sees(user.tenant) and OPERATOR not in user.gateway_roles)


def _mentions(user: User, wanted: str) -> bool:
    said = (user.name, user.email, user.tenant, *user.roles, *user.gateway_roles)
    return any(wanted in word.casefold() for word in said)


def _concerns(session: Session, wanted: str) -> bool:
    return any(wanted in word.casefold() for word in (session.user, session.tenant, session.host, session.client_ip))


def _individual(user: User) -> Individual:
    return Individual(
        id=user.id,
        name=user.name,
        tenant=user.tenant,
        roles=user.roles,
        gateway_roles=_counting_roles(user),
        email=user.email,
        disabled=user.disabled,
        provider=user.provider,
        last_sign_in=user.last_sign_in,
    )


def _live(stored: StoredSession) -> LiveSession:
    session = stored.session
    return LiveSession(
        handle=session.handle,
        user_id=session.user_id,
        user=session.user,
        tenant=session.tenant,
        host=session.host,
        created=session.created,
        seen=stored.seen,
        mfa_time=session.mfa_time,
        client_ip=session.client_ip,
        user_agent=session.user_agent,
        provider=session.provider,
        owes=session.owes.value,
    )


def _event(
    name: str,
    of: User | Administrator,
    *,
    session: str = "",
    count: int = 0,
    reason: Reason | None = None,
    outcome: Literal["success", "failure"] = "success",
) -> Event:
    """Describe what was done to somebody; who did it is the actor of the record."""
    return Event(
        name=name,
        outcome="failure" if reason is not None else outcome,
        reason=reason or "",
        user_id=of.id if isinstance(of, User) else of.user_id,
        user=of.name if isinstance(of, User) else of.user,
        tenant=of.tenant,
        session=session,
        count=count,
    )


def _ended(user: User, count: int) -> tuple[Event, ...]:
    return (_event("session.revoked", user, count=count),) if count else ()
