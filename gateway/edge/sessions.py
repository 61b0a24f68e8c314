"""What the edge needs of the session store: one synchronous look-up that never returns a stale session."""

from __future__ import annotations

from typing import Any, Protocol

from gateway.exchange.session import Session


class SessionEntry(Protocol):
    """A live session as the store caches it."""

    session: Session
    seen: float


class Sessions(Protocol):
    """The store's validated cache."""

    def lookup(self, token: bytes, now: float) -> SessionEntry | None:
        """Find the live session of a cookie value. Raises `StoreUnavailableError`."""

    def is_disabled(self, user: str, tenant: str) -> bool:
        """Whether an account of that name and tenant is disabled. Raises `StoreUnavailableError`."""

    def touch(self, entry: Any, now: float) -> None:  # an entry of the same store: Protocols cannot say so
        """Note that the session was used."""
