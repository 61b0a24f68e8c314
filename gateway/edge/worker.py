"""One edge process: its listeners, its connections, its share of everything they need.

Owns the sweep that enforces deadlines and the swap of snapshots. Decides nothing about a request
except whether the worker can take one at all.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic, time
from typing import Any, Final, Protocol, cast

from gateway.audit.access import Node
from gateway.edge.acceptor import Acceptor
from gateway.edge.admission import Admission
from gateway.edge.bearer import Bearers
from gateway.edge.escorts import Escorts
from gateway.edge.evidence import Evidence
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.gate import Gate
from gateway.edge.group import Destination, open_destination
from gateway.edge.held_bytes import HeldBytes
from gateway.edge.http1 import Http1Connection
from gateway.edge.http2_shared import Http2Shared
from gateway.edge.limits import LimitTable
from gateway.edge.metrics import EdgeMetrics
from gateway.edge.negotiation import Negotiated
from gateway.edge.occupancy import Occupancy
from gateway.edge.outgoing import Outgoing
from gateway.edge.peer import Peer
from gateway.edge.recorder import Recorder
from gateway.edge.remote import RemoteState
from gateway.edge.sessions import Sessions
from gateway.edge.shadow import Shadow
from gateway.edge.snapshot import Snapshot
from gateway.edge.subjects import SubjectKeys
from gateway.edge.takings import Takings
from gateway.edge.tls import ListenerTLS
from gateway.edge.upload_holding import UploadKeeper
from gateway.edge.uploads import Uploads
from gateway.exchange.reason import Reason
from gateway.inspection.csp.tally import Tally
from gateway.wire.proxy_protocol import Source

SWEEP_S: Final = 0.25
DRAIN_POLL_S: Final = 0.05
BACKLOG: Final = 4096
"""Connections that wait to be accepted on a socket; cut by net.core.somaxconn."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and what is spoken on it."""

    fd: int
    redirects: bool
    tls: bool
    address: str = ""
    """As the configuration writes it; names the rules of its TLS."""
    proxied: bool = False
    """A PROXY header comes first."""
    source: Source | None = None
    """Of one connection: whom its PROXY header names."""


