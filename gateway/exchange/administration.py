"""What an administrator is, sees of people and sessions, and is told of an act: the words between the console and the state."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.exchange.envelope import Event


class Administrator(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who holds one of the gateway's own roles, as the state said at this request."""

    user_id: str
    user: str
    tenant: str
    """The organisation the person belongs to."""
    handle: str
    """Of the session that asks."""
    is_operator: bool
    """`gateway.admin`: of every organisation; else of their own alone."""

    def sees(self, tenant: str) -> bool:
        """Tell whether people, sessions and hosts of a tenant are theirs to see."""
        return self.is_operator or tenant == self.tenant


class Individual(msgspec.Struct, frozen=True, kw_only=True):
    """A person as the list shows them."""

    id: str
    name: str
    tenant: str
    roles: tuple[str, ...]
    gateway_roles: tuple[str, ...]
    """Those that count: `gateway.tenant-admin` of another organisation does not."""
    email: str
    disabled: bool
    provider: str
    last_sign_in: float
    """Unix seconds; 0 = never."""


class LiveSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that lives. Times are unix seconds."""

    handle: str
    user_id: str
    user: str
    tenant: str
    host: str
    created: float
    seen: float
    mfa_time: float
    """0 = no second factor was proven."""
    client_ip: str
    user_agent: str
    provider: str
    owes: str
    """What it still owes; empty = it is whole."""


class Portrait(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page of one person shows."""

    individual: Individual
    created: float
    password_changed: float
    """0 = there is none, or it never was."""
    factors: tuple[str, ...]
    """Kinds of second factor: `totp`, `webauthn`."""
    recovery_codes_left: int
    locked_s: float
    """Seconds for which failed attempts keep the account closed; 0 = not."""
    sessions: tuple[LiveSession, ...]
    """Newest first."""
    may_change: bool
    """The administrator who asks may act on this person."""
    is_self: bool


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One page of people or sessions."""

    people: tuple[Individual, ...] = ()
    sessions: tuple[LiveSession, ...] = ()
    total: int
    """On all pages."""


class Acted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an act on a person or a session."""

    outcome: Literal["done", "gone", "not_allowed", "changed"]
    """`gone`: there is no such person or session (for this administrator). `changed`: somebody else was faster."""
    count: int = 0
    """Sessions that ended."""
    events: tuple[Event, ...] = ()


class ReloadNote(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the last reload of the configuration."""

    at: float
    """Unix seconds."""
    problems: tuple[str, ...] = ()
    """Why it was refused, each with its place; empty = it is in force."""
