"""The servers of one upstream together: who gets a request, who is out, when nobody is asked.

One worker's view; workers tell each other nothing. Choosing is synchronous; only a change of state
recomputes who may be chosen, logs and counts. Nothing is sent twice but what `resend` is asked for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from time import monotonic
from typing import Any, Final, Protocol

from gateway.edge.balance import Ring, schedule
from gateway.edge.exchange import Exchange
from gateway.edge.health import Breaker, BreakerState, Health, RetryBudget, State
from gateway.edge.metrics import EdgeMetrics
from gateway.edge.pool import Pool, Queue
from gateway.edge.probe import check_server
from gateway.edge.snapshot import BreakerRules, HealthCheck, Upstream
from gateway.exchange.reason import Reason

FIRST_CHECK_S: Final = 0.5
"""The first check comes within this time: workers do not all knock at once."""


class Spawn(Protocol):
    """Runs a task that is kept and whose failure is reported."""

    def __call__(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Start it."""


class Member:
    """A server of the group: its connections, and how it stands."""

    __slots__ = ("checks", "health", "pool", "reported", "trial_until")

    def __init__(self, pool: Pool, health: Health) -> None:
        self.pool = pool
        self.health = health
        self.trial_until = 0.0
        """A request tries it; not before this time does another."""
        self.reported: State | None = None
        self.checks: asyncio.Task[None] | None = None


