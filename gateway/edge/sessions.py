"""What the edge needs of the session store: one synchronous look-up that never returns a stale session."""

from __future__ import annotations

from typing import Any, Protocol

from gateway.exchange.session import Session
from gateway.ratelimit.gcra import Bucket
from gateway.session.binding import Bond


class SessionEntry(Protocol):
    """A live session as the store caches it."""

    session: Session
    seen: float


class KeyEntry(Protocol):
    """A live API key as the store caches it."""

    session: Session
    seen: float
    bucket: Bucket | None
    """The key's own limit."""

    def is_from(self, address: str) -> bool:
        """Whether it may be used from an address."""


class Sessions(Protocol):
    """The store's validated cache."""

    def lookup(self, token: bytes, now: float) -> SessionEntry | None:
        """Find the live session of a cookie value. Raises `StoreUnavailableError`."""

    def api_key(self, key: bytes, now: float) -> KeyEntry | None:
        """Find whom an API key stands for. Raises `StoreUnavailableError`."""

    def touch_key(self, entry: Any, now: float) -> None:  # an entry of the same store: Protocols cannot say so
        """Note that the key was used."""

    def is_disabled(self, user: str, tenant: str) -> bool:
        """Whether an account of that name and tenant is disabled. Raises `StoreUnavailableError`."""

    def astray(self, entry: Any, bond: Bond, address: str, now: float) -> None:
        """Note that a session came from elsewhere than where it is bound to: its owner hears of it."""

    def touch(self, entry: Any, now: float) -> None:  # an entry of the same store: Protocols cannot say so
        """Note that the session was used."""
