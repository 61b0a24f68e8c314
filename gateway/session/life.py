"""How a session begins, grows and ends, as values.

A session that still owes its second factor lives ten minutes and reaches nothing; proving the
factor makes it whole and restarts the absolute clock. Tokens and rows are not its business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from gateway.exchange.session import Owed, Session
from gateway.exchange.step_up import BOUND_TO_HOST

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
    """How many a person may have (ASVS 7.1.2); None = no limit."""
    when_full: Literal["oldest_out", "refuse"] = "oldest_out"
    """At one more the oldest ends, or the new one waits until the person has ended another."""


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
    amr: Iterable[str] = ("pwd",),
    auth_time: float | None = None,
    mfa_time: float = 0.0,
    provider: str = "local",
    provider_session: str = "",
    acr: str = "",
    device: str = "",
    network: str = "",
    certificate: str = "",
    country: str = "",
) -> Session:
    """Begin a session after the first proof, methods `amr`; what it owes bounds its life.

    `auth_time` is when a provider saw the person, never after `now`; absent = now. The absolute end counts from
    `now`: a provider that saw them long ago is asked again, or is not, by its own rules.
    """
    return Session(
        handle=handle,
        user_id=user_id,
        user=user,
        tenant=tenant,
        roles=tuple(roles),
        email=email,
        amr=tuple(amr),
        owes=owes,
        auth_time=now if auth_time is None else min(auth_time, now),
        mfa_time=mfa_time,
        created=now,
        expires=now + (lifetimes.absolute_s if owes is Owed.NOTHING else min(PENDING_S, lifetimes.absolute_s)),
        idle_s=lifetimes.idle_s,
        host=host,
        secure=secure,
        client_ip=client_ip,
        user_agent=user_agent[:MAX_USER_AGENT],
        provider=provider,
        provider_session=provider_session,
        acr=acr,
        device=device,
        network=network,
        certificate=certificate,
        country=country,
    )


def elevate(session: Session, *, method: str, lifetimes: Lifetimes, now: float) -> Session:
    """Return the session after a second factor: it owes nothing.

    The absolute end counts from the beginning, and a session that was whole keeps the end it has or gets an
    earlier one: neither a step-up nor rules that became milder lengthen a session.
    `method` is an RFC 8176 name; `mfa` is added beside it. A key that was proven earlier is named no longer where
    something else was proven now: how strong a session is and how lately that was proven go together.
    """
    # attack: a phished code makes young what a passkey made strong
    earlier = session.amr if method in BOUND_TO_HOST else tuple(n for n in session.amr if n not in BOUND_TO_HOST)
    amr = earlier + tuple(name for name in (method, "mfa") if name not in earlier)
    return msgspec.structs.replace(
        session, amr=amr, owes=Owed.NOTHING, owes_next=Owed.NOTHING, mfa_time=now, expires=whole_end(session, lifetimes)
    )


def whole_end(session: Session, lifetimes: Lifetimes) -> float:
    """Say when a session ends at the latest once it owes nothing: never later than it ends now, if it owes nothing now."""
    end = session.created + lifetimes.absolute_s
    return min(end, session.expires) if session.owes is Owed.NOTHING else end


def waiting(session: Session, now: float) -> Session:
    """Return a whole session as one that waits until the person has ended another."""
    return msgspec.structs.replace(session, owes=Owed.ROOM, expires=min(session.expires, now + PENDING_S))


def unconfirmed(session: Session, now: float, *, then: Owed = Owed.NOTHING) -> Session:
    """Return a session that would go on, to owing `then`, as one whose device has to be confirmed first."""
    expires = min(session.expires, now + PENDING_S)
    return msgspec.structs.replace(session, owes=Owed.DEVICE, owes_next=then, expires=expires)


def confirmed(session: Session, *, lifetimes: Lifetimes, now: float) -> Session:
    """Return a session whose device was confirmed: whole, or owing what it owes next."""
    end = session.created + lifetimes.absolute_s
    owes = session.owes_next
    expires = end if owes is Owed.NOTHING else min(end, now + PENDING_S)
    return msgspec.structs.replace(session, owes=owes, owes_next=Owed.NOTHING, expires=expires)


def left(session: Session, *, seen: float, now: float) -> tuple[float, float]:
    """Return the seconds until the idle end and until the absolute end, neither below 0."""
    return max(0.0, seen + session.idle_s - now), max(0.0, session.expires - now)


def is_bound_to(session: Session, *, host: str, secure: bool) -> bool:
    """Tell whether the session may be used there: its own host, and over TLS exactly if it was made over TLS."""
    return session.host == host and session.secure is secure


def surplus(ages: Iterable[tuple[float, str]], keep: int | None) -> list[str]:
    """Pick the sessions that end when a person may `keep` so many: the oldest of `(created, handle)`."""
    if keep is None:
        return []
    newest_first = sorted(ages, reverse=True)
    return [handle for _, handle in newest_first[keep:]]
