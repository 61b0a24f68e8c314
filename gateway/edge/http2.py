"""HTTP/2 with a client: reads frames, keeps the state of the connection, shares it out fairly (RFC 9113).

Speaks HTTP/2 over TLS alone, chosen by ALPN: there is no upgrade from HTTP/1.1 and no prior knowledge, no
push, no extended CONNECT (a browser opens HTTP/1.1 for a WebSocket), and priorities are read past
(RFC 9113 §5.3.2, RFC 9218). Whatever costs more than it is worth is counted against an allowance, and a
client that exceeds it loses the connection (RFC 9113 §10.5).
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from gateway.edge.answering import NEVER
from gateway.edge.exchange import Phase
from gateway.edge.http2_allowance import Allowance
from gateway.edge.http2_heads import RequestHeads
from gateway.edge.http2_stream import STREAM_WINDOW, Http2Stream
from gateway.edge.peer import Peer, peer_of
from gateway.wire.hpack_encoder import HeaderEncoder
from gateway.wire.http2 import are_trailers
from gateway.wire.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_BYTES,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    MAX_STREAM_ID,
    MAX_WINDOW,
    NO_RFC7540_PRIORITIES,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    Http2Error,
    check_priority,
    frame,
    frame_header,
    goaway,
    number,
    parse_settings,
    rst_stream,
    settings_frame,
    unpadded,
    window_update,
    without_priority,
)
from gateway.wire.request import Fields

if TYPE_CHECKING:
    from gateway.edge.worker import Listener, Worker

CONNECTION_WINDOW: Final = 1 << 20
"""What a client may send ahead of the upstreams on all streams together."""
WRITE_BUFFER_BYTES: Final = 128 * 1024
FLUSH_BYTES: Final = 64 * 1024
"""Composed at once, before the transport is asked whether the client keeps up."""
MAX_UNSENT_BYTES: Final = 64 * 1024
"""Of frames that answer frames, while the client does not read (CVE-2019-9512, CVE-2019-9515)."""
MAX_REMEMBERED: Final = 256
"""Streams whose end is remembered, to tell a late frame from a wrong one."""
TINY_DATA_BYTES: Final = 256
UNWANTED_BLOCK_BYTES: Final = 256
"""A header block that is no request must be decoded all the same, for milliseconds, and counts as a frame for each of these."""
DRAIN_GRACE_S: Final = 1.0
"""Between the announcement that no more streams will be taken and that none is, unless the client answers earlier."""
CLOSE_S: Final = 2.0

_DRAIN_PING: Final = b"gwdrain\0"
# How a stream ended.
_ENDED, _RESET, _CANCELLED = range(3)


class Http2Connection(asyncio.Protocol):
    """One connection of a client and its streams."""

    __slots__ = (
        "_allowance", "_buffer", "_closed", "_consumed", "_drain_until", "_heads", "_idle_since", "_in_read", "_initial_window", "_is_leaving",
        "_is_lost", "_is_over", "_is_settled", "_last_id", "_listener", "_partial_until", "_preface", "_promised_id", "_ready", "_receivable",
        "_scheduled", "_seen_at", "_sendable", "_stalled_until", "_starved", "_streams", "_unsent", "_worker", "deadline", "encoder", "forwarding",
        "is_stalled", "max_frame", "peer", "transport",
    )  # fmt: skip

    peer: Peer

    def __init__(self, worker: Worker, listener: Listener) -> None:
        self._worker = worker
        self._listener = listener
        self.transport: asyncio.Transport | None = None
        wire = worker.snapshot.wire
        now = monotonic()
        # what comes
        self._buffer = b""
        self._preface = PREFACE
        self._is_settled = False
        """The first SETTINGS of the client are here."""
        self._heads = RequestHeads()
        self._partial_until = NEVER
        self._receivable = CONNECTION_WINDOW
        self._consumed = 0
        # streams
        self._streams: dict[int, Http2Stream] = {}
        self._closed: dict[int, int] = {}
        self._last_id = 0
        self.forwarding: dict[tuple[str, str, bool], bytes] = {}
        # what goes
        self.encoder = HeaderEncoder(worker.http2.lines)
        self.max_frame = DEFAULT_FRAME_BYTES
        self._initial_window = DEFAULT_WINDOW
        self._sendable = DEFAULT_WINDOW
        self._unsent: list[bytes] = []
        self._ready: dict[int, Http2Stream] = {}
        """Streams that can go on, in their turn."""
        self._starved: dict[int, Http2Stream] = {}
        """Streams that could, if the window of the connection were open."""
        self._scheduled = False
        self._in_read = False
        self.is_stalled = False
        """The client does not read."""
        self._stalled_until = NEVER
        # what it may cost
        self._allowance = Allowance(wire.max_streams, now)
        self._seen_at = now
        # its end
        self.deadline = now + wire.head_timeout_s
        self._idle_since = now
        self._drain_until = NEVER
        self._promised_id = MAX_STREAM_ID
        """The last stream that we will take."""
        self._is_leaving = False
        """The client opens no more streams."""
        self._is_over = False
        """The last GOAWAY is said."""
        self._is_lost = True
        """Nobody is there: not yet, or not any more."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who is there and say how we speak."""
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
        self._is_lost = False
        worker.opened(self)
        worker.metrics.http2_connections.inc()
        settings = {
            MAX_CONCURRENT_STREAMS: snapshot.wire.max_streams,
            INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            MAX_HEADER_LIST_SIZE: snapshot.wire.max_head,
            NO_RFC7540_PRIORITIES: 1,
        }
        self.say(settings_frame(settings) + window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End every stream with the client."""
        if self._is_lost:
            return
        self._is_lost = self._is_over = True
        self._worker.metrics.http2_connections.inc(by=-1)
        self._unsent.clear()
        for stream in list(self._streams.values()):
            stream.cancel()
        if not self._streams:
            self._worker.lost(self)

    def eof_received(self) -> bool:
        """Close with the client."""
        return False

    def pause_writing(self) -> None:
        """The client does not read: stop reading every upstream."""
        self.is_stalled = True
        self._stalled_until = monotonic() + self._worker.snapshot.wire.write_timeout_s
        for stream in self._streams.values():
            stream.pause_answer()

    def resume_writing(self) -> None:
        """Go on."""
        self.is_stalled = False
        self._stalled_until = NEVER
        for stream in list(self._streams.values()):
            stream.resume_answer()
        self._wake()

    def data_received(self, data: bytes) -> None:
        """Take what the client says."""
        if self._is_over or self._is_lost:
            return
        now = self._seen_at = monotonic()
        self._allowance.refill(now)
        self._in_read = True
        try:
            self._read(self._buffer + data if self._buffer else data, now)
        except Http2Error as error:
            self._end(error.code, error.sentence)
        finally:
            self._in_read = False
        if self._unsent or self._ready or not self._streams:
            self._flush()

    # frames

    def _read(self, buffer: bytes, now: float) -> None:
        """Take every whole frame out of `buffer` and keep the rest."""
        at, size = 0, len(buffer)
        if self._preface:
            if not buffer.startswith(self._preface[:size]):
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "no preface")
            if size < len(self._preface):
                self._buffer = buffer
                return
            at = len(self._preface)
            self._preface = b""
        while size - at >= HEADER_BYTES:
            high, low, kind, flags, stream_id = frame_header(buffer, at)
            length = high << 8 | low
            if length > DEFAULT_FRAME_BYTES:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame larger than allowed")
            end = at + HEADER_BYTES + length
            if end > size:
                break
            self._take(kind, flags, stream_id & MAX_STREAM_ID, buffer[at + HEADER_BYTES : end])
            self._partial_until = NEVER
            at = end
        self._buffer = buffer[at:] if at else buffer
        if self._buffer and self._partial_until == NEVER:
            wire = self._worker.snapshot.wire
            is_body = len(self._buffer) > 3 and self._buffer[3] == DATA
            self._partial_until = now + (wire.body_timeout_s if is_body else wire.head_timeout_s)

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take one frame."""
        heads = self._heads
        if heads.stream_id:  # RFC 9113 §6.10: nothing comes between the frames of a block
            if kind != CONTINUATION or stream_id != heads.stream_id:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
            self._take_continuation(flags, payload)
        elif not self._is_settled and (kind != SETTINGS or flags & ACK):  # RFC 9113 §3.4
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "no SETTINGS after the preface")
        elif kind == HEADERS:
            self._take_headers(flags, stream_id, payload)
        elif kind == DATA:
            self._take_data(flags, stream_id, payload)
        elif kind == WINDOW_UPDATE:
            self._take_window_update(stream_id, payload)
        elif kind == RST_STREAM:
            self._take_reset(stream_id, payload)
        elif kind == SETTINGS:
            self._take_settings(flags, stream_id, payload)
        elif kind == PING:
            self._take_ping(flags, stream_id, payload)
        elif kind == PRIORITY:
            self._allowance.spend()
            if not stream_id:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "PRIORITY without a stream")
            check_priority(stream_id, payload)
        elif kind == GOAWAY:
            self._take_goaway(stream_id, payload)
        elif kind in (PUSH_PROMISE, CONTINUATION):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame that no client may send here")
        else:  # RFC 9113 §5.5: unknown frames are ignored
            self._allowance.spend()

    def _spend_reset(self, by: str) -> None:
        """Charge for a stream that ended in vain."""
        self._worker.metrics.http2_resets.inc((by,))
        self._allowance.spend_stream()

    def _take_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._allowance.spend(10)
        if stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement that says more")
            return
        self._is_settled = True
        for name, value in parse_settings(payload):
            if name == INITIAL_WINDOW_SIZE:
                self._shift_windows(value - self._initial_window)
                self._initial_window = value
            elif name == HEADER_TABLE_SIZE:
                self.encoder.resize(value)
            elif name == MAX_FRAME_SIZE:
                self.max_frame = min(value, DEFAULT_FRAME_BYTES)  # small frames let streams take turns
        self.say(frame(SETTINGS, ACK, 0))

    def _shift_windows(self, by: int) -> None:
        """RFC 9113 §6.9.2: a new initial window moves the windows of all streams; some may be below zero then."""
        for stream in list(self._streams.values()):
            stream.sendable += by
            if stream.sendable > MAX_WINDOW:
                raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond all bounds")
            if stream.queued:
                self.wants(stream)

    def _take_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._allowance.spend(2)
        if stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "PING of wrong length")
        if not flags & ACK:
            self.say(frame(PING, ACK, 0, payload))
        elif payload == _DRAIN_PING and self._drain_until != NEVER:
            self._drain_until = 0.0  # everything the client sent before it knew is here

    def _take_goaway(self, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of wrong length")
        self._allowance.spend()
        self._is_leaving = True

    def _take_window_update(self, stream_id: int, payload: bytes) -> None:
        increment = number(payload) & MAX_WINDOW
        self._allowance.spend()
        if not stream_id:
            if not increment:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a window that does not open")
            self._sendable += increment
            if self._sendable > MAX_WINDOW:
                raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond all bounds")
            self._ready.update(self._starved)
            self._starved.clear()
            return
        stream = self._open_stream(stream_id)
        if stream is None:
            return
        if not increment:
            self._fail(stream, ErrorCode.PROTOCOL_ERROR)
            return
        stream.sendable += increment
        if stream.sendable > MAX_WINDOW:
            self._fail(stream, ErrorCode.FLOW_CONTROL_ERROR)
        elif stream.queued:
            self.wants(stream)

    def _open_stream(self, stream_id: int) -> Http2Stream | None:
        """Find the stream of a frame that may come late; None when it is closed (RFC 9113 §5.1)."""
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id > self._last_id or not stream_id & 1:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that was never opened")
            return None
        return None if stream.is_cancelled else stream

    def _take_reset(self, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "RST_STREAM without a stream")
        number(payload)
        stream = self._open_stream(stream_id)
        if stream is None:
            self._allowance.spend()
            return
        # attack: rapid reset (CVE-2023-44487); what goes on behind the stream counts as open until it is over
        self._remember(stream_id, _CANCELLED)
        stream.cancel()
        self._spend_reset("client")

    def _take_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "DATA without a stream")
        size = len(payload)
        if size > self._receivable:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more than the window of the connection")
        self._receivable -= size
        data = unpadded(payload) if flags & PADDED else payload
        ended = bool(flags & END_STREAM)
        if len(data) < TINY_DATA_BYTES and not ended:  # CVE-2019-9518
            self._allowance.spend()
        stream = self._open_stream(stream_id)
        if stream is None:
            self.consumed(size)
            self._late(stream_id)
        elif stream.half_closed:
            self.consumed(size)
            self._fail(stream, ErrorCode.STREAM_CLOSED)
        elif size > stream.receivable:
            self.consumed(size)
            self._fail(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            stream.take(data, size, ended=ended)

    def _late(self, stream_id: int) -> None:
        """Judge DATA or HEADERS on a closed stream (RFC 9113 §5.1)."""
        how = self._closed.get(stream_id)
        if how == _RESET:  # we ended it, and the client may not know yet
            self._allowance.spend()
        elif how == _CANCELLED:
            self.say(rst_stream(stream_id, ErrorCode.STREAM_CLOSED))
            self._spend_reset("gateway")
        elif how == _ENDED:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "a frame after the end of its stream")
        else:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream older than the newest")

    # header blocks

    def _take_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that is not the client's")
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & PRIORITISED:
            payload = without_priority(stream_id, payload)
        if flags & END_HEADERS:
            self._take_block(stream_id, payload, ended=bool(flags & END_STREAM))
            return
        self._heads.begin(stream_id, flags, payload, self._seen_at + self._worker.snapshot.wire.head_timeout_s)

    def _take_continuation(self, flags: int, payload: bytes) -> None:
        stream_id = self._heads.stream_id
        whole = self._heads.add(flags, payload, self._worker.snapshot.wire.max_head)
        if whole is not None:
            block, ended = whole
            self._take_block(stream_id, block, ended=ended)

    def _take_block(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """Take a whole header block: a request, or the trailers of one."""
        if stream_id > self._last_id:
            self._take_request(stream_id, block, ended=ended)
            return
        self._allowance.spend(len(block) // UNWANTED_BLOCK_BYTES)
        headers, _ = self._heads.decode(block, self._worker.snapshot.wire.max_head)
        stream = self._open_stream(stream_id)
        if stream is None:
            self._late(stream_id)
        elif stream.half_closed:
            self._fail(stream, ErrorCode.STREAM_CLOSED)
        elif not ended or not are_trailers(headers):
            self._spend_reset("gateway")
            stream.half_closed = ended
            stream.malformed()
        else:
            stream.take(b"", 0, ended=True)

    def _take_request(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        snapshot = self._worker.snapshot
        self._last_id = stream_id
        request = self._heads.request(block, snapshot, ended=ended, any_scheme=self.peer.trusted)
        if stream_id > self._promised_id:  # RFC 9113 §6.8: said to be ignored; the client sends it elsewhere
            self._remember(stream_id, _RESET)
            self._allowance.spend(1 + len(block) // UNWANTED_BLOCK_BYTES)
            return
        if len(self._streams) >= snapshot.wire.max_streams:  # RFC 9113 §5.1.2
            self._remember(stream_id, _RESET)
            self.say(rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
            self._spend_reset("gateway")
            return
        stream = self._streams[stream_id] = Http2Stream(self._worker, self, stream_id, self._initial_window)
        metrics = self._worker.metrics
        metrics.http2_streams.inc()
        metrics.http2_requests.inc()
        method, target, fields = request
        if isinstance(fields, Fields):
            stream.begin(method, target, fields, ended=ended)
        else:
            self._spend_reset("gateway")  # MadeYouReset: refusing has a price too (CVE-2025-8671)
            stream.refuse_head(fields, method, target, ended=ended)

    # what streams ask for

    def say(self, frames: bytes) -> None:
        """Write frames that no window holds back."""
        self._unsent.append(frames)
        self._wake()

    def wants(self, stream: Http2Stream) -> None:
        """Give `stream` its turn."""
        if not stream.is_cancelled:
            self._ready[stream.stream_id] = stream
            self._wake()

    def consumed(self, size: int) -> None:
        """Give the client room on the connection for what was taken or dropped."""
        self._consumed += size
        if self._consumed >= CONNECTION_WINDOW // 2:
            self._receivable += self._consumed
            self.give_room(0, self._consumed)
            self._consumed = 0

    def give_room(self, stream_id: int, size: int) -> None:
        """Open a window."""
        self.say(window_update(stream_id, size))

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        """End a stream whose exchange is over."""
        stream.drop()
        if not stream.is_cancelled and not self._is_lost:
            self._worker.metrics.http2_resets.inc(("gateway",))
            self._remember(stream.stream_id, _RESET)
            self.say(rst_stream(stream.stream_id, code))
        self.leave(stream)

    def _fail(self, stream: Http2Stream, code: ErrorCode) -> None:
        """End a stream on which the client broke the rules (RFC 9113 §5.4.2)."""
        self._remember(stream.stream_id, _RESET)
        self.say(rst_stream(stream.stream_id, code))
        stream.cancel()
        self._spend_reset("gateway")

    def leave(self, stream: Http2Stream) -> None:
        """Forget a stream on which nothing happens any more."""
        if self._streams.pop(stream.stream_id, None) is None:
            return
        self._ready.pop(stream.stream_id, None)
        self._starved.pop(stream.stream_id, None)
        self._worker.metrics.http2_streams.inc(by=-1)
        if not self._streams:
            self._idle_since = monotonic()
            self.deadline = self._idle_since + self._worker.snapshot.wire.idle_timeout_s
            if self._is_lost:
                self._worker.lost(self)
            elif self._is_leaving or self._promised_id != MAX_STREAM_ID:
                self._wake()

    def _remember(self, stream_id: int, how: int) -> None:
        closed = self._closed
        if len(closed) >= MAX_REMEMBERED:
            del closed[next(iter(closed))]
        closed[stream_id] = how

    # writing

    def _wake(self) -> None:
        if not self._scheduled and not self._in_read:
            self._scheduled = True
            self._worker.soon(self._flush)

    def _flush(self) -> None:
        """Write what may be written: one frame of each stream in its turn."""
        self._scheduled = False
        transport = self.transport
        if transport is None or self._is_lost or transport.is_closing():
            self._unsent.clear()
            return
        if self.is_stalled:
            if sum(map(len, self._unsent)) > MAX_UNSENT_BYTES:  # CVE-2019-9512, CVE-2019-9515, CVE-2019-9517
                self._end(ErrorCode.ENHANCE_YOUR_CALM, "it asks and does not listen")
                transport.abort()
            return
        ready = self._ready
        while True:
            out, self._unsent = self._unsent, []
            size = 0
            while ready and size < FLUSH_BYTES:
                stream = ready.pop(next(iter(ready)))
                taken = stream.write(out, self._sendable)
                self._sendable -= taken
                size += taken
                self._allowance.sent(taken)
                if stream.has_ended:
                    self._finish(stream, out)
                elif stream.queued and stream.sendable > 0:
                    (ready if self._sendable > 0 else self._starved)[stream.stream_id] = stream
            if out:
                transport.write(b"".join(out))
            if not self._goes_on(transport):
                break
        if not self._streams and (self._is_leaving or self._promised_id != MAX_STREAM_ID):
            self._end(ErrorCode.NO_ERROR, "")

    def _goes_on(self, transport: asyncio.Transport) -> bool:
        return bool(self._ready or self._unsent) and not self.is_stalled and not transport.is_closing()

    def _finish(self, stream: Http2Stream, out: list[bytes]) -> None:
        """Leave a stream whose answer is written to its end."""
        code = stream.error
        if code is None:
            self._remember(stream.stream_id, _ENDED)
            self._allowance.answered()
        else:
            self._remember(stream.stream_id, _RESET)
            out.append(rst_stream(stream.stream_id, code))
        self.leave(stream)

    # the end

    def _end(self, code: ErrorCode, sentence: str) -> None:
        """Say GOAWAY, end every stream and close."""
        transport = self.transport
        if transport is None or self._is_over:
            return
        self._is_over = True
        now = monotonic()
        metrics = self._worker.metrics
        metrics.http2_ended.inc((code.name.lower(),))
        if code is not ErrorCode.NO_ERROR:
            self._worker.http2.warn(now, code, sentence)
        for stream in list(self._streams.values()):
            stream.cancel()
        self._ready.clear()
        self._starved.clear()
        self._buffer = b""
        self._partial_until = self._heads.until = self._stalled_until = NEVER
        self.deadline = now + CLOSE_S
        if not transport.is_closing():
            self._unsent.append(goaway(min(self._last_id, self._promised_id), code))
            transport.write(b"".join(self._unsent))
            transport.close()
        self._unsent.clear()

    # the worker's sweep

    def sweep(self, now_mono: float, now: float) -> None:
        """Hold the connection and its streams to their deadlines."""
        for stream in list(self._streams.values()):
            stream.sweep(now_mono, now)
        transport = self.transport
        if transport is None or self._is_lost:
            return
        if self._is_over:
            if now_mono >= self.deadline:
                transport.abort()
        elif now_mono >= self._stalled_until:
            transport.abort()
        elif now_mono >= min(self._heads.until, self._partial_until):
            self._end(ErrorCode.ENHANCE_YOUR_CALM, "a frame or a header block that does not end")
        elif not self._streams and now_mono >= self.deadline:
            self._end(ErrorCode.NO_ERROR, "")

    def forget(self) -> None:
        """Read requests anew: the configuration changed."""
        self._heads.forget()
        self.forwarding.clear()

    def drain(self) -> None:
        """Announce the end; refuse streams once the client must know; close after the last one (RFC 9113 §6.8)."""
        if self._is_over:
            return
        now = monotonic()
        for stream in list(self._streams.values()):
            if stream.exchange is not None and stream.exchange.phase >= Phase.HELD:
                stream.leave_when_due(stream.exchange, now)
        if self._drain_until == NEVER:
            self._drain_until = now + DRAIN_GRACE_S
            self.say(goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR) + frame(PING, 0, 0, _DRAIN_PING))
        elif self._promised_id == MAX_STREAM_ID and now >= self._drain_until:
            self._promised_id = self._last_id
            if self._streams:
                self.say(goaway(self._promised_id, ErrorCode.NO_ERROR))
            else:
                self._wake()

    @property
    def owes_since(self) -> float:
        """Since when the client owes a request; while it waits for an answer it owes nothing."""
        return NEVER if self._streams or self._is_over else self._idle_since

    def open_requests(self) -> int:
        """Count the requests that were begun and not finished."""
        return sum(stream.exchange is not None for stream in self._streams.values())

    def cut(self) -> None:
        """Break the connection off: the time to drain is over."""
        self._is_over = True
        if self.transport is not None:
            self.transport.abort()
