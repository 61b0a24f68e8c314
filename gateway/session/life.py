"""How a session begins, grows and ends, as values.

A session that still owes its second factor lives ten minutes and reaches nothing; proving the
factor makes it whole and restarts the absolute clock. Tokens and rows are not its business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.exchange.session import Owed, Session

PENDING_S: Final = 600.0
"""ASVS 6.5.5 gives a pending second step ten minutes at most."""
MAX_USER_AGENT: Final = 256


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long sessions of a tenant live, seconds, and how many a person may have."""

    idle_s: float = 900.0
    """ASVS 7.3.1; SP 800-63B-4 §2.3.3 asks for re-authentication after 15 minutes to an hour of silence."""
    absolute_s: float = 8 * 3600.0
    """ASVS 7.3.2; SP 800-63B-4 §2.2.3 allows 24 hours at AAL2."""
    concurrent: int | None = 5
    """At one more the oldest ends (ASVS 7.1.2); None = no limit."""


def start(
    *,
    handle: str,
    user_id: str,
    user: str,
    tenant: str,
    roles: Iterable[str],
    email: str,
    owes: Owed,
    lifetimes: Lifetimes,
    host: str,
    secure: bool,
    client_ip: str,
    user_agent: str,
    now: float,
) -> Session:
    """Begin a session after a password: `amr` is `pwd`; what it owes bounds its life."""
    return Session(
        handle=handle,
        user_id=user_id,
        user=user,
        tenant=tenant,
        roles=tuple(roles),
        email=email,
        amr=("pwd",),
        owes=owes,
        auth_time=now,
        created=now,
        expires=now + (lifetimes.absolute_s if owes is Owed.NOTHING else min(PENDING_S, lifetimes.absolute_s)),
        idle_s=lifetimes.idle_s,
        host=host,
        secure=secure,
        client_ip=client_ip,
        user_agent=user_agent[:MAX_USER_AGENT],
    )


def elevate(session: Session, *, method: str, lifetimes: Lifetimes, now: float) -> Session:
    """Return the session after a second factor: it owes nothing.

    The absolute end counts from the password (`auth_time`), so a step-up never lengthens a session.
    `method` is an RFC 8176 name; `mfa` is added beside it.
    """
    amr = session.amr + tuple(name for name in (method, "mfa") if name not in session.amr)
    return msgspec.structs.replace(
        session, amr=amr, owes=Owed.NOTHING, mfa_time=now, expires=session.auth_time + lifetimes.absolute_s
    )


def is_bound_to(session: Session, *, host: str, secure: bool) -> bool:
    """Tell whether the session may be used there: its own host, and over TLS exactly if it was made over TLS."""
    return session.host == host and session.secure is secure


def surplus(ages: Iterable[tuple[float, str]], keep: int | None) -> list[str]:
    """Pick the sessions that end when a person may `keep` so many: the oldest of `(created, handle)`."""
    if keep is None:
        return []
    newest_first = sorted(ages, reverse=True)
    return [handle for _, handle in newest_first[keep:]]
