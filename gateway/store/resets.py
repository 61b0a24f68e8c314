"""A forgotten password is replaced by the person: a code by mail, once, in the browser that asked.

Whether an account exists cannot be told from what is answered, from how long it takes, or from what is stored:
each request makes the same look-ups, counts, code and letter, and a letter to nobody is thrown away later. A reset
ends every session, and opens none: the person signs in afterwards, with every factor that the account has.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from gateway.authn.address import is_address
from gateway.authn.assurance import Method
from gateway.authn.mailed_code import LIFETIME_S, Purpose
from gateway.authn.throttle import MAIL_ACCOUNT, MAIL_ASKED, MAIL_NETWORK, NETWORK
from gateway.exchange.envelope import Event
from gateway.exchange.letter import Letter, Matter
from gateway.exchange.notice import Circumstances, Notice
from gateway.exchange.reason import Reason
from gateway.store.account_options import AccountOptions
from gateway.store.attempts import AttemptKeys
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.mailed import MailedCodes
from gateway.store.new_passwords import NewPasswords
from gateway.store.openings import Client, Refused, event_of, refused
from gateway.store.outbox import Outbox
from gateway.store.principals import LOCAL, Principal, find_principal
from gateway.store.records import User
from gateway.store.rows import Transaction
from gateway.store.state import Store

LETTER_BYTES: Final = 16
LONGEST_RETRY_S: Final = 86_400


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asked for a code; the answer is always the same."""

    events: tuple[Event, ...]


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """The code was right; this browser may set one new password."""

    events: tuple[Event, ...]


class PasswordSet(msgspec.Struct, frozen=True, kw_only=True):
    """The account has a new password, and `count` sessions ended."""

    count: int
    events: tuple[Event, ...]


