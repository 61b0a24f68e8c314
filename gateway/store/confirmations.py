"""A new device is confirmed by the person: a code by mail, once, in the browser and the session that owes it.

What the code is bound to is the value of the session's cookie: no other browser, and no other session of the same
person, can use it. Whether a device has to be confirmed, and what the session is afterwards, `Openings` says.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from gateway.authn.address import is_address, masked
from gateway.authn.mailed_code import LIFETIME_S, Purpose
from gateway.authn.throttle import MAIL_ACCOUNT, MAIL_ASKED, MAIL_NETWORK, NETWORK, Throttle
from gateway.exchange.envelope import Event
from gateway.exchange.letter import Letter, Matter
from gateway.exchange.notice import Circumstances
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.store.attempts import AttemptKeys
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.mailed import MailedCodes
from gateway.store.openings import Client, Openings, Refused, SignedIn, refused, session_event
from gateway.store.outbox import Outbox
from gateway.store.records import StoredSession, User
from gateway.store.rows import Transaction
from gateway.store.state import Store

SLOW_S: Final = 10.0
"""A letter that waits for longer was refused by the mail server at least once, or nothing sends letters."""
RETRY_S: Final = 15
_LETTER_BYTES: Final = 16
_LONGEST_RETRY_S: Final = 86_400


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A code was written for this session."""

    address: str
    """Where it goes, as far as it is shown to whoever knows a password alone."""
    is_waiting: bool
    """The mail server did not take it yet."""
    events: tuple[Event, ...] = ()


