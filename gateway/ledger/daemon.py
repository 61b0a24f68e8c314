"""The audit daemon: one blocking loop between the producers' sockets and the log.

Each turn reads everything that is waiting on all producers, writes it as one batch, makes it safe
if any frame asks for it, and acknowledges. While it syncs, the next batch gathers in the sockets:
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
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway.audit import record
from gateway.audit.canonical import encode
from gateway.audit.protocol import (
    ASYNC,
    DAEMON_SLOT,
    PAGES_SLOT,
    Hello,
    ProtocolError,
    Records,
    Refusal,
    Request,
    RequestDecoder,
    first_sequence,
    pack_ack,
    pack_farewell,
    pack_refused,
    pack_stats,
    pack_welcome,
)
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.metrics import Registry
from gateway.ledger.disk import Disk, LocalDisk
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import BALLAST_BYTES, FILE_BYTES, Group, Log, LogBusyError, LogUnavailableError, open_log

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
NEW_PROCESS_JUMP = 1 << 20
"""A new process of a slot begins at unix milliseconds << 20: one that goes on never jumps that far."""
MAX_CONNECTIONS = 2048
MAX_UNREAD_REPLY_BYTES = 1 << 20
COMMIT_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_PEERCRED = struct.Struct("3i")
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

    __slots__ = ("decoder", "expected", "is_waiting", "out", "slot", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.decoder = RequestDecoder()
        self.slot = -1
        self.expected = 0
        """Next sequence; 0 before the first frame."""
        self.is_waiting = False
        """Said HELLO while another connection still has the slot."""
        self.out = bytearray()


class Daemon:
    """Owns the log, the listening socket and the connections."""

    def __init__(
        self,
        log: Log,
        layout: Layout,
        *,
        node: str,
        version: str,
        boot_id: str,
        control: Control | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        ballast_bytes: int = BALLAST_BYTES,
    ) -> None:
        self.log = log
        self._layout = layout
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
        self._own: list[Build] = []
        self._inherited_until: float | None = None
        self._refused: dict[int, tuple[int, int, int]] = {}
        """Slot -> first, last and count of records refused and not yet told of in the log."""
        self._refusal: Refusal | None = None
        self._io_errors = 0
        self._stop_at: float | None = None
        self._sync_at: float | None = None
        self._publish_at = 0.0
        self._published_at = 0.0
        self._beat_at = 0.0
        self._tick_at = 0.0
        self._ballast = 0
        self._batch: list[tuple[_Producer, Records]] = []
        self._listener: socket.socket | None = None
        self._declare()

    def _declare(self) -> None:
        self.metrics = registry = Registry()
        self._records_total = registry.counter(
            "gateway_audit_records_total", "Records that were taken into the audit log."
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
        self._jumps_total = registry.counter("gateway_audit_producer_jump_total", "Jumps in a producer's sequence.")
        self._rejected_total = registry.counter(
            "gateway_audit_producers_rejected_total", "Connections closed because they did not speak the protocol."
        )
        self._errors_total = registry.counter(
            "gateway_audit_fsync_errors_total", "Log files given up after an I/O error."
        )
        self._entries = registry.gauge("gateway_audit_log_entries", "Records in the audit log.")
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
        recovery = self.log.recovery
        self._ballast = self.log.keep_ballast(self._ballast_bytes)
        self._say("audit.started", more={"log": {"origin": self.log.origin, "size": recovery.size}})
        now = self._monotonic()
        if not recovery.is_new:
            self._own.append(recovery.event)
        if recovery.boot == self._boot_id:  # their producers may still be alive and finish them
            self._inherited_until = now + INHERITANCE_S
        else:
            self._close_intents(self.log.intents)
        self._commit_own()
        self._listen()
        self._publish_at = self._tick_at = now
        self._beat_at = now + HEARTBEAT_S

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
        with suppress(LogUnavailableError):  # the successor reads a longer file
            self.log.turn_over(now_ns=self._clock_ns())
        for producer in list(self._slots.values()):
            self._send(producer, pack_farewell(int(seconds * 1000)))
        self._stop_at = self._monotonic()

    @property
    def is_done(self) -> bool:
        """True when it was told to stop and nobody is left, or the time is over."""
        return self._stop_at is not None and (not self._slots or self._monotonic() >= self._stop_at)

    def close(self) -> None:
        """Take in what still waits, say that it ends, publish the last checkpoint and let the log go."""
        for producer in list(self._slots.values()):
            self._receive(producer)
        self._commit_batch()
        self._say("audit.stopped", more={"log": {"origin": self.log.origin, "size": self.log.size}})
        self._commit_own()
        for producer in list(self._producers.values()):
            self._drop(producer)
        if self._listener is not None:
            self._listener.close()
            self._layout.socket.unlink(missing_ok=True)
        self.log.close()

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
        self.log.check()
        if self._own or self._refused:
            self._commit_own()
        if self._ballast < self._ballast_bytes:
            self._ballast = self.log.keep_ballast(self._ballast_bytes)
        if self._inherited_until is not None and now >= self._inherited_until:
            self._inherited_until = None
            self._close_intents({uid: slot for uid, slot in self.log.intents.items() if slot not in self._slots})
            self._commit_own()
        if now >= self._beat_at:
            self._say("audit.heartbeat", more={"log": {"origin": self.log.origin, "size": self.log.size}})
            self._commit_own()

    def _publish(self, now: float) -> None:
        try:
            self.log.publish()
        except OSError:
            return  # its age is a metric and part of the health; the next second tries again
        self._published_at = now

    def _settle(self) -> None:
        try:
            self.log.settle()
        except LogUnavailableError as exc:
            self._refusal = exc.refusal
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
            if producer.slot < 0 or producer.is_waiting:
                raise ProtocolError("records before the welcome")
            self._batch.append((producer, request))
        elif isinstance(request, Hello):
            if producer.slot >= 0 or request.slot == DAEMON_SLOT:
                raise ProtocolError("a second HELLO, or one for the daemon's own slot")
            producer.slot = request.slot
            if request.slot in self._slots:  # its last bytes may still be unread: first come, first served
                producer.is_waiting = True
                self._waiting.setdefault(request.slot, deque()).append(producer)
            else:
                self._welcome(producer)
        else:
            self._send(producer, pack_stats(msgspec.msgpack.encode(self.stats())))

    def _welcome(self, producer: _Producer) -> None:
        self._slots[producer.slot] = producer
        producer.is_waiting = False
        self._send(producer, pack_welcome(self.log.taken.get(producer.slot, 0)))

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
        groups: list[Group] = []
        is_safe = False
        last: dict[int, tuple[_Producer, int]] = {}
        reached: dict[int, int] = {}
        for producer, records in batch:
            slot, first, payloads = producer.slot, records.first_seq, records.payloads
            end = first + len(payloads) - 1
            known = reached.get(slot, self.log.taken.get(slot, 0))
            expected = producer.expected or known + 1
            if not producer.expected and first - expected >= NEW_PROCESS_JUMP:
                self._orphan(slot)
            elif first > expected:
                self._jump(slot, expected, first - 1)
            producer.expected = max(producer.expected, end + 1)
            if first <= known:  # sent again after a restart: it is in the log already
                payloads = payloads[known - first + 1 :]
                first = known + 1
            if payloads:
                groups.append((slot, first, payloads))
                reached[slot] = end
            is_safe = is_safe or records.grade != ASYNC
            last[id(producer)] = (producer, end)
        stored = not groups or self._append(groups, is_safe=is_safe)
        refused = {} if stored else self._refuse(groups)
        for producer, end in last.values():
            code = refused.get(producer.slot)
            self._send(producer, pack_ack(end) if code is None else pack_refused(end, code))

    def _append(self, groups: list[Group], *, is_safe: bool) -> bool:
        """Write groups, the daemon's own waiting records first. False when they could not be stored."""
        own = self._own_group()
        before = time.perf_counter()
        try:
            self.log.append([*own, *groups], is_safe=is_safe or bool(own), now_ns=self._clock_ns())
        except LogUnavailableError as exc:
            self._refusal = exc.refusal
            self._notice_io_errors()
            return False
        self._commit.observe(time.perf_counter() - before)
        self._stored(groups, own)
        if not is_safe and self._sync_at is None and self.log.has_unsafe:
            self._sync_at = self._monotonic() + ASYNC_SYNC_S
        return True

    def _stored(self, groups: list[Group], own: list[Group]) -> None:
        if own:
            self._own.clear()
            self._refused.clear()
        self._refusal = None
        self._records_total.values[()] += sum(len(payloads) for _, _, payloads in groups)
        self._batches_total.values[()] += 1
        self._beat_at = self._monotonic() + HEARTBEAT_S
        self._notice_io_errors()

    def _refuse(self, groups: list[Group]) -> dict[int, int]:
        """Store what may use the ballast by itself; return slot -> code of what is refused."""
        code = self._refusal or Refusal.IO_ERROR
        lane = [group for group in groups if group[0] > PAGES_SLOT] if code is Refusal.DISK_FULL else []
        if lane:
            try:
                self.log.append(lane, is_safe=True, now_ns=self._clock_ns(), reserved=True)
            except LogUnavailableError:
                lane = []
            else:
                self._records_total.values[()] += sum(len(payloads) for _, _, payloads in lane)
        kept = {slot for slot, _, _ in lane}
        refused: dict[int, int] = {}
        for slot, first, payloads in groups:
            if slot in kept:
                continue
            refused[slot] = code
            self._refused_total.inc((code.name.lower(),), len(payloads))
            start, _, count = self._refused.get(slot, (first, 0, 0))
            self._refused[slot] = (start, first + len(payloads) - 1, count + len(payloads))
        return refused

    # the daemon's own records

    def _say(self, event: str, **fields: Any) -> None:
        self._own.append(lambda stamp: record.lifecycle(stamp, event, **fields))

    def _jump(self, slot: int, first: int, last: int) -> None:
        """Records that a producer numbered and never sent: said in the log, unless it was told that they were refused."""
        if slot in self._refused:
            return
        self._jumps_total.inc()
        self._gaps_total.inc((), last - first + 1)
        self._own.append(partial(record.gap, cause="producer_jump", slot=slot, first=first, last=last))

    def _orphan(self, slot: int) -> None:
        """A new process has the slot: the intents of the one before will never be closed by it."""
        self._close_intents({uid: owner for uid, owner in self.log.intents.items() if owner == slot})

    def _close_intents(self, intents: Mapping[str, int]) -> None:
        for uid, slot in intents.items():
            self._own.append(partial(record.unknown_outcome, correlation_uid=uid, slot=slot))

    def _notice_io_errors(self) -> None:
        new = self.log.io_errors - self._io_errors
        if new:
            self._io_errors = self.log.io_errors
            self._errors_total.inc((), new)
            self._say("audit.io_error", success=False, severity=record.CRITICAL, more={"count": new})

    def _own_group(self) -> list[Group]:
        """Encode the daemon's waiting records, the account of refused ones first."""
        refused: list[Build] = [
            partial(record.gap, cause="refused", slot=slot, first=first, last=last, count=count)
            for slot, (first, last, count) in self._refused.items()
        ]
        if not refused and not self._own:
            return []
        now_ns = self._clock_ns()
        first = first_sequence(now_ns / 1e9, self.log.taken.get(DAEMON_SLOT, 0))
        payloads = [encode(build(self._stamp(first + i, now_ns))) for i, build in enumerate((*refused, *self._own))]
        return [(DAEMON_SLOT, first, payloads)]

    def _stamp(self, sequence: int, now_ns: int) -> record.Stamp:
        time_ms = now_ns // 1_000_000
        return record.Stamp(
            uid=record.uuid7(time_ms, os.urandom(10)),
            sequence=sequence,
            time_ms=time_ms,
            mono_ns=time.monotonic_ns(),
            boot_uid=self._boot_id,
            node=self._node,
            version=self._version,
        )

    def _commit_own(self) -> None:
        """Write what the daemon has to say by itself; what cannot be stored waits."""
        own = self._own_group()
        if not own:
            return
        refused = sum(count for _, _, count in self._refused.values())
        try:
            self.log.append(own, is_safe=True, now_ns=self._clock_ns(), reserved=self._refusal is Refusal.DISK_FULL)
        except LogUnavailableError as exc:
            self._refusal = exc.refusal
            return
        self._gaps_total.inc((), refused)
        self._own.clear()
        self._refused.clear()
        if self._refusal is not Refusal.DISK_FULL:
            self._refusal = None

    # telemetry

    def stats(self) -> dict[str, Any]:
        """Return metrics and health."""
        now = self._monotonic()
        log = self.log
        self._entries.set(log.size)
        self._unsafe.set(log.unsafe_records)
        self._intents.set(len(log.intents))
        self._age.set(now - self._published_at if self._published_at else 0)
        self._free.set(log.free_bytes())
        self._ballast_gauge.set(self._ballast)
        return {"samples": self.metrics.dump(), "health": self.health()}

    def health(self) -> dict[str, Any]:
        """Return whether records are taken in, and if not, why."""
        detail = ""
        if self.log.is_tampered:
            detail = "the live log file was removed or replaced; nothing is recorded"
        elif self._refusal is Refusal.DISK_FULL:
            detail = "the disk of the audit log is full"
        elif self._refusal is not None:
            detail = "the audit log cannot be written"
        elif self._published_at and self._monotonic() - self._published_at > STALE_CHECKPOINT_S:
            detail = "the checkpoint cannot be written"
        return {
            "ok": not detail,
            "detail": detail,
            "size": self.log.size,
            "origin": self.log.origin,
            "root": b64encode(self.log.root).decode(),
        }


