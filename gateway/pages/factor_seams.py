"""What the pages need to know of passkeys and second factors, declared here because they are the consumer.

The pages decide nothing about them: every method decides whole and returns what happened. All raise `GatewayError` when
they could not decide.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from gateway.pages.accounts import ClientT_contra, Happened, Refusal, SignedIn


class PasskeyView(Protocol):
    """One passkey in the list. Times are unix seconds."""

    @property
    def handle(self) -> str:
        """What forms call it."""
        ...

    @property
    def name(self) -> str:
        """What the person calls it."""
        ...

    @property
    def created(self) -> float:
        """When it was added."""
        ...

    @property
    def last_used(self) -> float:
        """0 = never."""
        ...

    @property
    def synchronised(self) -> bool:
        """It may be on several devices."""
        ...

    @property
    def here(self) -> bool:
        """It works on this host."""
        ...


class FactorsView(Protocol):
    """What the person has."""

    @property
    def passkeys(self) -> Sequence[PasskeyView]:
        """The oldest first."""
        ...

    @property
    def has_totp(self) -> bool:
        """An authenticator app is set up."""
        ...

    @property
    def may_remove_last(self) -> bool:
        """The person may be without a second factor."""
        ...


class Registered(SignedIn, Protocol):
    """A passkey was added."""

    @property
    def recovery_codes(self) -> tuple[str, ...]:
        """Shown once; empty where the person has some."""
        ...


class Changed(Happened, Protocol):
    """Something changed, or there was nothing to change (no events)."""

    @property
    def token(self) -> bytes:
        """The session's new token; empty where it stays."""
        ...


class SecondFactors(Protocol[ClientT_contra]):
    """Everything a person can do with passkeys. `token` is the cookie's value, `now` unix seconds."""

    def can_be_used(self, client: ClientT_contra) -> bool:
        """Tell whether browsers do passkeys on this host."""
        ...

    def sign_in_request(self, challenge: bytes, *, client: ClientT_contra) -> str:
        """Write the options for a sign-in without a user name, as JSON; empty where there is none."""
        ...

    async def proof_request(self, token: bytes, challenge: bytes, *, client: ClientT_contra, now: float) -> str:
        """Write the options for a second factor; empty where the person has no passkey that works here."""
        ...

    async def creation_request(
        self, token: bytes, challenge: bytes, *, client: ClientT_contra, now: float
    ) -> str | Refusal:
        """Write the options for a new passkey."""
        ...

    async def sign_in(
        self, answer: str, challenge: bytes, *, origin: str, client: ClientT_contra, now: float, replaces: bytes = b""
    ) -> SignedIn | Refusal:
        """Begin a session by a passkey alone."""
        ...

    async def prove(
        self,
        token: bytes,
        answer: str,
        challenge: bytes,
        *,
        origin: str,
        client: ClientT_contra,
        now: float,
        remember: bool = False,
    ) -> SignedIn | Refusal:
        """Take a passkey as second factor; the session is rotated. `remember`: not to be asked on this device for a while."""
        ...

    async def register(
        self, token: bytes, answer: str, challenge: bytes, name: str, *, origin: str, client: ClientT_contra, now: float
    ) -> Registered | Refusal:
        """Add a passkey; the session is rotated."""
        ...

    async def view(self, token: bytes, *, client: ClientT_contra, now: float) -> FactorsView | Refusal:
        """Read what the page of passkeys shows."""
        ...

    async def has_factor(self, token: bytes, *, client: ClientT_contra, now: float) -> Collection[str]:
        """Name the second factors of the person of a live session: `webauthn`, `totp`, `email`."""
        ...

    async def rename(
        self, token: bytes, handle: str, name: str, *, client: ClientT_contra, now: float
    ) -> Changed | Refusal:
        """Give a passkey another name."""
        ...

    async def remove(self, token: bytes, handle: str, *, client: ClientT_contra, now: float) -> Changed | Refusal:
        """Remove a passkey; the session is rotated, the others end."""
        ...

    async def remove_totp(self, token: bytes, *, client: ClientT_contra, now: float) -> Changed | Refusal:
        """Remove the authenticator app; likewise."""
        ...
