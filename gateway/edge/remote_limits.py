"""Limits that are counted over all nodes, in a store that answers later.

What a request owes is noted while it is decided about and counted before it goes on: all of one tick of the loop
at once. Of a large limit a worker holds a lease, from which it admits without asking. Limits per address that shed before
anything else are the node's own. Without the store what owes is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gateway.edge.exchange import Refusal
from gateway.edge.limits import LimitTable
from gateway.edge.pipeline import STORE_RETRY_S
from gateway.exchange.reason import Reason
from gateway.ratelimit.gcra import Bucket
from gateway.ratelimit.lease import HOLD_S, Lease, wanted_size

if TYPE_CHECKING:
    from gateway.edge.metrics import EdgeMetrics

MAX_LEASES: Final = 4096
"""After so many, those that are over are forgotten."""
_UNCOUNTED: Final = Refusal("limit", Reason.STORE_UNAVAILABLE, retry_after_s=STORE_RETRY_S)


class Owing(NamedTuple):
    """One request that is to be counted."""

    bucket: Bucket
    subject: str


class Charge(NamedTuple):
    """What one worker wants of one limit for one subject."""

    limit: str
    subject: str
    interval_s: float
    burst: int
    wanted: int
    """Requests that wait."""
    reserve: int
    """Requests to reserve beyond them."""
    used: int
    """Of the lease before, which this ends; -1 = there was none."""


Grant = tuple[int, int, float]
"""Requests admitted, requests reserved, and the seconds after which another would conform when not all were admitted."""


class Counter(Protocol):
    """The store that counts."""

    def charge(self, charges: Sequence[Charge], answered: Callable[[Sequence[Grant] | None], None]) -> None:
        """Count all of them at once, and call `answered` exactly once, in their order; None = the store cannot say."""


class _Settling:
    """A request that waits until all it owes is counted."""

    __slots__ = ("done", "left", "reason", "refusal")

    def __init__(self, left: int, reason: Reason, done: Callable[[Refusal | None], None]) -> None:
        self.left = left
        self.reason = reason
        self.done = done
        self.refusal: Refusal | None = None

    def hear(self, refusal: Refusal | None) -> None:
        """Take note of one of the counts."""
        self.refusal = self.refusal or refusal
        self.left -= 1
        if not self.left:
            self.done(self.refusal)


class _Due:
    """Everything of one tick that counts on one subject of one limit."""

    __slots__ = ("bucket", "reserves", "waiting")

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.reserves = False
        self.waiting: list[_Settling] = []


Key = tuple[str, str]


class RemoteLimits:
    """The limits of one worker."""

    def __init__(
        self, table: LimitTable, counter: Counter, *, soon: Callable[[Callable[[], None]], None], metrics: EdgeMetrics
    ) -> None:
        self._table = table
        self._counter = counter
        self._soon = soon
        self._metrics = metrics
        self._owed: list[Owing] = []
        self._due: dict[Key, _Due] = {}
        self._leases: dict[Key, Lease] = {}
        self._reserving: set[Key] = set()
        """Of what an answer is under way that may bring a lease."""

    def take(self, bucket: Bucket, subject: str, now: float) -> float:
        """Take one request; 0.0 when it conforms, or is noted to be counted before it goes on."""
        if not bucket.is_shared:
            return self._table.take(bucket, subject, now)
        lease = self._leases.get((bucket.spec.name, subject))
        if lease is None or not lease.take(monotonic()):
            self._owed.append(Owing(bucket, subject))
        return 0.0

    def owed(self) -> list[Owing]:
        """Hand over what was noted since the last call."""
        owed, self._owed = self._owed, []
        return owed

    def settle(self, owed: Sequence[Owing], reason: Reason, done: Callable[[Refusal | None], None]) -> None:
        """Have all of it counted; `done` hears None, or the refusal: for `reason`, or because the store is away."""
        settling = _Settling(len(owed), reason, done)
        if not self._due:
            self._soon(self._charge)
        for bucket, subject in owed:
            key = (bucket.spec.name, subject)
            due = self._due.get(key)
            if due is None:
                due = self._due[key] = _Due(bucket)
            due.waiting.append(settling)

    def _charge(self) -> None:
        """Everything of this tick is noted."""
        due, self._due = self._due, {}
        charges = [self._charge_of(key, one) for key, one in due.items()]
        self._metrics.store_batches.inc(("charge",))
        self._metrics.store_requests.inc(("charge",), sum(charge.wanted for charge in charges))
        self._counter.charge(charges, partial(self._answered, due, monotonic()))

    def _charge_of(self, key: Key, due: _Due) -> Charge:
        spec, waiting = due.bucket.spec, len(due.waiting)
        before, reserve = None, 0
        if key not in self._reserving:  # one lease at a time
            before = self._leases.pop(key, None)
            reserve = wanted_size(spec.burst, before, waiting)
            if reserve:
                due.reserves = True
                self._reserving.add(key)
        used = before.used if before is not None else -1
        return Charge(key[0], key[1], due.bucket.interval_s, spec.burst, waiting, reserve, used)

    def _answered(self, due: dict[Key, _Due], asked: float, grants: Sequence[Grant] | None) -> None:
        self._metrics.store_operations.observe(monotonic() - asked, ("redis", "charge"))
        self._reserving.difference_update([key for key, one in due.items() if one.reserves])
        if grants is None:
            self._metrics.store_unanswered.inc(("charge",))
            for one in due.values():
                for settling in one.waiting:
                    settling.hear(_UNCOUNTED)
            return
        if len(self._leases) >= MAX_LEASES:
            now = monotonic()
            self._leases = {key: lease for key, lease in self._leases.items() if lease.until > now}
        for (key, one), (admitted, reserved, wait_s) in zip(due.items(), grants, strict=True):
            if reserved:
                self._leases[key] = Lease(reserved, asked + HOLD_S)
                self._metrics.limit_leased.inc(by=reserved)
            for settling in one.waiting[:admitted]:
                settling.hear(None)
            for settling in one.waiting[admitted:]:
                settling.hear(Refusal("limit", settling.reason, retry_after_s=wait_s))
