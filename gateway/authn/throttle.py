"""How often somebody may fail: a growing delay, then a lock-out, as arithmetic over a stored count.

An attempt is charged before it is checked and forgiven when it was right, so a hundred attempts at
once are a hundred charges and not a hundred looks at the same count. Where the count is kept, and
under which key, is the caller's.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

SP_800_63B_MAX_FAILURES: Final = 100
"""SP 800-63B-4 §3.2.2: no more than 100 consecutive failures; then only an operator opens the account."""


class Throttle(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one kind of key."""

    free: int
    """Failures that cost nothing: people mistype."""
    delay_s: float
    """Wait after the first failure beyond the free ones; doubles with each."""
    lock_at: int
    """Failures at which the wait becomes a lock-out."""
    lock_s: float
    """First lock-out; doubles with each failure after it."""
    longest_s: float
    """Longest lock-out."""
    forget_s: float
    """Silence after which failures are forgotten."""
    limit: int | None = None
    """Failures after which only an operator helps; None = never."""


ACCOUNT: Final = Throttle(
    free=3, delay_s=1.0, lock_at=10, lock_s=900.0, longest_s=4 * 3600.0, forget_s=86400.0, limit=SP_800_63B_MAX_FAILURES
)
"""One account name. Ten attempts, then fifteen minutes (PCI DSS 8.3.4 allows ten; ASVS 6.3.1)."""
FACTOR: Final = Throttle(
    free=4, delay_s=1.0, lock_at=5, lock_s=60.0, longest_s=4 * 3600.0, forget_s=86400.0, limit=SP_800_63B_MAX_FAILURES
)
"""The second factor of one account. Five codes, then a growing lock: a million codes, three of them right at a time."""
NETWORK: Final = Throttle(free=30, delay_s=1.0, lock_at=100, lock_s=900.0, longest_s=3600.0, forget_s=3600.0)
"""One network, whatever accounts it tries: password spraying. An office behind one address mistypes a lot."""

DEVICE: Final = ACCOUNT
"""One browser that signed in to the account before: it has a count of its own, so strangers lock nobody out of it."""
MAIL_NETWORK: Final = Throttle(free=10, delay_s=30.0, lock_at=30, lock_s=900.0, longest_s=3600.0, forget_s=3600.0)
"""Letters that one network asks for, whoever they are for."""
MAIL_ASKED: Final = Throttle(free=3, delay_s=60.0, lock_at=8, lock_s=3600.0, longest_s=3600.0, forget_s=6 * 3600.0)
"""Letters to one account that one network asks for."""
MAIL_ACCOUNT: Final = Throttle(free=10, delay_s=60.0, lock_at=14, lock_s=600.0, longest_s=600.0, forget_s=6 * 3600.0)
"""Letters to one account, whoever asks. Never more than ten minutes apart; its owner's known devices have counts of their own."""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered under one key."""

    failures: int = 0
    last: float = 0.0
    """Time of the last charge."""
    blocked_until: float = 0.0


def wait_of(throttle: Throttle, failures: int) -> float:
    """Return the seconds to wait after so many failures; infinite when only an operator helps."""
    if throttle.limit is not None and failures >= throttle.limit:
        return math.inf
    if failures >= throttle.lock_at:
        return min(throttle.lock_s * 2.0 ** min(failures - throttle.lock_at, 32), throttle.longest_s)
    if failures > throttle.free:
        return min(throttle.delay_s * 2.0 ** min(failures - throttle.free - 1, 32), throttle.lock_s)
    return 0.0


def blocked_s(throttle: Throttle, count: Count, now: float) -> float:
    """Return how long this key must still wait; 0 = an attempt may be made."""
    if _is_forgotten(throttle, count, now):
        return 0.0
    # A clock set back must not turn a wait of seconds into one of hours.
    return max(0.0, min(count.blocked_until - now, wait_of(throttle, count.failures)))


def charge(throttle: Throttle, count: Count, now: float) -> Count:
    """Count one attempt as failed, before it is checked."""
    failures = 1 if _is_forgotten(throttle, count, now) else count.failures + 1
    return Count(failures=failures, last=now, blocked_until=now + wait_of(throttle, failures))


def forgive(throttle: Throttle, count: Count) -> Count:
    """Take one charge back: the attempt was right, but others under this key may not have been."""
    failures = max(0, count.failures - 1)
    return Count(
        failures=failures,
        last=count.last,
        blocked_until=min(count.blocked_until, count.last + wait_of(throttle, failures)),
    )


def forgotten_at(throttle: Throttle, count: Count) -> float | None:
    """Return when the count means nothing any more; None = never by itself."""
    if throttle.limit is not None and count.failures >= throttle.limit:
        return None
    return max(count.blocked_until, count.last + throttle.forget_s)


def _is_forgotten(throttle: Throttle, count: Count, now: float) -> bool:
    end = forgotten_at(throttle, count)
    return end is not None and now >= end
