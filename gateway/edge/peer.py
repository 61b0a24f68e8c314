"""The other end of a client connection: what is known about it before its first request."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

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


def peer_of(
    transport: asyncio.Transport, proxies: TrustedProxies, *, redirects: bool, source: Source | None
) -> Peer | None:
    """Look at a new connection; None when it is gone already.

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
    tls = ""
    if isinstance(session, ssl.SSLObject):
        cipher = session.cipher()
        tls = f"{session.version()} {cipher[0] if cipher else ''}"
    return Peer(
        ip=ip,
        port=port,
        limiter_key=limiter_key(ip),
        trusted=is_told and proxies.include(ip),
        redirects=redirects,
        secure=bool(tls),
        tls=tls,
    )
