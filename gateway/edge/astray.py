"""A session that comes from elsewhere than where it is bound to: it is no session there, and that is told.

The cookie alone proves nothing then, whoever sent it. What else becomes of the session is the store's to
do; here it is only looked away from, for this one request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.edge.certified import certificate_of
from gateway.exchange.envelope import Event
from gateway.exchange.reason import Reason
from gateway.session.binding import COUNTRY, broken_bond
from gateway.session.device import device_id

if TYPE_CHECKING:
    from gateway.edge.exchange import Exchange
    from gateway.edge.sessions import SessionEntry, Sessions

EVENT: Final = "session.bound_elsewhere"


def is_astray(x: Exchange, entry: SessionEntry, sessions: Sessions, now: float) -> bool:
    """Tell whether the request does not keep a bond of its session; note it for the record and for the owner."""
    session, snapshot = entry.session, x.snapshot
    cookie = x.fields.secure_device if x.secure else x.fields.plain_device
    locate = snapshot.country if session.network == COUNTRY else None
    bond = broken_bond(
        session,
        device=device_id(cookie) if cookie else "",
        address=x.client_ip,
        country=locate(x.client_ip) if locate is not None else "",
        certificate=x.peer.fingerprint if session.certificate and certificate_of(x.peer, snapshot, now) else "",
    )
    if bond is None:
        return False
    x.events = (
        Event(
            name=EVENT,
            outcome="failure",
            reason=Reason.SESSION_ELSEWHERE.value,
            user_id=session.user_id,
            user=session.user,
            tenant=session.tenant,
            session=session.handle,
            amr=session.amr,
        ),
    )
    sessions.astray(entry, bond, x.client_ip, now)
    return True
