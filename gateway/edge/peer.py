"""The other end of a client connection: what is known about it before its first request."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from time import time

from gateway.authn.certificate import ClientCertificate, read_certificate
from gateway.edge.certified import CertificateEntry
from gateway.edge.tls import ListenerTLS, ServerContext, ServerSession
from gateway.wire.address import canonical_address, limiter_key
from gateway.wire.forwarded import TrustedProxies
from gateway.wire.proxy_protocol import Source


@dataclass(slots=True, eq=False)
class Peer:
    """Who is at the other end; the same for every request of a connection."""

    ip: str
    """Canonical text; an IPv4-mapped address as IPv4. Behind the PROXY protocol whom the header names."""
    port: int
    limiter_key: str
    """What limits per address count on: the address, or the /64 of an IPv6 one."""
    trusted: bool
    """One of the operator's proxies: its forwarding fields count."""
    redirects: bool
    """It came to a listener that only redirects to HTTPS."""
    secure: bool
    tls: str
    """Version and cipher; empty without TLS."""
    sni: str = ""
    """Host that the client asked for in the handshake; empty when it asked for none."""
    rules: ListenerTLS | None = None
    """Under which the connection was made; None without TLS."""
    certificate: ClientCertificate | None = None
    """What the client proved by its own certificate."""
    fingerprint: str = ""
    """SHA-256 of the certificate, hexadecimal; empty without one."""
    connected: float = 0.0
    """When the handshake was over, unix seconds; 0 without a certificate."""
    entry: CertificateEntry | None = None
    """The session that the certificate stands for, once a route asked."""
    is_told: bool = True
    """`ip` is where it comes from: False behind a proxy whose PROXY header does not name its client."""
    via: str = ""
    """How this was heard of, when not by a connection of its own: `forward_auth`."""
    aspect: str = ""
    """All of it that a record says, but the address: equal where records say the same."""

    client: bytes = b""
    """Its address as records write it."""

    def __post_init__(self) -> None:
        self.client = b'"ip":"%b"' % self.ip.encode("ascii")
        self.aspect = f"{self.via} {self.tls} {self.sni} {self.fingerprint}"

    def serves(self, host: str) -> bool:
        """Whether a connection that was opened for `sni` is one for `host` too."""
        return self.rules is not None and self.rules.serves_both(self.sni, host)


def peer_of(
    transport: asyncio.Transport, proxies: TrustedProxies, *, redirects: bool, source: Source | None
) -> Peer | None:
    """Look at a new connection; None when it is gone already, or must go.

    `source`: what the PROXY header says on a listener that asks for one.
    """
    address = transport.get_extra_info("peername")
    if not address:
        return None
    ip, port = canonical_address(address[0]), address[1]
    if source is not None and source.address:
        ip, port = source.address, source.port
    # attack: a proxy that does not know its client, or does not tell, passes that client's forwarding fields on
    is_told = source is None or source.is_proxy or bool(source.address)
    session = transport.get_extra_info("ssl_object")
    tls = sni = ""
    rules = certificate = None
    if isinstance(session, ssl.SSLObject):
        cipher = session.cipher()
        tls = f"{session.version()} {cipher[0] if cipher else ''}"
        sni, rules, certificate = _identity(session)
        if certificate is not None and certificate.not_after <= time():
            return None  # a resumed session: OpenSSL looks at the dates in full handshakes alone
    return Peer(
        ip=ip,
        port=port,
        limiter_key=limiter_key(ip),
        trusted=is_told and proxies.include(ip),
        is_told=is_told,
        redirects=redirects,
        secure=bool(tls),
        tls=tls,
        sni=sni,
        rules=rules,
        certificate=certificate,
        fingerprint=certificate.fingerprint if certificate is not None else "",
        connected=time() if certificate is not None else 0.0,
    )


def _identity(session: ssl.SSLObject) -> tuple[str, ListenerTLS | None, ClientCertificate | None]:
    """Read what both sides said of themselves in the handshake."""
    name = session.server_name if isinstance(session, ServerSession) else ""
    rules = session.context.tls if isinstance(session.context, ServerContext) else None
    shown = session.getpeercert(binary_form=True)
    certificate = None
    if shown:
        with suppress(ValueError):  # OpenSSL verified it, but it cannot be read: it is nobody's
            certificate = read_certificate(shown)
    return name, rules, certificate
