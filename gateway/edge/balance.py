"""Which server of an upstream gets the next request. Choices over indexes of servers; nothing here knows a connection.

Schedules and rings are computed once. Which servers may be asked at all is the group's to say.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from math import gcd
from typing import Final

POINTS: Final = 160
"""Of a server of weight 1 on the ring: shares then differ by a tenth (Karger et al. 1997; ketama uses as many)."""


def schedule(weights: Sequence[int]) -> tuple[int, ...]:
    """The order in which servers take turns: each as often as its weight says, spread evenly (nginx's smooth round robin).

    >>> schedule([2, 1])
    (0, 1, 0)
    """
    divisor = gcd(*weights) or 1
    shares = [weight // divisor for weight in weights]
    total = sum(shares)
    standing = [0] * len(shares)
    turns = []
    for _ in range(total):
        for index, share in enumerate(shares):
            standing[index] += share
        chosen = max(range(len(shares)), key=standing.__getitem__)
        standing[chosen] -= total
        turns.append(chosen)
    return tuple(turns)


class Ring:
    """Consistent hashing: a key keeps its server, and a server that comes or goes moves only its own share of keys."""

    __slots__ = ("_count", "_owners", "_points")

    def __init__(self, names: Sequence[str], weights: Sequence[int]) -> None:
        """Place servers by their names, so that every worker and node has the same ring whatever their order."""
        divisor = gcd(*weights) or 1
        points = sorted(
            (_position(f"{name}#{number}".encode()), index)
            for index, (name, weight) in enumerate(zip(names, weights, strict=True))
            for number in range(POINTS * weight // divisor)
        )
        self._points = [point for point, _ in points]
        self._owners = [owner for _, owner in points]
        self._count = len(names)

    def order(self, key: str) -> Iterator[int]:
        """All servers in the order in which `key` prefers them."""
        owners = self._owners
        at = bisect_left(self._points, _position(key.encode()))
        seen: set[int] = set()
        for step in range(len(owners)):
            owner = owners[(at + step) % len(owners)]
            if owner not in seen:
                seen.add(owner)
                yield owner
                if len(seen) == self._count:
                    return


def _position(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