class ClientConnection(Protocol):
    """What the worker asks of a connection of a client, whatever is spoken on it."""

    peer: Peer

    @property
    def owes_since(self) -> float:
        """Monotonic time since when the client owes a request, or the rest of one's head; infinity while it does not."""

    def sweep(self, now_mono: float, now: float) -> None:
        """Hold it to its deadlines; called a few times a second."""

    def forget(self) -> None:
        """The configuration changed."""

    def drain(self) -> None:
        """Close when idle; finish what is under way and close then. Called until it is closed."""

    def open_requests(self) -> int:
        """Count the requests that were begun and not finished."""

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
        metrics: EdgeMetrics | None = None,
        subjects: SubjectKeys | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.sessions = sessions
        self.limits = limits
        self.occupancy = occupancy
        self.uploads = Uploads()
        self.held_bytes = HeldBytes()
        self.metrics = metrics or EdgeMetrics()
        self.bearers = Bearers()
        self.gate = Gate()
        self.tally = Tally()
        """What browsers report about policies, and which scripts of pages are not approved, until it is kept."""
        self.snapshot = self._adopted(snapshot)
        self.shadow = self._shadow(report)
        """Tries a candidate policy; None where there is none."""
        self.remote: RemoteState | None = None
        """What waits for a store in the network; None where the store is a file."""
        self.escorts: Escorts | None = None
        """Finds what goes along for people; None where nothing can."""
        self.takings: Takings | None = None
        self.upload_keeper: UploadKeeper | None = None
        """Where uploads wait until they are judged; None = none can."""
        self.draining = False
        """The next answer of a connection is its last."""
        self.keeps_idle = False
        """While draining, connections may wait for one more request."""
        self.drain_until = 0.0
        """When what is still open is cut; 0 while nothing is drained. Monotonic."""
        self.drain_s = 0.0
        self.recorder = recorder
        self.evidence = Evidence(
            recorder=recorder, metrics=self.metrics, node=node, log=log, report=report, subjects=subjects
        )
        self.outgoing = Outgoing(report)
        self.http2 = Http2Shared(report)
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._connections: set[ClientConnection] = set()
        self.admission = Admission(self._connections, self.metrics)
        self._pools: dict[str, Destination] = {}
        self._old_pools: list[Destination] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._servers: list[asyncio.Server | Acceptor] = []
        self._queues: list[tuple[socket.socket, Callable[[socket.socket], object]]] = []
        """The listening sockets once more, and how an accepted connection is begun: for the end."""
        self._begun: set[asyncio.Task[None]] = set()
        self._drained_at = 0.0
        self._outdated: set[ClientConnection] = set()
        self._random = random(5).hex()
        self._millisecond = -1
        self._prefix = b""
        self._count = int.from_bytes(random(4), "little")
        self._sweeper: asyncio.Task[None] | None = None

    # life of the process

    async def serve(self, listeners: list[Listener], handshake_timeout_s: float) -> None:
        """Accept on every listener and start the sweep."""
        for listener in listeners:
            await self.listen(listener, handshake_timeout_s)
        self._open_groups({})
        self._sweeper = self.spawn(self._sweep(), name="sweep")

    async def listen(self, listener: Listener, handshake_timeout_s: float) -> None:
        """Accept on one listener."""
        sock = socket.socket(fileno=os.dup(listener.fd))
        sock.setblocking(False)  # noqa: FBT003 - a positional-only parameter; `dup` below copies it to all who share the file
        sock.listen(BACKLOG)  # one that a new program added does not listen before it is wanted
        queue = socket.socket(fileno=os.dup(listener.fd))
        queue.setblocking(False)  # noqa: FBT003 - a positional-only parameter
        protocol = partial(self._speak, listener)
        if listener.tls or listener.proxied:
            acceptor = Acceptor(
                sock,
                partial(self._tls_of, listener.address) if listener.tls else None,
                protocol,
                proxied=listener.proxied,
                snapshot=lambda: self.snapshot,
                admission=self.admission,
                handshake_timeout_s=handshake_timeout_s,
                metrics=self.metrics,
            )
            acceptor.start()
            self._servers.append(acceptor)
            self._queues.append((queue, acceptor.take))
        else:
            self._queues.append((queue, partial(self._begin, protocol)))
            self._servers.append(await self._loop.create_server(protocol, sock=sock, backlog=BACKLOG))

    def _speak(self, listener: Listener, source: Source | None = None) -> asyncio.Protocol:
        one = listener if source is None else replace(listener, source=source)
        return Negotiated(self, one) if listener.tls else cast("asyncio.Protocol", Http1Connection(self, one))

    def last_requests(self) -> None:
        """Have every connection close after its next answer; new ones are still accepted."""
        self.draining = True
        self.keeps_idle = True

    async def drain(self, seconds: float, *, keeps_idle: bool = False) -> int:
        """Stop accepting, let open requests finish for `seconds`, then close what is left.

        Connections that wait in the queues of the kernel are served too: to close a listening socket resets
        them. Returns the number of requests that were cut off.
        """
        self.draining = True
        self.keeps_idle = keeps_idle
        for server in self._servers:
            server.close()
        self._take_queued()
        self._drained_at = monotonic() + seconds
        self.drain_until, self.drain_s = self._drained_at, seconds
        while True:
            for connection in list(self._connections):
                connection.drain()
            if monotonic() >= self._drained_at or not (self._connections or self._is_greeting):
                break
            await asyncio.sleep(DRAIN_POLL_S)
        cut = sum(connection.open_requests() for connection in self._connections)
        for connection in list(self._connections):
            connection.cut()
        await asyncio.gather(*(server.stop() for server in self._servers if isinstance(server, Acceptor)))
        await asyncio.sleep(0)
        for pool in (*self._pools.values(), *self._old_pools):
            pool.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self.escorts is not None:
            self.escorts.close()
        await self.recorder.stop()
        self.evidence.flush_log()
        return cut

    def hurry(self, seconds: float) -> None:
        """End the drain under way after `seconds`, and wait for no connection that is idle."""
        self.keeps_idle = False
        self.drain_until = self._drained_at = min(self._drained_at, monotonic() + seconds)

    def _take_queued(self) -> None:
        for sock, begin in self._queues:
            for _ in range(BACKLOG):
                try:
                    connection, _ = sock.accept()
                except OSError:
                    break
                begin(connection)
            sock.close()
        self._queues.clear()

    def _begin(self, protocol: Callable[[], asyncio.Protocol], connection: socket.socket) -> None:
        """Serve a connection that was accepted by hand."""
        connection.setblocking(False)  # noqa: FBT003 - a positional-only parameter
        task = self.spawn(self._adopt(protocol, connection), name="queued connection")
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _adopt(self, protocol: Callable[[], asyncio.Protocol], connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(protocol, connection)
        except OSError:
            connection.close()  # it went away again

    @property
    def _is_greeting(self) -> bool:
        """Connections were accepted and are not known yet."""
        return bool(self._begun) or any(isinstance(each, Acceptor) and each.is_busy for each in self._servers)

    def swap(self, snapshot: Snapshot) -> None:
        """Serve every request that begins from now on by `snapshot`; what is under way keeps its own."""
        self.snapshot = self._adopted(snapshot)
        self.shadow = self._shadow(self._report)
        self.evidence.forget()
        self.outgoing.forget()
        for connection in self._connections:
            connection.forget()
            self._trust(connection.peer)
        self._leave_outdated()
        before, self._pools = self._pools, {}
        self._open_groups(before)
        for pool in before.values():
            pool.close()
            self._old_pools.append(pool)

    def _adopted(self, snapshot: Snapshot) -> Snapshot:
        """Give a configuration what this worker remembers of programs."""
        credentials = snapshot.credentials.of_worker(self.bearers, self.metrics.credentials)
        return replace(snapshot, credentials=credentials, gate=self.gate)

    def _shadow(self, report: Callable[[str, str], None]) -> Shadow | None:
        snapshot = self.snapshot
        if snapshot.candidate is None:
            return None
        return Shadow(snapshot, snapshot.candidate, bearers=self.bearers, metrics=self.metrics, report=report)

    def _tls_of(self, address: str) -> ListenerTLS:
        return self.snapshot.tls[address]

    def _trust(self, peer: Peer) -> None:
        """Believe a proxy, or no more, whose connection is older than the configuration."""
        is_trusted = peer.is_told and self.snapshot.trusted_proxies.include(peer.ip)
        if is_trusted is not peer.trusted:
            self.admission.remove(peer)
            peer.trusted = is_trusted
            self.admission.add(peer)

    def _leave_outdated(self) -> None:
        """End connections that would not be made under the present rules of their listener."""
        for connection in list(self._connections):
            peer = connection.peer
            if peer.rules is None:
                continue
            rules = self.snapshot.tls.get(peer.rules.address)
            if rules is None or rules.demands != peer.rules.demands:
                connection.drain()
                self._outdated.add(connection)
            elif peer.certificate is not None and rules.has_revoked(peer.certificate):
                connection.cut()

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

    def accepts(self, peer: Peer) -> bool:
        """True if there is room for one more connection, or was made."""
        return self.admission.admit(peer, self.snapshot.wire, monotonic())

    def opened(self, connection: ClientConnection) -> None:
        """Count a connection in."""
        self._connections.add(connection)
        self.admission.add(connection.peer)
        self.metrics.connections.set(len(self._connections))

    def lost(self, connection: ClientConnection) -> None:
        """Count a connection out."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self.admission.remove(connection.peer)
        self._outdated.discard(connection)
        self.metrics.connections.set(len(self._connections))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = monotonic()
            wall = time()
            for connection in list(self._connections):
                connection.sweep(now, wall)
            for connection in list(self._outdated):
                connection.drain()
            for pool in (*self._pools.values(), *self._old_pools):
                pool.sweep(now)
            self._old_pools = [pool for pool in self._old_pools if not pool.is_over]
            self.metrics.audit_unacked.set(self.recorder.unacked)
            self.metrics.audit_left_out.values[()] = self.recorder.left_out
            occupied = self.occupancy.full if self.occupancy is not None else 0
            self.metrics.limit_table_full.values[()] = self.limits.full + occupied
            if refused := self.admission.summary(now):
                self._report("connections.refused", refused)
            if self.remote is not None:
                self.metrics.parked.set(self.remote.waiting)
            self.evidence.flush_log()

    # what a request needs

    def standing(self) -> Refusal | None:
        """Whether this worker can take a request at all."""
        recorder = self.recorder
        if not recorder.available and not (recorder.may_gap and recorder.is_crowded):  # else its stream decides
            return Refusal("audit", Reason.AUDIT_UNAVAILABLE, retry_after_s=1.0)
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