def serve(
    *,
    state_dir: Path,
    keys: AuditKeys,
    node: str,
    version: str,
    boot_id: str,
    control: Control | None = None,
    disk: Disk | None = None,
    capacity: int = FILE_BYTES,
    ballast_bytes: int = BALLAST_BYTES,
    on_ready: Callable[[], None] | None = None,
    wait_s: float = 0.0,
) -> None:
    """Run the daemon in this process's main thread until SIGTERM, or until `control` says stop.

    Waits `wait_s` for another writer of the log to end. Ctrl-C reaches the whole terminal: the supervisor decides when this process may end, so SIGINT
    and SIGHUP are ignored. Raises `LogBusyError`, `LogTamperedError`, `LogUnavailableError` or `OSError` when it
    cannot begin.
    """
    layout = Layout(state_dir)
    log = _open(
        partial(open_log, state_dir, keys, boot=boot_id, disk=disk or LocalDisk(), capacity=capacity), wait_s=wait_s
    )
    daemon = Daemon(
        log, layout, node=node, version=version, boot_id=boot_id, control=control, ballast_bytes=ballast_bytes
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


def _open(attempt: Callable[[], Log], *, wait_s: float) -> Log:
    until = time.monotonic() + wait_s
    while True:
        try:
            return attempt()
        except LogBusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(LOCK_POLL_S)
