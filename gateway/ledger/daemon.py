"""The audit daemon: one blocking loop between the producers' sockets and the logs of all streams.

Each turn reads everything that is waiting on all producers, writes it as one batch for each stream that it
has records for, makes that safe before or, where nobody waits for it, after it acknowledges. While it syncs, the next batch gathers in the sockets:
group commit that clocks itself, without threads. Where nobody waits for any of it, the batch goes on gathering for a moment.
It decides when things happen, and does not look into records.
"""

from __future__ import annotations

import os
import select
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Protocol

from gateway.audit import record
from gateway.audit.pressure import Level, Watermarks
from gateway.audit.protocol import Refusal
from gateway.exchange.stream import Stream
from gateway.ledger.ballast import BALLAST_BYTES
from gateway.ledger.clock import Clock
from gateway.ledger.connections import Connections
from gateway.ledger.daemon_metrics import DaemonMetrics
from gateway.ledger.disk_watch import DiskWatch
from gateway.ledger.errors import LogUnavailableError
from gateway.ledger.intake import Intake
from gateway.ledger.layout import Layout
from gateway.ledger.own_records import OwnRecords
from gateway.ledger.receipts import Receipts
from gateway.ledger.streams import Logs, close_logs

PUBLISH_S = 1.0
HEARTBEAT_S = 900.0
"""An idle log says this often that it is alive, so that a cut-off end shows even without traffic."""
DRAIN_S = 2.0
"""After SIGTERM: the time producers have to say their last words."""
ORPHAN_DRAIN_S = 9.0
"""The same when the supervisor died: the edges finish their requests meanwhile."""
INHERITANCE_S = 30.0
"""After a restart: the time a producer has to come back before its open intents are closed for it."""
STALE_CHECKPOINT_S = 60.0
SEGMENT_AGE_S = 86_400.0
NO_MARKS = Watermarks(warn=0.0, high=0.0, critical=0.0)
_SEVERITIES: Mapping[Level, int] = {
    Level.NORMAL: record.INFORMATIONAL,
    Level.WARN: record.MEDIUM,
    Level.HIGH: record.HIGH,
    Level.CRITICAL: record.CRITICAL,
    Level.FULL: record.CRITICAL,
}


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


