"""The audit daemon: one blocking loop between the producers' sockets and the logs of all streams.

Each turn reads everything that is waiting on all producers, writes it as one batch for each stream that it
has records for, makes that safe if any frame asks for it, and acknowledges. While it syncs, the next batch gathers in the sockets:
group commit that clocks itself, without threads. It decides what is acknowledged; it does not look
into records.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hmac import compare_digest
from itertools import compress
from pathlib import Path
from typing import Any, Protocol

from gateway.audit import record
from gateway.audit.canonical import encode
from gateway.audit.pressure import Level, Watermarks
from gateway.audit.protocol import (
    ASYNC,
    DAEMON_SLOT,
    PAGES_SLOT,
    REMOTE,
    SHIPPING_SLOT,
    Hello,
    ProtocolError,
    Records,
    Refusal,
    Request,
    RequestDecoder,
    first_sequence,
    pack_ack,
    pack_farewell,
    pack_shipped,
    pack_welcome,
)
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import STREAMS_BY_NUMBER, Stream
from gateway.ledger.ballast import BALLAST_BYTES
from gateway.ledger.batch import by_stream, pack_answers, receipted, reserved
from gateway.ledger.chunk import Group, beyond
from gateway.ledger.clock import Clock
from gateway.ledger.disk import Disk, LocalDisk
from gateway.ledger.disk_watch import DiskWatch
from gateway.ledger.errors import LogBusyError, LogUnavailableError
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import Log
from gateway.ledger.log_file import FILE_BYTES
from gateway.ledger.receipts import Receipts
from gateway.ledger.streams import Logs, close_logs, last_sequence, open_logs

READ_BYTES = 256 * 1024
ASYNC_SYNC_S = 0.1
"""Records that nobody waits for are safe after this long."""
PUBLISH_S = 1.0
HEARTBEAT_S = 900.0
"""An idle log says this often that it is alive, so that a cut-off end shows even without traffic."""
DRAIN_S = 2.0
"""After SIGTERM: the time producers have to say their last words."""
ORPHAN_DRAIN_S = 9.0
"""The same when the supervisor died: the edges finish their requests meanwhile."""
LOCK_POLL_S = 0.005
INHERITANCE_S = 30.0
"""After a restart: the time a producer has to come back before its open intents are closed for it."""
STALE_CHECKPOINT_S = 60.0
SEGMENT_AGE_S = 86_400.0
NO_MARKS = Watermarks(warn=0.0, high=0.0, critical=0.0)
BALLAST_LOW = 4
"""With less than one part in so many of the ballast left, it is for the log's own records and the command line alone."""
NEW_PROCESS_JUMP = 1 << 20
"""A new process of a slot begins at unix milliseconds << 20: one that goes on never jumps that far."""
MAX_CONNECTIONS = 2048
MAX_UNREAD_REPLY_BYTES = 1 << 20
NAMED_SLOTS = 16
FARTHEST_AHEAD_MS = 366 * 86_400_000
"""A sequence is the time at which its producer began, or goes on from there: none is of years to come."""
MAX_REMOTE = 8192
"""Frames of one producer that wait for a sink: who waited longer gave up long ago."""
COMMIT_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_PEERCRED = struct.Struct("3i")
_SEVERITIES: Mapping[Level, int] = {
    Level.NORMAL: record.INFORMATIONAL,
    Level.WARN: record.MEDIUM,
    Level.HIGH: record.HIGH,
    Level.CRITICAL: record.CRITICAL,
    Level.FULL: record.CRITICAL,
}
_LOST = select.POLLHUP | select.POLLERR | select.POLLNVAL


Build = Callable[[record.Stamp], dict[str, Any]]


class Control(Protocol):
    """The supervisor's line to this process."""

    @property
    def hands_over_s(self) -> float:
        """Asked for when `handle` says stop: the seconds within which a successor comes; 0 = none does."""
        ...

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        ...

    def handle(self, stats: Callable[[], Mapping[str, Any]]) -> bool:
        """Read what is there and answer it; False = the daemon should stop. Must not block.

        `stats()` returns `{"samples": list[Sample], "health": dict}`.
        """
        ...


