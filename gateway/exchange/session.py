"""Who is at the other end: a session as every stage of the pipeline sees it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from gateway.exchange.subject import SubjectKey


class Owed(StrEnum):
    """What a session still owes before it may reach the portal."""

    NOTHING = ""
    MFA = "mfa"
    ENROLMENT = "enrolment"
    DEVICE = "device"
    """The code that was mailed because nobody signed in on this browser before; it opens no route, whatever the route asks for."""
    ROOM = "room"
    """Everything is proven, but the person is signed in as often as they may be: another session has to end first."""


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
    owes_next: Owed = Owed.NOTHING
    """What it will owe once that is paid, as far as it is known already: `MFA` before `DEVICE` before `ENROLMENT`."""
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
    credential: Literal["cookie", "api_key", "bearer", "certificate"] = "cookie"
    """What proves the session on each request."""
    provider: str = "local"
    """Id of the identity provider that vouched for the person."""
    provider_session: str = ""
    """What the provider calls its own session (`sid`, OpenID Connect Back-Channel Logout 1.0 §2.1); empty = unsaid."""
    acr: str = ""
    """Authentication context the provider named, or ours."""
    scopes: tuple[str, ...] = ()
    """Of an API credential; a person's session has none and needs none."""
    device: str = ""
    """Id of the browser's device cookie that must come along; empty = not bound to a device."""
    known_device: bool = False
    """The person had signed in with this browser before, or confirmed it by a code that was mailed."""
    network: str = ""
    """CIDR block the session may be used from; empty = not bound to a network."""
    certificate: str = ""
    """SHA-256 of the client certificate the connection must be made with; empty = not bound to one."""
    country: str = ""
    """ISO 3166-1 code of where it began, where the operator has a database of places."""
    until: float = 0.0
    """When the account ends that was opened for an emergency; 0 = it is no such account."""
    subject: SubjectKey | None = None
    """Under which the person is sealed in the audit trail; None = whoever writes the record has to look for it."""

    def is_expired(self, now: float, seen: float) -> bool:
        """True at the absolute end or after `idle_s` of silence since `seen`."""
        return now >= self.expires or now >= seen + self.idle_s
