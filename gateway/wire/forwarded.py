"""Find the client behind trusted proxies (X-Forwarded-For), and name it to the upstream (RFC 7239).

Only a peer inside `trusted` is believed. It does not decide which peers are trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.exchange.reason import Reason

Network = IPv4Network | IPv6Network
MAX_HOPS = 32


def canonical_address(text: str) -> str:
    """An address as text with IPv4-mapped IPv6 unwrapped. Raises ValueError."""
    return str(_address(text))


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_trusted(text: str, trusted: Sequence[Network]) -> bool:
    """True if the address lies in one of the networks."""
    address = _address(text)
    return any(address.version == network.version and address in network for network in trusted)


def client_address(peer: str, lines: Sequence[bytes], trusted: Sequence[Network]) -> str | Reason:
    """The right-most address of all X-Forwarded-For lines that no trusted proxy wrote for another trusted proxy.

    `peer` is trusted already. A hop that is no address is an error, not a hop to skip.
    """
    hops = [hop.strip() for line in lines for hop in line.decode("latin-1").split(",")]
    if len(hops) > MAX_HOPS:
        return Reason.INVALID_FORWARDED
    client = peer
    for hop in reversed(hops):
        text = hop[1:-1] if hop.startswith("[") and hop.endswith("]") else hop
        try:
            client = canonical_address(text)
        except ValueError:
            return Reason.INVALID_FORWARDED
        if not is_trusted(client, trusted):
            break
    return client


def limiter_key(address: str) -> str:
    """What a per-address limit counts on: the address, or the /64 of an IPv6 one (a customer owns at least that)."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return address


def forwarding_fields(client: str, chain: bytes, *, proto: str, authority: str, port: int) -> bytes:
    """The forwarding fields for an upstream, `name: value CRLF` each."""
    node = f'"[{client}]"' if ":" in client else client
    quoted = f'"{authority}"' if ":" in authority else authority
    return (
        b"x-forwarded-for: %b\r\n" % (chain or client.encode())
        + f"x-forwarded-proto: {proto}\r\nx-forwarded-host: {authority}\r\nx-forwarded-port: {port}\r\n".encode()
        + f"forwarded: for={node};host={quoted};proto={proto}\r\nvia: 1.1 gateway\r\n".encode()
    )
