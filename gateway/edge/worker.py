"""One edge process: its listeners, its connections, its share of everything they need.

Owns the sweep that enforces deadlines and the swap of snapshots. Decides nothing about a request
except whether the worker can take one at all.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Final, Protocol

from gateway.audit.access import Node
from gateway.edge.evidence import Evidence
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.group import Destination, open_destination
from gateway.edge.http1 import Http1Connection
from gateway.edge.limits import LimitTable
from gateway.edge.metrics import EdgeMetrics
from gateway.edge.occupancy import Occupancy
from gateway.edge.outgoing import Outgoing
from gateway.edge.recorder import Recorder
from gateway.edge.sessions import Sessions
from gateway.edge.snapshot import Snapshot
from gateway.exchange.reason import Reason
from gateway.wire.proxy_protocol import Source

SWEEP_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and what is spoken on it."""

    fd: int
    redirects: bool
    tls: bool
    proxied: bool = False
    """A PROXY header comes first."""
    source: Source | None = None
    """Of one connection: whom its PROXY header names."""


class ClientConnection(Protocol):
    """What the worker asks of a connection of a client, whatever is spoken on it."""

    def sweep(self, now_mono: float, now: float) -> None:
        """Hold it to its deadlines; called a few times a second."""

    def forget(self) -> None:
        """The configuration changed."""

    def drain(self) -> None:
        """Close when idle; finish what is under way and close then. Called until it is closed."""

    def cut(self) -> None:
        """Break it off."""


