"""Leases: requests of a limit that one worker may admit by itself for a moment, because they are reserved for it.

Reserved requests count as if they came at the end of the lease, which is never before they do come, so that all
workers together admit no more than the limit (the proof is in ADR 0020). How many are reserved follows what was used
of the lease before; a limit that is small, or nearly used up, is counted request by request.
"""

from __future__ import annotations

from typing import Final

LEASE_S: Final = 1.0
"""How long the store keeps a lease reserved."""
HOLD_S: Final = 0.9
"""How long its worker uses it, from before it asked: never beyond what the store reserved, whatever the clocks do."""
LEASED_BURST: Final = 64
"""Smallest burst of a limit that is leased."""
SHARE: Final = 8
"""A lease is at most that part of the burst."""


class Lease:
    """What one worker may admit of one limit for one subject."""

    __slots__ = ("left", "size", "until")

    def __init__(self, size: int, until: float) -> None:
        self.size = size
        self.left = size
        self.until = until

    def take(self, now: float) -> bool:
        """Take one request of it; False when there is none left, or it is over."""
        if self.left and now < self.until:
            self.left -= 1
            return True
        return False

    @property
    def used(self) -> int:
        """Requests that were taken."""
        return self.size - self.left


def wanted_size(burst: int, before: Lease | None, waiting: int) -> int:
    """Say how many requests to reserve beyond the `waiting` ones: 0 = none.

    As many again as were used of the lease before; twice as many when it did not suffice.
    """
    if burst < LEASED_BURST:
        return 0
    size = waiting if before is None else before.used + (before.used if not before.left else 0)
    return min(size, burst // SHARE)
