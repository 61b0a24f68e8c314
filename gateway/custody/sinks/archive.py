"""Puts sealed segments, and a checkpoint a minute, into an object store that nobody can change.

Beside the records: a segment proves them without this node, and a checkpoint that was put before and says
something else shows that the log has two histories. It deletes nothing and decides nothing about retention.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import structlog

from gateway.audit.segment import Segment, SegmentError, parse_segment
from gateway.custody.sinks.cursor import Cursor, CursorError, CursorFile
from gateway.custody.sinks.shipping import Source, Threads
from gateway.custody.sinks.sink import Fault, NotDeliveredError
from gateway.custody.sinks.standing import Recorder, Retry, ShippingMetrics, Standing
from gateway.custody.tail import Extent
from gateway.exchange.errors import GatewayError
from gateway.exchange.stream import Stream
from gateway.ledger.layout import parse_name
from gateway.ledger.spool import numbers

CHECKPOINT_EVERY_S: Final = 60.0
_LOOK_S: Final = 2.0
_DIGITS: Final = 20
_SIGNED_LINES: Final = 3
"""Origin, size and root of a checkpoint (C2SP tlog-checkpoint)."""
_log = structlog.get_logger("gateway.audit")


def archive_cursor(directory: Path, sink: str, stream: Stream) -> CursorFile:
    """Return the cursor that counts files and not records: the first that is not in the store yet."""
    return CursorFile(directory, sink, f"{stream}.archive")


class Store(Protocol):
    """Where objects go."""

    async def put(self, name: str, body: bytes, *, content_type: str, newest_ns: int) -> bool:
        """Put an object that nobody has put before; False when one of that name is there. Raises NotDeliveredError."""
        ...

    async def fetch(self, name: str) -> bytes:
        """Return an object. Raises NotDeliveredError."""
        ...


class ArchiveDuty:
    """One store and one stream."""

    def __init__(
        self,
        store: Store,
        source: Source,
        segments: Path,
        cursors: CursorFile,
        *,
        stream: Stream,
        retry: Retry,
        recorder: Recorder,
        threads: Threads,
        metrics: ShippingMetrics,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.name = f"archive {cursors.sink} {stream}"
        self._store = store
        self._source = source
        self._segments = segments
        self._cursors = cursors
        self._stream = stream
        self._labels = (cursors.sink, stream.value)
        self._metrics = metrics
        self._threads = threads
        self._clock = clock
        self._standing = Standing(
            cursors.sink, stream, retry=retry, recorder=recorder, metrics=metrics, clock=clock, random=random
        )
        self._put_at = 0.0
        self._put_size = 0
        self._origin = ""
        self._ahead: set[int] = set()
        """Files that were put; the cursor waits for the first that is not sealed yet, so that none is passed over."""

    async def run(self) -> None:
        """Archive for ever."""
        while True:
            try:
                await self.step()
            except NotDeliveredError as error:
                await self._standing.failed(error)
            except CursorError as error:
                await self._standing.failed(NotDeliveredError(Fault.DISK, str(error)))
            except GatewayError as error:
                await self._standing.failed(NotDeliveredError(Fault.LOG, str(error)))
            else:
                await asyncio.sleep(_LOOK_S)

    async def step(self) -> None:
        """Put everything that is not there yet. Raises NotDeliveredError, errors of the log."""
        extent = self._source.extent()
        if extent is None:
            return
        cursor = await self._threads(self._cursors.load)
        if cursor is not None and cursor.origin != extent.origin:
            await self._standing.restarted(cursor.origin, extent.origin, files_before=cursor.next_index - 1)
            cursor = Cursor(origin=extent.origin, next_index=1)
            await self._threads(partial(self._cursors.store, cursor))
        await self._put_checkpoint(extent)
        start = 1 if cursor is None else cursor.next_index
        if self._origin != extent.origin:
            self._origin, self._ahead = extent.origin, set()
        for number, path in await self._threads(partial(self._closed, start)):
            if number in self._ahead:
                continue
            await self._put_segment(path)
            self._ahead.add(number)
            start = await self._threads(partial(self._next, start))
            await self._threads(partial(self._cursors.store, Cursor(origin=extent.origin, next_index=start)))
            await self._standing.well()

    def measure(self) -> None:
        """Nothing of its own."""

    async def _put_checkpoint(self, extent: Extent) -> None:
        now = self._clock()
        if extent.size == self._put_size or (self._put_size and 0 <= now - self._put_at < CHECKPOINT_EVERY_S):
            return
        name = f"checkpoints/{extent.origin}/{extent.size:0{_DIGITS}d}"
        if not await self._store.put(name, extent.note, content_type="text/plain", newest_ns=int(now * 1e9)):
            there = await self._store.fetch(name)
            if _signed(there) != _signed(extent.note):
                raise NotDeliveredError(Fault.CONFLICT, f"{name} has another root: the log has two histories")
        else:
            self._metrics.archived.inc(self._labels)
        self._put_at, self._put_size = now, extent.size
        await self._standing.well()

    async def _put_segment(self, path: Path) -> None:
        data = await self._threads(path.read_bytes)
        segment: Segment = await self._threads(partial(_parse, data, path))
        first, last = segment.head.first_index, segment.next_index - 1
        name = f"segments/{segment.head.origin}/{first:0{_DIGITS}d}-{last:0{_DIGITS}d}-{segment.sha256.hex()}.seg"
        newest_ns = segment.last_ns or segment.head.created_ns
        if await self._store.put(name, data, content_type="application/octet-stream", newest_ns=newest_ns):
            self._metrics.archived.inc(self._labels)
            _log.info("sink.archived", sink=self._labels[0], stream=self._labels[1], segment=path.name)

    def _closed(self, start: int) -> list[tuple[int, Path]]:
        """List the segments from a number on."""
        found = []
        with suppress(FileNotFoundError):
            for path in self._segments.iterdir():
                name = parse_name(path.name)
                if name is not None and name.is_sealed and name.stream is self._stream and name.number >= start:
                    found.append((name.number, path))
        return sorted(found)

    def _next(self, start: int) -> int:
        """Return the first number from one on that was not put: of a file that is there, else after all that were put."""
        known = numbers(self._segments, self._stream)
        return min((n for n in known if n >= start and n not in self._ahead), default=max(self._ahead) + 1)


def _parse(data: bytes, path: Path) -> Segment:
    try:
        return parse_segment(data)
    except SegmentError as exc:
        raise NotDeliveredError(Fault.LOG, f"{path.name}: {exc}") from exc


def _signed(note: bytes) -> list[bytes]:
    return note.split(b"\n")[:_SIGNED_LINES]
