"""What becomes of a batch of records: stored, refused, left out; and how each producer is answered.

One batch holds what all producers sent in a turn. It is written stream by stream, the daemon's own records first, and made
safe if any frame asks for it. Records that were sent again and are there are acknowledged and not stored twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import compress

from gateway.audit import record
from gateway.audit.pressure import Level
from gateway.audit.protocol import ASYNC, DAEMON_SLOT, PAGES_SLOT, Records, Refusal, pack_ack
from gateway.exchange.stream import Stream
from gateway.ledger.batch import by_stream, pack_answers, receipted, reserved
from gateway.ledger.chunk import Group, beyond
from gateway.ledger.connection import Connection
from gateway.ledger.daemon_metrics import DaemonMetrics
from gateway.ledger.disk_watch import DiskWatch
from gateway.ledger.errors import LogUnavailableError
from gateway.ledger.log import Log
from gateway.ledger.own_records import OwnRecords
from gateway.ledger.receipts import Receipts
from gateway.ledger.streams import Logs, last_sequence

RETRY_S = 0.1
"""A disk that could not make records safe is asked again after this long."""
BALLAST_LOW = 4
"""With less than one part in so many of the ballast left, it is for the log's own records and the command line alone."""
NEW_PROCESS_JUMP = 1 << 20
"""A new process of a slot begins at unix milliseconds << 20: one that goes on never jumps that far."""

Batch = Sequence[tuple[Connection, Records]]


