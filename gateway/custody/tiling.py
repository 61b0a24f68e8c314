"""Keeps the hashes of each tree as tiles, so that proofs cost a few small files and not the whole log.

What is written is compared with the signed root each time: tiles that lead elsewhere are made again from
the entries. Tiles are not synced one by one; a state that survived on disk is kept until the next has.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.audit.checkpoint import parse_checkpoint, split_note
from gateway.audit.merkle import HASH_BYTES, Tree, hash_children, hash_leaf
from gateway.audit.proof import tree_root
from gateway.audit.tiles import FULL_BYTES, HEIGHT, WIDTH, Tile, TileError, TileNodes
from gateway.custody.station import Station
from gateway.custody.tail import Extent, Tail
from gateway.custody.threads import in_thread
from gateway.exchange.errors import GatewayError
from gateway.ledger.disk import sync_directory
from gateway.ledger.hashes import TileFiles
from gateway.ledger.layout import UNFINISHED_SUFFIX

PAUSE_S: Final = 0.2
DURABLE_S: Final = 600.0
"""So many seconds of hashes are made again after a power failure."""
_AT_ONCE: Final = 2048
_STATE_NAME: Final = "state.json"
_log = structlog.get_logger("gateway.audit")


class TilesError(GatewayError):
    """The tiles do not lead to the signed root and cannot be made again."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How many leaves the tiles hold."""

    origin: str
    size: int
    root: bytes
    durable: int = 0
    """How many of them were synced to the disk."""
    durable_root: bytes = b""
    first_tile: int = 0
    """Tiles of level 0 before this one were pruned with their entries."""


