"""What the pages need to sign people on to portals: declared here, built by the composition."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.exchange.session import Session
from gateway.pages.portal_form import Client


class Standing(StrEnum):
    """How a person stands with a portal."""

    KNOWN = "known"
    """The portal knows them: there is nothing to do, or it was done."""
    UNTOLD = "untold"
    """Nobody told the gateway what to sign them on with."""
    REFUSED = "refused"
    """The portal said no to what was told. It is not tried again."""
    BUSY = "busy"
    """Another attempt is under way."""
    UNAVAILABLE = "unavailable"
    """The portal did not answer, or not with its form."""


class Portal(NamedTuple):
    """A portal that people are signed on to."""

    name: str
    asks_username: bool
    """The person says whose account it is."""
    asks_password: bool
    """The person says its password."""


class Attempted(NamedTuple):
    """What came of an attempt."""

    standing: Standing
    was_tried: bool = False
    """The portal was asked just now."""


class Portals(Protocol):
    """The portals of a gateway. Methods raise `StoreUnavailableError`."""

    def portal(self, name: str) -> Portal | None:
        """Return a portal that people are signed on to."""
        ...

    async def sign_on(self, name: str, token: bytes, session: Session, client: Client, *, now: float) -> Attempted:
        """Sign a person on, unless they are, or must not be tried."""
        ...

    async def tell(self, name: str, session: Session, *, username: str, password: str, now: float) -> None:
        """Keep what a person is signed on with."""
        ...

    async def forget(self, name: str, session: Session) -> bool:
        """Forget it; False when there was nothing."""
        ...

    async def sign_out(self, token: bytes, session: Session, client: Client, *, now: float) -> None:
        """End the person's sessions at the portals that say how."""
        ...

    async def carry(self, old: bytes, new: bytes, *, now: float) -> None:
        """Take what is kept along to the session's new cookie value."""
        ...
