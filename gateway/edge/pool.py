"""The connections of one worker to one server, and the queue of those who wait for one.

A pool opens, keeps and hands out connections. Which server is asked is the group's to say; an upstream
of one server without further rules has no group, and nothing of this module is paid for on its way.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol, cast

from gateway.edge.exchange import Exchange
from gateway.edge.health import RetryBudget
from gateway.edge.metrics import EdgeMetrics
from gateway.edge.own_socket import OwnSocketError, refuse_own_path, refuse_own_socket
from gateway.edge.snapshot import Server, Upstream
from gateway.edge.upstream import HeadMemo, UpstreamConnection
from gateway.exchange.reason import Reason

IDLE_POOL_S: Final = 55.0
"""Below the 60 s after which common servers close an idle connection."""


class Group(Protocol):
    """What spreads requests over several pools and watches them."""

    def unreachable(self, pool: Pool, x: Exchange, reason: Reason, tried: tuple[Pool, ...]) -> None:
        """No connection could be made for `x`, of which nothing was sent."""

    def resend(self, pool: Pool, x: Exchange) -> None:
        """Send `x` to somebody else: its idle connection was closed while it was being sent."""

    def answered(self, pool: Pool) -> None:
        """A server that is watched sent the head of an answer."""

    def has_another(self, pool: Pool) -> bool:
        """Another server than that of `pool` is in, and a connection to it may be opened."""

    def failed(self, pool: Pool, reason: Reason) -> None:
        """A server did not answer a request."""

    def serve(self) -> None:
        """Something may be free now for those who wait."""


class Queue:
    """Requests that wait for a connection, in their order; bounded in number and in time."""

    def __init__(self, upstream: Upstream, metrics: EdgeMetrics) -> None:
        self.waiting: deque[tuple[Exchange, float]] = deque()
        self._upstream = upstream
        self._metrics = metrics
        self._labels = (upstream.name,)
        self._reported = 0

    def add(self, x: Exchange) -> None:
        """Let `x` wait, or refuse it when too many do."""
        if len(self.waiting) >= self._upstream.max_waiting:
            still = [item for item in self.waiting if item[0].client.awaits(item[0])]
            self.waiting.clear()
            self.waiting.extend(still)
        if len(self.waiting) < self._upstream.max_waiting:
            self.waiting.append((x, monotonic()))
            return
        self._metrics.upstream_queue_refused.inc((self._upstream.name, "full"))
        x.client.on_failed(x, Reason.OVERLOADED)

    def next(self) -> Exchange | None:
        """The first who still waits."""
        while self.waiting:
            x, since = self.waiting.popleft()
            if x.client.awaits(x):
                self._metrics.upstream_queue_wait.observe(monotonic() - since, self._labels)
                return x
        return None

    def sweep(self, now: float) -> None:
        """Refuse those who waited too long."""
        while self.waiting and now - self.waiting[0][1] >= self._upstream.queue_timeout_s:
            x, _ = self.waiting.popleft()
            if x.client.awaits(x):
                self._metrics.upstream_queue_refused.inc((self._upstream.name, "timeout"))
                x.client.on_failed(x, Reason.OVERLOADED)
        if self._reported != len(self.waiting):
            self._metrics.upstream_queue.inc(self._labels, len(self.waiting) - self._reported)
            self._reported = len(self.waiting)

    def fail_all(self, reason: Reason) -> None:
        """Nobody will be served: tell those who wait."""
        while (x := self.next()) is not None:
            x.client.on_failed(x, reason)


class Pool:
    """The connections of one worker to one server."""

    def __init__(
        self,
        upstream: Upstream,
        server: Server,
        metrics: EdgeMetrics,
        spawn: Callable[..., object],
        *,
        queue: Queue | None = None,
        budget: RetryBudget | None = None,
        group: Group | None = None,
    ) -> None:
        self.upstream = upstream
        self.server = server
        self.metrics = metrics
        self.memo = HeadMemo()
        self.labels = (upstream.name,)
        self.group = group
        self.is_watched = False
        """The group wants to hear of the next answer."""
        self.is_out = False
        """No request is to be sent to this server."""
        self.queue = queue or Queue(upstream, metrics)
        self._waiting = self.queue.waiting
        self._budget = budget or RetryBudget(upstream.retry_share)
        self._room = server.max_connections or upstream.max_connections
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._idle: deque[UpstreamConnection] = deque()
        self._open: set[UpstreamConnection] = set()
        self._connecting = 0
        self._closed = False
        self._reported = (0, 0)

    # what a request needs

    def take(self, x: Exchange, tried: tuple[Pool, ...] = ()) -> None:
        """Give `x` a connection: an idle one at once, else a new one, else the next that is given back."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                connection.reused = True
                x.upstream = connection
                x.client.on_attached(x, connection)
                return
        self.renew(x, tried)

    def renew(self, x: Exchange, tried: tuple[Pool, ...] = ()) -> None:
        """Give `x` a new connection, or the next that is given back."""
        if self.size < self._room:
            self._connecting += 1
            self._spawn(self._connect(x, tried), name=f"connect {self.upstream.name}")
        else:
            self.queue.add(x)

    @property
    def size(self) -> int:
        """Connections that are open or being opened."""
        return len(self._open) + self._connecting

    @property
    def busy(self) -> int:
        """Connections that carry an exchange, or will."""
        return self.size - len(self._idle)

    @property
    def has_idle(self) -> bool:
        """A request can be sent at once."""
        return bool(self._idle)

    @property
    def has_room(self) -> bool:
        """Another connection may be opened, as far as this server alone goes."""
        return self.size < self._room

    @property
    def has_another(self) -> bool:
        """Another server is in that may be asked instead of this one."""
        return self.group is not None and self.group.has_another(self)

    # what a connection tells

    def give_back(self, connection: UpstreamConnection) -> None:
        """Take an idle connection back, or hand it on at once."""
        if self.is_out:
            connection.close()
            return
        if self._waiting and (x := self.queue.next()) is not None:
            connection.reused = True
            x.upstream = connection
            x.client.on_attached(x, connection)
        elif self._closed:
            connection.close()
        else:
            connection.idle_since = monotonic()
            self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """Forget a connection; somebody who waits gets a new one."""
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        if self._waiting:
            if self.group is not None:
                self.group.serve()
            elif (x := self.queue.next()) is not None:
                self.take(x)

    def resend(self, x: Exchange) -> None:
        """Send `x` once more, on a new connection: the server closed the one on which it was being sent."""
        answered = self.metrics.upstream_duration.counts.get(self.labels, ())
        if not self.upstream.retries or not self._budget.take(sum(answered)):
            self.metrics.upstream_retries.inc((self.upstream.name, "refused"))
            x.client.on_failed(x, Reason.UPSTREAM_CLOSED)
            return
        self.metrics.upstream_retries.inc((self.upstream.name, "resent"))
        if self.group is not None:
            self.group.resend(self, x)
        else:
            self.renew(x)

    def failed(self, reason: Reason) -> None:
        """The server did not answer a request that it got."""
        if self.group is not None:
            self.group.failed(self, reason)

    # connecting

    async def _connect(self, x: Exchange, tried: tuple[Pool, ...]) -> None:
        connection: UpstreamConnection | None = None
        reason = Reason.UPSTREAM_UNREACHABLE
        try:
            async with asyncio.timeout(self.upstream.connect_timeout_s):
                connection = await self._open_one()
        except TimeoutError:
            reason = Reason.UPSTREAM_TIMEOUT
        except ssl.SSLError:
            reason = Reason.UPSTREAM_UNTRUSTED
        except OSError:
            reason = Reason.UPSTREAM_UNREACHABLE
        finally:
            self._connecting -= 1
        if connection is None:
            self.metrics.upstream_connect_failures.inc((self.upstream.name, self.server.name, reason.value))
            if self.group is not None:
                self.group.unreachable(self, x, reason, tried)
            else:
                self._unreachable(x, reason)
            return
        self._open.add(connection)
        if not x.client.awaits(x):
            self.give_back(connection)
            return
        x.upstream = connection
        x.client.on_attached(x, connection)

    def _unreachable(self, x: Exchange, reason: Reason) -> None:
        if x.client.awaits(x):
            x.client.on_failed(x, reason)
        if not self.size:  # no connection will be given back
            self.queue.fail_all(reason)

    async def _open_one(self) -> UpstreamConnection:
        server = self.server
        if not server.path:
            _, connection = await self._loop.create_connection(
                self._protocol,
                server.host,
                server.port,
                ssl=server.tls,
                server_hostname=server.server_name if server.tls is not None else None,
            )
            return cast("UpstreamConnection", connection)
        refuse_own_path(server)
        transport, connection = await self._loop.create_unix_connection(self._protocol, server.path)
        try:
            refuse_own_socket(server, transport.get_extra_info("socket"))
        except OwnSocketError:
            transport.abort()
            raise
        return cast("UpstreamConnection", connection)

    def _protocol(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", UpstreamConnection(self))

    # the worker's sweep

    def sweep(self, now: float) -> None:
        """Close what has been idle for long, oldest first; refuse who waited too long; report numbers."""
        while self._idle and now - self._idle[0].idle_since > IDLE_POOL_S:
            self._idle.popleft().close()
        if self.group is None:
            self.queue.sweep(now)
            self._budget.roll(sum(self.metrics.upstream_duration.counts.get(self.labels, ())), now)
        idle, active = len(self._idle), len(self._open) - len(self._idle)
        if self._reported != (idle, active):  # several pools may have one name: each reports its own share
            self.metrics.upstream_connections.inc((self.upstream.name, "idle"), idle - self._reported[0])
            self.metrics.upstream_connections.inc((self.upstream.name, "active"), active - self._reported[1])
            self._reported = idle, active

    @property
    def is_over(self) -> bool:
        """True when it was closed and nothing of it is left."""
        return self._closed and not self.size and not self.queue.waiting and self._reported == (0, 0)

    def close(self) -> None:
        """Close idle connections now and busy ones when they are given back."""
        self._closed = True
        self.drop_idle()

    def spare_one(self) -> bool:
        """Close the connection that is idle the longest, so that another server may have one more; False without any."""
        if not self._idle:
            return False
        connection = self._idle.popleft()
        self._open.discard(connection)
        connection.close()
        return True

    def drop_idle(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.popleft().close()

    def degraded(self) -> str:
        """Say what is out: without a group, nothing is known."""
        return ""