class Daemon:
    """Owns the logs, and whoever writes them and is heard."""

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
        self.metrics = DaemonMetrics()
        self._poll = select.poll()
        self._disk_watch = DiskWatch(marks)
        self._own = OwnRecords(logs, self.metrics, node=node, version=version, boot_id=boot_id, clock_ns=clock_ns)
        self._intake = Intake(
            logs,
            self._own,
            self.metrics,
            Receipts(receipt_key),
            self._disk_watch,
            may_gap=may_gap,
            ballast_bytes=ballast_bytes,
            clock_ns=clock_ns,
            monotonic=monotonic,
        )
        self._connections = Connections(
            layout.socket,
            logs,
            self._intake,
            self.metrics,
            self._poll,
            badge=badge,
            clock_ns=clock_ns,
            monotonic=monotonic,
        )
        self._segment_age_s = segment_age_s
        self._clock = Clock(clock_ns(), monotonic())
        self._boot_id = boot_id
        self._control = control
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._inherited_until: float | None = None
        self._files: dict[Stream, tuple[int, float]] = dict.fromkeys(logs, (0, 0.0))
        """Number of the file that each writes, and since when."""
        self._stop_at: float | None = None
        self._publish_at = 0.0
        self._published_at = 0.0
        self._tick_at = 0.0

    # life

    def start(self) -> None:
        """Say in the log that it goes on, close what nobody will close, and listen. Raises `OSError`."""
        self._own.say("audit.started", more={"logs": self._extents()})
        now = self._monotonic()
        for stream, log in self.logs.items():
            recovery = log.recovery
            if not recovery.is_new:
                self._own.add(recovery.event)
            if recovery.discarded_bytes:  # the head of the next file signs where this one ends
                self._beat(stream)
            if recovery.boot == self._boot_id:  # their producers may still be alive and finish them
                self._inherited_until = now + INHERITANCE_S
            else:
                self._own.close_intents(stream, log.intents)
        self._intake.begin()
        self._connections.listen()
        if self._control is not None:
            self._poll.register(self._control.fileno(), select.POLLIN)
        self._publish_at = self._tick_at = now

    def _extents(self) -> list[dict[str, Any]]:
        return [{"origin": log.origin, "size": log.size} for log in self.logs.values()]

    def wake_on(self, fd: int) -> None:
        """End the wait when this descriptor has bytes (a signal); they are read and mean nothing else."""
        self._poll.register(fd, select.POLLIN)

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Go on only until the producers are gone, or for `drain_s`."""
        if self._stop_at is None:
            self._stop_at = self._monotonic() + drain_s

    def hand_over(self, seconds: float) -> None:
        """End with this turn; producers learn that a successor comes within `seconds`, and keep what they have for it."""
        self._connections.commit()
        for log in self.logs.values():
            with suppress(LogUnavailableError):  # the successor reads a longer file
                log.turn_over(now_ns=self._clock_ns())
        self._connections.say_farewell(seconds)
        self._stop_at = self._monotonic()

    @property
    def is_done(self) -> bool:
        """True when it was told to stop and nobody is left, or the time is over."""
        return self._stop_at is not None and (self._connections.is_alone or self._monotonic() >= self._stop_at)

    def close(self) -> None:
        """Take in what still waits, say that it ends, publish the last checkpoint and let the log go."""
        self._connections.drain()
        self._own.say("audit.stopped", more={"logs": self._extents()})
        self._intake.commit_own()
        self._connections.close()
        close_logs(self.logs)

    # one turn

    def turn(self, max_wait_s: float | None = None) -> None:
        """Wait for something to do and do all of it once."""
        for fd, events in self._poll.poll(self._timeout_ms(max_wait_s)):
            if self._connections.handle(fd, events):
                continue
            if self._control is not None and fd == self._control.fileno():
                self._obey(self._control)
            else:
                os.read(fd, 64)
        if self._stop_at is not None or self._connections.gathering.is_due():
            self._connections.commit()
        self._keep_time()

    def _obey(self, control: Control) -> None:
        if control.handle(self.stats):
            return
        self._poll.unregister(control.fileno())
        if seconds := control.hands_over_s:
            self.hand_over(seconds)
        else:
            self.stop(ORPHAN_DRAIN_S)

    def _timeout_ms(self, max_wait_s: float | None) -> int:
        now = self._monotonic()
        due = min(self._publish_at, self._tick_at)
        for moment in (self._intake.sync_at, self._connections.gathering.due_at):
            if moment is not None:
                due = min(due, moment)
        if self._stop_at is not None:
            due = min(due, self._stop_at)
        wait = max(0.0, due - now)
        if max_wait_s is not None:
            wait = min(wait, max_wait_s)
        return int(wait * 1000) + 1

    def _keep_time(self) -> None:
        now = self._monotonic()
        sync_at = self._intake.sync_at
        if sync_at is not None and now >= sync_at:
            self._intake.settle()
        if now >= self._tick_at:
            self._tick_at = now + 1.0
            self._tick(now)
        if now >= self._publish_at:
            self._publish_at = now + PUBLISH_S
            self._publish(now)

    def _tick(self, now: float) -> None:
        self._connections.note_time()
        self._intake.keep_ballast()
        self._watch(now)
        is_inherited = self._inherited_until is not None and now >= self._inherited_until
        if is_inherited:
            self._inherited_until = None
        for stream, log in self.logs.items():
            log.check()
            if is_inherited:
                gone = {uid: slot for uid, slot in log.intents.items() if slot not in self._connections.slots}
                self._own.close_intents(stream, gone)
            if now >= self._intake.quiet_since[stream] + HEARTBEAT_S:
                self._intake.quiet_since[stream] = now
                if log.size or stream is Stream.SECURITY:
                    self._beat(stream)
            self._turn_over(stream, now)
        self._connections.name_impostors(self._own)
        self._intake.commit_own()

    def _beat(self, stream: Stream) -> None:
        log = self.logs[stream]
        self._own.say("audit.heartbeat", stream, more={"log": {"origin": log.origin, "size": log.size}})

    def _watch(self, now: float) -> None:
        """Say when the disk gets short or has room again, and when somebody set the clock."""
        logs = self.logs.values()
        is_full = any(fault.refusal is Refusal.DISK_FULL for fault in self._intake.refusals.values())
        written = sum(log.written_bytes for log in logs)
        space = self.logs[Stream.SECURITY].space()
        found = self._disk_watch.look(space, written_bytes=written, now=now, is_full=is_full)
        if found is not None:
            level = self._disk_watch.level
            is_worse = level.name.lower() == found["level"] and level > Level[found["before"].upper()]
            self._own.say("audit.disk_level", success=not is_worse, severity=_SEVERITIES[level], more={"disk": found})
        wall_ns = self._clock_ns()
        jump_ns = self._clock.jump_ns(wall_ns, now)
        if jump_ns:
            self.metrics.clock_jumps.inc()
            change = {"after_ms": wall_ns // 1_000_000, "by_ms": jump_ns // 1_000_000}
            self._own.say("audit.time_changed", severity=record.MEDIUM, more={"clock": change})

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

    # telemetry

    def stats(self) -> dict[str, Any]:
        """Return metrics and health."""
        logs = self.logs.values()
        for stream, log in self.logs.items():
            self.metrics.entries.set(log.size, (stream.value,))
        self.metrics.unsafe.set(sum(log.unsafe_records for log in logs) + self._connections.gathering.records)
        self.metrics.intents.set(sum(len(log.intents) for log in logs))
        self.metrics.level.set(self._disk_watch.level)
        self.metrics.clock_offset.set(self._clock.offset_s)
        self.metrics.age.set(self._monotonic() - self._published_at if self._published_at else 0)
        self.metrics.free.set(self.logs[Stream.SECURITY].space().free_bytes)
        self.metrics.ballast.set(self._intake.ballast)
        return {"samples": self.metrics.registry.dump(), "health": self.health()}

    def health(self) -> dict[str, Any]:
        """Return whether records are taken in, and if not, why."""
        detail = ""
        tampered = [stream.value for stream, log in self.logs.items() if log.is_tampered]
        if tampered:
            detail = f"the live log file of {' and '.join(tampered)} was removed or replaced; nothing is recorded there"
        elif self._intake.refusals:
            detail = str(next(iter(self._intake.refusals.values())))
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
