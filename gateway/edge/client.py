"""One client connection: reads requests, answers them one after the other, holds answers until they are recorded.

The connection owns its exchange. Everything is a callback and nothing awaits: bytes come in, the
pipeline decides, an upstream connection is taken, bytes go out. Deadlines are numbers that the
worker's sweep compares with the clock.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from time import monotonic, time
from typing import TYPE_CHECKING, Final, cast

from gateway.audit.protocol import GROUP
from gateway.edge.answers import CONTINUE, plain_answer, refusal_answer
from gateway.edge.exchange import Exchange, Phase, Refusal
from gateway.edge.hardening import Facts, harden, status_line
from gateway.edge.pipeline import admit
from gateway.edge.resolve import NO_ROUTE
from gateway.edge.snapshot import Upstream
from gateway.edge.upstream import UpstreamConnection
from gateway.exchange.reason import Reason
from gateway.exchange.route import Action, Durability
from gateway.wire.chunked import ChunkedDecoder, ChunkedError
from gateway.wire.forwarded import canonical_address, is_trusted, limiter_key
from gateway.wire.request import SAFE_METHODS, Fields, RequestLine, parse_fields, parse_request_line
from gateway.wire.response import ResponseHead

if TYPE_CHECKING:
    from gateway.edge.worker import Listener, Worker

READING, BODY, BUSY, TUNNEL, DISCARD, CLOSED = range(6)

MAX_PIPELINED_BYTES: Final = 64 * 1024
MAX_HELD_BYTES: Final = 256 * 1024
MAX_DISCARDED_BYTES: Final = 1 << 20
DISCARD_S: Final = 2.0
CONNECT_GRACE_S: Final = 1.0
"""Beyond the connect time-out: how long a request waits for a connection that others use."""
RECORD_WAIT_S: Final = 2.0
"""How long an answer waits for its record before it becomes a 503."""
HARDENED_ENTRIES: Final = 16
MEMO_BLOCKS: Final = 8
MEMO_BLOCK_BYTES: Final = 2048
WRITE_BUFFER_BYTES: Final = 128 * 1024
MIN_BODY_RATE: Final = 512.0
"""Bytes a second below which an upload is an attack, after the body time-out as a grace."""
STREAM_CHECK_S: Final = 1.0

_BARE_LF: Final = re.compile(rb"(?<!\r)\n").search
_READING_ACTIONS: Final = frozenset((None, Action.VIEW, Action.DOWNLOAD))
_CLIENT_FAULTS: Final = frozenset(
    (Reason.MALFORMED_BODY, Reason.BODY_TOO_LARGE, Reason.REQUEST_TIMEOUT, Reason.OVERLOADED)
)
_NO_FIELDS: Final = Fields()
_NEVER: Final = float("inf")
_CLIENT_CLOSED: Final = 499
_END_OF_CHUNKS: Final = b"0\r\n\r\n"


class ClientConnection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_buffer", "_decoder", "_discarded", "_forwarding", "_listener", "_memo", "_mode", "_paused_by_server", "_received_at_check", "_tail", "_worker", "_write_paused",
        "checked_at", "deadline", "exchange", "limiter_key", "peer_ip", "peer_port", "redirects", "secure", "served", "tls", "transport", "trusted",
        "upload_since",
    )  # fmt: skip

    def __init__(self, worker: Worker, listener: Listener) -> None:
        self._worker = worker
        self._listener = listener
        self.redirects = listener.redirects
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self._mode = READING
        self._buffer = b""
        self._decoder: ChunkedDecoder | None = None
        self._memo: dict[bytes, Fields] = {}
        self._forwarding: dict[tuple[str, str, bool], bytes] = {}
        self._discarded = 0
        self._tail = b""
        self._write_paused = False
        self._paused_by_server = False
        self.secure = False
        self.tls = ""
        self.served = 0
        self.deadline = _NEVER
        self.upload_since = 0.0
        self.checked_at = 0.0
        self._received_at_check = 0
        self.peer_ip = self.limiter_key = ""
        self.peer_port = 0
        self.trusted = False

    # asyncio.Protocol: the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who is there."""
        transport = cast("asyncio.Transport", transport)  # uvloop's transports do not derive from asyncio's
        self.transport = transport
        worker = self._worker
        peer = transport.get_extra_info("peername")
        if not peer or not worker.accepts():
            transport.abort()
            return
        self.peer_ip, self.peer_port = canonical_address(peer[0]), peer[1]
        self.limiter_key = limiter_key(self.peer_ip)
        trusted = worker.snapshot.trusted_proxies
        self.trusted = bool(trusted) and is_trusted(self.peer_ip, trusted)
        session = transport.get_extra_info("ssl_object")
        if isinstance(session, ssl.SSLObject):
            self.secure = True
            cipher = session.cipher()
            self.tls = f"{session.version()} {cipher[0] if cipher else ''}"
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.deadline = monotonic() + worker.snapshot.wire.head_timeout_s
        worker.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone; whatever was under way ends and is recorded."""
        self._mode = CLOSED
        x = self.exchange
        if x is not None and not x.tunnel:
            x.outcome = "aborted_client"
        if (
            x is not None
            and x.phase is Phase.UPSTREAM
            and x.body_done
            and x.upstream is not None
            and _destination(x).internal
        ):
            return  # our pages act all the same: what they did belongs into the record, so their answer is awaited
        self._worker.lost(self)
        if x is None:
            return
        if x.upstream is not None:
            x.upstream.abort()
            x.upstream = None
        self._conclude(x)

    def _conclude_unread(self, x: Exchange, head: ResponseHead | None) -> None:
        """Record what our pages did for a client that did not wait for it."""
        if head is not None:
            x.status = head.status
            self._worker.page_head(x, head)
        if x.upstream is not None:
            x.upstream.abort()
            x.upstream = None
        self._worker.lost(self)
        self._conclude(x)

    def forget(self) -> None:
        """Parse blocks anew: the configuration changed."""
        self._memo.clear()
        self._forwarding.clear()

    def is_gone(self, x: Exchange) -> bool:
        """True if nobody waits for `x` any more."""
        return self._mode == CLOSED or self.exchange is not x

    def awaits(self, x: Exchange) -> bool:
        """True if `x` still wants a connection to its upstream: not gone, not answered meanwhile."""
        return self.exchange is x and self._mode != CLOSED and x.phase is Phase.UPSTREAM and x.upstream is None

    def eof_received(self) -> bool:
        """A client that has said everything may still be waiting for the answer (not over TLS)."""
        x = self.exchange
        if x is None or self.secure or self._mode != BUSY:
            return False
        x.close = True
        return True

    def pause_writing(self) -> None:
        """The client does not take the answer: stop reading the upstream."""
        self._write_paused = True
        self.deadline = monotonic() + self._worker.snapshot.wire.write_timeout_s
        x = self.exchange
        if x is not None and x.upstream is not None:
            x.upstream.pause_reading()

    def resume_writing(self) -> None:
        """Read the upstream again, or the next request."""
        self._write_paused = False
        x = self.exchange
        if x is None:
            if self._mode == READING:
                self._await_request()
        elif x.upstream is not None:
            self.deadline = monotonic() + self._idle_timeout(x)
            x.upstream.resume_reading()

    def pause_request(self) -> None:
        """The upstream does not take the request: stop reading the client."""
        if self.transport is not None and self.transport.is_reading():
            self._paused_by_server = True
            self.transport.pause_reading()

    def resume_request(self) -> None:
        """Read the client again."""
        if self._paused_by_server:
            self._paused_by_server = False
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()
            x = self.exchange
            if x is not None and self._mode == BODY and x.upstream is not None:
                now = monotonic()  # the pause was the upstream's: the client's clock begins again
                self.upload_since = now - x.received / MIN_BODY_RATE
                self.deadline = now + x.snapshot.wire.body_timeout_s

    # the request

    def data_received(self, data: bytes) -> None:
        """Take what the client says."""
        mode = self._mode
        if mode == READING:
            self._read_head(self._buffer + data if self._buffer else data)
        elif mode == BODY:
            self._buffer = self._buffer + data if self._buffer else data
            self._read_body()
        elif mode == BUSY:
            self._buffer += data
            if len(self._buffer) > MAX_PIPELINED_BYTES:
                self.pause_request()
        elif mode == TUNNEL:
            x = self.exchange
            if x is not None and x.upstream is not None:
                x.received += len(data)
                self.deadline = monotonic() + self._idle_timeout(x)
                x.upstream.write(data)
        elif mode == DISCARD:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED_BYTES and self.transport is not None:
                self.transport.abort()

    def _read_head(self, buffer: bytes) -> None:
        wire = self._worker.snapshot.wire
        if buffer.startswith(b"\r\n"):  # RFC 9112 §2.2: an empty line before the request line
            buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if not self._buffer and buffer:
                self.deadline = monotonic() + wire.head_timeout_s
            self._buffer = buffer
            if len(buffer) > wire.max_head:
                self._refuse_head(Reason.HEAD_TOO_LARGE)
            elif _BARE_LF(buffer):
                self._refuse_head(Reason.MALFORMED_HEAD)
            return
        if end + 4 > wire.max_head:
            self._refuse_head(Reason.HEAD_TOO_LARGE)
            return
        line = parse_request_line(buffer, wire.max_target)
        if isinstance(line, Reason):
            self._refuse_head(line)
            return
        block = buffer[line[3] : end + 2]
        fields = self._memo.get(block)
        if fields is None:
            outcome = parse_fields(block, max_fields=wire.max_fields, mapped=self._worker.snapshot.mapped_names)
            if isinstance(outcome, Reason):
                self._refuse_head(outcome, line)
                return
            fields = outcome
            if len(block) <= MEMO_BLOCK_BYTES and fields.length is None and not fields.chunked and not fields.websocket:
                if len(self._memo) >= MEMO_BLOCKS:
                    self._memo.clear()
                self._memo[block] = fields
        if (fields.chunked or fields.websocket) and line[2] == 0:  # RFC 9112 §6.1: HTTP/1.0 knows neither
            self._refuse_head(Reason.AMBIGUOUS_FRAMING, line)
            return
        if fields.websocket and line[0] != b"GET":  # RFC 6455 §4.1
            self._refuse_head(Reason.MALFORMED_HEAD, line)
            return
        self._buffer = buffer[end + 4 :]
        self._begin(line, fields)

    def _begin(self, line: RequestLine, fields: Fields) -> None:
        x = self._exchange(line, fields)
        wire = x.snapshot.wire
        if fields.length or fields.chunked:
            x.body_done = False
            x.body_left = fields.length or 0
            self._decoder = ChunkedDecoder() if fields.chunked else None
            self._mode = BODY
            self.upload_since = x.started_mono
        else:
            self._mode = BUSY
        self.deadline = x.started_mono + wire.body_timeout_s
        worker = self._worker
        if worker.recorder.available and not worker.draining:
            refusal = self._decide(x)
        else:
            refusal = worker.standing(x) or self._decide(x)
        if refusal is not None and refusal.reason is Reason.AUDIT_UNAVAILABLE:
            self.record_failed(x)
        elif refusal is not None:
            self.refuse(x, refusal)
        elif x.resolution is not None and x.resolution.internal in ("jwks.json", "csp-report"):
            self._answer_locally(x, x.resolution.internal)
        elif not x.body_done and x.resolution is not None and x.resolution.internal:
            if x.fields.expects_continue and self.transport is not None:
                self.transport.write(CONTINUE)
            self._read_body()  # a form is here whole before our pages are asked: a slow one must not hold them
        else:
            self._proceed(x)

    def _proceed(self, x: Exchange) -> None:
        """Go upstream; what may change something is announced first."""
        if not x.body_done:
            self.pause_request()  # not a byte of a body before somebody takes it
        if x.method not in SAFE_METHODS or x.route.action not in _READING_ACTIONS:
            x.phase = Phase.INTENT
            self._worker.record(x, "intent", waits=True, at_least=GROUP)
        else:
            self._forward(x)

    def _exchange(self, line: RequestLine, fields: Fields) -> Exchange:
        worker = self._worker
        method, target, minor, _ = line
        now = time()
        x = self.exchange = Exchange(
            client=self,
            snapshot=worker.snapshot,
            request_id=worker.request_id(now),
            method=method,
            raw_target=target,
            minor=minor,
            fields=fields,
            started=now,
            started_mono=monotonic(),
            secure=self.secure,
            client_ip=self.peer_ip,
            route=NO_ROUTE,
            close=fields.close or (minor == 0 and not fields.keep_alive) or worker.draining,
        )
        return x

    def _decide(self, x: Exchange) -> Refusal | None:
        try:
            return admit(x, self._worker.sessions, self._worker.limits, x.started)
        except Exception:  # noqa: BLE001 - whatever goes wrong while deciding refuses
            self._worker.failed("admit", x)
            return Refusal("pipeline", Reason.INTERNAL_ERROR)

    def _forward(self, x: Exchange) -> None:
        x.phase = Phase.UPSTREAM
        pool = self._worker.pool_of(x)
        upstream = pool.upstream
        self.deadline = monotonic() + upstream.connect_timeout_s * len(upstream.servers) + CONNECT_GRACE_S
        pool.take(x)

    def on_attached(self, x: Exchange, connection: UpstreamConnection) -> None:
        """Send the request; then let the body flow."""
        try:
            head = self._worker.request_head(x, self._forwarding)
        except Exception:  # noqa: BLE001 - a request that cannot be written is not sent
            self._worker.failed("request head", x)
            x.upstream = None
            connection.close()
            self.on_failed(x, Reason.INTERNAL_ERROR)
            return
        x.sent_at = monotonic()
        self.deadline = x.sent_at + (x.route.response_timeout_s or _destination(x).response_timeout_s)
        connection.send(x, head)
        if x.form:
            connection.write(x.form)
        if not x.body_done:
            if x.fields.expects_continue and not self._buffer and self.transport is not None:
                self.transport.write(CONTINUE)
            self._read_body()
            self.resume_request()

    def _read_body(self) -> None:
        """Take what came of a body: to the upstream that is attached, or into the form that is collected."""
        x = self.exchange
        if x is None or (x.upstream is None and not self._collects(x)):
            if len(self._buffer) > MAX_PIPELINED_BYTES:
                self.pause_request()
            return
        data, self._buffer = self._buffer, b""
        if not data:
            return
        now = monotonic()
        wire = x.snapshot.wire
        try:
            body = self._decode(x, data)
        except ChunkedError:
            self.on_failed(x, Reason.MALFORMED_BODY)
            self.on_settled(x)
            return
        x.received += len(body)
        if x.received > (x.route.max_body_bytes or wire.max_body):
            self.on_failed(x, Reason.BODY_TOO_LARGE)
            self.on_settled(x)
            return
        if x.body_done:
            self._mode = BUSY
        if x.upstream is None:
            x.form += body
            if x.body_done:
                self._proceed(x)
                return
        else:
            self._pass_body(x, x.upstream, body)
        if x.upstream is not None and (x.body_done or x.upstream.paused):
            self.deadline = now + (x.route.response_timeout_s or _destination(x).response_timeout_s)
        else:
            grace = self.upload_since + wire.body_timeout_s + x.received / MIN_BODY_RATE
            self.deadline = min(now + wire.body_timeout_s, grace)

    @staticmethod
    def _collects(x: Exchange) -> bool:
        return x.phase is Phase.DECIDING and x.allowed and x.resolution is not None and bool(x.resolution.internal)

    @staticmethod
    def _pass_body(x: Exchange, upstream: UpstreamConnection, body: bytes) -> None:
        if x.fields.chunked:
            if body:
                upstream.write(b"%x\r\n%b\r\n" % (len(body), body))
            if x.body_done:
                upstream.write(_END_OF_CHUNKS)
        elif body:
            upstream.write(body)

    def _decode(self, x: Exchange, data: bytes) -> bytes:
        """Body bytes in `data`; what follows the body goes back to the buffer."""
        decoder = self._decoder
        if decoder is None:
            body = data[: x.body_left]
            x.body_left -= len(body)
            if x.body_left == 0:
                x.body_done = True
                self._buffer = data[len(body) :]
            return body
        pieces = decoder.feed(data)
        if decoder.done:
            x.body_done = True
            self._buffer = decoder.rest
            self._decoder = None
        return b"".join(pieces)

    # the answer

    def _refuse_head(self, reason: Reason, line: RequestLine | None = None) -> None:
        """Answer a head that is no request; nothing after it can be understood, so the connection ends."""
        x = self._exchange(line or (b"GET", b"/", 1, 0), _NO_FIELDS)
        x.close = True
        self._buffer = b""
        self._mode = BUSY
        self.refuse(x, Refusal("framing", reason))

    def refuse(self, x: Exchange, refusal: Refusal) -> None:
        """Answer `x` ourselves."""
        x.stage, x.reason, x.rule, x.allowed = refusal.stage, refusal.reason, refusal.rule, False
        if x.outcome == "completed":
            x.outcome = "blocked"
        status, parts = refusal_answer(x, refusal, x.started)
        if refusal.reason is Reason.DRAINING or x.fields.websocket or not x.body_done:
            x.close = True
        self._answer(x, status, parts)

    def _answer_locally(self, x: Exchange, page: str) -> None:
        if page == "jwks.json" and x.method in SAFE_METHODS:
            self._answer(
                x,
                200,
                plain_answer(
                    x,
                    200,
                    b"application/json",
                    x.snapshot.jwks,
                    now=x.started,
                    extra=b"cache-control: public, max-age=300\r\n",
                ),
            )
            return
        if page == "csp-report" and x.method == b"POST":
            self._worker.metrics.csp_reports.inc()
            x.close = x.close or not x.body_done
            self._answer(x, 204, plain_answer(x, 204, b"", b"", now=x.started))
            return
        self.refuse(x, Refusal("route", Reason.METHOD_NOT_ALLOWED))

    def _answer(self, x: Exchange, status: int, parts: list[bytes]) -> None:
        """Hold a complete answer of our own until it is recorded."""
        x.status = status
        x.sent = len(parts[1])
        x.held = [parts[0] + self._connection_field(x) + b"\r\n", parts[1]]
        x.ended = True
        self._hold(x)

    def on_head(self, x: Exchange, head: ResponseHead) -> None:
        """Harden the head of the upstream's answer and hold it."""
        if self._mode == CLOSED and self.exchange is x:
            self._conclude_unread(x, head)
        if self.exchange is not x or self._mode == CLOSED:
            return
        x.status = head.status
        if head.status == 101:
            x.held = [
                status_line(101)
                + head.forward
                + b"upgrade: websocket\r\nconnection: Upgrade\r\nx-request-id: %b\r\n\r\n" % x.request_id
            ]
            return
        if x.fields.websocket:
            x.close = True  # bytes sent after a handshake that was declined are not a request (CVE-2026-2833)
        if not x.body_done:
            x.close = True  # an early answer: the rest of the request is not wanted
        if x.resolution is not None and x.resolution.internal:
            parts = self._worker.page_head(x, head)
        else:
            parts = self._hardened(x, head)
        bodiless = x.method == b"HEAD" or head.status in (204, 304)
        if bodiless:
            framing = b"content-length: %d\r\n" % head.length if head.length is not None and head.status != 204 else b""
        elif head.length is not None:
            framing = b"content-length: %d\r\n" % head.length
        elif x.minor == 1:
            framing = b"transfer-encoding: chunked\r\n"
            x.chunked = True
        else:
            framing = b""
            x.close = True
        x.held = [b"%b%bx-request-id: %b\r\n%b\r\n" % (parts, framing, x.request_id, self._connection_field(x))]

    def on_whole(self, x: Exchange, head: ResponseHead, body: bytes) -> None:
        """The whole answer arrived in one read, as most do: one record, nothing to follow."""
        if self._mode == CLOSED and self.exchange is x:
            self._conclude_unread(x, head)
        if self.exchange is not x or self._mode == CLOSED:
            return
        self.on_head(x, head)
        if body:
            cast("list[bytes]", x.held).append(body)  # a list since the head
            x.sent = len(body)
        x.ended = True
        self._hold(x)

    def _hardened(self, x: Exchange, head: ResponseHead) -> bytes:
        authority = x.fields.authority
        assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange
        key = (x.snapshot.version, x.route.name, authority.text, x.secure, x.entry is not None)
        known = head.hardened.get(key)
        if known is None:
            facts = Facts(
                secure=x.secure,
                authority=authority.text.encode("ascii"),
                upstream_authorities=_destination(x).authorities,
                no_store=not x.route.public and x.route.cache == "no-store",
                allow_service_worker=x.route.allow_service_worker,
            )
            if len(head.hardened) >= HARDENED_ENTRIES:  # the client chooses the port in Host
                head.hardened.clear()
            known = head.hardened[key] = harden(head, x.snapshot.headers, facts)
        return known

    @staticmethod
    def _connection_field(x: Exchange) -> bytes:
        if x.close:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if x.minor == 0 else b""

    def on_body(self, x: Exchange, data: bytes) -> None:
        """Pass body or tunnel bytes on, or hold them with the head."""
        if self.is_gone(x):
            return
        x.sent += len(data)
        piece = b"%x\r\n%b\r\n" % (len(data), data) if x.chunked else data
        if x.phase is Phase.RELEASED:
            self.deadline = monotonic() + (
                x.snapshot.wire.write_timeout_s if self._write_paused else self._idle_timeout(x)
            )
            self._write(x, piece)
            if self._write_paused and x.upstream is not None:
                x.upstream.pause_reading()
            return
        cast("list[bytes]", x.held).append(piece)  # a list since the head
        x.held_bytes += len(piece)
        if x.held_bytes > MAX_HELD_BYTES and x.upstream is not None:
            x.upstream.pause_reading()

    def _write(self, x: Exchange, piece: bytes) -> None:
        """Write to the client; `strict` keeps the newest piece back until the closing record is safe."""
        if x.durability is Durability.STRICT and not x.tunnel:
            piece, self._tail = self._tail, piece
        if piece and self.transport is not None:
            self.transport.write(piece)

    def on_end(self, x: Exchange) -> None:
        """The upstream's answer is complete."""
        if self.is_gone(x):
            return
        x.ended = True
        if x.chunked:
            if x.phase is Phase.RELEASED:
                self._write(x, _END_OF_CHUNKS)
            else:
                cast("list[bytes]", x.held).append(_END_OF_CHUNKS)  # a list since the head
        if x.phase is Phase.RELEASED:
            self._close_exchange(x)

    def on_failed(self, x: Exchange, reason: Reason) -> None:
        """There will be no (more) answer: say so if nothing was said yet, else break off."""
        if self._mode == CLOSED and self.exchange is x:
            self._conclude_unread(x, None)
        if self.is_gone(x):
            return
        if x.upstream is not None:
            x.upstream.abort()
            x.upstream = None
        if reason in _CLIENT_FAULTS:
            x.outcome = "blocked"
        else:
            self._worker.metrics.upstream_failures.inc((x.route.upstream, reason.value))
            x.outcome = "upstream_error"
        x.close = True
        if x.phase is Phase.RELEASED:
            self._abort(x)
        elif x.phase is Phase.HELD:
            x.ended = True  # the record of the head is under way; break off when it is safe
            x.reason = reason
            x.tunnel = False
        else:
            x.held = ()
            x.held_bytes = 0
            x.chunked = x.tunnel = False
            x.sent = 0
            self.refuse(x, Refusal("upstream", reason, retry_after_s=1.0))

    def on_settled(self, x: Exchange) -> None:
        """Everything of one read is here: record what stands."""
        if x.phase is Phase.UPSTREAM and x.held and not self.is_gone(x):
            self._hold(x)

    def _hold(self, x: Exchange) -> None:
        """Write the opening record (or the only one) and wait for it."""
        x.phase = Phase.HELD
        x.recorded_single = x.ended
        self.deadline = monotonic() + RECORD_WAIT_S
        self._worker.record(x, "single" if x.ended else "opening", waits=True)

    def recorded(self, x: Exchange, *, safe: bool) -> None:
        """The record that `x` waited for is safe, or cannot be made so."""
        if self.exchange is not x or self._mode == CLOSED or x.phase is Phase.RELEASED:
            return
        if safe and x.recorded_single and x.phase is Phase.HELD and self.transport is not None:
            x.phase = Phase.RELEASED
            held, x.held = x.held, ()
            self.transport.writelines(held)
            self._finish(x)
        elif not safe:
            self.record_failed(x)
        elif x.phase is Phase.INTENT:
            self._forward(x)
        elif x.phase is Phase.CLOSING:
            self._finish(x)
        else:
            self._release(x)

    def broke(self, x: Exchange) -> None:
        """An exception on the way of `x`: report it and end the connection."""
        self._worker.failed("answer", x)
        if not self.is_gone(x):
            self._abort(x)

    def record_failed(self, x: Exchange) -> None:
        """No record, no answer but this one."""
        self._worker.metrics.unrecorded.inc((x.phase.name.lower(),))
        if x.phase is Phase.CLOSING:
            self._abort(x)
            return
        if x.upstream is not None:
            x.upstream.abort()
            x.upstream = None
        refusal = Refusal("audit", Reason.AUDIT_UNAVAILABLE, retry_after_s=1.0)
        x.stage, x.reason, x.allowed, x.outcome = refusal.stage, refusal.reason, False, "blocked"
        x.status, parts = refusal_answer(x, refusal, time())
        x.close = True
        x.sent = len(parts[1])
        x.chunked = x.tunnel = False
        x.held = [parts[0] + self._connection_field(x) + b"\r\n", parts[1]]
        x.ended = True
        if x.phase is Phase.DECIDING:
            # attack: a flood while the daemon is away; what there is room for is told it later
            x.recorded_single = True
            if self._worker.recorder.has_room:
                self._worker.record(x, "single", waits=False)
        elif x.phase is Phase.HELD:
            x.recorded_single = False
        self._release(x)

    def _release(self, x: Exchange) -> None:
        transport = self.transport
        assert transport is not None  # noqa: S101 - not gone
        held, x.held, x.held_bytes = list(x.held), (), 0
        x.phase = Phase.RELEASED
        if x.ended and x.outcome != "completed" and x.allowed and not x.recorded_single:
            self._abort(x)  # the answer broke off while its head was being recorded
            return
        if x.ended:
            if x.durability is Durability.STRICT and not x.recorded_single and len(held) > 1:
                self._tail = held.pop()
            transport.writelines(held)
            self._close_exchange(x)
            return
        self.deadline = monotonic() + self._idle_timeout(x)
        if x.tunnel:
            transport.writelines(held)
            self._open_tunnel(x)
            return
        if x.durability is Durability.STRICT and len(held) > 1:
            self._tail = held.pop()
        transport.writelines(held)
        if x.upstream is not None:
            if self._write_paused:
                x.upstream.pause_reading()
            else:
                x.upstream.resume_reading()

    def _open_tunnel(self, x: Exchange) -> None:
        self._mode = TUNNEL
        self._worker.metrics.tunnels.inc()
        if x.upstream is not None:
            data, self._buffer = self._buffer, b""
            if data:
                x.received += len(data)
                x.upstream.write(data)
            x.upstream.resume_reading()
        self.resume_request()

    def _close_exchange(self, x: Exchange) -> None:
        """Everything was passed on: the closing record, where one is due, then the next request."""
        if not x.recorded_single and x.durability is Durability.STRICT and not x.tunnel and x.allowed:
            x.phase = Phase.CLOSING
            self.deadline = monotonic() + RECORD_WAIT_S
            x.recorded_single = True
            self._worker.record(x, "closing", waits=True)
            return
        self._finish(x)

    def _finish(self, x: Exchange) -> None:
        if self._tail:
            if self.transport is not None:
                self.transport.write(self._tail)
            self._tail = b""
        self._conclude(x)
        if x.close or x.tunnel or not x.body_done:
            self._hang_up(x)
            return
        self._mode = READING
        self.served += 1
        if self._write_paused:  # not another request before the answers so far were taken
            self.pause_request()
        else:
            self._await_request()

    def _await_request(self) -> None:
        self.deadline = monotonic() + self._worker.snapshot.wire.idle_timeout_s
        if self._paused_by_server:
            self.resume_request()
        if self._buffer:
            self._worker.soon(self._next_request)

    def _next_request(self) -> None:
        """A pipelined request waits in the buffer."""
        if self._mode == READING and self._buffer and not self._write_paused:
            buffer, self._buffer = self._buffer, b""
            self._read_head(buffer)

    def _conclude(self, x: Exchange) -> None:
        """Leave the exchange behind: the closing record, counters, the log line."""
        if x.phase is Phase.DONE:
            return
        early = x.phase < Phase.HELD
        if early:  # the client went away before there was an answer
            x.status = x.status or _CLIENT_CLOSED
            x.reason = x.reason if x.stage else Reason.INTERNAL_ERROR
        if not x.recorded_single:
            self._worker.record(x, "single" if early else "closing", waits=False)
        x.phase = Phase.DONE
        if (x.tunnel and self._mode == TUNNEL) or (x.tunnel and self._mode == CLOSED):
            self._worker.metrics.tunnels.inc(by=-1)
        self.exchange = None
        self._decoder = None
        self._worker.completed(x)

    def _hang_up(self, x: Exchange) -> None:
        """Close so that the client can still read the answer: unread bytes would reset the connection."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if x.body_done and not self._buffer and x.reason is not Reason.MALFORMED_HEAD:
            self.deadline = monotonic() + x.snapshot.wire.write_timeout_s
            transport.close()
            return
        self._mode = DISCARD
        self._buffer = b""
        self.deadline = monotonic() + DISCARD_S
        self.resume_request()
        if not self.secure and transport.can_write_eof():
            transport.write_eof()

    def _abort(self, x: Exchange) -> None:
        """Break off in the middle: the client must not take what it has for the whole."""
        self._tail = b""
        if x.upstream is not None:
            x.upstream.abort()
            x.upstream = None
        self._conclude(x)
        self._mode = CLOSED
        if self.transport is not None:
            self.transport.abort()

    @staticmethod
    def _idle_timeout(x: Exchange) -> float:
        return _destination(x).idle_timeout_s

    # the worker's sweep

    def expired(self, now: float) -> None:
        """The deadline passed."""
        x = self.exchange
        if x is not None and self._mode == CLOSED:
            self._conclude_unread(x, None)
            return
        if x is None:
            if self._mode == READING and self._buffer and not self._write_paused:
                self._refuse_head(Reason.REQUEST_TIMEOUT)
            elif self.transport is not None:
                self._mode = CLOSED
                self.transport.abort()
            return
        self.deadline = now + RECORD_WAIT_S
        if self._write_paused or x.phase is Phase.RELEASED:
            x.outcome = "aborted_client" if self._write_paused or self._mode == BODY else "upstream_error"
            self._abort(x)
        elif x.phase in (Phase.INTENT, Phase.HELD, Phase.CLOSING):
            self.record_failed(x)
        elif not x.body_done and (
            x.phase is Phase.DECIDING or (x.upstream is not None and not x.upstream.paused)
        ):  # the client is slow: with a form for our pages, or with a body that its upstream waits for
            self.on_failed(x, Reason.REQUEST_TIMEOUT)
            self.on_settled(x)
        else:  # without a connection: all were busy
            self.on_failed(x, Reason.OVERLOADED if x.upstream is None else Reason.UPSTREAM_TIMEOUT)
            self.on_settled(x)

    def check_stream(self, now_mono: float, now: float) -> None:
        """End an open stream or tunnel whose session is no more."""
        x = self.exchange
        if x is None or x.entry is None or x.phase is not Phase.RELEASED or now_mono - self.checked_at < STREAM_CHECK_S:
            return
        self.checked_at = now_mono
        token = x.fields.secure_token if x.secure else x.fields.plain_token
        is_active = x.received > self._received_at_check
        self._received_at_check = x.received
        if token is None or not self._worker.is_live(token, now, is_active=is_active):
            x.outcome, x.reason = "blocked", Reason.SESSION_REVOKED
            self._abort(x)

    def drain(self) -> None:
        """Close when idle; finish the request under way and close then."""
        x = self.exchange
        if x is None:
            if self._mode in (READING, DISCARD) and not self._buffer and self.transport is not None:
                self._mode = CLOSED
                self.transport.close()
        elif x.phase < Phase.HELD:
            x.close = True


def _destination(x: Exchange) -> Upstream:
    assert x.destination is not None  # noqa: S101 - set when the exchange was forwarded
    return x.destination
