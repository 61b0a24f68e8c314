"""The other end of a client connection: what is known about it before its first request."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from gateway.wire.forwarded import Network, canonical_address, is_trusted, limiter_key


@dataclass(slots=True, eq=False)
class Peer:
    """Who is at the other end; the same for every request of a connection."""

    ip: str
    """Canonical text; an IPv4-mapped address as IPv4."""
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


def peer_of(transport: asyncio.Transport, trusted: tuple[Network, ...], *, redirects: bool) -> Peer | None:
    """Look at a new connection; None when it is gone already."""
    address = transport.get_extra_info("peername")
    if not address:
        return None
    ip = canonical_address(address[0])
    session = transport.get_extra_info("ssl_object")
    tls = ""
    if isinstance(session, ssl.SSLObject):
        cipher = session.cipher()
        tls = f"{session.version()} {cipher[0] if cipher else ''}"
    return Peer(
        ip=ip,
        port=address[1],
        limiter_key=limiter_key(ip),
        trusted=bool(trusted) and is_trusted(ip, trusted),
        redirects=redirects,
        secure=bool(tls),
        tls=tls,
    )
