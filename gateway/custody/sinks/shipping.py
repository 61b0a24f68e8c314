"""Ships one stream to one sink: at least once, in order, from the log itself by a cursor.

The log is the queue: nothing else is kept. A batch that was not taken is offered again, the same bytes, after
a pause with full jitter; a record that the receiver will never take is found by `winnowing`, listed as
a dead letter, and passed. It decides neither what a receiver is nor how long the log is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

import msgspec
import structlog

from gateway.audit import record as records
from gateway.audit.delivery import Batch, Delivery, Format, deliver_entry
from gateway.custody.sinks.cursor import Cursor, CursorError, CursorFile, DeadLetter
from gateway.custody.sinks.sink import Fault, NotDeliveredError, RefusedRecordsError, Sink
from gateway.custody.sinks.standing import Recorder, Retry, ShippingMetrics, Standing
from gateway.custody.sinks.winnowing import Winnowing
from gateway.custody.tail import Extent
from gateway.exchange.errors import GatewayError

LONELY_TRIES: Final = 5
"""Refusals of a whole batch, before it can count as the records' fault and not the receiver's."""
_LOOKED_BACK: Final = 64
"""Records before a batch, of which one that the receiver has tells whether it takes anything."""
_WISH_EVERY_S: Final = 1.0
"""How often an idle shipper looks whether an operator wants something."""
_REVIVE_AGAIN_S: Final = 60.0
_LONGEST_DETAIL: Final = 256
_MOST_TOLD: Final = 100
_NOTICES: Final = ("audit.sink_failed", "audit.sink_recovered", "audit.sink_restarted")
_log = structlog.get_logger("gateway.audit")

Threads = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs work that blocks."""