class Worker:
    """Everything one edge process has."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        sessions: Sessions,
        limits: LimitTable,
        recorder: Recorder,
        node: Node,
        log: Callable[[bytes], None],
        report: Callable[[str, str], None],
        occupancy: Occupancy | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.snapshot = snapshot
        self.sessions = sessions
        self.limits = limits
        self.occupancy = occupancy
        self.metrics = EdgeMetrics()
        self.draining = False
        self.drain_until = 0.0
        """When what is still open is cut; 0 while nothing is drained. Monotonic."""
        self.drain_s = 0.0
        self.recorder = recorder
        self.evidence = Evidence(recorder=recorder, metrics=self.metrics, node=node, log=log, report=report)
        self.outgoing = Outgoing(report)
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._connections: set[ClientConnection] = set()
        self._pools: dict[str, Destination] = {}
        self._old_pools: list[Destination] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._servers: list[asyncio.Server] = []
        self._random = random(5).hex()
        self._millisecond = -1
        self._prefix = b""
        self._count = int.from_bytes(random(4), "little")
        self._sweeper: asyncio.Task[None] | None = None

    # life of the process

    async def serve(
        self, listeners: list[Listener], tls: Callable[[Listener], ssl.SSLContext | None], handshake_timeout_s: float
    ) -> None:
        """Accept on every listener and start the sweep."""
        for listener in listeners:
            sock = socket.socket(fileno=os.dup(listener.fd))
            context = tls(listener)
            server = await self._loop.create_server(
                lambda listener=listener: Http1Connection(self, listener),
                sock=sock,
                ssl=context,
                backlog=4096,
                ssl_handshake_timeout=handshake_timeout_s if context is not None else None,
            )
            self._servers.append(server)
        self._open_groups({})
        self._sweeper = self.spawn(self._sweep(), name="sweep")

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let open requests finish for `seconds`, then close what is left."""
        self.draining = True
        for server in self._servers:
            server.close()
        until = monotonic() + seconds
        self.drain_until, self.drain_s = until, seconds
        for connection in list(self._connections):
            connection.drain()
        while self._connections and monotonic() < until:
            await asyncio.sleep(0.05)
            for connection in list(self._connections):
                connection.drain()
        for connection in list(self._connections):
            connection.cut()
        await asyncio.sleep(0)
        for pool in (*self._pools.values(), *self._old_pools):
            pool.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.recorder.stop()
        self.evidence.flush_log()

    def swap(self, snapshot: Snapshot) -> None:
        """Serve every request that begins from now on by `snapshot`; what is under way keeps its own."""
        self.snapshot = snapshot
        self.evidence.forget()
        self.outgoing.forget()
        for connection in self._connections:
            connection.forget()
        before, self._pools = self._pools, {}
        self._open_groups(before)
        for pool in before.values():
            pool.close()
            self._old_pools.append(pool)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a task that is kept and whose failure is reported."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("task.failed", f"{task.get_name()}: {type(error).__name__}")

    def soon(self, call: Callable[[], None]) -> None:
        """Run after this tick's callbacks."""
        self._loop.call_soon(call)

    # connections

    def accepts(self) -> bool:
        """True if there is room for one more connection."""
        return len(self._connections) < self.snapshot.wire.max_connections

    def opened(self, connection: ClientConnection) -> None:
        """Count a connection in."""
        self._connections.add(connection)
        self.metrics.connections.set(len(self._connections))

    def lost(self, connection: ClientConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self.metrics.connections.set(len(self._connections))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = monotonic()
            wall = time()
            for connection in list(self._connections):
                connection.sweep(now, wall)
            for pool in (*self._pools.values(), *self._old_pools):
                pool.sweep(now)
            self._old_pools = [pool for pool in self._old_pools if not pool.is_over]
            self.metrics.audit_unacked.set(self.recorder.unacked)
            occupied = self.occupancy.full if self.occupancy is not None else 0
            self.metrics.limit_table_full.values[()] = self.limits.full + occupied
            self.evidence.flush_log()

    # what a request needs

    def standing(self, x: Exchange) -> Refusal | None:
        """Whether this worker can take a request at all."""
        if not self.recorder.available:
            return Refusal("audit", Reason.AUDIT_UNAVAILABLE, retry_after_s=1.0)
        if self.draining and x.client.served:
            return Refusal("capacity", Reason.DRAINING, retry_after_s=1.0)
        return None

    def request_id(self, now: float) -> bytes:
        """A UUIDv7 (RFC 9562 §5.7): milliseconds, then this worker's random bits and counter."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            text, random = f"{millisecond:012x}", self._random
            self._prefix = f"{text[:8]}-{text[8:]}-7{random[:3]}-8{random[3:6]}-{random[6:]}".encode("ascii")
        self._count = count = (self._count + 1) & 0xFFFFFFFF
        return b"%b%08x" % (self._prefix, count)

    def _open_groups(self, before: Mapping[str, Destination]) -> None:
        """Begin to watch the servers of every upstream that has some to watch; what is known of them stays known."""
        for name, upstream in self.snapshot.upstreams.items():
            if upstream.is_group:
                self._pools[name] = open_destination(
                    upstream, self.metrics, self.spawn, self._report, before=before.get(name)
                )

    def degraded(self) -> dict[str, str]:
        """What is out, by upstream, as this worker sees it."""
        found = {name: pool.degraded() for name, pool in self._pools.items()}
        return {name: sentence for name, sentence in found.items() if sentence}

    def pool_of(self, x: Exchange) -> Destination:
        """The pool of the upstream that the exchange's route leads to."""
        snapshot = x.snapshot
        if x.resolution is None or x.resolution.internal:
            upstream = snapshot.pages
        else:
            upstream = snapshot.upstreams[x.route.upstream]
        x.destination = upstream
        pool = self._pools.get(upstream.name)
        if pool is not None and pool.upstream is upstream:
            return pool
        if snapshot is self.snapshot:
            pool = self._pools[upstream.name] = open_destination(upstream, self.metrics, self.spawn, self._report)
            return pool
        # Begun before a reload: by the servers of its own snapshot, and by nobody else after it.
        for old in self._old_pools:
            if old.upstream is upstream:
                return old
        pool = open_destination(upstream, self.metrics, self.spawn, self._report)
        pool.close()
        self._old_pools.append(pool)
        return pool
