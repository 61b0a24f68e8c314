"""The Generic Cell Rate Algorithm: one number a key says whether one more request conforms.

The number is the theoretical arrival time (TAT), unix seconds. A TAT in the past is the same as
no TAT at all, so that a forgotten key loses nothing.
"""

from __future__ import annotations

from gateway.exchange.route import LimitSpec


class Bucket:
    """A limit in the units of the algorithm."""

    __slots__ = ("interval_s", "is_shared", "keys", "spec", "tolerance_s")

    def __init__(self, spec: LimitSpec, *, is_sign_in: bool = False) -> None:
        self.spec = spec
        self.is_shared = is_sign_in or spec.per != "ip"
        """Counted over all nodes where they have one store: whoever is counted could go to another node."""
        self.interval_s = 1.0 / spec.rate_per_s
        """Seconds that one request costs."""
        self.tolerance_s = self.interval_s * (spec.burst - 1)
        """How far the TAT may run ahead of now before a request is refused."""
        self.keys: dict[str, tuple[int, int]] = {}
        """Where subjects that were counted lately are counted, kept by whoever counts."""

    def admit(self, tat: float, now: float) -> float:
        """The new TAT when one request conforms, or 0.0 when it does not (see `retry_after`)."""
        if tat <= now:
            return now + self.interval_s
        # A clock that stepped back must not lock anybody out for longer than the full tolerance.
        if tat - now > self.tolerance_s + self.interval_s:
            tat = now + self.tolerance_s + self.interval_s
        return tat + self.interval_s if tat - now <= self.tolerance_s else 0.0

    def retry_after(self, tat: float, now: float) -> float:
        """Seconds until one request would conform; 0.0 when it does already."""
        return max(0.0, min(tat - now, self.tolerance_s + self.interval_s) - self.tolerance_s)
