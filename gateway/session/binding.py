"""What a session may be bound to beside its cookie, and whether a request comes from there.

A stolen cookie alone does not open a bound session. It decides nothing about what happens then, and
knows no addresses but as text: where an address is, is told to it.
"""

from __future__ import annotations

import hmac
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from gateway.exchange.session import Session

COUNTRY: Final = "country"
"""`Session.network` of a session that is bound to the country it began in, not to a block of addresses."""
IPV4_BITS: Final = 32
IPV6_BITS: Final = 128


class Bond(StrEnum):
    """What was missing or another one: a closed list, also a label of metrics."""

    DEVICE = "device"
    NETWORK = "network"
    COUNTRY = "country"
    CERTIFICATE = "certificate"


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an address has to stay the same."""

    ipv4: int = 0
    """Bits of an IPv4 address; 0 = any address will do."""
    ipv6: int = 0
    country: bool = False

    def __bool__(self) -> bool:
        return bool(self.ipv4 or self.ipv6 or self.country)

    def narrower(self, other: Network) -> Network:
        """Return the stricter of two: more bits of each family; a block is stricter than a country."""
        ipv4, ipv6 = max(self.ipv4, other.ipv4), max(self.ipv6, other.ipv6)
        return Network(ipv4=ipv4, ipv6=ipv6, country=not (ipv4 or ipv6) and (self.country or other.country))

    def of(self, address: str) -> str:
        """Write what a session that begins at `address` is bound to (`Session.network`); empty = to nothing."""
        if self.country:
            return COUNTRY
        try:
            parsed = ip_address(address)
        except ValueError:
            return ""
        bits = self.ipv4 if parsed.version == 4 else self.ipv6  # noqa: PLR2004 - IPv4
        return str(ip_network(f"{parsed}/{bits}", strict=False)) if bits else ""


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What new sessions are bound to."""

    device: bool = False
    """To the browser's device cookie."""
    network: Network = Network()
    certificate: bool = False
    """To the client certificate of the connection, where there is one."""

    def narrower(self, other: Binding) -> Binding:
        """Return what both ask for together."""
        return Binding(
            device=self.device or other.device,
            network=self.network.narrower(other.network),
            certificate=self.certificate or other.certificate,
        )


def is_bound(session: Session) -> bool:
    """Tell whether there is anything to compare."""
    return bool(session.device or session.network or session.certificate)


def broken_bond(session: Session, *, device: str, address: str, country: str, certificate: str) -> Bond | None:
    """Say which bond of the session the request does not keep; None when it keeps all.

    `device` is the id of the device cookie that came along, `certificate` the SHA-256 of the connection's
    certificate; empty = none. An address that no database knows is in the country "", which is one of its own.
    """
    if session.device and not hmac.compare_digest(session.device.encode(), device.encode()):
        return Bond.DEVICE
    if session.certificate and session.certificate != certificate:
        return Bond.CERTIFICATE
    if session.network == COUNTRY:
        return None if session.country == country else Bond.COUNTRY
    if session.network and not _is_inside(session.network, address):
        return Bond.NETWORK
    return None


@lru_cache(maxsize=4096)
def _is_inside(network: str, address: str) -> bool:
    try:
        return ip_address(address) in ip_network(network)
    except ValueError:
        return False
