"""Whether a server, or a whole upstream, should be asked at all: what one worker saw of it, and what it may retry.

State machines of plain numbers; time is an argument. They say what changed and log, count and open
nothing. Failures are failures to answer: no connection, no answer, an answer that is none. A 5xx is an answer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from gateway.edge.snapshot import BreakerRules, EjectionRules, HealthCheck

RETRY_RESERVE: Final = 100
"""Requests that may be sent twice in each window however little traffic there is."""
RETRY_WINDOW_S: Final = 10.0
_MOST_DOUBLINGS: Final = 20


class State(StrEnum):
    """How one server stands; the label of `gateway_upstream_servers`."""

    IN = "in"
    TRIAL = "trial"
    """Its ejection is over: one request decides."""
    EJECTED = "ejected"
    """It failed requests."""
    UNHEALTHY = "unhealthy"
    """It failed its checks."""


class Health:
    """What this worker knows of one server."""

    __slots__ = ("_checked", "_checks", "_lasted", "_times", "failures", "problem", "state", "until")

    def __init__(self) -> None:
        self.state = State.IN
        self.failures = 0
        """Requests failed in a row."""
        self.until = 0.0
        """When the last ejection ends or ended."""
        self.problem = ""
        """Why it is out, for people."""
        self._times = 0
        """Ejections in a row: each is twice as long as the one before."""
        self._lasted = 0.0
        self._checked = False
        self._checks = 0
        """Checks in a row that passed, or, below zero, failed."""

    def fail(self, now: float, rules: EjectionRules | None, *, may_eject: bool) -> bool:
        """Count a failed request. Returns True when the server is ejected by it.

        `may_eject` is False where too many servers are out already; a server on trial goes out all the same.
        """
        self.failures += 1
        if rules is None or self.state not in (State.IN, State.TRIAL):
            return False
        if self.state is State.IN and (self.failures < rules.failures or not may_eject):
            return False
        if now - self.until > rules.max_time_s:
            self._times = 0
        self.state = State.EJECTED
        self._lasted = min(rules.time_s * 2**self._times, rules.max_time_s)
        self.until = now + self._lasted
        self._times = min(self._times + 1, _MOST_DOUBLINGS)
        return True

    def succeed(self) -> bool:
        """Count an answer. Returns True when it ends a trial."""
        self.failures = 0
        if self.state is not State.TRIAL:
            return False
        self.state = State.IN
        return True

    def elapse(self, now: float) -> bool:
        """Let an ejection end when its time is over. Returns True when the server is on trial now."""
        if self.state is not State.EJECTED or now < self.until:
            return False
        self.state = State.TRIAL
        return True

    def linger(self, now: float) -> bool:
        """Let a server in that nobody tried for as long as it was out; it is ejected by its first failure then.

        Returns True when it is in now. Without this, a server whose people are all away would stay on trial.
        """
        if self.state is not State.TRIAL or now < self.until + self._lasted:
            return False
        self.state = State.IN
        return True

    def check(self, rules: HealthCheck, *, passed: bool) -> bool:
        """Count a check. Returns True when it changed how the server stands; the very first one decides alone."""
        first, self._checked = not self._checked, True
        self._checks = max(self._checks, 0) + 1 if passed else min(self._checks, 0) - 1
        if not passed and self.state is not State.UNHEALTHY and (first or -self._checks >= rules.unhealthy):
            self.state = State.UNHEALTHY
            return True
        if passed and self._checks >= rules.healthy and self.state in (State.UNHEALTHY, State.EJECTED):
            self.state = State.IN if self.state is State.UNHEALTHY else State.TRIAL
            self.failures = 0
            return True
        return False


class BreakerState(StrEnum):
    """Whether an upstream is asked; the label of `gateway_upstream_breakers`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One request at a time tries whether it is well again."""


class Breaker:
    """Stops asking an upstream that fails too large a share of what it is asked."""

    __slots__ = ("_began", "_failures", "_requests", "_trial_until", "_until", "rules", "state")

    def __init__(self, rules: BreakerRules) -> None:
        self.rules = rules
        self.state = BreakerState.CLOSED
        self._began = 0.0
        self._requests = 0
        self._failures = 0
        self._until = 0.0
        self._trial_until = 0.0

    def admit(self, now: float) -> float:
        """Take one request: 0 lets it go, anything else is the time in seconds after which to ask again."""
        if self.state is BreakerState.CLOSED:
            if now - self._began >= self.rules.window_s:
                self._began, self._requests, self._failures = now, 0, 0
            self._requests += 1
            return 0.0
        if self.state is BreakerState.OPEN:
            if now < self._until:
                return self._until - now
            self.state = BreakerState.HALF_OPEN
        elif now < self._trial_until:
            return self._trial_until - now
        self._trial_until = now + self.rules.open_s
        return 0.0

    def fail(self, now: float) -> bool:
        """Count a failure. Returns True when the breaker opens."""
        self._failures += 1
        if self.state is BreakerState.OPEN:
            return False
        if self.state is BreakerState.CLOSED and (
            self._requests < self.rules.requests or self._failures < self.rules.ratio * self._requests
        ):
            return False
        self.state = BreakerState.OPEN
        self._until = now + self.rules.open_s
        return True

    def succeed(self, now: float) -> bool:
        """Count an answer. Returns True when the trial succeeded and the breaker closes."""
        if self.state is not BreakerState.HALF_OPEN:
            return False
        self.state = BreakerState.CLOSED
        self._began, self._requests, self._failures = now, 0, 0
        return True


class RetryBudget:
    """How many requests may be sent a second time: a share of those that were answered, and a reserve.

    attack: an upstream that fails under load must not get the load twice.
    """

    __slots__ = ("_began", "_current", "_previous", "_share", "_used")

    def __init__(self, share: float) -> None:
        self._share = share
        self._began = 0.0
        self._previous = 0
        self._current = 0
        self._used = 0

    def roll(self, answered: int, now: float) -> None:
        """Begin a new window when the old one is over; `answered` is the number of all answers so far."""
        if now - self._began >= RETRY_WINDOW_S:
            self._began, self._previous, self._current, self._used = now, self._current, answered, 0

    def take(self, answered: int) -> bool:
        """Ask to send one request again: by the answers of this window and the one before."""
        if self._used >= RETRY_RESERVE + self._share * (answered - self._previous):
            return False
        self._used += 1
        return True
