"""What the store remembers of people: the values inside the sealed rows, and how they are found.

Every struct here is a format on disk: fields are added with defaults, never renamed. Times are unix
seconds. The values hold hashes and secrets; they stay inside `store`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.exchange.session import Session


class User(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account of the gateway's own."""

    id: str
    """Stable and opaque: `u_` and 32 hexadecimal digits."""
    stamp: str
    """Changes with every change of the account: what compare-and-set compares."""
    name: str
    """Canonical; unique over the whole gateway."""
    tenant: str
    roles: tuple[str, ...]
    email: str = ""
    password: str
    """argon2id in PHC form; empty = the person has none (an identity provider vouches for them, or passkeys alone)."""
    password_changed: float
    created: float
    disabled: bool = False
    last_sign_in: float = 0.0
    provider: str = "local"
    """Id of the identity provider that vouches for the person; `local` = a password of ours."""
    issuer: str = ""
    subject: str = ""
    """What the provider calls the person; unique with `issuer` (OpenID Connect Core §5.7)."""
    email_verified: bool = False
    gateway_roles: tuple[str, ...] = ()
    """Of `exchange.built_in`: what the person may do in the console. No sign-in changes them, and no session carries them."""
    administers: str = ""
    """The tenant that `gateway.tenant-admin` was given for: it counts while the person still belongs to it."""
    earlier_passwords: tuple[str, ...] = ()
    """Hashes of earlier passwords, the latest first, only where a profile asks for a history."""
    restricted: Literal["", "enabled", "disabled"] = ""
    """What it was before its data might only be stored (Art. 18 GDPR): as long as this says something it is disabled."""
    until: float = 0.0
    """When an account that was opened for an emergency ends, and every session of it; 0 = it is no such account."""

    @property
    def lends_nothing(self) -> bool:
        """API keys and certificates count for nothing: it is disabled, or opened for an emergency, which they would outlive."""
        return self.disabled or self.until > 0

    def is_over(self, now: float) -> bool:
        """Tell whether it was opened for an emergency and its time is over."""
        return 0 < self.until <= now

    def rests(self, now: float) -> bool:
        """Tell whether nobody signs in with it: it is disabled, or its emergency is over."""
        return self.disabled or self.is_over(now)

    def closed(self) -> User:
        """Return it at rest again: its emergency has ended."""
        return msgspec.structs.replace(self.disabled_for_good(), until=0.0)

    def disabled_for_good(self) -> User:
        """Return it disabled, so that no lifted restriction enables it again."""
        return msgspec.structs.replace(self, disabled=True, restricted=self.restricted and "disabled")


class Factor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOTP factor. `last_step` is not sealed with it: it moves by compare-and-set."""

    secret: str
    """Base32."""
    created: float
    last_step: int = 0
    """Last time step whose code was accepted; no code of it or an earlier one is accepted again (RFC 6238 section 5.2)."""


class PendingFactor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOTP secret shown to one session and not yet proven."""

    user_id: str
    secret: str
    expires: float
    replacing: bool
    """The person has a factor and gave its code; it is replaced when this one is proven."""


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it stands in the store."""

    row: bytes
    """SHA-256 of the token."""
    session: Session
    seen: float
