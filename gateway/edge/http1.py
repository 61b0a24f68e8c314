"""HTTP/1.1 and 1.0 with a client: reads requests, frames answers, one after the other on one connection (RFC 9112)."""

from __future__ import annotations

import asyncio
import re
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from gateway.edge.answering import (
    BODY,
    BUSY,
    CLOSED,
    DISCARD,
    MIN_BODY_RATE,
    NEVER,
    READING,
    TUNNEL,
    Answering,
)
from gateway.edge.answers import CONTINUE
from gateway.edge.exchange import Exchange, Phase, Refusal
from gateway.edge.peer import peer_of
from gateway.exchange.reason import Reason
from gateway.wire.chunked import ChunkedDecoder, ChunkedError
from gateway.wire.request import Fields, RequestLine, parse_fields, parse_request_line, too_large
from gateway.wire.response import ResponseHead

if TYPE_CHECKING:
    from gateway.edge.worker import Listener, Worker

MAX_PIPELINED_BYTES: Final = 64 * 1024
MAX_DISCARDED_BYTES: Final = 1 << 20
DISCARD_S: Final = 2.0
FIRST_REQUEST_S: Final = 1.0
"""A connection that is that young will bring a request when the gateway stops; later it is one that a browser opened ahead."""
MEMO_BLOCKS: Final = 8
MEMO_BLOCK_BYTES: Final = 2048
WRITE_BUFFER_BYTES: Final = 128 * 1024

_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+").sub
_NOTHING_YET: Final = (b"", b"\r")
_NO_FIELDS: Final = Fields()
_VERSIONS: Final = (b"1.0", b"1.1")


