"""What a new password of an account must be, by every rule at once, and how the account looks with it.

The rules themselves are `authn.password`'s, the lists are `breached`'s and the service `breach_online`'s; this says
which apply to whom. It checks no current password and changes no account.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, Protocol, TypeVar

import msgspec
import structlog

from gateway.authn.password import (
    BREACHED,
    MIN_LENGTH,
    MIN_LENGTH_ALONE,
    SALT_BYTES,
    BreachedPasswords,
    Hasher,
    PasswordRefusedError,
    context_words,
    normalise,
    require_acceptable,
)
from gateway.exchange.marked import marked
from gateway.store.breach_online import BreachServiceError, OnlineBreachedPasswords
from gateway.store.records import User

_log = structlog.get_logger("gateway.store")
_Result = TypeVar("_Result")


class PasswordRules(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml says about new passwords."""

    min_length: int = MIN_LENGTH
    min_length_alone: int = MIN_LENGTH_ALONE
    """Where no second factor stands beside it."""
    min_score: int = 0
    history: int = 0
    """Earlier passwords that must not come back."""
    place: tuple[str, ...] = ()
    """What the site is called: its name and its hosts."""
    on_failure: Literal["open", "closed"] = "closed"
    """What a breach service that does not answer means."""

    def least(self, *, alone: bool) -> int:
        """Return how many characters are wanted."""
        return max(self.min_length, self.min_length_alone) if alone else self.min_length


class Objection(msgspec.Struct, frozen=True, kw_only=True):
    """Why a new password is not taken."""

    sentence: str
    """For the person, from the catalogue."""
    score: int | None = None
    """The meter, where that is why."""


class Runs(Protocol):
    """Runs work of 100 ms in a thread."""

    def __call__(self, work: Callable[[], _Result], /) -> Awaitable[_Result]:
        """Run it, and return what it returns. Raises OverloadedError."""
        ...


class NewPasswords:
    """Judges and hashes new passwords."""

    def __init__(
        self,
        rules: PasswordRules,
        *,
        hasher: Hasher,
        breached: BreachedPasswords | None,
        online: OnlineBreachedPasswords | None,
        threads: Runs,
        random: Callable[[int], bytes],
    ) -> None:
        self.rules = rules
        self._hasher = hasher
        self._breached = breached
        self._online = online
        self._threads = threads
        self._random = random

    async def object(self, new: str, user: User, *, alone: bool) -> Objection | None:
        """Say what is wrong with a new password of an account; None when nothing is.

        `alone`: no second factor stands beside it. Raises OverloadedError, and StoreUnavailableError for a damaged list.
        """
        try:
            await self._threads(partial(self._require, new, user, self.rules.least(alone=alone)))
        except PasswordRefusedError as error:
            return Objection(sentence=error.sentence, score=error.score)
        if self._online is None:
            return None
        try:
            if await self._online.holds(normalise(new)):
                return Objection(sentence=BREACHED)
        except BreachServiceError as error:
            _log.warning("breach_service.failed", error=str(error), on_failure=self.rules.on_failure)
            if self.rules.on_failure == "closed":
                return Objection(sentence=marked("The password cannot be checked right now. Please try again later."))
        return None

    async def hash(self, new: str) -> str:
        """Return the hash of an accepted password. Raises OverloadedError."""
        return await self._threads(partial(self._hasher.hash, new, salt=self._random(SALT_BYTES)))

    def changed(self, user: User, phc: str, *, now: float) -> User:
        """Return the account with its new password; the one before is remembered as long as history wants."""
        earlier = (user.password, *user.earlier_passwords) if user.password else user.earlier_passwords
        return msgspec.structs.replace(
            user,
            password=phc,
            password_changed=now,
            earlier_passwords=earlier[: max(0, self.rules.history - 1)],
        )

    def _require(self, new: str, user: User, least: int) -> None:
        require_acceptable(
            new,
            context=context_words(user.name, user.email, user.tenant, *self.rules.place),
            breached=self._breached,
            min_length=least,
            min_score=self.rules.min_score,
        )
        if self.rules.history:
            earlier = (user.password, *user.earlier_passwords)[: self.rules.history]
            if any(phc and self._hasher.matches(phc, new) for phc in earlier):
                raise PasswordRefusedError(marked("You had this password before. Please choose another one."))
