"""Under which key a failure is counted: the account's one canonical name, its factor, the network.

Keys are HMAC tokens, so the table of attempts names nobody.
"""

from __future__ import annotations

import hmac
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from gateway.inspection.abuse.sighting import KEY_PURPOSE, digest
from gateway.store.keyring import Keyring

CUSTOMER_PREFIX: Final = 64
"""What one IPv6 customer has at least (RFC 6177): counting single addresses would count nothing."""


class AttemptKeys:
    """Makes the keys of one gateway."""

    __slots__ = ("_key", "_watched")

    def __init__(self, keyring: Keyring) -> None:
        self._key = keyring.derive("attempts")
        self._watched = keyring.derive(KEY_PURPOSE)

    def account(self, name: str) -> bytes:
        """Return the key of a canonical account name, whether such an account exists or not."""
        return self._token("account", name)

    def watched(self, name: str) -> str:
        """Return what detectors of abuse know an account name by, whether such an account exists or not."""
        return digest(self._watched, "account", name)

    def typed(self, text: str) -> bytes:
        """Return the key of what was typed where a name is asked for, in canonical form: who is meant by it changes nothing."""
        return self._token("typed", text)

    def device(self, user_id: str, device: str) -> bytes:
        """Return the key of one known device of a person."""
        return self._token("device", f"{user_id}\0{device}")

    def current(self, user_id: str) -> bytes:
        """Return the key of the present password, where somebody who is signed in gives it again."""
        return self._token("current", user_id)

    def letter(self, name: str, address: str = "") -> bytes:
        """Return the key of letters to an account, from everywhere or as one network asks for them."""
        return self._token("letter", f"{name}\0{network_of(address) if address else ''}")

    def own_letter(self, user_id: str, device: str) -> bytes:
        """Return the key of letters to a person who asks for them on a device that they signed in with before."""
        return self._token("own letter", f"{user_id}\0{device}")

    def letters(self, address: str) -> bytes:
        """Return the key of letters that a network asks for."""
        return self._token("letters", network_of(address))

    def confirmation(self, user_id: str, address: str = "") -> bytes:
        """Return the key of letters with which a person confirms a device, from everywhere or as one network asks for them."""
        return self._token("confirmation", f"{user_id}\0{network_of(address) if address else ''}")

    def factor(self, user_id: str) -> bytes:
        """Return the key of a person's second factor."""
        return self._token("factor", user_id)

    def network(self, address: str) -> bytes:
        """Return the key of a client's network: an IPv4 address, or the /64 of an IPv6 one."""
        return self._token("network", network_of(address))

    def _token(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")[:16]


def network_of(address: str) -> str:
    """Return the network of an address as text; text that is no address stands for itself."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(IPv6Network((int(ip) >> (128 - CUSTOMER_PREFIX) << (128 - CUSTOMER_PREFIX), CUSTOMER_PREFIX)))
    return str(ip)