class Source(Protocol):
    """One stream of the log, as it grows: a `Tail`."""

    def extent(self) -> Extent | None:
        """Return what is known to be there without asking the disk; None before the log has begun."""
        ...

    async def read(self, first: int, most: int) -> Sequence[bytes]:
        """Return entries from `first` on, whole, at least one of those within the extent. Raises GatewayErrors."""
        ...

    async def grown(self, size: int, origin: str = "") -> None:
        """Return when there is more than `size`, or, with `origin`, another log."""
        ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a batch is, and how long it waits for company."""

    records: int = 500
    bytes: int = 1 << 20
    linger_s: float = 0.0


class Shipper:
    """One sink and one stream. Cancel `run` to stop; what was not acknowledged is delivered by the next."""

    def __init__(
        self,
        sink: Sink,
        source: Source,
        cursors: CursorFile,
        *,
        is_required: bool = False,
        form: Format = Format.OCSF,
        limits: Limits,
        retry: Retry,
        timeout_s: float,
        recorder: Recorder,
        threads: Threads,
        metrics: ShippingMetrics,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.name = f"sink {cursors.sink} {cursors.stream}"
        """As a duty of the custodian."""
        self.sink_name = cursors.sink
        self.stream = cursors.stream
        self.is_required = is_required
        """Local records wait for it."""
        self._sink = sink
        self._source = source
        self._cursors = cursors
        self._form = form
        self._limits = limits
        self._timeout_s = timeout_s
        self._threads = threads
        self._metrics = metrics
        self._clock = clock
        self._standing = Standing(
            cursors.sink, cursors.stream, retry=retry, recorder=recorder, metrics=metrics, clock=clock, random=random
        )
        self._cursor: Cursor | None = None
        self._offered: Winnowing | None = None
        """A batch that the cursor is not behind yet; offered again as it is, unless it was taken."""
        self._dead: list[DeadLetter] | None = None
        """What of that batch will never be taken; None = the batch was not taken yet."""
        self._refusals = 0
        """Times in a row that everything was refused."""
        self._buried = 0
        self._revive_at = 0.0
        """When the dead letters are offered again that an operator asked for."""

    @property
    def labels(self) -> tuple[str, str]:
        """Its metrics' labels."""
        return self.sink_name, self.stream

    def acknowledged(self) -> int:
        """Return how many records from the beginning of the present log the receiver has: local copies may go."""
        extent = self._source.extent()
        if extent is None or self._cursor is None or self._cursor.origin != extent.origin:
            return 0
        return self._cursor.next_index

    async def run(self) -> None:
        """Ship for ever; let go of the receiver at the end."""
        self._metrics.up.set(1, self.labels)
        try:
            while True:
                await self._try()
        finally:
            self._metrics.forget(self.labels)  # a reload may have removed it: nothing would ever mend its alarm
            await self._sink.close()

    async def _try(self) -> None:
        try:
            await self.step()
        except NotDeliveredError as error:
            await self._standing.failed(error)
        except CursorError as error:
            await self._standing.failed(NotDeliveredError(Fault.DISK, str(error)))
        except GatewayError as error:
            await self._standing.failed(NotDeliveredError(Fault.LOG, str(error)))
        except Exception as error:  # noqa: BLE001 - a task root: no fault of one sink may end the others
            _log.exception("sink.broken", sink=self.sink_name, stream=self.stream)
            await self._standing.failed(NotDeliveredError(Fault.INTERNAL, type(error).__name__))

    async def step(self) -> None:
        """Deliver one batch, or wait until there is one. Raises NotDeliveredError and errors of the log."""
        cursor = await self._position()
        if cursor is None:
            return
        if self._offered is None:
            found = await self._next(cursor)
            if found is None:
                return
            self._offered, self._dead = Winnowing(found), None
        batch = self._offered.batch
        if self._dead is None:  # a full disk keeps the cursor where it is: no receiver gets copies for that
            self._dead = await self._offer(self._offered)
        dead = self._dead
        if dead:
            await self._threads(partial(self._cursors.bury, dead))
            self._buried = await self._threads(self._cursors.count_dead)
        await self._advance(Cursor(origin=batch.origin, next_index=batch.last + 1))
        self._offered, self._refusals = None, 0
        self._metrics.delivered.inc(self.labels, len(batch.deliveries) - len(dead))
        notices = {delivery.index for delivery in batch.deliveries if _is_notice(delivery)}
        if untold := [letter for letter in dead if letter.index not in notices]:
            await self._tell_of(untold)
        await self._standing.well()

    def measure(self) -> None:
        """Bring the gauges up to date, for a scrape."""
        extent, cursor = self._source.extent(), self._cursor
        at = cursor.next_index if extent and cursor and cursor.origin == extent.origin else 0
        self._metrics.lag_records.set(max(0, extent.size - max(at, extent.first)) if extent else 0, self.labels)
        oldest_ns = self._offered.batch.deliveries[0].time_ns if self._offered else 0
        self._metrics.lag_seconds.set(max(0.0, self._clock() - oldest_ns / 1e9) if oldest_ns else 0.0, self.labels)
        self._metrics.dead.set(self._buried, self.labels)

    async def _position(self) -> Cursor | None:
        """Return where to go on; None when there is nothing to deliver, after waiting for it."""
        if self._cursor is None:
            self._cursor = await self._threads(self._cursors.load)
            self._buried = await self._threads(self._cursors.count_dead)
            if self._cursors.is_damaged:
                _log.warning("sink.cursor_damaged", sink=self.sink_name, stream=self.stream)
        extent = self._source.extent()
        if extent is None:
            await self._wait(0, "")
            return None
        if self._cursor is not None and self._cursor.origin != extent.origin:  # the log was begun anew
            await self._restart(self._cursor, Cursor(origin=extent.origin, next_index=extent.first))
        await self._obey(extent)
        cursor = self._cursor
        if cursor is None:
            cursor, self._offered = Cursor(origin=extent.origin, next_index=extent.first), None
        if cursor.next_index > extent.size:
            raise NotDeliveredError(
                Fault.LOG, f"it has {extent.size} records, and the receiver has {cursor.next_index} of them"
            )
        if cursor.next_index < extent.first:
            self._metrics.skipped.inc(self.labels, extent.first - cursor.next_index)
            await self._standing.say(
                "audit.sink_failed",
                reason="pruned",
                severity=records.HIGH,
                more={"first": cursor.next_index, "last": extent.first - 1},
            )
            cursor, self._offered = Cursor(origin=extent.origin, next_index=extent.first), None
        self._cursor = cursor
        if cursor.next_index == extent.size:
            await self._wait(extent.size, extent.origin)
            return None
        return cursor

    async def _restart(self, before: Cursor, now: Cursor) -> None:
        """Go on with another log, and say so first: killed in between, it says so twice."""
        self._offered = None
        await self._standing.restarted(before.origin, now.origin, delivered_before=before.next_index)
        wish = await self._threads(self._cursors.asked)
        if wish is not None and wish.start is not None:
            # attack: a number of the former log, and the records before it would never leave this one
            await self._threads(self._cursors.answered)
        await self._advance(now)

    async def _wait(self, size: int, origin: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_WISH_EVERY_S):
                await self._source.grown(size, origin)

    async def _obey(self, extent: Extent) -> None:
        """Do what an operator asked for: deliver again from an index on, or the dead letters."""
        wish = await self._threads(self._cursors.asked)
        if wish is None or (wish.dead_letters and self._clock() < self._revive_at):
            return
        if wish.dead_letters:
            try:
                await self._revive(extent)
            except (
                NotDeliveredError
            ) as error:  # attack: a dead letter that its receiver breaks over holds up all others
                self._revive_at = self._clock() + _REVIVE_AGAIN_S
                _log.warning("sink.not_replayed", sink=self.sink_name, stream=self.stream, reason=str(error))
                return
        if wish.start is not None:
            await self._advance(
                Cursor(origin=extent.origin, next_index=max(extent.first, min(wish.start, extent.size)))
            )
            self._offered = None
            await self._threads(partial(self._cursors.forget_unlisted, wish.start))
            self._buried = await self._threads(self._cursors.count_dead)
        await self._threads(self._cursors.answered)

    async def _revive(self, extent: Extent) -> None:
        """Offer each dead letter once more, alone; those that are still refused stay."""
        kept: list[DeadLetter] = []
        letters = await self._threads(self._cursors.dead_letters)
        for place, letter in enumerate(letters):
            if letter.origin != extent.origin or not extent.first <= letter.index < extent.size:
                kept.append(letter)
                continue
            found = self._compose(extent.origin, letter.index, await self._source.read(letter.index, 1))
            try:
                await self._hand_over(found.part(0, 1))
            except RefusedRecordsError as error:
                kept.append(msgspec.structs.replace(letter, detail=error.detail[:_LONGEST_DETAIL]))
            except NotDeliveredError:
                await self._threads(partial(self._cursors.keep_dead, kept + letters[place:]))
                raise
        await self._threads(partial(self._cursors.keep_dead, kept))
        self._buried = await self._threads(self._cursors.count_dead)

    async def _next(self, cursor: Cursor) -> Batch | None:
        limits = self._limits
        extent = self._source.extent()
        if limits.linger_s and extent and extent.size - cursor.next_index < limits.records:
            await asyncio.sleep(limits.linger_s)
        found = await self._source.read(cursor.next_index, limits.records)
        return self._compose(cursor.origin, cursor.next_index, found) if found else None

    def _compose(self, origin: str, first: int, entries: Sequence[bytes]) -> Batch:
        deliveries: list[Delivery] = []
        room = self._limits.bytes
        for index, raw in enumerate(entries, first):
            delivery = deliver_entry(raw, origin=origin, index=index, form=self._form)
            room -= len(delivery.line) + 1
            if room < 0 and deliveries:
                break
            deliveries.append(delivery)
        return Batch(origin, self.stream, deliveries)

    async def _offer(self, offered: Winnowing) -> list[DeadLetter]:
        """Deliver a batch; returns the records that the receiver will never take. Raises NotDeliveredError."""
        batch = offered.batch
        refused = await offered.deliver(self._hand_over)
        if not refused or offered.has_taken:
            return self._letters(batch, refused)
        detail = next(iter(refused.values()))
        self._refusals += 1
        if self._refusals >= LONELY_TRIES:
            is_taking = await self._takes_others(batch)
            if is_taking:  # attack: it was mended after it refused these: each is offered to what it is now
                offered.has_taken = True
                return self._letters(batch, await offered.deliver(self._hand_over))
            if is_taking is None and len(refused) == 1:
                return self._letters(batch, refused)
        self._offered = None  # what came in since may show whose fault it is
        raise NotDeliveredError(Fault.REFUSED, detail)

    async def _takes_others(self, batch: Batch) -> bool | None:
        """Find out whether the receiver takes a record beside a batch that it refuses: one that it has, else the next one.

        Attack: as many records in a row that it refuses as a batch holds, and nothing ever comes behind them.
        None where there is no other record.
        """
        extent = self._source.extent()
        if extent is None or extent.origin != batch.origin:
            return None
        letters = await self._threads(self._cursors.dead_letters)
        dead = {letter.index for letter in letters if letter.origin == batch.origin}
        before = range(batch.first - 1, max(extent.first, batch.first - _LOOKED_BACK) - 1, -1)
        index = next((index for index in before if index not in dead), batch.last + 1)
        if index >= extent.size:
            return None
        other = self._compose(batch.origin, index, await self._source.read(index, 1)).part(0, 1)
        try:
            await self._hand_over(other)
        except RefusedRecordsError:
            return False
        return True

    async def _hand_over(self, batch: Batch) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._sink.deliver(batch)
        except TimeoutError:
            raise NotDeliveredError(Fault.TIMED_OUT, f"after {self._timeout_s:g} s") from None

    def _letters(self, batch: Batch, refused: Mapping[int, str]) -> list[DeadLetter]:
        now = int(self._clock())
        return [
            DeadLetter(origin=batch.origin, index=index, time=now, detail=detail[:_LONGEST_DETAIL])
            for index, detail in sorted(refused.items())
        ]

    async def _advance(self, cursor: Cursor) -> None:
        await self._threads(partial(self._cursors.store, cursor))
        self._cursor = cursor

    async def _tell_of(self, dead: Sequence[DeadLetter]) -> None:
        detail = dead[0].detail
        _log.warning("sink.refused", sink=self.sink_name, stream=self.stream, records=len(dead), reason=detail)
        await self._standing.say(
            "audit.sink_failed",
            reason="dead_letter",
            severity=records.HIGH,
            detail=detail,
            more={"indexes": [letter.index for letter in dead[:_MOST_TOLD]], "count": len(dead)},
        )


def _is_notice(delivery: Delivery) -> bool:
    """Tell whether a record is about a sink: one about its refusal would be refused too, and so on without end."""
    unmapped = delivery.record.get("unmapped")
    gw = unmapped.get("gw") if isinstance(unmapped, dict) else None
    return isinstance(gw, dict) and gw.get("event") in _NOTICES