class Confirmations:
    """Confirmations by mail, for one process. Methods raise `StoreUnavailableError` and `OverloadedError` (503)."""

    def __init__(
        self,
        store: Store,
        openings: Openings,
        *,
        keyring: Keyring,
        outbox: Outbox,
        store_executor: BoundedExecutor,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Confirm devices for sessions of `openings`."""
        self._store = store
        self._openings = openings
        self._keys = AttemptKeys(keyring)
        self._codes = MailedCodes(store.rows, store.sealer, keyring, random)
        self._outbox = outbox
        self._run = store_executor.run
        self._random = random

    async def begin(self, token: bytes, *, client: Client, now: float) -> Sent | Refused:
        """Send the code that the session owes, unless one is under way."""
        return await self._run(partial(self._begin, token, client, now))

    async def send_again(self, token: bytes, *, client: Client, now: float) -> Sent | Refused:
        """Send another code; the one before is void. TOO_MANY_ATTEMPTS for whoever asks too often."""
        return await self._run(partial(self._send_again, token, client, now))

    async def confirm(
        self, token: bytes, code: str, *, client: Client, now: float, remember: bool = False
    ) -> SignedIn | Refused:
        """Take the code: once, by the session that it was sent for, as long as guesses are left."""
        return await self._run(partial(self._confirm, token, code, client, now, remember=remember))

    # Everything below runs in the store's thread.

    def _owing(self, token: bytes, client: Client, now: float) -> tuple[StoredSession, User] | Refused:
        """Return the session that owes a confirmation, and its person."""
        stored = self._openings.live(token, client, now)
        user = None if stored is None else self._store.user(stored.session.user_id)
        if stored is None or user is None or user.rests(now) or not is_address(user.email):
            return refused(Reason.SESSION_EXPIRED)
        if stored.session.owes is not Owed.DEVICE:
            return self._openings.debt_of(stored.session) or refused(Reason.FORM_EXPIRED)
        return stored, user

    def _begin(self, token: bytes, client: Client, now: float) -> Sent | Refused:
        owing = self._owing(token, client, now)
        if isinstance(owing, Refused):
            return owing
        _, user = owing
        issued = self._codes.issued(token, Purpose.DEVICE, now=now)
        if issued is None or issued.stamp != user.stamp or issued.guesses <= 0:
            return self._send(owing, token, client, now)
        letter = self._outbox.find(issued.letter, now=now) if issued.letter else None
        is_waiting = letter is not None and now >= letter.created + SLOW_S
        return Sent(address=masked(user.email), is_waiting=is_waiting)

    def _send_again(self, token: bytes, client: Client, now: float) -> Sent | Refused:
        owing = self._owing(token, client, now)
        return owing if isinstance(owing, Refused) else self._send(owing, token, client, now)

    def _send(self, owing: tuple[StoredSession, User], token: bytes, client: Client, now: float) -> Sent | Refused:
        (stored, user), keys = owing, self._keys
        session = stored.session
        name = "device.confirmation_requested"
        # Not the counts of resets: those a stranger can fill, and keep a person from every new device.
        limits: list[tuple[bytes, Throttle]] = [
            (keys.letters(client.ip), MAIL_NETWORK),
            (keys.confirmation(user.id, client.ip), MAIL_ASKED),
            (keys.confirmation(user.id), MAIL_ACCOUNT),
        ]
        wait = self._store.admit_attempt(limits, now=now)
        if wait:
            event = session_event(name, session, reason=Reason.TOO_MANY_ATTEMPTS)
            return Refused(reason=Reason.TOO_MANY_ATTEMPTS, retry_after_s=_whole(wait), events=(event,))
        letter = Letter(
            id=self._random(_LETTER_BYTES).hex(),
            matter=Matter.DEVICE_CODE,
            to=user.email,
            user=user.name,
            user_id=user.id,
            tenant=user.tenant,
            host=client.host,
            circumstances=Circumstances(language=client.language),
            created=now,
            expires=now + LIFETIME_S,
        )
        before = self._codes.issued(token, Purpose.DEVICE, now=now)
        earlier = "" if before is None else before.letter
        if not self._store.rows.transact(partial(self._store_both, letter, user, token, now, earlier=earlier)):
            self._store.forgive_attempt(limits)
            event = session_event(name, session, reason=Reason.MAIL_UNAVAILABLE)
            return Refused(reason=Reason.MAIL_UNAVAILABLE, retry_after_s=RETRY_S, events=(event,))
        return Sent(address=masked(user.email), is_waiting=False, events=(session_event(name, session),))

    def _store_both(
        self, letter: Letter, user: User, token: bytes, now: float, tx: Transaction, *, earlier: str
    ) -> bool:
        """Queue the letter and keep its code, or neither; a code that is void is not sent any more."""
        withdrawn = bool(earlier) and self._outbox.withdraw_in(tx, earlier)
        if not withdrawn and not self._outbox.has_room_in(tx):
            return False
        code = self._codes.issue_in(
            tx, token, Purpose.DEVICE, user_id=user.id, stamp=user.stamp, now=now, letter=letter.id
        )
        return self._outbox.put_in(tx, msgspec.structs.replace(letter, code=code), now=now)

    def _confirm(self, token: bytes, code: str, client: Client, now: float, *, remember: bool) -> SignedIn | Refused:
        owing = self._owing(token, client, now)
        if isinstance(owing, Refused):
            return owing
        stored, user = owing
        keys = [(self._keys.network(client.ip), NETWORK)]
        wait = self._store.admit_attempt(keys, now=now)
        if wait:
            event = session_event("device.confirmation_failed", stored.session, reason=Reason.TOO_MANY_ATTEMPTS)
            return Refused(reason=Reason.TOO_MANY_ATTEMPTS, retry_after_s=_whole(wait), events=(event,))
        mailed = self._codes.prove(token, Purpose.DEVICE, code, now=now)
        if mailed is None or mailed.user_id != user.id or mailed.stamp != user.stamp:
            event = session_event("device.confirmation_failed", stored.session, reason=Reason.CODE_REFUSED)
            return refused(Reason.CODE_REFUSED, event)
        self._store.forgive_attempt(keys)
        self._store.clear_attempts([self._keys.confirmation(user.id), self._keys.confirmation(user.id, client.ip)])
        spent = (session_event("device.confirmed", stored.session),)
        return self._openings.confirm(token, client=client, now=now, spent=spent, remember=remember)


def _whole(wait: float) -> int:
    return _LONGEST_RETRY_S if math.isinf(wait) else min(_LONGEST_RETRY_S, max(1, math.ceil(wait)))
