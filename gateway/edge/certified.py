"""Who a connection's certificate stands for, on each request anew: certificates end, and so do entries of the table.

The handshake proved the certificate; `authn.certificate` says who it is. Whether a route wants to know is policy's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.authn.certificate import CertificateGrant, ClientCertificate, session_of
from gateway.exchange.session import Session

if TYPE_CHECKING:
    from gateway.edge.peer import Peer
    from gateway.edge.snapshot import Snapshot


class CertificateEntry:
    """The session of a certificate, for as long as its connection lives."""

    __slots__ = ("grant", "seen", "session")

    def __init__(self, session: Session, grant: CertificateGrant) -> None:
        self.session = session
        self.grant = grant
        self.seen = session.created


def certificate_of(peer: Peer, s: Snapshot, now: float) -> ClientCertificate | None:
    """Return the certificate a connection was made with, if a handshake under the present rules would take it.

    That of a trusted proxy is none: it proves the proxy, not whom the proxy speaks for.
    """
    certificate, made_under = peer.certificate, peer.rules
    if certificate is None or made_under is None or peer.trusted or now >= certificate.not_after:
        return None
    rules = s.tls.get(made_under.address)
    if rules is None or rules.demands != made_under.demands or rules.has_revoked(certificate):
        return None
    return certificate


def certificate_entry(peer: Peer, s: Snapshot, now: float) -> CertificateEntry | None:
    """Return the session that the connection's certificate stands for; None when it stands for nobody.

    Raises:
        AmbiguousCertificateError: it stands for two people.

    """
    certificate = certificate_of(peer, s, now)
    if certificate is None or peer.rules is None:
        return None
    grant = s.tls[peer.rules.address].people.grant_of(certificate)
    known = peer.entry
    if grant is None:
        known = None
    elif known is None or known.grant != grant:
        known = CertificateEntry(session_of(grant, certificate, host=peer.sni, now=peer.connected), grant)
    peer.entry = known
    return known
