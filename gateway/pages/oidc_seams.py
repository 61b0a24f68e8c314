"""What the pages need to know of identity providers, declared here because they are the consumer.

The pages decide nothing about providers: where a browser is sent, whose answer is believed and which sessions a
logout token ends is decided whole behind these methods. All raise `GatewayError` when they could not decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from gateway.exchange.session import Session
from gateway.pages.accounts import Done, Refusal, SignedIn


class Offer(Protocol):
    """A provider as the sign-in page shows it."""

    @property
    def id(self) -> str:
        """Its id, for the address."""
        ...

    @property
    def title(self) -> str:
        """What the button says."""
        ...

    @property
    def has_domains(self) -> bool:
        """People find it by their e-mail address."""
        ...


@runtime_checkable
class FederatedRefusal(Refusal, Protocol):
    """No, and why."""

    @property
    def fault(self) -> str:
        """Name of what was wrong, from a closed list; empty = the reason says it."""
        ...

    @property
    def error(self) -> str:
        """Registered error code of the provider; empty = none."""
        ...

    @property
    def return_to(self) -> str:
        """Where the person wanted to go; empty = the login state knows."""
        ...


class FederatedSignIn(SignedIn, Protocol):
    """A new session."""

    @property
    def return_to(self) -> str:
        """Where the person wanted to go; empty = the login state knows."""
        ...


class Farewell(Protocol):
    """What is left to do at a provider after a session ended here."""

    async def revoke(self) -> None:
        """Have the provider forget the tokens; never raises for a provider that is away."""
        ...

    async def address(self, *, origin: str) -> str:
        """Return where the browser signs out there; empty = nowhere."""
        ...


class Providers(Protocol):
    """The identity providers of the gateway."""

    def offered(self, host: str, tenant: str) -> Sequence[Offer]:
        """List the providers for a host."""
        ...

    def of_address(self, address: str, host: str, tenant: str) -> str:
        """Name the provider of an e-mail address; empty = unknown."""
        ...

    async def begin(
        self,
        provider_id: str,
        *,
        browser: bytes,
        origin: str,
        host: str,
        tenant: str,
        return_to: str,
        now: float,
        fresh: bool = False,
        other: bool = False,
        login_hint: str = "",
    ) -> str | None:
        """Return where the browser goes to sign in; None = there is no such provider here."""
        ...

    async def finish(
        self,
        provider_id: str,
        query: list[tuple[str, str]],
        *,
        browser: bytes,
        origin: str,
        tenant: str,
        request_id: str,
        client_ip: str,
        user_agent: str,
        client: Any,
        now: float,
        replaces: bytes,
    ) -> FederatedSignIn | FederatedRefusal | None:
        """Take a provider's answer; None = there is no such provider."""
        ...

    async def logged_out(self, provider_id: str, logout_token: str, *, now: float) -> Done | FederatedRefusal | None:
        """End the sessions that a logout token names; None = there is no such provider."""
        ...

    async def sign_out(self, token: bytes, session: Session, *, now: float) -> Farewell | None:
        """Read what signing out there needs, before the session ends; None = it is not a provider's."""
        ...

    async def freshen(self, token: bytes, handle: str) -> bool:
        """Refresh the tokens of a session; False when there are no fresh ones now."""
        ...

    async def carry(self, old: bytes, new: bytes, handle: str, *, now: float) -> None:
        """Seal what belongs to a session anew: its cookie changed."""
        ...
