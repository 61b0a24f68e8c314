"""Find the client behind trusted proxies, in the one forwarding field that they write.

A request may carry both fields, one of them the client's invention: which of the two is read is
configuration, and the other is never looked at. Nothing here says which peers are trusted, and the
public host is never taken from a forwarding field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from gateway.exchange.reason import Reason
from gateway.wire.address import Network, canonical_address, limiter_key, parse_address
from gateway.wire.forwarded_field import parse_forwarded

MAX_HOPS: Final = 32
REMEMBERED: Final = 4096
REMEMBERED_BYTES: Final = 256
"""Of the lines of one request; the client writes into them, and longer ones are read each time."""
_SCHEMES: Final = frozenset(("http", "https"))


class Client(NamedTuple):
    """Who sent a request, as far as trusted proxies tell."""

    address: str
    limiter_key: str
    scheme: str
    """`http` or `https` between the client and the first proxy; empty when no proxy says."""
    chain: str
    """X-Forwarded-For for the upstream: the client, then the proxies that stand for it. Nothing of the client's own."""


class TrustedProxies:
    """The operator's proxies, and the field in which they name whom they speak for."""

    __slots__ = ("_known", "_reads_forwarded", "networks")

    def __init__(
        self,
        networks: Sequence[Network] = (),
        *,
        believes: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for",
    ) -> None:
        self.networks = tuple(networks)
        self._reads_forwarded = believes == "forwarded"
        self._known: dict[tuple[str, tuple[bytes, ...], bytes], Client] = {}

    def include(self, address: str) -> bool:
        """True if the address (canonical or not) is one of the proxies. Raises ValueError."""
        if not self.networks:
            return False
        parsed = parse_address(address)
        return any(parsed.version == network.version and parsed in network for network in self.networks)

    def client(
        self, peer: str, forwarded_for: tuple[bytes, ...], forwarded_proto: bytes, forwarded: tuple[bytes, ...]
    ) -> Client | Reason:
        """Find the client of a request that `peer`, a trusted proxy, sent on.

        It is the right-most address that no trusted proxy wrote for another one. A hop on the way to
        it that is no address is an error, not a hop to skip.
        """
        key = (peer, forwarded, b"") if self._reads_forwarded else (peer, forwarded_for, forwarded_proto)
        known = self._known.get(key)
        if known is None:
            try:
                known = self._of_forwarded(*key[:2]) if self._reads_forwarded else self._of_list(*key)
            except ValueError:
                return Reason.INVALID_FORWARDED
            if sum(map(len, key[1])) + len(key[2]) <= REMEMBERED_BYTES:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[key] = known
        return known

    def _of_list(self, peer: str, lines: tuple[bytes, ...], proto: bytes) -> Client:
        hops = [hop.strip() for line in lines for hop in line.decode("latin-1").split(",")]
        _bound(hops)
        chain = [peer]
        for hop in reversed(hops):
            chain.append(canonical_address(hop[1:-1] if hop.startswith("[") and hop.endswith("]") else hop))
            if not self.include(chain[-1]):
                break
        scheme = proto.decode("latin-1").lower()
        return _client(chain, scheme if scheme in _SCHEMES else "")

    def _of_forwarded(self, peer: str, lines: tuple[bytes, ...]) -> Client:
        elements = parse_forwarded(lines)
        _bound(elements)
        chain = [peer]
        scheme = ""
        for element in reversed(elements):
            if not element.node:  # unknown, obfuscated or unsaid: whoever it is cannot be limited or named
                raise ValueError("a hop without an address")
            chain.append(element.node)
            scheme = element.proto if element.proto in _SCHEMES else ""
            if not self.include(element.node):
                break
        return _client(chain, scheme)


def _bound(hops: Sequence[object]) -> None:
    if len(hops) > MAX_HOPS:
        raise ValueError("too many hops")


def _client(chain: list[str], scheme: str) -> Client:
    chain.reverse()
    return Client(chain[0], limiter_key(chain[0]), scheme, ", ".join(chain))


def forwarding_fields(client: str, chain: str, *, proto: str, authority: str, port: int) -> bytes:
    """The forwarding fields for an upstream, `name: value CRLF` each; `chain` is the client when no proxy is in front."""
    node = f'"[{client}]"' if ":" in client else client
    quoted = f'"{authority}"' if ":" in authority else authority
    return (
        f"x-forwarded-for: {chain}\r\nx-forwarded-proto: {proto}\r\n"
        f"x-forwarded-host: {authority}\r\nx-forwarded-port: {port}\r\n"
        f"forwarded: for={node};host={quoted};proto={proto}\r\n"
    ).encode()