class TileWriter:
    """The tiles of one stream. Blocking, not thread-safe."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state: State | None = None
        self._tree = Tree()
        self._rows: list[bytearray] = []
        """The partial tile of each level."""

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._tree.size

    def resume(self, extent: Extent) -> None:
        """Go on where the tiles on disk lead to the root that they should have. Raises `TilesError`, `OSError`."""
        state = self._load()
        if state is not None and state.origin == extent.origin:
            for size, root in ((state.size, state.root), (state.durable, state.durable_root)):
                if size and size <= extent.size and self._leads_to(size, root):
                    self._take_over(size)
                    self.state = msgspec.structs.replace(state, size=size, root=root)
                    return
        if extent.first:
            raise TilesError(
                f"{self.directory}: the tiles do not hold the log's tree, and entries before {extent.first} are pruned; "
                "restore the directory from the backup"
            )
        if self.directory.exists():
            shutil.rmtree(self.directory)
        self.directory.mkdir(mode=0o700, parents=True)
        self._tree, self._rows, self.state = Tree(), [], None

    def append(self, entries: Sequence[bytes]) -> None:
        """Add entries, and write the tiles that they fill. Raises `OSError`."""
        leaves = [hash_leaf(entry) for entry in entries]
        self._tree.extend(leaves)
        before = self._tree.size - len(leaves)
        self._add(0, before, b"".join(leaves))

    def _add(self, level: int, before: int, hashes: bytes) -> None:
        """Add hashes to a level that has `before`, and the roots of the tiles that they fill to the level above."""
        if level == len(self._rows):
            self._rows.append(bytearray())
        row = self._rows[level]
        row += hashes
        number = before // WIDTH
        roots: list[bytes] = []
        while len(row) >= FULL_BYTES:
            full = bytes(row[:FULL_BYTES])
            del row[:FULL_BYTES]
            self._write(Tile(level, number, WIDTH), full)
            shutil.rmtree(self._path(Tile(level, number, 1)).parent, ignore_errors=True)
            roots.append(_root_of(full))
            number += 1
        if roots:
            self._add(level + 1, before // WIDTH, b"".join(roots))

    def publish(self, origin: str, root: bytes, *, sync: bool) -> None:
        """Write the partial tiles and how many leaves there are now. Raises `TilesError` for another root, `OSError`."""
        size = self._tree.size
        if self._tree.root() != root:
            raise TilesError(f"{self.directory}: the entries of the log do not lead to the root that was signed")
        old = self.state
        for level, row in enumerate(self._rows):
            if row:
                tile = Tile(level, (size >> HEIGHT * level) // WIDTH, len(row) // HASH_BYTES)
                self._write(tile, bytes(row))
        if sync:
            self._sync(size)
        self.state = State(
            origin=origin,
            size=size,
            root=root,
            durable=size if sync else (old.durable if old else 0),
            durable_root=root if sync else (old.durable_root if old else b""),
            first_tile=old.first_tile if old else 0,
        )
        self._save(self.state, sync=sync)
        if old is not None:
            self._forget(old, self.state)

    def prune(self, first: int) -> None:
        """Remove the tiles of leaves before `first`; hashes above them stay, and prove what is left. Raises `OSError`."""
        state = self.state
        if state is None:
            return
        for number in range(state.first_tile, first // WIDTH):
            self._path(Tile(0, number, WIDTH)).unlink(missing_ok=True)
        self.state = msgspec.structs.replace(state, first_tile=max(state.first_tile, first // WIDTH))
        self._save(self.state, sync=False)

    # files

    def _path(self, tile: Tile) -> Path:
        return self.directory / tile.path

    def _write(self, tile: Tile, hashes: bytes) -> None:
        path = self._path(tile)
        # beside it: Landlock lets nothing change directories
        unfinished = path.with_name(path.name + UNFINISHED_SUFFIX)
        try:
            unfinished.write_bytes(hashes)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True)
            unfinished.write_bytes(hashes)
        unfinished.rename(path)

    def _sync(self, size: int) -> None:
        """Make the tiles durable that were written since this was done last."""
        known = self.state.durable if self.state else 0
        directories = set()
        for tile in _changed(known, size):
            path = self._path(tile)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            while path != self.directory:
                path = path.parent
                directories.add(path)
        for directory in directories:
            sync_directory(directory)

    def _forget(self, old: State, new: State) -> None:
        """Remove partial tiles that neither the new state nor the durable one needs."""
        needed = {tile.path for size in (new.size, new.durable) for tile in _partial(size)}
        for size in {old.size, old.durable}:
            for tile in _partial(size):
                if tile.path not in needed:
                    self._path(tile).unlink(missing_ok=True)

    def _leads_to(self, size: int, root: bytes) -> bool:
        try:
            return tree_root(self._nodes(size), size) == root
        except TileError:
            return False

    def _nodes(self, size: int) -> TileNodes:
        return TileNodes(TileFiles(self.directory, size).read)

    def _take_over(self, size: int) -> None:
        nodes = self._nodes(size)
        frontier: list[bytes] = []
        at = 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                frontier.append(nodes.node(level, at >> level))
                at += 1 << level
        self._tree = Tree(size, frontier)
        files = TileFiles(self.directory, size)
        self._rows = []
        while size:
            width = size % WIDTH
            self._rows.append(bytearray(files.read(len(self._rows), size // WIDTH) if width else b""))
            size //= WIDTH

    def _load(self) -> State | None:
        try:
            return msgspec.json.decode((self.directory / _STATE_NAME).read_bytes(), type=State)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _save(self, state: State, *, sync: bool) -> None:
        path = self.directory / _STATE_NAME
        unfinished = path.with_name(path.name + UNFINISHED_SUFFIX)
        with unfinished.open("wb") as file:
            file.write(msgspec.json.encode(state))
            if sync:
                file.flush()
                os.fsync(file.fileno())
        unfinished.rename(path)
        if sync:
            sync_directory(self.directory)


def _root_of(tile: bytes) -> bytes:
    hashes = [tile[i : i + HASH_BYTES] for i in range(0, len(tile), HASH_BYTES)]
    while len(hashes) > 1:
        hashes = [hash_children(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def _changed(before: int, size: int) -> Iterator[Tile]:
    """Yield the tiles of `size` leaves that `before` leaves did not have in full."""
    level = 0
    while size:
        for number in range(before // WIDTH, size // WIDTH):
            yield Tile(level, number, WIDTH)
        if width := size % WIDTH:
            yield Tile(level, size // WIDTH, width)
        before, size, level = before // WIDTH, size // WIDTH, level + 1


def _partial(size: int) -> Iterator[Tile]:
    level = 0
    while size:
        if width := size % WIDTH:
            yield Tile(level, size // WIDTH, width)
        size, level = size // WIDTH, level + 1


class TilingDuty:
    """Keeps the tiles of one stream as large as its last checkpoint."""

    def __init__(self, station: Station, tail: Tail, gauges: TilingGauges) -> None:
        self.name = f"tiles-{tail.stream}"
        self.writer = TileWriter(station.layout.tiles / tail.stream)
        self._tail = tail
        self._gauges = gauges
        self._turn = asyncio.Lock()
        self._is_ready = False
        self._synced_at = 0.0

    async def run(self) -> None:
        """Follow the stream for ever. Raises `TilesError`, `SpoolError`, `OSError`."""
        self._is_ready = False
        while True:
            await self._tail.grown(self.writer.size if self._is_ready else -1)
            async with self._turn:
                await self._grow()
            await asyncio.sleep(PAUSE_S)

    def measure(self) -> None:
        """Bring the gauge up to date."""
        extent = self._tail.extent()
        behind = extent.size - self.writer.size if extent is not None else 0
        self._gauges.lag.set(max(0, behind), (self._tail.stream.value,))

    async def prune(self, first: int) -> None:
        """Sync what proves the rest, then remove the hashes of entries before `first`. Raises `TilesError`, `OSError`."""
        async with self._turn:
            await self._grow(sync=True)
            if self.writer.size < first:
                raise TilesError(f"the tiles of {self._tail.stream} hold {self.writer.size} hashes, not {first}")
            await in_thread(self.writer.prune, first)

    async def _grow(self, *, sync: bool = False) -> None:
        extent = self._tail.extent()
        if extent is None:
            return
        if not self._is_ready:
            await in_thread(self.writer.resume, extent)
            self._is_ready = True
        try:
            while self.writer.size < extent.size:
                found = await self._tail.read(self.writer.size, min(_AT_ONCE, extent.size - self.writer.size))
                await in_thread(self.writer.append, found)
            root = parse_checkpoint(split_note(extent.note)[0]).root
            sync = sync or time.monotonic() - self._synced_at > DURABLE_S
            await in_thread(lambda: self.writer.publish(extent.origin, root, sync=sync))
        except BaseException:
            self._is_ready = False  # what is on disk counts
            raise
        if sync:
            self._synced_at = time.monotonic()


class TilingGauges:
    """What is measured about tiles, for all streams."""

    def __init__(self, station: Station) -> None:
        """Declare the metrics."""
        self.lag = station.metrics.gauge(
            "gateway_audit_tile_lag_entries", "Entries whose hashes are not in the tiles yet.", ("stream",)
        )
