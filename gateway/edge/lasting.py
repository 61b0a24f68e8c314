"""What stays open after its head has left: how many of them, and whether each may stay.

A request that was allowed once is decided again while its answer lasts: by the same function, about the
same request, by the configuration, the session and the time of the moment. That counts against no rate
limit, and does not keep a session from idling out.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.certified import CertificateEntry
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.occupancy import NO_PLACE, Occupancy
from gateway.edge.second_look import UNLIMITED, decide_again
from gateway.edge.sessions import Sessions
from gateway.edge.snapshot import Snapshot
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.wire.address import limiter_key

WEBSOCKET: Final = "websocket"
EVENT_STREAM: Final = "event_stream"
ANSWER: Final = "answer"
"""Anything else that is not whole at once: a download."""
CROWDED_RETRY_S: Final = 5.0
_AS_DECIDED: Final = frozenset((Reason.ALLOWED, Reason.PUBLIC))


class Lasting:
    """One exchange that lasts."""

    __slots__ = ("is_open", "judged", "kind", "places")

    def __init__(self, kind: str, judged: Snapshot, places: tuple[int, ...] = ()) -> None:
        self.kind = kind
        self.judged = judged
        """The configuration under which it was allowed last."""
        self.places = places
        """Held until the end, whatever it is."""
        self.is_open = False
        """Its head left."""


def take_places(x: Exchange, occupancy: Occupancy | None) -> tuple[int, ...] | None:
    """Take the places that the limits on open tunnels and streams ask for; None when there is none left.

    Who is not signed in counts by address, and by the tenant of the host.
    """
    wire = x.snapshot.wire
    if occupancy is None or not (wire.open_per_user or wire.open_per_tenant):
        return ()
    session = x.entry.session if x.entry is not None else None
    tenant = session.tenant if session is not None else x.tenant
    user = f"user\0{tenant}\0{session.user_id}" if session is not None else f"ip\0{limiter_key(x.client_ip)}"
    places: list[int] = []
    for subject, most in ((user, wire.open_per_user), (f"tenant\0{tenant}" if tenant else "", wire.open_per_tenant)):
        if not most or not subject:
            continue
        place = occupancy.take(subject, most)
        if place == NO_PLACE:
            for taken in places:
                occupancy.give_back(taken)
            return None
        places.append(place)
    return tuple(places)


def why_closed(x: Exchange) -> str:
    """Say why something that lasted ended: the gateway's reason, or else whose end it was."""
    return x.outcome if x.reason in _AS_DECIDED else x.reason.value


def reconsider(x: Exchange, judged: Snapshot, current: Snapshot, sessions: Sessions, now: float) -> Refusal | None:
    """Decide again about `x`, which `judged` allowed; None means that it may go on.

    Raises:
        StoreUnavailableError: the store cannot say; that ends nothing, the next look asks it again.

    """
    entry = x.entry
    match = x.resolution.match if x.resolution is not None else None
    is_answered = current.gate is not None and bool(current.gate.standings)  # by detectors: to this one or to others
    asks = match is not None and match.rule.asks
    if current is judged and not (isinstance(entry, CertificateEntry) or asks or is_answered):
        if entry is None:
            return None
        token = x.fields.secure_token if x.secure else x.fields.plain_token
        found = sessions.lookup(token, now) if token is not None else None
        if found is not None and found.session is entry.session:
            return None
    again, refusal = decide_again(x, current, sessions, now, UNLIMITED)
    if refusal is not None and refusal.reason is Reason.STORE_UNAVAILABLE:
        raise StoreUnavailableError("the session cannot be looked up")
    if entry is not None:
        if again.entry is None and (refusal is None or refusal.reason is Reason.SIGN_IN_REQUIRED):
            # On a public route too: the upstream was told who this is.
            is_expired = entry.session.is_expired(now, entry.seen)
            return Refusal("session", Reason.SESSION_EXPIRED if is_expired else Reason.SESSION_REVOKED)
        if again.entry is not None and refusal is None:
            if _identity(again.entry.session) != _identity(entry.session):
                return Refusal("session", Reason.IDENTITY_CHANGED)
            x.entry = again.entry
    if refusal is None and x.tenant and again.tenant != x.tenant:  # a reload gave the place to another one
        return Refusal("tenant", Reason.TENANT_MISMATCH)
    return refusal


def _identity(session: Session) -> tuple[str, str, tuple[str, ...], str]:
    """What the upstream was told of the person when it began."""
    return session.user, session.tenant, session.roles, session.email
