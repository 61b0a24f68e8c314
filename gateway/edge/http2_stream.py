"""One stream of HTTP/2: a request, its answer, and the flow of both (RFC 9113 §5.1, §5.2, §8.1).

The pipeline, the records and the deadlines are `Answering`'s. Here stand the windows: the client is given
room as the upstream takes the body, and the upstream is read as the client takes the answer.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.edge.answering import BODY, BUSY, CLOSED, MIN_BODY_RATE, Answering
from gateway.edge.answers import CONTINUE
from gateway.edge.exchange import Exchange, Phase, Refusal
from gateway.exchange.reason import Reason
from gateway.wire.http2_frames import DATA, END_STREAM, ErrorCode, data_header, frame, header_frames
from gateway.wire.request import Fields
from gateway.wire.response import ResponseHead

if TYPE_CHECKING:
    from gateway.edge.http2 import Http2Connection
    from gateway.edge.worker import Worker

STREAM_WINDOW: Final = 256 * 1024
"""What a client may send ahead of the upstream on one stream."""
HIGH_WATER: Final = 128 * 1024
"""With that much of an answer waiting for the client, its upstream is read no more."""
LOW_WATER: Final = 32 * 1024
VERSION: Final = b"2"

_NO_FIELDS: Final = Fields()
_MALFORMED: Final = frozenset((Reason.MALFORMED_HEAD, Reason.MALFORMED_BODY, Reason.AMBIGUOUS_FRAMING))
_CONTINUE_HEAD: Final = CONTINUE.removesuffix(b"\r\n\r\n")


class Http2Stream(Answering):
    """One stream, from its request to the last byte of its answer."""

    __slots__ = (
        "_came", "_complete", "_connection", "_consumed", "_error", "_head", "_holds", "_mark", "_offset", "_queue", "_total",
        "half_closed", "has_ended", "is_cancelled", "queued", "receivable", "sendable", "stream_id",
    )  # fmt: skip

    def __init__(self, worker: Worker, connection: Http2Connection, stream_id: int, window: int) -> None:
        super().__init__(worker)
        self._connection = connection
        self._forwarding = connection.forwarding
        self.peer = connection.peer
        self.stream_id = stream_id
        self.half_closed = False
        """The client has said everything."""
        self.is_cancelled = False
        """The client will hear nothing more on this stream."""
        self.has_ended = False
        """Everything that will be said was said."""
        # the request
        self._came: list[bytes] = []
        """Body that nobody has taken yet."""
        self._total = 0
        """Bytes of the body that came."""
        self._holds = False
        """The upstream does not take the body."""
        self.receivable = STREAM_WINDOW
        """What the client may send."""
        self._consumed = 0
        """What was taken since the client was last given room."""
        # the answer
        self._head: bytes | None = None
        self._queue: deque[bytes] = deque()
        self._offset = 0
        """Bytes of the first piece of the queue that are gone."""
        self.queued = 0
        self.sendable = window
        """What the client takes; below zero after it has shrunk its windows (RFC 9113 §6.9.2)."""
        self._complete = False
        """The queue is the end of the answer."""
        self._error: ErrorCode | None = None
        """Ends the stream instead of END_STREAM."""
        self._mark = 0
        """What was queued at the last look."""

    # the request

    def begin(self, method: bytes, target: bytes, fields: Fields, *, ended: bool) -> None:
        """Take a request whose head is here."""
        x = self._exchange(method, target, VERSION, fields, close=False)
        self.half_closed = x.body_done = ended
        self._begin(x)

    def refuse_head(self, reason: Reason, method: bytes, target: bytes, *, ended: bool) -> None:
        """Answer a head that is no request; the stream ends with an error where RFC 9113 §8.1.1 asks for one."""
        x = self._exchange(method, target, VERSION, _NO_FIELDS, close=True)
        self.half_closed = ended
        self._mode = BUSY
        if reason in _MALFORMED:
            self._error = ErrorCode.PROTOCOL_ERROR
        self.refuse(x, Refusal("framing", reason))

    def take(self, data: bytes, size: int, *, ended: bool) -> None:
        """Take a part of the body; `size` is what it cost of the window, its padding included."""
        self.receivable -= size
        self.half_closed = ended
        x = self.exchange
        if x is None or self._error is not None:  # answered early: nobody wants the rest
            self._connection.consumed(size)
            return
        self._consume(size - len(data))
        self._total += len(data)
        length = x.fields.length
        if length is not None and (self._total > length or (ended and self._total != length)):
            self._connection.consumed(len(data))
            self.malformed()
            return
        if data:
            self._came.append(data)
        self._deliver()

    def malformed(self) -> None:
        """The request turns out to be none (RFC 9113 §8.1.1): H2.CL is refused, not repaired."""
        self._error = ErrorCode.PROTOCOL_ERROR
        x = self.exchange
        if x is None:
            self._connection.reset(self, ErrorCode.PROTOCOL_ERROR)
            return
        self.on_failed(x, Reason.MALFORMED_BODY)
        self.on_settled(x)

    def _take_body(self, x: Exchange) -> None:
        if x.fields.expects_continue and not self._total and not self.half_closed and x.upstream is not None:
            self._emit_continue()
        self._deliver()

    def _has_rest(self, x: Exchange) -> bool:  # noqa: ARG002 - the stream is its exchange's
        return self.half_closed

    def _deliver(self) -> None:
        """Pass on what came, if there is somebody to take it."""
        x = self.exchange
        if x is None or self._holds or x.body_done or (x.upstream is None and not self._collects(x)):
            return
        if not self._came and not self.half_closed:
            return
        body, self._came = b"".join(self._came), []
        x.body_done = self.half_closed
        self._consume(len(body))
        self._took(x, body)

    def _consume(self, size: int) -> None:
        """Give the client room for what was taken, in large steps."""
        if not size:
            return
        self._connection.consumed(size)
        self._consumed += size
        if self._consumed >= STREAM_WINDOW // 2 and not self.half_closed:
            self.receivable += self._consumed
            self._connection.give_room(self.stream_id, self._consumed)
            self._consumed = 0

    def pause_request(self) -> None:
        """Keep what comes: the window bounds it."""
        self._holds = True

    def resume_request(self) -> None:
        """Pass on what came meanwhile."""
        self._holds = False
        x = self.exchange
        if x is not None and self._mode == BODY and x.upstream is not None:
            now = monotonic()  # the pause was the upstream's: the client's clock begins again
            self._upload_since = now - x.received / MIN_BODY_RATE
            self.deadline = now + x.snapshot.wire.body_timeout_s
        self._deliver()

    # the answer

    def _frame(self, x: Exchange, head: ResponseHead) -> bytes:  # noqa: ARG002 - END_STREAM says where it ends
        if head.length is None or head.status == 204:
            return b""
        return b"content-length: %d\r\n" % head.length

    def _last_fields(self, x: Exchange) -> bytes:  # noqa: ARG002 - other versions say here whether the connection stays
        return b""

    def _emit(self, x: Exchange, pieces: list[bytes]) -> None:  # noqa: ARG002 - the stream is its exchange's
        self._head = pieces[0]
        for piece in pieces[1:]:
            self._enqueue(piece)
        self._connection.wants(self)

    def _emit_more(self, piece: bytes) -> None:
        self._enqueue(piece)
        self._connection.wants(self)

    def _enqueue(self, piece: bytes) -> None:
        if not piece:
            return
        self._queue.append(piece)
        self.queued += len(piece)
        if self.queued > HIGH_WATER or self._connection.is_stalled:
            self.pause_answer()

    def pause_answer(self) -> None:
        """The client does not take the answer: stop reading the upstream."""
        x = self.exchange
        if self._write_paused or x is None or x.phase is not Phase.RELEASED:
            return
        self._write_paused = True
        self.deadline = monotonic() + x.snapshot.wire.write_timeout_s
        if x.upstream is not None:
            x.upstream.pause_reading()

    def resume_answer(self) -> None:
        """Read the upstream again, if enough of the answer is gone."""
        if not self._write_paused or self.queued > LOW_WATER or self._connection.is_stalled:
            return
        self._write_paused = False
        x = self.exchange
        if x is not None and x.upstream is not None:
            self.deadline = monotonic() + self._idle_timeout(x)
            x.upstream.resume_reading()

    def _emit_continue(self) -> None:
        self._connection.say(
            header_frames(
                self._connection.encoder.encode(_CONTINUE_HEAD), 0, self.stream_id, self._connection.max_frame
            )
        )

    def _emitted(self, x: Exchange) -> None:
        self._complete = True
        self._mode = CLOSED
        self._drop_body()
        self._mark = self.queued
        self.deadline = monotonic() + x.snapshot.wire.write_timeout_s
        self._connection.wants(self)

    def write(self, out: list[bytes], room: int) -> int:
        """Compose what may go now, one frame of the body at most; returns what it costs of the connection's window."""
        head = self._head
        if head is not None:
            self._head = None
            is_last = self._complete and not self.queued and self._error is None
            connection = self._connection
            out.append(
                header_frames(
                    connection.encoder.encode(head), END_STREAM if is_last else 0, self.stream_id, connection.max_frame
                )
            )
            if is_last:
                self.has_ended = True
                return 0
        size = min(self.queued, room, self.sendable, self._connection.max_frame) if self.queued else 0
        if size > 0:
            self._cut(out, size)
            self.resume_answer()
        if self._complete and not self.queued and not self.has_ended:
            if self._error is None and not size:
                out.append(frame(DATA, END_STREAM, self.stream_id))
            self.has_ended = True
        return max(size, 0)

    def _cut(self, out: list[bytes], size: int) -> None:
        """Compose one DATA frame of `size` bytes."""
        self.sendable -= size
        self.queued -= size
        is_last = self._complete and not self.queued and self._error is None
        out.append(data_header(size, END_STREAM if is_last else 0, self.stream_id))
        queue, offset = self._queue, self._offset
        while size:
            piece = queue[0]
            left = len(piece) - offset
            if left <= size:
                out.append(piece[offset:] if offset else piece)
                queue.popleft()
                offset = 0
                size -= left
            else:
                out.append(piece[offset : offset + size])
                offset += size
                size = 0
        self._offset = offset

    @property
    def error(self) -> ErrorCode | None:
        """What RST_STREAM says after the answer: an error, or that the rest of the request is not wanted (RFC 9113 §8.1)."""
        if self._error is not None:
            return self._error
        return None if self.half_closed else ErrorCode.NO_ERROR

    # the end

    def _break_off(self) -> None:
        self._connection.reset(self, self._error or ErrorCode.INTERNAL_ERROR)

    def _open_tunnel(self, x: Exchange) -> None:  # noqa: ARG002 - no request of HTTP/2 asks for one
        self._connection.reset(self, ErrorCode.HTTP_1_1_REQUIRED)

    def cancel(self) -> None:
        """The client does not want the answer any more, or is gone."""
        self.is_cancelled = True
        self.drop()
        if self.exchange is None:
            self._is_forgotten()
        else:
            self._vanished()

    def drop(self) -> None:
        """Give up what waits in either direction."""
        self._head = None
        self._queue.clear()
        self.queued = self._offset = 0
        self._drop_body()

    def _drop_body(self) -> None:
        """Nobody will take what came: other streams may have the room."""
        if self._came:
            self._connection.consumed(sum(map(len, self._came)))
            self._came = []

    def _is_forgotten(self) -> None:
        self._connection.leave(self)

    # the worker's sweep

    def sweep(self, now_mono: float, now: float) -> None:
        """Hold the stream to its deadlines."""
        x = self.exchange
        if x is not None:
            if now_mono < self.deadline:
                self.check_stream(x, now_mono, now)
            else:
                self._expired(x, now_mono)
        elif now_mono >= self.deadline:
            # attack: a window that stays shut, or opens by a byte at a time (CVE-2019-9511, CVE-2019-9517)
            timeout_s = self._worker.snapshot.wire.write_timeout_s
            if self.queued > self._mark - MIN_BODY_RATE * timeout_s:
                self._connection.reset(self, ErrorCode.CANCEL)
            else:
                self._mark = self.queued
                self.deadline = now_mono + timeout_s