class Http1Connection(Answering):
    """One connection of a client: an `asyncio.Protocol` in all but name, since a compiled class has no interpreted base."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_discarded",
        "_has_ended",
        "_is_leaving",
        "_listener",
        "_memo",
        "_paused_by_server",
        "_seen",
        "transport",
    )

    def __init__(self, worker: Worker, listener: Listener) -> None:
        super().__init__(worker)
        self._listener = listener
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._seen = 0
        """Bytes of the buffer that hold no end of a head."""
        self._decoder: ChunkedDecoder | None = None
        self._memo: dict[bytes, Fields] = {}
        self._discarded = 0
        self._paused_by_server = False
        self._is_leaving = False
        self._has_ended = False

    # asyncio.Protocol: the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who is there."""
        transport = cast("asyncio.Transport", transport)  # uvloop's transports do not derive from asyncio's
        self.transport = transport
        worker = self._worker
        snapshot = worker.snapshot
        peer = peer_of(
            transport, snapshot.trusted_proxies, redirects=self._listener.redirects, source=self._listener.source
        )
        if peer is None or not worker.accepts(peer):
            transport.abort()
            return
        self.peer = peer
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.deadline = monotonic() + snapshot.wire.head_timeout_s
        worker.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End with the client."""
        self._vanished()

    def _is_forgotten(self) -> None:
        self._worker.lost(self)

    def forget(self) -> None:
        """Parse blocks anew: the configuration changed."""
        super().forget()
        self._memo.clear()

    def eof_received(self) -> bool:
        """A client that has said everything may still be waiting for the answer (not over TLS)."""
        x = self.exchange
        if x is None or self.peer.secure or self._mode != BUSY:
            return False
        if self._buffer:
            self._has_ended = True  # pipelined requests are to be answered yet
        else:
            x.close = True
        return True

    def pause_writing(self) -> None:
        """The client does not take the answer: stop reading the upstream."""
        self._write_paused = True
        if self._tunnel is None or not self._tunnel.is_ending:
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
            if self._tunnel is None or not self._tunnel.is_ending:
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
                self._upload_since = now - x.received / MIN_BODY_RATE
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
            if x is not None:
                self._pass_up(x, data)
        elif mode == DISCARD:
            self._discard(data)

    def _discard(self, data: bytes) -> None:
        """Nobody wants this any more; a client that answers our Close frame has taken it (RFC 6455 §7.1.1)."""
        self._discarded += len(data)
        transport, tunnel = self.transport, self._tunnel
        if transport is None:
            return
        if self._discarded > MAX_DISCARDED_BYTES:
            transport.abort()
        elif tunnel is not None:
            tunnel.take_from_client(data)
            if tunnel.is_closed_by_client:
                transport.close()

    def _read_head(self, buffer: bytes) -> None:
        wire = self._worker.snapshot.wire
        seen, self._seen = self._seen, 0  # attack: a head byte by byte, each of which costs a look at all before it
        if buffer.startswith(b"\r\n"):  # RFC 9112 §2.2: empty lines before the request line
            buffer = _EMPTY_LINES(b"", buffer)
            seen = 0
        end = buffer.find(b"\r\n\r\n", max(0, seen - 3))
        if end < 0:
            if (
                not seen and buffer not in _NOTHING_YET
            ):  # attack: empty lines now and then, to be waited for without end
                self.deadline = monotonic() + wire.head_timeout_s
            self._buffer = buffer
            self._seen = len(buffer)
            if self._has_ended and self.transport is not None:
                self.transport.close()  # half a request, and no more will come
            elif len(buffer) > wire.max_head:
                self._refuse_head(too_large(buffer))
            elif buffer.count(b"\n", seen) != buffer.count(b"\r\n", max(0, seen - 1)):  # a bare LF
                self._refuse_head(Reason.MALFORMED_HEAD)
            return
        if end + 4 > wire.max_head:
            self._refuse_head(too_large(buffer[: wire.max_head]))
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
        if line[2] == 0:
            if fields.chunked:  # RFC 9112 §6.1
                self._refuse_head(Reason.AMBIGUOUS_FRAMING, line)
                return
            if fields.websocket or fields.expects_continue:  # RFC 9110 §7.8, §10.1.1: HTTP/1.0 knows neither
                # Nobody shares these fields: a block that is remembered has neither body nor upgrade.
                fields.websocket = fields.expects_continue = False
        if fields.websocket and line[0] != b"GET":  # RFC 6455 §4.1
            self._refuse_head(Reason.MALFORMED_HEAD, line)
            return
        self._buffer = buffer[end + 4 :]
        self._begin_request(line, fields)

    def _begin_request(self, line: RequestLine, fields: Fields) -> None:
        method, target, minor, _ = line
        is_last = self._is_leaving or (self._has_ended and not self._buffer)
        close = fields.close or is_last or (minor == 0 and not fields.keep_alive)
        x = self._exchange(method, target, _VERSIONS[minor], fields, close=close)
        if fields.length or fields.chunked:
            x.body_done = False
            x.body_left = fields.length or 0
            self._decoder = ChunkedDecoder() if fields.chunked else None
        self._begin(x)

    def _take_body(self, x: Exchange) -> None:
        if x.fields.expects_continue and not self._buffer and x.upstream is not None:
            self._emit_continue()
        self._read_body()

    def _has_rest(self, x: Exchange) -> bool:
        return self._decoder is None and len(self._buffer) >= x.body_left

    def _read_body(self) -> None:
        """Take what came of a body, if there is somebody to take it."""
        x = self.exchange
        if x is None or (x.upstream is None and not self._collects(x)):
            if len(self._buffer) > MAX_PIPELINED_BYTES:
                self.pause_request()
            return
        data, self._buffer = self._buffer, b""
        if not data:
            return
        try:
            body = self._decode(x, data)
        except ChunkedError:
            self.on_failed(x, Reason.MALFORMED_BODY)
            self.on_settled(x)
            return
        self._took(x, body)

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
        method, target, minor, _ = line or (b"GET", b"/", 1, 0)
        x = self._exchange(method, target, _VERSIONS[minor], _NO_FIELDS, close=True)
        self._buffer = b""
        self._mode = BUSY
        self.refuse(x, Refusal("framing", reason))

    def _frame(self, x: Exchange, head: ResponseHead) -> bytes:
        if head.upgrade and head.status == 426:  # RFC 9110 §15.5.22
            return b"upgrade: %b\r\nconnection: upgrade\r\n%b" % (head.upgrade, self._delimit(x, head))
        return self._delimit(x, head)

    @staticmethod
    def _delimit(x: Exchange, head: ResponseHead) -> bytes:
        if x.method == b"HEAD" or head.status in (204, 304):
            return b"content-length: %d\r\n" % head.length if head.length is not None and head.status != 204 else b""
        if head.length is not None:
            return b"content-length: %d\r\n" % head.length
        if x.version == b"1.1":
            x.chunked = True
            return b"transfer-encoding: chunked\r\n"
        x.close = True
        return b""

    def _last_fields(self, x: Exchange) -> bytes:
        if x.close:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if x.version == b"1.0" else b""

    def _emit(self, x: Exchange, pieces: list[bytes]) -> None:  # noqa: ARG002 - other versions need to know whose
        if self.transport is not None:
            self.transport.writelines(pieces)

    def _emit_more(self, piece: bytes) -> None:
        if self.transport is not None:
            self.transport.write(piece)

    def _emit_continue(self) -> None:
        if self.transport is not None:
            self.transport.write(CONTINUE)

    def _open_tunnel(self, x: Exchange) -> None:
        self._mode = TUNNEL
        data, self._buffer = self._buffer, b""
        if data:
            self._pass_up(x, data)
        if x.upstream is not None:
            x.upstream.resume_reading()
        self.resume_request()

    def _emitted(self, x: Exchange) -> None:
        self._decoder = None
        if x.close or x.tunnel or not x.body_done or (self._has_ended and not self._buffer):
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

    def _hang_up(self, x: Exchange) -> None:
        """Close so that the client can still read the answer: unread bytes would reset the connection."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        tunnel = self._tunnel
        is_waited_for = tunnel is not None and tunnel.is_open and not tunnel.is_closed_by_client
        if x.body_done and not self._buffer and x.reason is not Reason.MALFORMED_HEAD and not is_waited_for:
            self.deadline = monotonic() + x.snapshot.wire.write_timeout_s
            transport.close()
            return
        self._mode = DISCARD
        self._buffer = b""
        self.deadline = monotonic() + DISCARD_S
        self.resume_request()
        if not self.peer.secure and transport.can_write_eof():
            transport.write_eof()

    def _break_off(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # the worker's sweep

    def sweep(self, now_mono: float, now: float) -> None:
        """Hold the connection to its deadlines."""
        x = self.exchange
        if now_mono < self.deadline:
            if x is not None:
                self.check_stream(x, now_mono, now)
        elif x is not None:
            self._expired(x, now_mono)
        elif self._mode == READING and self._buffer and not self._write_paused:
            self._refuse_head(Reason.REQUEST_TIMEOUT)
        elif self.transport is not None:
            self._mode = CLOSED
            self.transport.abort()

    def drain(self) -> None:
        """Close when idle; finish the request under way, or that whose head has begun, and close then."""
        self._is_leaving = True  # attack: a connection that is never idle, to outlive what it was made under
        x = self.exchange
        if x is None:
            if self._is_idle() and self.transport is not None:
                self._mode = CLOSED
                self.transport.close()
        elif x.phase < Phase.HELD:
            x.close = True
        else:
            self.leave_when_due(x, monotonic())

    def _is_idle(self) -> bool:
        """True when nobody will miss the connection: a client that was not answered yet is about to ask."""
        if self._mode != READING or self._buffer:
            return self._mode == DISCARD
        worker = self._worker
        if worker.draining and worker.keeps_idle:
            return False
        return bool(self.served) or self.deadline - monotonic() < worker.snapshot.wire.head_timeout_s - FIRST_REQUEST_S

    def open_requests(self) -> int:
        """Count the request under way."""
        return int(self.exchange is not None)

    @property
    def owes_since(self) -> float:
        """Since when the client owes a request, the rest of a head, or its part in the end of a connection."""
        if self.exchange is not None or self._write_paused:
            return NEVER
        wire = self._worker.snapshot.wire
        if self._mode == BUSY:  # answered and closed from our side; over TLS the client has to acknowledge it
            return self.deadline - wire.write_timeout_s
        if self._mode != READING:
            return NEVER
        return self.deadline - (wire.head_timeout_s if self._buffer or not self.served else wire.idle_timeout_s)

    def cut(self) -> None:
        """Break the connection off: others need its place, or the time to drain is over."""
        if self.exchange is None:
            self._mode = CLOSED
        if self.transport is not None:
            self.transport.abort()
