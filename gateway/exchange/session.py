"""Who is at the other end: a session as every stage of the pipeline sees it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Owed(StrEnum):
    """What a session still owes before it may reach the portal."""

    NOTHING = ""
    MFA = "mfa"
    ENROLMENT = "enrolment"


class Session(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person, signed in once, in one tenant, from one browser. Times are unix seconds.

    Stored sealed under the keyring; `seen` alone lives in a column of its own, because it is
    written in batches. The token itself is nowhere: the row is found by its SHA-256.
    """

    handle: str
    """Public name of the session (lists, audit, `X-Gateway-Session`): never the token, never derived from it by a plain hash."""
    user_id: str
    """Stable, opaque subject id of the person."""
    user: str
    """The name the person signs in with, canonical form."""
    tenant: str
    roles: tuple[str, ...]
    email: str = ""
    amr: tuple[str, ...] = ()
    """Methods used so far, RFC 8176 names: `pwd`, `otp`, `mfa`."""
    owes: Owed = Owed.NOTHING
    auth_time: float
    mfa_time: float = 0.0
    """When the second factor was last proven; 0 = never."""
    created: float
    expires: float
    """Absolute end (ASVS 7.3.2)."""
    idle_s: float
    """Longest silence (ASVS 7.3.1)."""
    host: str
    """The host the session was made on; a session is never accepted on another."""
    secure: bool
    """Made over TLS; a session made over plain HTTP is never accepted over TLS, nor the reverse."""
    client_ip: str = ""
    user_agent: str = ""

    def is_expired(self, now: float, seen: float) -> bool:
        """True at the absolute end or after `idle_s` of silence since `seen`."""
        return now >= self.expires or now >= seen + self.idle_s
