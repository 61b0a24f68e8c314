"""One spelling for each IP address, so that a limit, a record and a policy mean the same host.

Decides nothing about trust: which addresses are the operator's proxies is configuration.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052 §2.1: how a translator in front writes an IPv4 client."""


def parse_address(text: str | bytes) -> IPv4Address | IPv6Address:
    """Read an address from text, or from its 4 or 16 bytes: IPv4-mapped and NAT64 as the IPv4 address they stand for, without a zone. Raises ValueError."""
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return address
    mapped = address.ipv4_mapped
    if mapped is not None:
        return mapped
    if address in NAT64:
        embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        # attack: 64:ff9b::10.0.0.1 must not pass for a proxy inside (RFC 6052 §3.1: global addresses only)
        return embedded if embedded.is_global else address
    return IPv6Address(int(address)) if address.scope_id else address


def parse_network(text: str) -> Network:
    """Read a network in CIDR notation in which an address can be: one that is spelled as addresses are. Raises ValueError."""
    network = ip_network(text, strict=True)
    canonical = parse_address(str(network.network_address))
    if canonical != network.network_address:  # attack: ::ffff:10.0.0.0/104 would never deny 10.0.0.1
        raise ValueError(f"{network.network_address} is known as {canonical} here; write the network so")
    return network


def canonical_address(text: str | bytes) -> str:
    """Spell an address as RFC 5952 does, IPv4 wherever it stands for IPv4. Raises ValueError."""
    return str(parse_address(text))


def limiter_key(address: str) -> str:
    """What a per-address limit counts on: the address, or the /64 of an IPv6 one (a customer owns at least that)."""
    if ":" not in address:
        return address
    return str(IPv6Address(int(IPv6Address(address)) >> 64 << 64)) + "/64"
