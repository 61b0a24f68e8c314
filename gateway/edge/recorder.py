"""Hand audit records to the audit daemon and wait until they are safe.

Records travel in frames, and one frame at a time waits for its acknowledgement: what arrives
meanwhile gathers for the next, so that frames grow with the load and an idle gateway waits for nothing. The daemon answers when a frame
is as safe as it asks. Records that were not acknowledged are kept and sent again when the daemon comes back, so
that a crash of the daemon loses none. A daemon that says farewell has a successor: until that answers,
records are taken in and wait. The recorder never decides what a record says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

from gateway.audit.protocol import (
    ASYNC,
    REMOTE,
    Ack,
    Farewell,
    ProtocolError,
    Receipt,
    Refused,
    ReplyDecoder,
    Shipped,
    Welcome,
    first_sequence,
    pack_hello,
    pack_records,
)

MAX_UNACKED_RECORDS: Final = 8192
MAX_UNACKED_BYTES: Final = 8 << 20
RECONNECT_S: Final = 0.05
SUCCESSOR_POLL_S: Final = 0.005
GATHER_RECORDS: Final = 64
"""A frame waits for another turn of the loop while each turn adds to it, up to this size: a commit costs the same for one."""


class Recorded(Protocol):
    """Whoever waits for a record."""

    def recorded(self, *, safe: bool) -> None:
        """The record is safe, or it was refused for good."""

    def receipted(self, receipt: bytes) -> None:
        """The record is about to be told safe, and this proves it to an upstream."""

    def failed(self) -> None:
        """Telling it raised: give up what waited."""


class Frame:
    """Records of one tick, until they are acknowledged."""

    __slots__ = ("first", "grade", "payloads", "remote", "settled", "size", "streams", "waiting")

    def __init__(self, first: int) -> None:
        self.first = first
        self.grade = ASYNC
        self.payloads: list[bytes] = []
        self.streams: list[int] = []
        """The number of each record's stream."""
        self.size = 0
        self.settled = 0
        """How many of the records are acknowledged or refused."""
        self.waiting: list[Recorded | None] = []
        """Who waits for each record; empty when all were told."""
        self.remote: list[tuple[int, Recorded]] = []
        """Who waits, by sequence, for a record to be elsewhere too."""


