"""One connection to a server behind the gateway.

It serves one exchange at a time: reads answers by strict framing (RFC 9112 §6.3), hands them to the
client's connection and goes back to its pool only when both directions ended where their framing said.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from hashlib import sha1
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from gateway.edge.exchange import Exchange
from gateway.exchange.reason import Reason
from gateway.wire.chunked import ChunkedDecoder, ChunkedError
from gateway.wire.response import ResponseHead, parse_response_head

if TYPE_CHECKING:
    from gateway.edge.pool import Pool

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_INFORMATIONAL: Final = 16
MEMO_ENTRIES: Final = 512
MEMO_HEAD_BYTES: Final = 2048
_BARE_LF: Final = re.compile(rb"(?<!\r)\n").search
_VERSION: Final = b"HTTP/1."
_RFC_6455_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))

IDLE, HEAD, LENGTH, CHUNKED, UNTIL_CLOSE, TUNNEL, CLOSED = range(7)


class HeadMemo:
    """Parses of answer heads by their bytes: a pure function, remembered."""

    def __init__(self) -> None:
        self._memo: dict[bytes, ResponseHead] = {}

    def parse(self, block: bytes) -> ResponseHead | None:
        """Parse or recall."""
        head = self._memo.get(block)
        if head is None:
            head = parse_response_head(block)
            if (
                head is not None
                and len(block) <= MEMO_HEAD_BYTES
                and not any(name == b"set-cookie" for name, _ in head.weighed)
            ):
                if len(self._memo) >= MEMO_ENTRIES:
                    self._memo.clear()
                self._memo[block] = head
        return head


class UpstreamConnection:
    """One connection to one server: an `asyncio.Protocol` in all but name, since a compiled class has no interpreted base."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_informational",
        "_left",
        "_mode",
        "_pool",
        "_reusable",
        "exchange",
        "idle_since",
        "paused",
        "reused",
        "transport",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self._buffer = b""
        self._mode = IDLE
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._informational = 0
        self._reusable = True
        self.reused = False
        self.paused = False
        """The server does not read: the client must not be read either."""
        self.idle_since = 0.0

    # what the client's side calls

    def send(self, x: Exchange, head: bytes) -> None:
        """Send the head of a request."""
        self.exchange = x
        x.attempts += 1
        self._mode = HEAD
        self._informational = 0
        self._reusable = True
        assert self.transport is not None  # noqa: S101 - connected before it is handed out
        self.transport.write(head)

    def write(self, data: bytes) -> None:
        """Send body or tunnel bytes."""
        if self.transport is not None:
            self.transport.write(data)

    def pause_reading(self) -> None:
        """The client does not keep up."""
        if self.transport is not None and self.transport.is_reading():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The client keeps up again."""
        if self.transport is not None and not self.transport.is_reading() and not self.transport.is_closing():
            self.transport.resume_reading()

    @property
    def authority(self) -> bytes:
        """What `Host` says to this server where the browser's is not preserved."""
        return self._pool.server.authority

    def overdue(self) -> None:
        """The server did not answer in time."""
        self._pool.failed(Reason.UPSTREAM_TIMEOUT)

    def abort(self) -> None:
        """Give the exchange up: whatever the server still says is not wanted."""
        self.exchange = None
        self._mode = CLOSED
        if self.transport is not None:
            self.transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        transport = cast("asyncio.Transport", transport)  # uvloop's transports do not derive from asyncio's
        self.transport = transport

    def pause_writing(self) -> None:
        """Stop reading the client while the server does not read."""
        self.paused = True
        if self.exchange is not None:
            self.exchange.client.pause_request()

    def resume_writing(self) -> None:
        """Read the client again."""
        self.paused = False
        x = self.exchange
        if x is None:
            return
        if x.pieces is not None:
            x.client.pump(x)
        else:
            x.client.resume_request()

    def data_received(self, data: bytes) -> None:
        """Take what the server says."""
        x = self.exchange
        if x is None:  # bytes nobody asked for: response queue poisoning
            self.close()
            return
        if self._mode == HEAD:
            self._read_head(x, self._buffer + data if self._buffer else data)
        elif self._mode == LENGTH:
            self._read_length(x, data)
        elif self._mode in {TUNNEL, UNTIL_CLOSE}:
            x.client.on_body(x, data)
        elif self._mode == CHUNKED:
            self._read_chunks(x, data)
        x.client.on_settled(x)

    def _read_head(self, x: Exchange, buffer: bytes) -> None:
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_HEAD_BYTES or _BARE_LF(buffer) or not buffer.startswith(_VERSION[: len(buffer)]):
                self._broken(x, Reason.UPSTREAM_MALFORMED)  # it will never be a head: no need to wait for its time-out
            self._buffer = buffer
            return
        self._buffer = b""
        head = self._pool.memo.parse(buffer[: end + 2]) if end < MAX_HEAD_BYTES else None
        if head is None:
            self._broken(x, Reason.UPSTREAM_MALFORMED)
            return
        rest = buffer[end + 4 :]
        status = head.status
        if status < 200:
            self._read_informational(x, head, rest)
            return
        pool = self._pool
        pool.metrics.upstream_duration.observe(monotonic() - x.sent_at, pool.labels)
        if pool.is_watched and pool.group is not None:
            pool.group.answered(pool)
        # smuggling: the next request would be read as the rest of a body that was not sent to its end
        self._reusable = not head.close and x.body_done and x.pieces is None and not x.fields.websocket
        if x.method == b"HEAD" or status in (204, 304):  # RFC 9112 §6.3 rule 1
            if (head.length and status == 204) or (head.chunked and x.method != b"HEAD"):
                self._reusable = False  # attack: a body that must not be here comes late, for the next request
            x.client.on_head(x, head)
            self._end(x, rest)
        elif head.chunked:
            self._decoder = ChunkedDecoder()
            self._mode = CHUNKED
            x.client.on_head(x, head)
            if rest and self.exchange is x:  # else the answer is withheld, and nothing of it is wanted
                self._read_chunks(x, rest)
        elif head.length == len(rest):
            self._mode = IDLE
            self.exchange = None
            x.upstream = None
            if self._reusable:
                pool.give_back(self)
            else:
                self.close()
            x.client.on_whole(x, head, rest)
        elif head.length is not None:
            self._left = head.length
            self._mode = LENGTH
            x.client.on_head(x, head)
            if self.exchange is x:
                self._read_length(x, rest)
        else:
            self._reusable = False
            self._mode = UNTIL_CLOSE
            x.client.on_head(x, head)
            if rest and self.exchange is x:
                x.client.on_body(x, rest)

    def _read_informational(self, x: Exchange, head: ResponseHead, rest: bytes) -> None:
        self._informational += 1
        if head.status == 101:
            expected = b64encode(sha1(x.fields.websocket_key + _RFC_6455_GUID, usedforsecurity=False).digest())
            proves = x.fields.websocket and head.upgrade == b"websocket" and head.websocket_accept == expected
            if not proves or head.length is not None or head.chunked:  # RFC 9110 §8.6: a switch has no body
                self._broken(x, Reason.UPSTREAM_MALFORMED)
                return
            self._mode = TUNNEL
            x.tunnel = True
            x.client.on_head(x, head)
            if rest:
                x.client.on_body(x, rest)
        elif self._informational > MAX_INFORMATIONAL or head.length or head.chunked:
            self._broken(x, Reason.UPSTREAM_MALFORMED)
        elif rest:  # 100 and 103 end here: the edge answered Expect itself
            self._read_head(x, rest)

    def _read_length(self, x: Exchange, data: bytes) -> None:
        size = len(data)
        if size < self._left:
            self._left -= size
            if size:
                x.client.on_body(x, data)
            return
        left, self._left = self._left, 0
        if left:
            x.client.on_body(x, data if size == left else data[:left])
        self._end(x, b"" if size == left else data[left:])

    def _read_chunks(self, x: Exchange, data: bytes) -> None:
        decoder = self._decoder
        assert decoder is not None  # noqa: S101 - set with the mode
        try:
            pieces = decoder.feed(data)
        except ChunkedError:
            self._broken(x, Reason.UPSTREAM_MALFORMED)
            return
        if pieces:
            x.client.on_body(x, pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if decoder.done:
            self._end(x, decoder.rest)

    def _end(self, x: Exchange, rest: bytes) -> None:
        """Complete: back to the pool, unless something was left over or still to be sent."""
        if self.exchange is not x:  # given up while its last bytes were read
            return
        self._mode = IDLE
        self._decoder = None
        self.exchange = None
        x.upstream = None
        if rest or not self._reusable:
            self.close()
        else:
            self.resume_reading()
            self._pool.give_back(self)
        x.client.on_end(x)

    def _broken(self, x: Exchange, reason: Reason) -> None:
        if self._mode == HEAD:
            self._pool.failed(reason)
        self.abort()
        x.upstream = None
        x.client.on_failed(x, reason)

    def eof_received(self) -> bool:
        """Close with the server."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The server went away: an end, a failure, or nothing but an idle connection less."""
        x, mode = self.exchange, self._mode
        self.exchange = None
        self._mode = CLOSED
        self._pool.lost(self)
        if x is None or x.upstream is not self:
            return
        x.upstream = None
        if mode in (UNTIL_CLOSE, TUNNEL):
            if exc is None:
                x.client.on_end(x)
            else:
                x.client.on_failed(x, Reason.UPSTREAM_CLOSED)
        elif (
            mode == HEAD
            and not self._buffer
            and (self.reused or self._pool.has_another)
            and x.attempts == 1
            and x.method in IDEMPOTENT
            and not x.received
            and x.body_done
            and not self._informational
        ):
            # RFC 9110 §9.2.2: it closed an idle connection while we were sending, or it died and another may answer
            if not self.reused:
                self._pool.failed(Reason.UPSTREAM_CLOSED)
            self._pool.resend(x)
        else:
            if mode == HEAD:
                self._pool.failed(Reason.UPSTREAM_CLOSED)
            x.client.on_failed(x, Reason.UPSTREAM_CLOSED)
        x.client.on_settled(x)

    def close(self) -> None:
        """Hang up."""
        self._mode = CLOSED
        if self.transport is not None:
            self.transport.close()