class Resets:
    """Resets by mail, for one process. Methods raise `StoreUnavailableError` and `OverloadedError` (503)."""

    def __init__(
        self,
        store: Store,
        *,
        options: AccountOptions,
        keyring: Keyring,
        outbox: Outbox,
        passwords: NewPasswords,
        tell: Callable[[str, Notice, Circumstances], None] | None,
        store_executor: BoundedExecutor,
        random: Callable[[int], bytes] = os.urandom,
        holds: Callable[[str, float], bool] | None = None,
    ) -> None:
        """Reset accounts of `store`; `tell` has the owner of one told, in the store's thread; `holds` as for `Admissions`."""
        self._store = store
        self._options = options
        self._keys = AttemptKeys(keyring)
        self._codes = MailedCodes(store.rows, store.sealer, keyring, random)
        self._outbox = outbox
        self._passwords = passwords
        self._tell = tell
        self._holds = holds
        self._run = store_executor.run
        self._random = random

    async def ask(self, typed: str, browser: bytes, *, client: Client, now: float) -> Asked | Refused:
        """Send a code to whoever is meant by a name or an address, if there is somebody; void this browser's earlier one.

        `browser` is a secret that this browser alone holds. Refused is only a network that asks too often.
        """
        return await self._run(partial(self._ask, typed, browser, client, now))

    async def prove(self, browser: bytes, code: str, *, client: Client, now: float) -> Proven | Refused:
        """Take the code: once, by the browser that asked, as long as guesses are left."""
        return await self._run(partial(self._prove, browser, code, client, now))

    async def is_proven(self, browser: bytes, *, now: float) -> bool:
        """Tell whether this browser may set a password."""
        return await self._run(partial(self._codes.proven, browser, Purpose.RESET, now=now)) is not None

    async def set_password(self, browser: bytes, new: str, *, client: Client, now: float) -> PasswordSet | Refused:
        """Replace the password of the account whose code was given; every session of it ends, its factors stay."""
        user = await self._run(partial(self._proven_user, browser, now))
        if user is None:
            return refused(Reason.FORM_EXPIRED)
        alone = not self._options.mfa_always and await self._run(partial(self._is_alone, user))
        objection = await self._passwords.object(new, user, alone=alone)
        if objection is not None:
            return Refused(reason=Reason.PASSWORD_REFUSED, problem=objection.sentence, score=objection.score)
        phc = await self._passwords.hash(new)
        return await self._run(partial(self._change, user, phc, browser, client, now))

    # Everything below runs in the store's thread.

    def _ask(self, typed: str, browser: bytes, client: Client, now: float) -> Asked | Refused:
        store, keys = self._store, self._keys
        wait = store.admit_attempt([(keys.letters(client.ip), MAIL_NETWORK)], now=now)
        if wait:
            event = Event(name="password.reset_requested", outcome="failure", reason=Reason.TOO_MANY_ATTEMPTS)
            return Refused(reason=Reason.TOO_MANY_ATTEMPTS, retry_after_s=_whole(wait), events=(event,))
        principal = find_principal(store.people, typed)
        # attack: a mailbox is filled by strangers; the answer must not tell that it is full
        limits = [
            (keys.letter(principal.name, client.ip), MAIL_ASKED),
            (keys.letter(principal.name), MAIL_ACCOUNT),
        ]
        # attack: strangers who are quicker each time, and have every letter that the account may get
        user_id = "" if principal.user is None else principal.user.id
        device = store.devices.find(client.device, user_id=user_id, host=client.host, now=now)
        if device is not None:
            limits = [(keys.own_letter(user_id, device.name), MAIL_ASKED)]
        is_held = store.admit_attempt(limits, now=now, evenly=True) > 0
        account = keys.watched(principal.name)
        if device is None and self._holds is not None and self._holds(account, now):
            is_held = True
        user = principal.user if _can_be_told(principal.user, client, now) else None
        letter = self._letter(principal, None if is_held else user, client, now, is_held=is_held)
        is_full = not store.rows.transact(partial(self._store_both, letter, user, browser, now))
        asked = _asked_event(principal, user, is_held=is_held or is_full)
        return Asked(events=(msgspec.structs.replace(asked, account="" if asked.user else account),))

    def _store_both(self, letter: Letter, user: User | None, browser: bytes, now: float, tx: Transaction) -> bool:
        told = user if letter.to and letter.matter is Matter.RESET_CODE else None
        code = self._codes.issue_in(
            tx,
            browser,
            Purpose.RESET,
            user_id="" if told is None else told.id,
            stamp="" if told is None else told.stamp,
            now=now,
        )
        return self._outbox.put_in(tx, msgspec.structs.replace(letter, code=code), now=now)

    def _letter(self, principal: Principal, user: User | None, client: Client, now: float, *, is_held: bool) -> Letter:
        """Write to the person; to nobody where there is nobody to be told."""
        several = [other for other in principal.several if _can_be_told(other, client, now)]
        matter, to = Matter.RESET_CODE, "" if user is None else user.email
        if several and not is_held:
            matter, to = Matter.SEVERAL_ACCOUNTS, several[0].email
        return Letter(
            id=self._random(LETTER_BYTES).hex(),
            matter=matter,
            to=to,
            user="" if user is None else user.name,
            user_id="" if user is None else user.id,
            tenant=client.tenant if user is None else user.tenant,
            host=client.host,
            circumstances=Circumstances(language=client.language),
            created=now,
            expires=now + LIFETIME_S,
        )

    def _prove(self, browser: bytes, code: str, client: Client, now: float) -> Proven | Refused:
        keys = [(self._keys.network(client.ip), NETWORK)]
        wait = self._store.admit_attempt(keys, now=now)
        if wait:
            event = Event(name="password.reset_failed", outcome="failure", reason=Reason.TOO_MANY_ATTEMPTS)
            return Refused(reason=Reason.TOO_MANY_ATTEMPTS, retry_after_s=_whole(wait), events=(event,))
        mailed = self._codes.prove(browser, Purpose.RESET, code, now=now)
        user = None if mailed is None else self._store.user(mailed.user_id)
        if mailed is None or user is None:
            event = Event(name="password.reset_failed", outcome="failure", reason=Reason.CODE_REFUSED)
            return refused(Reason.CODE_REFUSED, event)
        self._store.forgive_attempt(keys)
        return Proven(
            events=(Event(name="password.reset_proven", user_id=user.id, user=user.name, tenant=user.tenant),)
        )

    def _proven_user(self, browser: bytes, now: float) -> User | None:
        mailed = self._codes.proven(browser, Purpose.RESET, now=now)
        user = None if mailed is None else self._store.user(mailed.user_id)
        if mailed is None or user is None or user.stamp != mailed.stamp or user.rests(now):
            return None
        return user

    def _is_alone(self, user: User) -> bool:
        return not self._store.factors_of(user) & {Method.TOTP, Method.WEBAUTHN}

    def _change(self, user: User, phc: str, browser: bytes, client: Client, now: float) -> PasswordSet | Refused:
        if self._codes.take(browser, Purpose.RESET, now=now) is None:
            return refused(Reason.FORM_EXPIRED)
        changed = self._store.change_user(user, self._passwords.changed(user, phc, now=now), now=now)
        if changed is None:
            return refused(Reason.FORM_EXPIRED, event_of("password.reset_failed", user, reason=Reason.FORM_EXPIRED))
        keys = self._keys
        self._store.clear_attempts(
            [
                keys.account(user.name),
                keys.typed(user.name),
                keys.typed(user.email),
                keys.letter(user.name),
                keys.letter(user.name, client.ip),
            ]
        )
        event = Event(name="password.reset", user_id=user.id, user=user.name, tenant=user.tenant, count=changed[1])
        if self._tell is not None:
            where = Circumstances(address=client.ip, device=client.user_agent, language=client.language)
            self._tell(user.id, Notice.PASSWORD_RESET, where)
        return PasswordSet(count=changed[1], events=(event,))


def _can_be_told(user: User | None, client: Client, now: float) -> bool:
    """Tell whether an account has a password of ours, a plain address, and belongs to this host."""
    return (
        user is not None
        and not user.rests(now)
        and user.provider == LOCAL
        and bool(user.password)
        and is_address(user.email)
        and client.tenant in {"", user.tenant}
    )


def _asked_event(principal: Principal, user: User | None, *, is_held: bool) -> Event:
    """Describe a request; what was typed is not repeated where it is nobody's name."""
    if user is None:
        known = principal.user
        return event_of("password.reset_requested", known, reason=Reason.CREDENTIALS_REFUSED)
    if is_held:
        return event_of("password.reset_requested", user, reason=Reason.TOO_MANY_ATTEMPTS)
    return Event(name="password.reset_requested", user_id=user.id, user=user.name, tenant=user.tenant)


def _whole(wait: float) -> int:
    return LONGEST_RETRY_S if math.isinf(wait) else min(LONGEST_RETRY_S, max(1, math.ceil(wait)))