class Group:
    """Several servers, or one with rules."""

    def __init__(
        self,
        upstream: Upstream,
        metrics: EdgeMetrics,
        spawn: Spawn,
        report: Callable[[str, str], None],
        before: Group | None = None,
    ) -> None:
        """Open for `upstream`; what `before` knew of servers that did not change still holds."""
        self.upstream = upstream
        self._metrics = metrics
        self._report = report
        self._queue = Queue(upstream, metrics)
        self._budget = RetryBudget(upstream.retry_share)
        known = before.known() if before else {}
        self.members: list[Member] = [
            Member(
                Pool(upstream, server, metrics, spawn, queue=self._queue, budget=self._budget, group=self),
                known.get(server.identity) or Health(),
            )
            for server in upstream.servers
        ]
        self._of = {member.pool: member for member in self.members}
        self._breaker = before.breaker(upstream.breaker) if before else None
        if self._breaker is None and upstream.breaker is not None:
            self._breaker = Breaker(upstream.breaker)
        self._breaker_reported: BreakerState | None = None
        weights = [server.weight for server in upstream.servers]
        self._turns = schedule(weights)
        self._turn = random.randrange(len(self._turns))  # workers do not all begin with the same server
        hashed = upstream.balance in ("user", "ip")
        self._ring = Ring([server.name for server in upstream.servers], weights) if hashed else None
        self._was_down: bool = before.is_down if before else False
        self._closed = False
        self._settle()
        if upstream.health is not None:
            for member in self.members:
                member.checks = spawn(self._keep_checking(member, upstream.health), name=f"check {upstream.name}")

    # what outlives a reload

    def known(self) -> dict[tuple[str, str, str], Health]:
        """What was seen of each server."""
        return {member.pool.server.identity: member.health for member in self.members}

    def breaker(self, rules: BreakerRules | None) -> Breaker | None:
        """The breaker, if it goes by these rules."""
        return self._breaker if self.upstream.breaker == rules else None

    @property
    def is_down(self) -> bool:
        """No server is in, and the log says so."""
        return self._was_down

    # what a request needs

    def take(self, x: Exchange) -> None:
        """Give `x` a connection to one of the servers, let it wait for one, or refuse it."""
        if self._breaker is not None:
            state = self._breaker.state
            wait = self._breaker.admit(monotonic())
            if wait:
                self._refuse(x, wait)
                return
            if self._breaker.state is not state:
                self._watch_all()
                self._settle()
        self._place(x, (), Reason.UPSTREAM_DOWN)

    def _place(self, x: Exchange, tried: tuple[Pool, ...], reason: Reason) -> None:
        """Find a server that was not tried; without one, end `x` by `reason` or let it wait."""
        full = False
        for member in self._preferred(x):
            pool = member.pool
            if pool in tried or not self._may_take(member):
                continue
            if not pool.has_idle and not (pool.has_room and self._make_room(pool)):
                full = True
                continue
            if member.health.state is State.TRIAL:
                member.trial_until = monotonic() + self.upstream.connect_timeout_s + self.upstream.response_timeout_s
            pool.take(x, tried)
            return
        if full:
            self._queue.add(x)
        elif tried:
            x.client.on_failed(x, reason)
        else:
            self._refuse(x, self._back_in_s())

    def _preferred(self, x: Exchange) -> Iterator[Member] | Sequence[Member]:
        """All servers, the best one first."""
        members = self.members
        if self._ring is not None:
            session = x.entry.session if x.entry is not None and self.upstream.balance == "user" else None
            key = f"user:{session.user_id}" if session is not None else f"ip:{x.client_ip}"
            return (members[index] for index in self._ring.order(key))
        turns = self._turns
        turn = self._turn = (self._turn + 1) % len(turns)
        if self.upstream.balance == "least_connections":
            ordered = [members[(turn + offset) % len(members)] for offset in range(len(members))]
            ordered.sort(key=lambda member: member.pool.busy / member.pool.server.weight)
            return ordered
        return (members[turns[(turn + offset) % len(turns)]] for offset in range(len(turns)))

    @staticmethod
    def _may_take(member: Member) -> bool:
        state = member.health.state
        return state is State.IN or (state is State.TRIAL and monotonic() >= member.trial_until)

    @property
    def _has_room(self) -> bool:
        return sum(member.pool.size for member in self.members) < self.upstream.max_connections

    def _make_room(self, pool: Pool) -> bool:
        """Tell whether one more connection may be opened, after closing an idle one of another server if that helps."""
        return self._has_room or any(member.pool is not pool and member.pool.spare_one() for member in self.members)

    def _refuse(self, x: Exchange, wait_s: float) -> None:
        x.client.on_failed(x, Reason.UPSTREAM_DOWN, retry_after_s=wait_s)

    def _back_in_s(self) -> float:
        """When a server may be in again at the soonest, seconds from now."""
        now = monotonic()
        waits = [member.health.until - now for member in self.members if member.health.state is State.EJECTED]
        if self.upstream.health is not None:
            waits.append(self.upstream.health.interval_s)
        return max(min(waits, default=1.0), 1.0)

    # what pools tell

    def unreachable(self, pool: Pool, x: Exchange, reason: Reason, tried: tuple[Pool, ...]) -> None:
        """Try another server: nothing of `x` was sent, so that any method may."""
        self.failed(pool, reason)
        if x.client.awaits(x):
            tried = (*tried, pool)
            if len(tried) <= self.upstream.retries:
                self._metrics.upstream_retries.inc((self.upstream.name, "reconnected"))
                self._place(x, tried, reason)
            else:
                x.client.on_failed(x, reason)
        self.serve()

    def has_another(self, pool: Pool) -> bool:
        """Another server than that of `pool` is in, and a connection to it may be opened."""
        return any(
            member.pool is not pool and member.health.state is State.IN and self._may_open(member.pool)
            for member in self.members
        )

    def _may_open(self, pool: Pool) -> bool:
        """Tell what `_make_room` would, and close nothing."""
        return pool.has_room and (
            self._has_room or any(member.pool is not pool and member.pool.has_idle for member in self.members)
        )

    def resend(self, pool: Pool, x: Exchange) -> None:
        """Send `x` to another server, or to the same one where there is none."""
        for member in self._preferred(x):
            other = member.pool
            if other is not pool and member.health.state is State.IN and other.has_room and self._make_room(other):
                other.renew(x, (pool,))
                return
        pool.renew(x)

    def answered(self, pool: Pool) -> None:
        """A watched server answered: it is well, and with it the upstream."""
        pool.is_watched = False
        changed = self._of[pool].health.succeed()
        if self._breaker is not None and self._breaker.succeed(monotonic()):
            self._report("upstream.up", self.upstream.name)
            changed = True
        if changed:
            self._settle()

    def failed(self, pool: Pool, reason: Reason) -> None:
        """A server failed a request: perhaps it is out now, or the whole upstream."""
        member, now = self._of[pool], monotonic()
        pool.is_watched = True
        changed = False
        if self._breaker is not None and self._breaker.fail(now):
            self._metrics.upstream_breaker_opened.inc((self.upstream.name,))
            self._report("upstream.down", f"{self.upstream.name}: too many requests fail; asked again in {self._breaker.rules.open_s:g} s")  # fmt: skip
            changed = True
        rules = self.upstream.ejection
        out = sum(other.health.state is not State.IN for other in self.members)
        most = max(int(rules.max_share * len(self.members)), len(self.members) > 1) if rules is not None else 0
        if member.health.fail(now, rules, may_eject=out < most):
            member.health.problem = (
                f"{reason} {member.health.failures} times in a row; tried again in {member.health.until - now:.0f} s"
            )
            self._metrics.upstream_ejections.inc((self.upstream.name, pool.server.name))
            changed = True
        if changed:
            self._settle()

    def serve(self) -> None:
        """Place those who wait wherever there is room now."""
        for _ in range(len(self._queue.waiting)):
            if not any(self._may_take(m) and (m.pool.has_idle or m.pool.has_room) for m in self.members):
                if not any(m.health.state in (State.IN, State.TRIAL) for m in self.members):
                    self._queue.fail_all(Reason.UPSTREAM_DOWN)
                return
            if not self._has_room and not any(m.pool.has_idle for m in self.members):
                return
            x = self._queue.next()
            if x is None:
                return
            self._place(x, (), Reason.UPSTREAM_DOWN)

    # checks

    async def _keep_checking(self, member: Member, rules: HealthCheck) -> None:
        await asyncio.sleep(random.random() * min(FIRST_CHECK_S, rules.interval_s))
        while True:
            problem = await check_server(member.pool.server, rules)
            passed = not problem
            labels = (self.upstream.name, member.pool.server.name, "passed" if passed else "failed")
            self._metrics.upstream_checks.inc(labels)
            if member.health.check(rules, passed=passed):
                member.health.problem = f"check failed: {problem}" if problem else ""
                self._settle()
            await asyncio.sleep(rules.interval_s * (0.95 + 0.1 * random.random()))

    # how it stands

    def _watch_all(self) -> None:
        for member in self.members:
            member.pool.is_watched = True

    def _settle(self) -> None:
        """Something changed: who is out, what is logged and counted."""
        for member in self.members:
            state, pool = member.health.state, member.pool
            pool.is_out = state in (State.EJECTED, State.UNHEALTHY)
            if pool.is_out:
                pool.drop_idle()
            elif state is State.IN:
                member.health.problem = ""
            elif member.reported is not State.TRIAL:
                pool.is_watched = True
                member.trial_until = 0.0
            was, member.reported = member.reported, state
            if was is state or self._closed:
                continue
            self._count(member, was, state)
            if was is not None and (state is State.IN or (pool.is_out and was is State.IN)):
                self._say(member, state)
        if self._breaker is not None and not self._closed and self._breaker_reported is not self._breaker.state:
            self._count_breaker(self._breaker_reported, self._breaker.state)
            self._breaker_reported = self._breaker.state
        down = all(member.pool.is_out for member in self.members)
        if down is not self._was_down and not self._closed:
            self._was_down = down
            if down:
                self._report("upstream.down", f"{self.upstream.name}: no server is in")
            else:
                self._report("upstream.up", self.upstream.name)

    def _say(self, member: Member, state: State) -> None:
        server = f"{self.upstream.name}: {member.pool.server.name}"
        if state is State.IN:
            self._report("upstream.server_in", server)
        else:
            self._report("upstream.server_out", f"{server}: {member.health.problem}")

    def _count(self, member: Member, was: State | None, state: State | None) -> None:
        gauge, labels = self._metrics.upstream_servers, (self.upstream.name, member.pool.server.name)
        if was is not None:
            gauge.inc((*labels, was.value), -1)
        if state is not None:
            gauge.inc((*labels, state.value))

    def _count_breaker(self, was: BreakerState | None, state: BreakerState | None) -> None:
        for value, by in ((was, -1), (state, 1)):
            if value is not None:
                self._metrics.upstream_breakers.inc((self.upstream.name, value.value), by)

    def degraded(self) -> str:
        """Say which servers are out, empty when none is."""
        out = [member for member in self.members if member.health.state is not State.IN]
        if self._breaker is not None and self._breaker.state is not BreakerState.CLOSED:
            return f"is not asked: too many requests failed ({self._breaker.state})"
        if not out:
            return ""
        listed = "; ".join(
            f"{member.pool.server.name} is {member.health.state}: {member.health.problem}" for member in out
        )
        return f"{len(out)} of {len(self.members)} servers out: {listed}"

    # the worker's sweep

    def sweep(self, now: float) -> None:
        """Let ejections end, serve or refuse those who wait."""
        for member in self.members:
            if not member.health.elapse(now) and now >= member.trial_until and not self._closed:
                member.health.linger(now)
            member.pool.sweep(now)
        if any(member.reported is not member.health.state for member in self.members):
            self._settle()  # also what the group of an earlier snapshot saw
        if self._queue.waiting:
            self.serve()
        self._queue.sweep(now)
        answered = self._metrics.upstream_duration.counts.get((self.upstream.name,), ())
        self._budget.roll(sum(answered), now)

    @property
    def is_over(self) -> bool:
        """True when it was closed and nothing of it is left."""
        return self._closed and all(member.pool.is_over for member in self.members)

    def close(self) -> None:
        """Check and report no more; close idle connections now and busy ones when they are given back."""
        if self._closed:
            return
        self._closed = True
        for member in self.members:
            member.pool.close()
            if member.checks is not None:
                member.checks.cancel()
            self._count(member, member.reported, None)
        self._count_breaker(self._breaker_reported, None)


Destination = Pool | Group


def open_destination(
    upstream: Upstream,
    metrics: EdgeMetrics,
    spawn: Spawn,
    report: Callable[[str, str], None],
    before: Destination | None = None,
) -> Destination:
    """Open what serves `upstream`: a plain pool where there is nothing to choose and nothing to watch."""
    if not upstream.is_group:
        return Pool(upstream, upstream.servers[0], metrics, spawn)
    return Group(upstream, metrics, spawn, report, before if isinstance(before, Group) else None)
