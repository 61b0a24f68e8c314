"""One edge process: its listeners, its connections, its share of everything they need.

Owns the sweep that enforces deadlines and the swap of snapshots. Decides nothing about a request
except whether the worker can take one at all.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Final

import msgspec
import orjson

from gateway.audit.access import MAX_USER_AGENT_BYTES, Node, Place, Subject, encode_text, fill, template
from gateway.audit.protocol import ASYNC, GRADE, SEQUENCE_MASK
from gateway.edge.assertion import ASSERTION_REUSE_S, identity_fields
from gateway.edge.client import ClientConnection
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.hardening import status_line
from gateway.edge.limits import LimitTable
from gateway.edge.metrics import EdgeMetrics, Finished
from gateway.edge.recorder import Recorder
from gateway.edge.sessions import Sessions
from gateway.edge.snapshot import Snapshot, Upstream
from gateway.edge.upstream import Pool
from gateway.exchange.envelope import ENVELOPE_FIELD, Envelope, Event, pack_envelope, unpack_events
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.wire.forwarded import forwarding_fields
from gateway.wire.response import ResponseHead

SWEEP_S: Final = 0.25
TEMPLATES: Final = 2048
_VARIANT: Final = len("01234567-0123-7123-")
"""Where a UUID has its variant: 8, 9, a or b (RFC 9562 §4.1)."""
_REASON_OF: Final = {reason.value: reason for reason in Reason}
_REASONS: Final = {reason: reason.value.encode("ascii") for reason in Reason}
_NO_USER_AGENT: Final = b'""'


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and what is spoken on it."""

    fd: int
    redirects: bool
    tls: bool


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
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.snapshot = snapshot
        self.sessions = sessions
        self.limits = limits
        self.metrics = EdgeMetrics()
        self.draining = False
        self.recorder = recorder
        self._node = node
        self._log = log
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._connections: set[ClientConnection] = set()
        self._pools: dict[str, Pool] = {}
        self._old_pools: list[Pool] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._servers: list[asyncio.Server] = []
        self._random = random(5).hex()
        self._millisecond = -1
        self._prefix = b""
        self._count = int.from_bytes(random(4), "little")
        self._templates: dict[tuple[str, bytes, str, str, str, str], tuple[bytes, Session | None]] = {}
        self._identities: dict[tuple[str, str], tuple[float, object, bytes]] = {}
        self._user_agents: dict[bytes, bytes] = {}
        self._rules: dict[str, bytes] = {}
        self._lines: list[str] = []
        self._tls: dict[str, ssl.SSLContext] = {}
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
                lambda listener=listener: ClientConnection(self, listener),
                sock=sock,
                ssl=context,
                backlog=4096,
                ssl_handshake_timeout=handshake_timeout_s if context is not None else None,
            )
            self._servers.append(server)
        self._sweeper = self.spawn(self._sweep(), name="sweep")

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let open requests finish for `seconds`, then close what is left."""
        self.draining = True
        for server in self._servers:
            server.close()
        until = monotonic() + seconds
        for connection in list(self._connections):
            connection.drain()
        while self._connections and monotonic() < until:
            await asyncio.sleep(0.05)
            for connection in list(self._connections):
                connection.drain()
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
        for pool in (*self._pools.values(), *self._old_pools):
            pool.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.recorder.stop()
        self.flush_log()

    def swap(self, snapshot: Snapshot) -> None:
        """Serve every request that begins from now on by `snapshot`; what is under way keeps its own."""
        self.snapshot = snapshot
        self._templates.clear()
        self._identities.clear()
        for connection in self._connections:
            connection.forget()
        for pool in self._pools.values():
            pool.close()
            self._old_pools.append(pool)
        self._pools = {}

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
                if now >= connection.deadline:
                    connection.expired(now)
                elif connection.exchange is not None:
                    connection.check_stream(now, wall)
            for pool in (*self._pools.values(), *self._old_pools):
                pool.sweep(now)
            self._old_pools = [pool for pool in self._old_pools if not pool.is_over]
            self.metrics.audit_unacked.set(self.recorder.unacked)
            self.metrics.limit_table_full.values[()] = self.limits.full
            if len(self._identities) > TEMPLATES:
                self._identities.clear()
            self.flush_log()

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

    def pool_of(self, x: Exchange) -> Pool:
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
            pool = self._pools[upstream.name] = Pool(upstream, self.metrics, self.spawn)
            return pool
        # Begun before a reload: by the servers of its own snapshot, and by nobody else after it.
        for old in self._old_pools:
            if old.upstream is upstream:
                return old
        pool = Pool(upstream, self.metrics, self.spawn)
        pool.close()
        self._old_pools.append(pool)
        return pool

    def is_live(self, token: bytes, now: float, *, is_active: bool) -> bool:
        """True while the session of an open stream lives; a store that cannot say ends nothing.

        Only what the client sends is activity: a page that merely listens does not keep its session from idling out.
        """
        try:
            entry = self.sessions.lookup(token, now)
        except StoreUnavailableError:
            return True
        if entry is not None and is_active:
            self.sessions.touch(entry, now)
        return entry is not None

    def request_head(self, x: Exchange, forwarding: dict[tuple[str, str, bool], bytes]) -> bytes:
        """The head that goes upstream: canonical target, the client's fields, then ours."""
        fields, authority, resolution = x.fields, x.fields.authority, x.resolution
        assert authority is not None  # noqa: S101 - admitted
        assert resolution is not None  # noqa: S101 - admitted
        upstream = x.destination
        assert upstream is not None  # noqa: S101 - set with the pool
        key = (authority.text, x.client_ip, x.secure)
        ours = forwarding.get(key)
        if ours is None:
            if len(forwarding) >= 16:
                forwarding.clear()
            proto = "https" if x.secure else "http"
            port = authority.port or (443 if x.secure else 80)
            chain = (
                b", ".join((*x.fields.forwarded_for, x.client.peer_ip.encode()))
                if x.client.trusted and x.fields.forwarded_for
                else b""
            )
            ours = forwarding_fields(x.client_ip, chain, proto=proto, authority=authority.text, port=port)
            if not chain:
                forwarding[key] = ours
        host = authority.text.encode("ascii") if upstream.preserve_host else upstream.servers[0].authority
        parts = [
            b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (x.method, resolution.text, host),
            fields.forward if not upstream.internal else self._page_fields(x),
            ours,
        ]
        parts.append(b"%b: %b\r\n" % (upstream.field_names["request_id"], x.request_id))
        if upstream.internal:
            parts.append(self._envelope(x))
        elif x.entry is not None:
            parts.append(self._identity(x, upstream))
        if fields.authorization and x.route.authorization == "portal":
            parts.append(b"authorization: %b\r\n" % fields.authorization)
        if fields.websocket:
            parts.append(b"connection: Upgrade\r\nupgrade: websocket\r\n")
        if upstream.internal and (fields.chunked or fields.length is not None):
            parts.append(b"content-length: %d\r\n" % len(x.form))
        elif fields.chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        elif fields.length is not None:
            parts.append(b"content-length: %d\r\n" % fields.length)
        parts.append(b"\r\n")
        return b"".join(parts)

    def _identity(self, x: Exchange, upstream: Upstream) -> bytes:
        entry = x.entry
        assert entry is not None  # noqa: S101 - asked for by the caller
        session = entry.session
        key = (session.handle, upstream.name)
        known = self._identities.get(key)
        if known is not None and known[1] is session and x.started < known[0]:
            return known[2]
        made = identity_fields(
            session,
            upstream.field_names,
            x.snapshot.sign,
            issuer=x.snapshot.issuer,
            audience=upstream.name,
            now=x.started,
        )
        self._identities[key] = (x.started + ASSERTION_REUSE_S, session, made)
        return made

    @staticmethod
    def _page_fields(x: Exchange) -> bytes:
        """Our own pages get the client's fields with our own cookies instead of the portal's."""
        kept = b"".join(
            line + b"\r\n" for line in x.fields.forward.split(b"\r\n") if line and not line.startswith(b"cookie:")
        )
        if x.fields.origin and b"\r\norigin:" not in b"\r\n" + kept:
            kept += b"origin: %b\r\n" % x.fields.origin
        return kept + (b"cookie: %b\r\n" % x.fields.own_cookies if x.fields.own_cookies else b"")

    @staticmethod
    def _envelope(x: Exchange) -> bytes:
        authority = x.fields.authority
        assert authority is not None  # noqa: S101 - admitted
        envelope = Envelope(
            request_id=x.request_id.decode("ascii"),
            client_ip=x.client_ip,
            scheme="https" if x.secure else "http",
            host=authority.host,
            authority=authority.text,
            tenant=x.tenant,
            session=x.entry.session.handle if x.entry is not None else "",
            cookie_name="__Host-gw" if x.secure else "gw",
        )
        return b"%b: %b\r\n" % (ENVELOPE_FIELD.encode("ascii"), pack_envelope(envelope))

    def page_head(self, x: Exchange, head: ResponseHead) -> bytes:
        """An answer head of our own pages: their fields as they are, their events kept for the record."""
        if head.events:
            try:
                x.events = unpack_events(head.events)
            except (msgspec.DecodeError, ValueError):
                self._report("pages.malformed_events", x.request_id.decode("ascii"))
            for event in x.events:
                if event.outcome == "failure":  # the page answered, and the answer is no
                    x.allowed = False
                    x.reason = _REASON_OF.get(event.reason, x.reason)
        own = b"".join([b"%b: %b\r\n" % pair for pair in head.weighed])
        return status_line(head.status) + head.forward + own + x.snapshot.headers.for_pages(secure=x.secure)

    # the record, the log line, the counters

    def record(self, x: Exchange, phase: str, *, waits: bool, at_least: int = ASYNC) -> None:
        """Hand the record of `x` to the audit daemon; with `waits`, `x.recorded` is called when it is safe."""
        recorder = self.recorder
        grade = max(GRADE[x.durability], at_least) if waits else ASYNC
        uid = x.request_id
        if phase not in ("single", "opening"):  # ids of requests have 8 for the variant, of which 9 and a are others
            uid = uid[:_VARIANT] + (b"9" if phase == "intent" else b"a") + uid[_VARIANT + 1 :]
        resolution = x.resolution
        mono = monotonic()
        payload = fill(
            self._template(x),
            x.allowed,
            x.received,
            x.method,
            x.request_id,
            resolution.path_json if resolution is not None else encode_text(x.raw_target.partition(b"?")[0], 256),
            self._user_agent(x.fields.user_agent),
            x.minor,
            x.status,
            int((mono - x.started_mono) * 1000),
            x.sent,
            recorder.sequence & SEQUENCE_MASK,
            uid,
            self._rule(x.rule),
            resolution.resources if resolution is not None else b"",
            x.client_ip.encode("ascii"),
            x.client.peer_port,
            _REASONS[x.reason],
            int(x.started * 1000),
            _encode_events(x.events) if x.events else b"",
            int(mono * 1e9),
            b"pending" if phase == "intent" else x.outcome.encode("ascii"),
            phase.encode("ascii"),
        )
        recorder.add(payload, grade, x if waits else None)

    def _template(self, x: Exchange) -> bytes:
        session = x.entry.session if x.entry is not None else None
        authority = x.fields.authority
        host = authority.host if authority is not None else ""
        key = (x.route.name, x.method, session.handle if session is not None else "", host, x.tenant, x.client.tls)
        known, of = self._templates.get(key, (b"", None))
        # A handle outlives the session's rotation: what it may and how it was proven changes with the object.
        if not known or of is not session or x.events:
            place = Place(
                host=host,
                tenant=x.tenant,
                secure=x.client.secure,
                tls=x.client.tls,
                policy_version=x.snapshot.policy.version,
            )
            who = session or next((Subject(e.user_id, e.user, e.tenant) for e in x.events if e.user_id), None)
            known = template(x.route, x.method.decode("ascii"), who, place, self._node)
            if not x.events:
                if len(self._templates) >= TEMPLATES:
                    self._templates.clear()
                self._templates[key] = known, session
        return known

    def _user_agent(self, value: bytes) -> bytes:
        if not value:
            return _NO_USER_AGENT
        known = self._user_agents.get(value)
        if known is None:
            if len(self._user_agents) >= TEMPLATES:
                self._user_agents.clear()
            known = self._user_agents[value] = encode_text(value, MAX_USER_AGENT_BYTES)
        return known

    def _rule(self, place: str) -> bytes:
        known = self._rules.get(place)
        if known is None:
            if len(self._rules) >= TEMPLATES:
                self._rules.clear()
            known = self._rules[place] = encode_text(place.encode(), 256)
        return known

    def completed(self, x: Exchange) -> None:
        """Count a finished exchange and write its line."""
        seconds = monotonic() - x.started_mono
        key = (x.route.name, x.outcome, x.status, x.stage, x.reason)
        finished = self.metrics.finished.get(key)
        if finished is None:
            finished = self.metrics.finished[key] = Finished()
        finished.add(seconds, x.received, x.sent)
        if x.snapshot.log_requests:
            self._lines.append(
                f'{{"event":"request.completed","time":{x.started:.3f},"request_id":"{x.request_id.decode("ascii")}",'
                f'"route":"{x.route.name}","outcome":"{x.outcome}","reason":"{x.reason}","status":{x.status},'
                f'"duration_s":{seconds:.6f},"received":{x.received},"sent":{x.sent}}}\n'
            )
            if len(self._lines) >= 64:
                self.flush_log()

    def flush_log(self) -> None:
        """Write the lines of finished requests."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._log("".join(lines).encode("ascii"))

    def failed(self, where: str, x: Exchange) -> None:
        """Report an exception on the request path: the request was refused."""
        frames = traceback.extract_tb(sys.exc_info()[2])
        place = f"{frames[-1].filename.rsplit('/', 2)[-1]}:{frames[-1].lineno}" if frames else ""
        error = sys.exc_info()[0]
        self._report(
            "request.failed", f"{where} {x.request_id.decode('ascii')} {error.__name__ if error else ''} {place}"
        )


def _encode_events(events: Sequence[Event]) -> bytes:
    return b'"events":' + orjson.dumps(msgspec.to_builtins(list(events)), option=orjson.OPT_SORT_KEYS) + b","