class Recorder:
    """The edge's end of the audit socket: an `asyncio.Protocol` in all but name, since a compiled class has no interpreted base."""

    def __init__(
        self,
        slot: int,
        badge: bytes,
        connect: Callable[[Callable[[], asyncio.BaseProtocol]], Awaitable[object]],
        clock: Callable[[], float],
        may_gap: frozenset[int] = frozenset(),
    ) -> None:
        """`may_gap` has the numbers of streams whose records are left out, and counted, when there is no room."""
        self._hello = pack_hello(slot, badge)
        self._connect = connect
        self._clock = clock
        self.may_gap = may_gap
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._decoder = ReplyDecoder()
        self._frame: Frame | None = None
        self._sent: deque[Frame] = deque()
        self.sequence = 0
        """The number that the next record gets."""
        self.available = False
        """The daemon answers, or its successor is about to, and there is room for more unacknowledged records."""
        self._scheduled = False
        self._skipped = 0
        """Numbers that records left out would have had, after those of the frame that gathers."""
        self._passed: list[Recorded | None] = []
        """Who waited for records left out, and goes on with the next turn."""
        self.left_out = 0
        self._gathered = 0
        """Records of the frame at the last turn."""
        self._awaited = 0
        """Frames under way that somebody waits for."""
        self._welcomed = False
        self._waits_until = 0.0
        """Time of the loop until which a successor of the daemon is awaited."""
        self._stopped = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._remote: deque[tuple[int, Recorded]] = deque()
        """Who waits for records that are safe here and not elsewhere yet, by sequence."""
        self.unacked = 0
        self.unacked_bytes = 0
        self.refused = 0

    async def start(self) -> None:
        """Connect and wait for the daemon's welcome."""
        self._reconnecting = self._loop.create_task(self._reconnect(), name="audit reconnect")
        await self._ready.wait()

    @property
    def has_room(self) -> bool:
        """True while more unacknowledged records can be kept."""
        return self.unacked < MAX_UNACKED_RECORDS and self.unacked_bytes < MAX_UNACKED_BYTES

    @property
    def is_crowded(self) -> bool:
        """The daemon is there, and has not acknowledged so much that no more can be kept."""
        return self._welcomed and not self.has_room

    def leave_out(self, waiter: Recorded | None) -> None:
        """Use up a number without a record: the daemon says in the log how many it lacks. `waiter` goes on."""
        self.left_out += 1
        if self._frame is None:
            self.sequence += 1
        else:
            self._skipped += 1
        if waiter is not None:
            if not self._passed:
                self._loop.call_soon(self._pass)
            self._passed.append(waiter)

    def _pass(self) -> None:
        passed, self._passed = self._passed, []
        self._release(passed, safe=True)

    def add(self, payload: bytes, stream: int, grade: int, waiter: Recorded | None) -> None:
        """Record `payload` in the stream of this number; `waiter` is told when it is safe (grade async: when it is handed over)."""
        frame = self._frame
        if frame is None:
            frame = self._frame = Frame(self.sequence)
        if not self._scheduled and not (self._awaited and grade != ASYNC):
            self._scheduled = True
            self._loop.call_soon(self._flush)
        frame.payloads.append(payload)
        frame.streams.append(stream)
        frame.size += len(payload)
        frame.grade = max(frame.grade, grade)
        if grade == REMOTE and waiter is not None:
            frame.remote.append((self.sequence, waiter))
            waiter = None
        frame.waiting.append(waiter)
        self.sequence += 1
        self.unacked += 1
        self.unacked_bytes += len(payload)
        if self.unacked >= MAX_UNACKED_RECORDS or self.unacked_bytes >= MAX_UNACKED_BYTES:
            self.available = False

    def _flush(self) -> None:
        self._scheduled = False
        frame = self._frame
        if frame is None or not self._welcomed or self._transport is None:
            return
        if self._awaited and frame.grade != ASYNC:
            return  # goes out with the acknowledgement of the frame before it
        count = len(frame.payloads)
        if self._gathered < count < GATHER_RECORDS:  # it grew since the last turn of the loop: one turn more
            self._gathered = count
            self._scheduled = True
            self._loop.call_soon(self._flush)
            return
        self._gathered = 0
        self._frame = None
        self.sequence += self._skipped
        self._skipped = 0
        self._sent.append(frame)
        self._transport.writelines(pack_records(frame.grade, frame.first, frame.payloads, bytes(frame.streams)))
        if frame.grade == ASYNC:
            waiting, frame.waiting = frame.waiting, []
            self._release(waiting, safe=True)
        else:
            self._awaited += 1

    @staticmethod
    def _release(waiting: list[Recorded | None], *, safe: bool) -> None:
        for waiter in waiting:
            if waiter is None:
                continue
            try:
                waiter.recorded(safe=safe)
            except Exception:  # noqa: BLE001 - one that fails must not keep the others of its frame waiting
                waiter.failed()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the slot."""
        transport = cast("asyncio.WriteTransport", transport)  # uvloop's transports do not derive from asyncio's
        self._transport = transport
        self._decoder = ReplyDecoder()
        transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        """Take acknowledgements."""
        try:
            replies = self._decoder.feed(data)
        except ProtocolError:
            if self._transport is not None:
                self._transport.close()
            return
        for reply in replies:
            if isinstance(reply, Ack):
                self._settle(reply.seq, safe=True)
            elif isinstance(reply, Refused):
                self._settle(reply.seq, safe=False)
            elif isinstance(reply, Shipped):
                self._forget_remote(reply.seq, safe=True)
            elif isinstance(reply, Receipt):
                self._hand_out(reply.seq, reply.text)
            elif isinstance(reply, Welcome):
                self._welcome(reply.last_seq)
            elif isinstance(reply, Farewell):
                wait_s = reply.wait_ms / 1000
                self._waits_until = self._loop.time() + wait_s
                self._loop.call_later(wait_s + RECONNECT_S, self._judge)
        if self._frame is not None and not self._awaited and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _judge(self) -> None:
        self.available = self.has_room and (self._welcomed or self._loop.time() < self._waits_until)

    def _settle(self, through: int, *, safe: bool) -> None:
        """Take the daemon's word for everything up to this sequence that it has not spoken of."""
        sent = self._sent
        while sent and sent[0].first + sent[0].settled <= through:
            frame = sent[0]
            start, count = frame.settled, len(frame.payloads)
            end = min(count, through + 1 - frame.first)
            frame.settled = end
            size = frame.size if end - start == count else sum(map(len, frame.payloads[start:end]))
            if end == count:
                sent.popleft()
                if frame.grade != ASYNC:
                    self._awaited -= 1
            self.unacked -= end - start
            self.unacked_bytes -= size
            if not safe:
                self.refused += end - start
            self._judge()
            self._release(frame.waiting[start:end], safe=safe)
            while frame.remote and frame.remote[0][0] < frame.first + end:
                self._remote.append(frame.remote.pop(0))
                if not safe:
                    self._release([self._remote.pop()[1]], safe=False)
            if len(self._remote) > MAX_UNACKED_RECORDS:
                self._forget_remote(self._remote[len(self._remote) - MAX_UNACKED_RECORDS - 1][0], safe=False)

    def _hand_out(self, sequence: int, receipt: bytes) -> None:
        """Give a receipt to whoever waits for the record."""
        for frame in self._sent:
            at = sequence - frame.first
            if 0 <= at < len(frame.payloads):
                waiter = frame.waiting[at] if frame.waiting else None
                if waiter is None:
                    waiter = next((far for number, far in frame.remote if number == sequence), None)
                if waiter is not None:
                    waiter.receipted(receipt)
                return

    def _forget_remote(self, through: int, *, safe: bool) -> None:
        remote = self._remote
        while remote and remote[0][0] <= through:
            self._release([remote.popleft()[1]], safe=safe)

    def _welcome(self, last_seq: int) -> None:
        if self.sequence == 0:
            self.sequence = first_sequence(self._clock(), last_seq)
        self._welcomed = True
        self._judge()
        assert self._transport is not None  # noqa: S101 - a welcome comes over a connection
        for frame in self._sent:  # the daemon skips and acknowledges what it has
            at = frame.settled
            self._transport.writelines(
                pack_records(frame.grade, frame.first + at, frame.payloads[at:], bytes(frame.streams[at:]))
            )
        self._ready.set()
        self._flush()

    def eof_received(self) -> bool:
        """Close with the daemon."""
        return False

    def pause_writing(self) -> None:
        """Go on: what may be unacknowledged is bounded by itself."""

    def resume_writing(self) -> None:
        """Go on."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Keep what is not acknowledged and come back."""
        self._transport = None
        self._welcomed = False
        self._forget_remote(self.sequence, safe=False)  # the next daemon was not asked
        self._judge()
        if not self._stopped:
            self._reconnecting = self._loop.create_task(self._reconnect(), name="audit reconnect")

    async def _reconnect(self) -> None:
        while not self._stopped:
            try:
                await self._connect(lambda: cast("asyncio.Protocol", self))
            except OSError:
                is_awaited = self._loop.time() < self._waits_until
                await asyncio.sleep(SUCCESSOR_POLL_S if is_awaited else RECONNECT_S)
            else:
                return

    async def stop(self) -> None:
        """Wait a moment for the last acknowledgements and hang up."""
        self._flush()
        for _ in range(40):
            if not self.unacked:
                break
            await asyncio.sleep(RECONNECT_S)
        self._stopped = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        if self._transport is not None:
            self._transport.close()