class Intake:
    """That of one daemon, for all streams."""

    def __init__(
        self,
        logs: Logs,
        own: OwnRecords,
        metrics: DaemonMetrics,
        receipts: Receipts,
        disk_watch: DiskWatch,
        *,
        may_gap: Collection[Stream],
        ballast_bytes: int,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """Streams in `may_gap` go on without their records where there is no room."""
        self.refusals: dict[Stream, LogUnavailableError] = {}
        """Streams that cannot be written now, and why."""
        self._sync_at: dict[Stream, float] = {}
        """When what was written and is acknowledged has to be made safe."""
        self.quiet_since = dict.fromkeys(logs, 0.0)
        """When something was last written into each stream."""
        self.ballast = 0
        """Bytes that it has."""
        self._logs = logs
        self._own = own
        self._metrics = metrics
        self._receipts = receipts
        self._disk_watch = disk_watch
        self._may_gap = frozenset(may_gap)
        self._ballast_bytes = ballast_bytes
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._answered: dict[int, int] = {}
        """Slot -> last sequence that was answered: what was refused is no jump when its producer comes back."""
        self._io_errors = 0

    def last_known(self, slot: int) -> int:
        """Return the last sequence of a slot that was stored or answered."""
        return max(last_sequence(self._logs, slot), self._answered.get(slot, 0))

    @property
    def sync_at(self) -> float | None:
        """When there is something to settle; None while there is nothing."""
        return min(self._sync_at.values(), default=None)

    def keep_ballast(self) -> None:
        """Fill the ballast again where there is room: the log may have taken from it."""
        self.ballast = self._logs[Stream.SECURITY].keep_ballast(self._ballast_bytes)

    def begin(self) -> None:
        """Write what the daemon has to say, and publish what nobody has published."""
        self.keep_ballast()
        self.commit_own()
        for log in self._logs.values():
            _begin_publishing(log)
        self.quiet_since = dict.fromkeys(self._logs, self._monotonic())

    def commit(self, batch: Batch) -> list[tuple[Connection, bytes]]:
        """Store a batch; return the answers."""
        groups: dict[Stream, list[Group]] = {}
        safe: set[Stream] = set()
        spans: dict[int, tuple[Connection, int, int]] = {}
        reached: dict[int, int] = {}
        """Slot -> last sequence over all streams, of the batch so far."""
        kept: dict[tuple[Stream, int], int] = {}
        """The same for each stream."""
        asked: dict[int, set[int]] = {}
        """Slot -> sequences of the records whose receipts it wants."""
        for connection, records in batch:
            slot, first = connection.slot, records.first_seq
            end = first + len(records.payloads) - 1
            known = reached.get(slot) or self.last_known(slot)
            self._notice_jump(connection, first, known)
            connection.expected = max(connection.expected, end + 1)
            reached[slot] = self._answered[slot] = max(known, end)
            for stream, group in by_stream(slot, records):
                last = kept.get((stream, slot)) or self._logs[stream].taken.get(slot, 0)
                fresh = beyond(group, last) if group[1][0] <= last else group  # sent again: some of it is there already
                if fresh[2]:
                    groups.setdefault(stream, []).append(fresh)
                    kept[stream, slot] = fresh[1][-1]
                    if records.grade != ASYNC:
                        safe.add(stream)
            if slot < PAGES_SLOT and records.grade != ASYNC and (wanted := receipted(records)):
                asked.setdefault(slot, set()).update(wanted)
            begun = spans.get(id(connection))
            spans[id(connection)] = (connection, begun[1] if begun else first, end)
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
        answers: list[tuple[Connection, bytes]] = []
        for connection, first, end in spans.values():
            lost = refused.get(connection.slot)
            answer = pack_ack(end) if lost is None else pack_answers(first, end, lost)
            if asked:
                answer = b"".join([*receipts.get(connection.slot, ()), answer])
            answers.append((connection, answer))
        return answers

    def commit_own(self) -> None:
        """Write what the daemon has to say by itself; what cannot be stored waits."""
        for stream, log in self._logs.items():
            own = self._own_group(stream)
            if not own:
                continue
            fault = self.refusals.get(stream)
            is_full = fault is not None and fault.refusal is Refusal.DISK_FULL
            try:
                log.append(own, is_safe=True, now_ns=self._clock_ns(), reserved=is_full)
            except LogUnavailableError as exc:
                self.refusals[stream] = exc
                continue
            _begin_publishing(log)
            self._own.said(stream)
            if not is_full:
                self.refusals.pop(stream, None)

    def settle(self) -> None:
        """Make safe what was acknowledged before it was, in each stream whose time has come."""
        now = self._monotonic()
        for stream in [stream for stream, moment in self._sync_at.items() if moment <= now]:
            del self._sync_at[stream]
            log = self._logs[stream]
            try:
                log.settle()
                _begin_publishing(log)
            except LogUnavailableError as exc:
                self.refusals[stream] = exc
                self._sync_at[stream] = now + RETRY_S
        self._notice_io_errors()

    def _notice_jump(self, connection: Connection, first: int, known: int) -> None:
        expected = connection.expected or known + 1
        if not connection.expected and first - expected >= NEW_PROCESS_JUMP:
            self._orphan(connection.slot)
        elif first > expected:
            self._own.jump(connection.slot, expected, first - 1)

    def _orphan(self, slot: int) -> None:
        """A new process has the slot: the intents of the one before will never be closed by it."""
        for stream, log in self._logs.items():
            self._own.close_intents(stream, {uid: owner for uid, owner in log.intents.items() if owner == slot})

    def _give_receipts(
        self, stream: Stream, groups: list[Group], asked: Mapping[int, set[int]], receipts: dict[int, list[bytes]]
    ) -> None:
        log = self._logs[stream]
        for slot, given in self._receipts.give(log.origin, log.size, groups, asked).items():
            receipts.setdefault(slot, []).extend(given)

    def _account_for_receipts(self, asked: Mapping[int, set[int]], receipts: Mapping[int, list[bytes]]) -> None:
        given = sum(map(len, receipts.values()))
        self._metrics.receipts.inc(("given",), given)
        self._metrics.receipts.inc(("refused",), sum(map(len, asked.values())) - given)

    def _own_group(self, stream: Stream) -> list[Group]:
        return self._own.group(stream, last_sequence(self._logs, DAEMON_SLOT))

    def _append(self, stream: Stream, groups: list[Group], *, is_safe: bool) -> bool:
        """Write groups, the daemon's own waiting records first. False when some could not be stored."""
        log = self._logs[stream]
        own = self._own_group(stream)
        before = time.perf_counter()
        try:
            log.append([*own, *groups], is_safe=is_safe or bool(own), now_ns=self._clock_ns())
        except LogUnavailableError as exc:
            self.refusals[stream] = exc
            if own and log.taken.get(DAEMON_SLOT, 0) >= own[0][1][-1]:
                self._own.said(stream)
            self._notice_io_errors()
            if log.has_unsafe:  # a part of them, or of those before, is kept and acknowledged
                self._sync_at.setdefault(stream, self._monotonic() + RETRY_S)
            return False
        self._metrics.commit.observe(time.perf_counter() - before)
        _begin_publishing(log)
        self.refusals.pop(stream, None)
        self._metrics.records.inc((stream.value,), _count(groups))
        self._metrics.batches.values[()] += 1
        self.quiet_since[stream] = self._monotonic()
        self._notice_io_errors()
        if own:
            self._own.said(stream)
        if log.has_unsafe:  # nobody waits: the answers go first
            self._sync_at[stream] = self._monotonic()
        return True

    def _refuse(
        self, stream: Stream, groups: list[Group], refused: dict[int, dict[int, Refusal]], batch: Batch
    ) -> None:
        """Store what may use the ballast by itself; note in `refused`, by slot and sequence, what is refused."""
        log = self._logs[stream]
        fault = self.refusals.get(stream)
        code = fault.refusal if fault is not None else Refusal.IO_ERROR
        rest = [beyond(group, log.taken.get(group[0], 0)) for group in groups]
        if code is Refusal.DISK_FULL:
            lane, others = self._lanes(rest, batch)
            with suppress(LogUnavailableError):
                log.append(lane, is_safe=True, now_ns=self._clock_ns(), reserved=True)
            # attack: the ballast ends within a lane; what stands between its stored records is not stored for that
            rest = [*others, *(beyond(group, log.taken.get(group[0], 0)) for group in lane)]
        lost = _count(rest)
        self._metrics.records.inc((stream.value,), _count(groups) - lost)
        if stream in self._may_gap:
            self._leave_out(stream, rest)
            return
        for slot, sequences, _ in rest:
            if sequences:
                refused.setdefault(slot, {}).update(dict.fromkeys(sequences, code))
                self._own.refuse(stream, slot, sequences)
        self._metrics.refused.inc((code.name.lower(),), lost)

    def _lanes(self, groups: list[Group], batch: Batch) -> tuple[list[Group], list[Group]]:
        """Part groups into what may use the ballast and what may not."""
        is_low = self.ballast < self._ballast_bytes // BALLAST_LOW
        marked: Collection[tuple[int, int]] = (
            () if is_low else {(each.slot, sequence) for each, records in batch for sequence in reserved(records)}
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
        """Go on without these records; the log says how many."""
        for slot, sequences, _ in groups:
            if sequences:
                self._own.leave_out(stream, slot, sequences)

    def _notice_io_errors(self) -> None:
        errors = sum(log.io_errors for log in self._logs.values())
        new = errors - self._io_errors
        if new:
            self._io_errors = errors
            self._metrics.errors.inc((), new)
            self._own.say("audit.io_error", success=False, severity=record.CRITICAL, more={"count": new})


def _count(groups: Sequence[Group]) -> int:
    return sum(len(payloads) for _, _, payloads in groups)


def _begin_publishing(log: Log) -> None:
    """Publish the first checkpoint of a log before anything of it is acknowledged.

    attack: a kill in its first second, and then a cut: nothing would say that there were records.
    """
    if log.size and not log.is_published:
        with suppress(OSError):  # tried again with every batch and every second; its age is part of the health
            log.publish()
