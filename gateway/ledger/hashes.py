"""The hashes that proofs about a stream are made from: its tiles, or its entries hashed again.

Decides where they come from, and believes neither: hashes that do not lead to the root that was
signed prove nothing and are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import HASH_BYTES, ProofError, hash_leaf
from gateway.audit.proof import HashStore, LeafHashes, tree_root
from gateway.audit.tiles import HEIGHT, WIDTH, Tile, TileError, TileNodes
from gateway.exchange.stream import Stream
from gateway.ledger.layout import Layout
from gateway.ledger.spool import Opener, PrunedError, SpoolReader

_BATCH: Final = 4096
_KEPT_TILES: Final = 4096
"""32 MiB; a proof needs a few tiles of each level."""


class TileFiles:
    """The tiles of a directory as they are for a tree of `size` leaves."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size
        self._read: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, number: int) -> bytes:
        """Return the hashes of a tile, as many as the tree of this size has. Raises `TileError`.

        A partial tile that is gone is the beginning of the full one, or of a wider one (C2SP tlog-tiles).
        """
        found = self._read.get((level, number))
        if found is None:
            found = self._load(level, number)
            if len(self._read) >= _KEPT_TILES:
                self._read.pop(next(iter(self._read)))
            self._read[level, number] = found
        return found

    def _load(self, level: int, number: int) -> bytes:
        width = min(WIDTH, (self._size >> HEIGHT * level) - (number << HEIGHT))
        if width <= 0:
            raise TileError(f"the tree of {self._size} leaves has no tile {level}/{number}")
        for candidate in (width, WIDTH):
            data = _bytes_of(self._directory / Tile(level, number, candidate).path)
            if len(data) >= width * HASH_BYTES:
                return data[: width * HASH_BYTES]
        partial = (self._directory / Tile(level, number, WIDTH).path).with_suffix(".p")
        try:
            wider = sorted(int(path.name) for path in partial.iterdir() if path.name.isdecimal())
        except OSError:
            wider = []
        for candidate in (found for found in wider if found > width):
            data = _bytes_of(partial / str(candidate))
            if len(data) >= width * HASH_BYTES:
                return data[: width * HASH_BYTES]
        raise TileError(f"the tile {Tile(level, number, width).path} is not there")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def proven_hashes(
    layout: Layout,
    keys: Opener,
    stream: Stream,
    checkpoint: Checkpoint,
    *,
    progress: Callable[[int, int], None] | None = None,
    most_hashed: int | None = None,
) -> HashStore:
    """Return hashes that lead to the root of a checkpoint: from the tiles, where they do not from the entries.

    `progress` is told entries done and entries in all; no more than `most_hashed` entries are hashed again.
    Raises `ProofError`: neither leads there; `SpoolError`.
    """
    tiles = TileNodes(TileFiles(layout.tiles / stream, checkpoint.size).read)
    why = "the tiles give another root than the signed one"
    try:
        if tree_root(tiles, checkpoint.size) == checkpoint.root:
            return tiles
    except TileError as error:
        why = str(error)
    if most_hashed is not None and checkpoint.size > most_hashed:
        raise ProofError(f"{stream}: {why}")
    leaves = leaf_hashes(layout, keys, stream, checkpoint.size, progress=progress)
    if tree_root(leaves, checkpoint.size) != checkpoint.root:
        raise ProofError(f"the entries of {stream} do not give the root that was signed; run gateway audit verify")
    return leaves


def leaf_hashes(
    layout: Layout,
    keys: Opener,
    stream: Stream,
    size: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> LeafHashes:
    """Hash the first `size` entries of a stream again. Raises `ProofError`, `SpoolError`."""
    reader = SpoolReader(layout.directory, keys, stream, 0)
    hashes: list[bytes] = []
    try:
        while len(hashes) < size:
            found = reader.read(_BATCH, size)
            if not found:
                raise ProofError(f"entry {len(hashes)} of {stream} is not there")
            hashes += map(hash_leaf, found)
            if progress is not None:
                progress(len(hashes), size)
    except PrunedError as exc:
        raise ProofError(f"{exc}, and the tiles that would prove the rest are not there") from exc
    finally:
        reader.close()
    return LeafHashes(hashes)