class _Producer:
    """One connection."""

    __slots__ = ("decoder", "expected", "is_waiting", "out", "remote", "slot", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.decoder = RequestDecoder()
        self.slot = -1
        self.expected = 0
        """Next sequence; 0 before the first frame."""
        self.is_waiting = False
        """Said HELLO while another connection still has the slot."""
        self.out = bytearray()
        self.remote: deque[tuple[int, dict[Stream, int]]] = deque(maxlen=MAX_REMOTE)
        """Last sequence of each frame that has to be elsewhere too, and the size that each stream has with it."""


class Daemon:
    """Owns the logs, the listening socket and the connections."""

    def __init__(
        self,
        logs: Logs,
        layout: Layout,
        *,
        node: str,
        version: str,
        boot_id: str,
        badge: Callable[[int], bytes],
        receipt_key: Callable[[str, int], bytes],
        control: Control | None = None,
        segment_age_s: float = SEGMENT_AGE_S,
        marks: Watermarks = NO_MARKS,
        may_gap: Collection[Stream] = (),
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        ballast_bytes: int = BALLAST_BYTES,
    ) -> None:
        """`badge` returns what a producer must show to speak as a slot, `receipt_key` the key of an upstream's receipts."""
        self.logs = logs
        self._badge = badge
        self._receipts = Receipts(receipt_key)
        self._layout = layout
        self._segment_age_s = segment_age_s
        self._may_gap = frozenset(may_gap)
        self._disk_watch = DiskWatch(marks)
        self._clock = Clock(clock_ns(), monotonic())
        self._node = node
        self._version = version
        self._boot_id = boot_id
        self._control = control
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._ballast_bytes = ballast_bytes
        self._poll = select.poll()
        self._producers: dict[int, _Producer] = {}
        self._slots: dict[int, _Producer] = {}
        self._waiting: dict[int, deque[_Producer]] = {}
        self._own: dict[Stream, list[Build]] = {stream: [] for stream in logs}
        self._inherited_until: float | None = None
        self._refused: dict[Stream, dict[int, tuple[int, int, int]]] = {stream: {} for stream in logs}
        """Slot -> first, last and count of records refused and not yet told of in the log."""
        self._dropped: dict[Stream, dict[int, tuple[int, int, int]]] = {stream: {} for stream in logs}
        """The same of records that were left out while their requests went on."""
        self._elsewhere: dict[Stream, int] = {}
        """How many records of each stream a required sink has."""
        self._impostors: dict[int, int] = {}
        """Slot -> how often somebody claimed it without its badge and was not told of yet."""
        self._answered: dict[int, int] = {}
        """Slot -> last sequence that was answered: what was refused is no jump when its producer comes back."""
        self._refusals: dict[Stream, LogUnavailableError] = {}
        """Streams that cannot be written now, and why."""
        self._files: dict[Stream, tuple[int, float]] = dict.fromkeys(logs, (0, 0.0))
        """Number of the file that each writes, and since when."""
        self._io_errors = 0
        self._stop_at: float | None = None
        self._sync_at: float | None = None
        self._publish_at = 0.0
        self._farthest_ms = clock_ns() // 1_000_000 + FARTHEST_AHEAD_MS
        self._published_at = 0.0
        self._beat_at = dict.fromkeys(logs, 0.0)
        self._tick_at = 0.0
        self._ballast = 0
        self._batch: list[tuple[_Producer, Records]] = []
        self._listener: socket.socket | None = None
        self._declare()

    def _declare(self) -> None:
        self.metrics = registry = Registry()
        self._records_total = registry.counter(
            "gateway_audit_records_total", "Records that were taken into the audit log.", ("stream",)
        )
        self._batches_total = registry.counter(
            "gateway_audit_batches_total", "Batches that were written to the audit log."
        )
        self._commit = registry.histogram(
            "gateway_audit_commit_seconds", "Time to write a batch and make it safe.", (), COMMIT_BUCKETS_S
        )
        self._refused_total = registry.counter(
            "gateway_audit_refused_total", "Records that could not be stored, by reason.", ("reason",)
        )
        self._gaps_total = registry.counter("gateway_audit_gap_records_total", "Records that the log says it lacks.")
        self._dropped_total = registry.counter(
            "gateway_audit_dropped_records_total",
            "Records left out for want of room while their requests went on, by stream.",
            ("stream",),
        )
        self._level_gauge = registry.gauge(
            "gateway_audit_disk_level", "How short the disk is: 0 normal, 1 warn, 2 high, 3 critical, 4 full."
        )
        self._clock_jumps_total = registry.counter(
            "gateway_audit_clock_jumps_total", "How often the clock was set while the daemon ran."
        )
        self._clock_offset = registry.gauge(
            "gateway_audit_clock_offset_seconds", "How far the clock was set since the daemon started, in all."
        )
        self._receipts_total = registry.counter(
            "gateway_audit_receipts_total", "Receipts for upstreams that were asked for, by result.", ("result",)
        )
        self._jumps_total = registry.counter("gateway_audit_producer_jump_total", "Jumps in a producer's sequence.")
        self._rejected_total = registry.counter(
            "gateway_audit_producers_rejected_total", "Connections closed because they did not speak the protocol."
        )
        self._errors_total = registry.counter(
            "gateway_audit_fsync_errors_total", "Log files given up after an I/O error."
        )
        self._entries = registry.gauge("gateway_audit_log_entries", "Records in the audit log.", ("stream",))
        self._unsafe = registry.gauge("gateway_audit_queue_entries", "Records written and not yet on stable storage.")
        self._intents = registry.gauge(
            "gateway_audit_open_intents", "Requests announced in the log without an outcome."
        )
        self._age = registry.gauge("gateway_audit_checkpoint_age_seconds", "Age of the published checkpoint.")
        self._free = registry.gauge("gateway_audit_disk_free_bytes", "Bytes left on the audit log's file system.")
        self._ballast_gauge = registry.gauge("gateway_audit_ballast_bytes", "Bytes kept for administrators' records.")

    # life

    def start(self) -> None:
        """Say in the log that it goes on, close what nobody will close, and listen. Raises `OSError`."""
        self._keep_ballast()
        self._say("audit.started", more={"logs": self._extents()})
        now = self._monotonic()
        for stream, log in self.logs.items():
            recovery = log.recovery
            if not recovery.is_new:
                self._own[Stream.SECURITY].append(recovery.event)
            if recovery.discarded_bytes:  # the head of the next file signs where this one ends
                self._beat(stream)
            if recovery.boot == self._boot_id:  # their producers may still be alive and finish them
                self._inherited_until = now + INHERITANCE_S
            else:
                self._close_intents(stream, log.intents)
            self._beat_at[stream] = now + HEARTBEAT_S
        self._commit_own()
        for log in self.logs.values():
            _begin_publishing(log)
        self._listen()
        self._publish_at = self._tick_at = now

    def _extents(self) -> list[dict[str, Any]]:
        return [{"origin": log.origin, "size": log.size} for log in self.logs.values()]

    def _keep_ballast(self) -> None:
        self._ballast = self.logs[Stream.SECURITY].keep_ballast(self._ballast_bytes)

    def _listen(self) -> None:
        path = self._layout.socket
        unready = path.with_name(path.name + ".new")
        unready.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            listener.bind(str(unready))
        finally:
            os.umask(before)
        listener.listen(512)
        unready.rename(path)  # who finds the name can connect; a leftover is nobody's: whoever holds the lock is alone
        self._listener = listener
        self._poll.register(listener.fileno(), select.POLLIN)
        if self._control is not None:
            self._poll.register(self._control.fileno(), select.POLLIN)

    def wake_on(self, fd: int) -> None:
        """End the wait when this descriptor has bytes (a signal); they are read and mean nothing else."""
        self._poll.register(fd, select.POLLIN)

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Go on only until the producers are gone, or for `drain_s`."""
        if self._stop_at is None:
            self._stop_at = self._monotonic() + drain_s

    def hand_over(self, seconds: float) -> None:
        """End with this turn; producers learn that a successor comes within `seconds`, and keep what they have for it."""
        for log in self.logs.values():
            with suppress(LogUnavailableError):  # the successor reads a longer file
                log.turn_over(now_ns=self._clock_ns())
        for producer in list(self._slots.values()):
            self._send(producer, pack_farewell(int(seconds * 1000)))
        self._stop_at = self._monotonic()

    @property
    def is_done(self) -> bool:
        """True when it was told to stop and nobody is left, or the time is over."""
        is_alone = not self._slots.keys() - {SHIPPING_SLOT}
        return self._stop_at is not None and (is_alone or self._monotonic() >= self._stop_at)

    def close(self) -> None:
        """Take in what still waits, say that it ends, publish the last checkpoint and let the log go."""
        for producer in list(self._slots.values()):
            self._receive(producer)
        self._commit_batch()
        self._say("audit.stopped", more={"logs": self._extents()})
        self._commit_own()
        for producer in list(self._producers.values()):
            self._drop(producer)
        if self._listener is not None:
            self._listener.close()
            self._layout.socket.unlink(missing_ok=True)
        close_logs(self.logs)

    # one turn

    def turn(self, max_wait_s: float | None = None) -> None:
        """Wait for something to do and do all of it once."""
        for fd, events in self._poll.poll(self._timeout_ms(max_wait_s)):
            producer = self._producers.get(fd)
            if producer is not None:
                if events & select.POLLOUT:
                    self._flush(producer)
                if events & (select.POLLIN | _LOST):
                    self._receive(producer)
            elif self._listener is not None and fd == self._listener.fileno():
                self._accept()
            elif self._control is not None and fd == self._control.fileno():
                if not self._control.handle(self.stats):
                    self._poll.unregister(fd)
                    if seconds := self._control.hands_over_s:
                        self.hand_over(seconds)
                    else:
                        self.stop(ORPHAN_DRAIN_S)
            else:
                os.read(fd, 64)
        if self._batch:
            self._commit_batch()
        self._keep_time()

    def _timeout_ms(self, max_wait_s: float | None) -> int:
        now = self._monotonic()
        due = min(self._publish_at, self._tick_at)
        if self._sync_at is not None:
            due = min(due, self._sync_at)
        if self._stop_at is not None:
            due = min(due, self._stop_at)
        wait = max(0.0, due - now)
        if max_wait_s is not None:
            wait = min(wait, max_wait_s)
        return int(wait * 1000) + 1

    def _keep_time(self) -> None:
        now = self._monotonic()
        if self._sync_at is not None and now >= self._sync_at:
            self._sync_at = None
            self._settle()
        if now >= self._tick_at:
            self._tick_at = now + 1.0
            self._tick(now)
        if now >= self._publish_at:
            self._publish_at = now + PUBLISH_S
            self._publish(now)

    def _tick(self, now: float) -> None:
        self._farthest_ms = self._clock_ns() // 1_000_000 + FARTHEST_AHEAD_MS
        if self._ballast < self._ballast_bytes:
            self._keep_ballast()
        self._watch(now)
        is_inherited = self._inherited_until is not None and now >= self._inherited_until
        if is_inherited:
            self._inherited_until = None
        for stream, log in self.logs.items():
            log.check()
            if is_inherited:
                intents = {uid: slot for uid, slot in log.intents.items() if slot not in self._slots}
                self._close_intents(stream, intents)
            if now >= self._beat_at[stream]:
                self._beat_at[stream] = now + HEARTBEAT_S
                if log.size or stream is Stream.SECURITY:
                    self._beat(stream)
            self._turn_over(stream, now)
        self._name_impostors()
        self._commit_own()

    def _watch(self, now: float) -> None:
        """Say when the disk gets short or has room again, and when somebody set the clock."""
        logs = self.logs.values()
        is_full = any(fault.refusal is Refusal.DISK_FULL for fault in self._refusals.values())
        written = sum(log.written_bytes for log in logs)
        space = self.logs[Stream.SECURITY].space()
        found = self._disk_watch.look(space, written_bytes=written, now=now, is_full=is_full)
        if found is not None:
            level = self._disk_watch.level
            is_worse = level.name.lower() == found["level"] and level > Level[found["before"].upper()]
            self._say("audit.disk_level", success=not is_worse, severity=_SEVERITIES[level], more={"disk": found})
        wall_ns = self._clock_ns()
        jump_ns = self._clock.jump_ns(wall_ns, now)
        if jump_ns:
            self._clock_jumps_total.inc()
            change = {"after_ms": wall_ns // 1_000_000, "by_ms": jump_ns // 1_000_000}
            self._say("audit.time_changed", severity=record.MEDIUM, more={"clock": change})

    def _turn_over(self, stream: Stream, now: float) -> None:
        """Begin another file when the one that is written is old: what is closed can be sealed and kept elsewhere."""
        log = self.logs[stream]
        number, since = self._files[stream]
        if number != log.file_no:
            self._files[stream] = log.file_no, now
        elif number and now - since >= self._segment_age_s and log.file_entries:
            self._files[stream] = number, now  # a disk that has no room is asked again after as long
            with suppress(LogUnavailableError):
                log.turn_over(now_ns=self._clock_ns())

    def _publish(self, now: float) -> None:
        try:
            for log in self.logs.values():
                log.publish()
        except OSError:
            return  # its age is a metric and part of the health; the next second tries again
        self._published_at = now

    def _settle(self) -> None:
        for stream, log in self.logs.items():
            try:
                log.settle()
                _begin_publishing(log)
            except LogUnavailableError as exc:
                self._refusals[stream] = exc
                self._sync_at = self._monotonic() + ASYNC_SYNC_S
        self._notice_io_errors()

    # connections

    def _accept(self) -> None:
        if self._listener is None:
            return
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            _, uid, _ = _PEERCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size))
            if uid not in {0, os.geteuid()} or len(self._producers) >= MAX_CONNECTIONS:
                self._rejected_total.inc()
                sock.close()
                continue
            sock.settimeout(0)
            self._producers[sock.fileno()] = _Producer(sock)
            self._poll.register(sock.fileno(), select.POLLIN)

    def _receive(self, producer: _Producer) -> None:
        try:
            data = producer.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(producer)
            return
        try:
            for request in producer.decoder.feed(data):
                self._take(producer, request)
        except ProtocolError:
            self._rejected_total.inc()
            self._drop(producer)

    def _take(self, producer: _Producer, request: Request) -> None:
        if isinstance(request, Records):
            if producer.slot < 0 or producer.is_waiting or producer.slot == SHIPPING_SLOT:
                raise ProtocolError("records before the welcome, or of who has none")
            self._judge_sequence(producer.slot, request)
            self._batch.append((producer, request))
        elif isinstance(request, Hello):
            if producer.slot >= 0 or request.slot == DAEMON_SLOT:
                raise ProtocolError("a second HELLO, or one for the daemon's own slot")
            # attack: a worker that was taken over speaks as the custodian, whose word excuses what is missing
            if not compare_digest(request.badge, self._badge(request.slot)):
                self._impostors[request.slot] = self._impostors.get(request.slot, 0) + 1
                raise ProtocolError("a slot that was not given to it")
            producer.slot = request.slot
            if request.slot in self._slots:  # its last bytes may still be unread: first come, first served
                producer.is_waiting = True
                self._waiting.setdefault(request.slot, deque()).append(producer)
            else:
                self._welcome(producer)
        else:
            if producer.slot != SHIPPING_SLOT or producer.is_waiting:
                raise ProtocolError("only the custodian says what sinks have")
            stream = STREAMS_BY_NUMBER[request.stream]
            if request.origin != self.logs[stream].origin.encode():  # of a log that was moved away
                return
            self._elsewhere[stream] = request.size
            for waiting in list(self._slots.values()):
                self._release(waiting)

    def _judge_sequence(self, slot: int, records: Records) -> None:
        """Refuse what would leave the slot no numbers for ever (attack: 2**64 - 1, and nobody can follow). Raises `ProtocolError`."""
        if records.first_seq >> 20 > self._farthest_ms:
            known = max(last_sequence(self.logs, slot), self._answered.get(slot, 0))
            if records.first_seq - known > NEW_PROCESS_JUMP:
                raise ProtocolError("a sequence of years to come")

    def _release(self, producer: _Producer) -> None:
        """Say which of a producer's records are elsewhere by now."""
        reached, remote = 0, producer.remote
        while remote and all(self._elsewhere.get(stream, 0) >= size for stream, size in remote[0][1].items()):
            reached = remote.popleft()[0]
        if reached:
            self._send(producer, pack_shipped(reached))

    def _welcome(self, producer: _Producer) -> None:
        self._slots[producer.slot] = producer
        producer.is_waiting = False
        self._send(producer, pack_welcome(last_sequence(self.logs, producer.slot)))

    def _drop(self, producer: _Producer) -> None:
        fd = producer.sock.fileno()
        if self._producers.pop(fd, None) is None:
            return
        self._poll.unregister(fd)
        producer.sock.close()
        slot = producer.slot
        if producer.is_waiting:
            self._waiting[slot].remove(producer)
        elif self._slots.get(slot) is producer:
            del self._slots[slot]
            if self._batch:  # what it sent before it went is taken in before another speaks for the slot
                self._commit_batch()
            if queue := self._waiting.get(slot):
                self._welcome(queue.popleft())

    def _send(self, producer: _Producer, data: bytes) -> None:
        if producer.out:
            producer.out += data
        else:
            try:
                sent = producer.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # gone; poll will say so
            if sent == len(data):
                return
            producer.out += data[sent:]
            self._poll.modify(producer.sock.fileno(), select.POLLIN | select.POLLOUT)
        if len(producer.out) > MAX_UNREAD_REPLY_BYTES:
            self._drop(producer)

    def _flush(self, producer: _Producer) -> None:
        try:
            del producer.out[: producer.sock.send(producer.out)]
        except OSError:
            return
        if not producer.out:
            self._poll.modify(producer.sock.fileno(), select.POLLIN)

    # commit

    def _commit_batch(self) -> None:
        batch, self._batch = self._batch, []
        groups: dict[Stream, list[Group]] = {}
        safe: set[Stream] = set()
        spans: dict[int, tuple[_Producer, int, int]] = {}
        reached: dict[int, int] = {}
        """Slot -> last sequence over all streams, of the batch so far."""
        kept: dict[tuple[Stream, int], int] = {}
        """The same for each stream."""
        asked: dict[int, set[int]] = {}
        """Slot -> sequences of the records whose receipts it wants."""
        for producer, records in batch:
            slot, first = producer.slot, records.first_seq
            end = first + len(records.payloads) - 1
            known = reached.get(slot) or max(last_sequence(self.logs, slot), self._answered.get(slot, 0))
            expected = producer.expected or known + 1
            if not producer.expected and first - expected >= NEW_PROCESS_JUMP:
                self._orphan(slot)
            elif first > expected:
                self._jump(slot, expected, first - 1)
            producer.expected = max(producer.expected, end + 1)
            reached[slot] = self._answered[slot] = max(known, end)
            for stream, group in by_stream(slot, records):
                last = kept.get((stream, slot)) or self.logs[stream].taken.get(slot, 0)
                fresh = beyond(group, last) if group[1][0] <= last else group  # sent again: some of it is there already
                if fresh[2]:
                    groups.setdefault(stream, []).append(fresh)
                    kept[stream, slot] = fresh[1][-1]
                    if records.grade != ASYNC:
                        safe.add(stream)
            if slot < PAGES_SLOT and records.grade != ASYNC and (wanted := receipted(records)):
                asked.setdefault(slot, set()).update(wanted)
            begun = spans.get(id(producer))
            spans[id(producer)] = (producer, begun[1] if begun else first, end)
        refused: dict[int, dict[int, Refusal]] = {}
        receipts: dict[int, list[bytes]] = {}
        for stream, of_stream in groups.items():
            if stream in self._may_gap and self._disk_watch.level >= Level.CRITICAL:
                self._leave_out(stream, of_stream)
            elif not self._append(stream, of_stream, is_safe=stream in safe):
                self._refuse(stream, of_stream, refused, batch)
            elif asked and stream in safe:
                self._give_receipts(stream, of_stream, asked, receipts)
        if asked:
            self._account_for_receipts(asked, receipts)
        for producer, first, end in spans.values():
            lost = refused.get(producer.slot)
            answers = pack_ack(end) if lost is None else pack_answers(first, end, lost)
            self._send(producer, b"".join([*receipts.get(producer.slot, ()), answers]) if asked else answers)
        for producer, records in batch:
            if records.grade == REMOTE:
                sizes = {stream: self.logs[stream].size for stream, _ in by_stream(producer.slot, records)}
                producer.remote.append((records.first_seq + len(records.payloads) - 1, sizes))
                self._release(producer)

    def _give_receipts(
        self, stream: Stream, groups: list[Group], asked: Mapping[int, set[int]], receipts: dict[int, list[bytes]]
    ) -> None:
        log = self.logs[stream]
        for slot, given in self._receipts.give(log.origin, log.size, groups, asked).items():
            receipts.setdefault(slot, []).extend(given)

    def _account_for_receipts(self, asked: Mapping[int, set[int]], receipts: Mapping[int, list[bytes]]) -> None:
        given = sum(map(len, receipts.values()))
        self._receipts_total.inc(("given",), given)
        self._receipts_total.inc(("refused",), sum(map(len, asked.values())) - given)

    def _append(self, stream: Stream, groups: list[Group], *, is_safe: bool) -> bool:
        """Write groups, the daemon's own waiting records first. False when some could not be stored."""
        log = self.logs[stream]
        own = self._own_group(stream)
        before = time.perf_counter()
        try:
            log.append([*own, *groups], is_safe=is_safe or bool(own), now_ns=self._clock_ns())
        except LogUnavailableError as exc:
            self._refusals[stream] = exc
            if own and log.taken.get(DAEMON_SLOT, 0) >= own[0][1][-1]:
                self._said(stream)
            self._notice_io_errors()
            return False
        self._commit.observe(time.perf_counter() - before)
        _begin_publishing(log)
        self._stored(stream, groups)
        if own:
            self._said(stream)
        if not is_safe and self._sync_at is None and log.has_unsafe:
            self._sync_at = self._monotonic() + ASYNC_SYNC_S
        return True

    def _stored(self, stream: Stream, groups: list[Group]) -> None:
        self._refusals.pop(stream, None)
        self._count_stored(stream, groups)
        self._batches_total.values[()] += 1
        self._beat_at[stream] = self._monotonic() + HEARTBEAT_S
        self._notice_io_errors()

    def _count_stored(self, stream: Stream, groups: list[Group]) -> None:
        self._records_total.inc((stream.value,), sum(len(payloads) for _, _, payloads in groups))

    def _refuse(
        self,
        stream: Stream,
        groups: list[Group],
        refused: dict[int, dict[int, Refusal]],
        batch: list[tuple[_Producer, Records]],
    ) -> None:
        """Store what may use the ballast by itself; note in `refused`, by slot and sequence, what is refused."""
        log = self.logs[stream]
        fault = self._refusals.get(stream)
        code = fault.refusal if fault is not None else Refusal.IO_ERROR
        rest = [beyond(group, log.taken.get(group[0], 0)) for group in groups]
        if code is Refusal.DISK_FULL:
            lane, others = self._lanes(rest, batch)
            if lane:
                with suppress(LogUnavailableError):
                    log.append(lane, is_safe=True, now_ns=self._clock_ns(), reserved=True)
                    rest = others
                rest = [beyond(group, log.taken.get(group[0], 0)) for group in rest] if rest is not others else others
        lost = sum(len(payloads) for _, _, payloads in rest)
        self._records_total.inc((stream.value,), sum(len(payloads) for _, _, payloads in groups) - lost)
        if stream in self._may_gap:
            self._leave_out(stream, rest)
            return
        for slot, sequences, _ in rest:
            if sequences:
                refused.setdefault(slot, {}).update(dict.fromkeys(sequences, code))
                _account(self._refused[stream], slot, sequences)
        self._refused_total.inc((code.name.lower(),), lost)

    def _lanes(self, groups: list[Group], batch: list[tuple[_Producer, Records]]) -> tuple[list[Group], list[Group]]:
        """Part groups into what may use the ballast and what may not."""
        is_low = self._ballast < self._ballast_bytes // BALLAST_LOW
        marked: Collection[tuple[int, int]] = (
            () if is_low else {(p.slot, sequence) for p, records in batch for sequence in reserved(records)}
        )
        lane: list[Group] = []
        others: list[Group] = []
        for group in groups:
            slot, sequences, payloads = group
            if slot > PAGES_SLOT:
                lane.append(group)
                continue
            chosen = [(slot, sequence) in marked for sequence in sequences]
            for into, wanted in ((lane, True), (others, False)):
                if wanted in chosen:
                    mask = [choice is wanted for choice in chosen]
                    into.append((slot, list(compress(sequences, mask)), list(compress(payloads, mask))))
        return lane, others

    def _leave_out(self, stream: Stream, groups: list[Group]) -> None:
        """Count records that are not stored although their requests go on; the log says how many."""
        for slot, sequences, _ in groups:
            if sequences:
                self._dropped_total.inc((stream.value,), len(sequences))
                _account(self._dropped[stream], slot, sequences)

    # the daemon's own records

    def _say(self, event: str, stream: Stream = Stream.SECURITY, **fields: Any) -> None:
        self._own[stream].append(partial(record.lifecycle, event=event, **fields))

    def _beat(self, stream: Stream) -> None:
        log = self.logs[stream]
        self._say("audit.heartbeat", stream, more={"log": {"origin": log.origin, "size": log.size}})

    def _jump(self, slot: int, first: int, last: int) -> None:
        """Records that a producer numbered and never sent: said in the log, unless it was told that they were refused."""
        self._jumps_total.inc()
        self._gaps_total.inc((), last - first + 1)
        gap = partial(record.gap, cause="producer_jump", slot=slot, first=first, last=last)
        self._own[Stream.SECURITY].append(gap)  # nobody knows of which stream they were

    def _orphan(self, slot: int) -> None:
        """A new process has the slot: the intents of the one before will never be closed by it."""
        for stream, log in self.logs.items():
            self._close_intents(stream, {uid: owner for uid, owner in log.intents.items() if owner == slot})

    def _close_intents(self, stream: Stream, intents: Mapping[str, int]) -> None:
        for uid, slot in intents.items():
            self._own[stream].append(partial(record.unknown_outcome, correlation_uid=uid, slot=slot))

    def _name_impostors(self) -> None:
        """At most one record a second, however often somebody tries, and of few slots: whoever tries must not fill the log."""
        if self._impostors:
            tried, self._impostors = self._impostors, {}
            claimed = {"count": sum(tried.values()), "slots": sorted(tried)[:NAMED_SLOTS]}
            self._say("audit.impostor", success=False, severity=record.CRITICAL, more={"claimed": claimed})

    def _notice_io_errors(self) -> None:
        errors = sum(log.io_errors for log in self.logs.values())
        new = errors - self._io_errors
        if new:
            self._io_errors = errors
            self._errors_total.inc((), new)
            self._say("audit.io_error", success=False, severity=record.CRITICAL, more={"count": new})

    def _own_group(self, stream: Stream) -> list[Group]:
        """Encode the daemon's waiting records of a stream, the account of refused ones first."""
        builds: list[Build] = [
            partial(record.gap, cause=cause, slot=slot, first=first, last=last, count=count)
            for cause, told in self._untold(stream)
            for slot, (first, last, count) in told.items()
        ]
        builds += self._own[stream]
        if not builds:
            return []
        now_ns = self._clock_ns()
        first = first_sequence(now_ns / 1e9, last_sequence(self.logs, DAEMON_SLOT))
        sequences = range(first, first + len(builds))
        stamps = (self._stamp(stream, sequence, now_ns) for sequence in sequences)
        return [(DAEMON_SLOT, sequences, [encode(build(stamp)) for build, stamp in zip(builds, stamps, strict=True)])]

    def _untold(self, stream: Stream) -> list[tuple[record.GapCause, dict[int, tuple[int, int, int]]]]:
        return [("refused", self._refused[stream]), ("when_full", self._dropped[stream])]

    def _stamp(self, stream: Stream, sequence: int, now_ns: int) -> record.Stamp:
        time_ms = now_ns // 1_000_000
        return record.Stamp(
            uid=record.uuid7(time_ms, os.urandom(10)),
            sequence=sequence,
            time_ms=time_ms,
            mono_ns=time.monotonic_ns(),
            boot_uid=self._boot_id,
            node=self._node,
            version=self._version,
            stream=stream,
        )

    def _commit_own(self) -> None:
        """Write what the daemon has to say by itself; what cannot be stored waits."""
        for stream, log in self.logs.items():
            own = self._own_group(stream)
            if not own:
                continue
            fault = self._refusals.get(stream)
            is_full = fault is not None and fault.refusal is Refusal.DISK_FULL
            try:
                log.append(own, is_safe=True, now_ns=self._clock_ns(), reserved=is_full)
            except LogUnavailableError as exc:
                self._refusals[stream] = exc
                continue
            _begin_publishing(log)
            self._said(stream)
            if not is_full:
                self._refusals.pop(stream, None)

    def _said(self, stream: Stream) -> None:
        for _, told in self._untold(stream):
            self._gaps_total.inc((), sum(count for _, _, count in told.values()))
            told.clear()
        self._own[stream].clear()

    # telemetry

    def stats(self) -> dict[str, Any]:
        """Return metrics and health."""
        logs = self.logs.values()
        for stream, log in self.logs.items():
            self._entries.set(log.size, (stream.value,))
        self._unsafe.set(sum(log.unsafe_records for log in logs))
        self._intents.set(sum(len(log.intents) for log in logs))
        self._level_gauge.set(self._disk_watch.level)
        self._clock_offset.set(self._clock.offset_s)
        self._age.set(self._monotonic() - self._published_at if self._published_at else 0)
        self._free.set(self.logs[Stream.SECURITY].space().free_bytes)
        self._ballast_gauge.set(self._ballast)
        return {"samples": self.metrics.dump(), "health": self.health()}

    def health(self) -> dict[str, Any]:
        """Return whether records are taken in, and if not, why."""
        detail = ""
        tampered = [stream.value for stream, log in self.logs.items() if log.is_tampered]
        if tampered:
            detail = f"the live log file of {' and '.join(tampered)} was removed or replaced; nothing is recorded there"
        elif self._refusals:
            detail = str(next(iter(self._refusals.values())))
        elif self._disk_watch.level >= Level.CRITICAL:
            detail = "the disk of the audit log is nearly full"
        elif self._published_at and self._monotonic() - self._published_at > STALE_CHECKPOINT_S:
            detail = "the checkpoint cannot be written"
        return {
            "ok": not detail,
            "detail": detail,
            "logs": {
                stream.value: {"size": log.size, "origin": log.origin, "root": b64encode(log.root).decode()}
                for stream, log in self.logs.items()
            },
        }


def _begin_publishing(log: Log) -> None:
    """Publish the first checkpoint of a log before anything of it is acknowledged.

    attack: a kill in its first second, and then a cut: nothing would say that there were records.
    """
    if log.size and not log.is_published:
        with suppress(OSError):  # tried again with every batch and every second; its age is part of the health
            log.publish()


def _account(told: dict[int, tuple[int, int, int]], slot: int, sequences: Sequence[int]) -> None:
    first, _, count = told.get(slot, (sequences[0], 0, 0))
    told[slot] = (first, sequences[-1], count + len(sequences))


def serve(
    *,
    state_dir: Path,
    keys: AuditKeys,
    node: str,
    version: str,
    boot_id: str,
    control: Control | None = None,
    disk: Disk | None = None,
    segment_age_s: float = SEGMENT_AGE_S,
    marks: Watermarks = NO_MARKS,
    may_gap: Collection[Stream] = (),
    capacity: int = FILE_BYTES,
    ballast_bytes: int = BALLAST_BYTES,
    on_ready: Callable[[], None] | None = None,
    wait_s: float = 0.0,
) -> None:
    """Run the daemon in this process's main thread until SIGTERM, or until `control` says stop.

    Waits `wait_s` for another writer of the logs to end. Ctrl-C reaches the whole terminal: the supervisor decides when this process may end, so SIGINT
    and SIGHUP are ignored. Raises `LogBusyError`, `LogTamperedError`, `LogUnavailableError` or `OSError` when it
    cannot begin.
    """
    layout = Layout(state_dir)
    logs = _open(
        partial(open_logs, state_dir, keys, boot=boot_id, disk=disk or LocalDisk(), capacity=capacity), wait_s=wait_s
    )
    daemon = Daemon(
        logs,
        layout,
        node=node,
        version=version,
        boot_id=boot_id,
        badge=keys.badge,
        receipt_key=keys.receipt_key,
        control=control,
        segment_age_s=segment_age_s,
        marks=marks,
        may_gap=may_gap,
        ballast_bytes=ballast_bytes,
    )
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: daemon.stop())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    daemon.wake_on(wake_read)
    daemon.start()
    if on_ready is not None:
        on_ready()
    while not daemon.is_done:
        daemon.turn()
    with suppress(AuditUnavailableError, OSError):  # what could not be stored was refused to its producer
        daemon.close()


def _open(attempt: Callable[[], Logs], *, wait_s: float) -> Logs:
    until = time.monotonic() + wait_s
    while True:
        try:
            return attempt()
        except LogBusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(LOCK_POLL_S)
