"""Writes a stream as a directory that any C2SP tlog-tiles monitor reads: checkpoint, hash tiles, entry bundles.

The entries are the leaves as they were hashed, so that nothing of ours is needed to check them; what is
sealed for a person stays sealed. It reads the log and never judges it: whoever receives it does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from gateway.audit.checkpoint import Checkpoint, verify_checkpoint
from gateway.audit.merkle import ProofError, hash_leaf
from gateway.audit.proof import HashStore
from gateway.audit.tiles import HEIGHT, WIDTH, encode_number, tiles_of
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from gateway.ledger.hashes import proven_hashes
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.spool import PrunedError, SpoolReader

CHECKPOINT: Final = "checkpoint"
COSIGNED: Final = "checkpoint.cosigned"
"""The last one that the witnesses cosigned, where it is not the newest."""
_LENGTH_BYTES: Final = 2


class TilesWritten(msgspec.Struct, frozen=True):
    """What was written of a stream."""

    stream: Stream
    origin: str
    size: int
    first: int
    """The oldest entry that is in a bundle; older ones were pruned."""
    cosigned: int
    """How many entries the cosigned checkpoint covers; 0 = there is none."""


def write_tlog_tiles(
    layout: Layout,
    keys: AuditKeys,
    stream: Stream,
    directory: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> TilesWritten | None:
    """Write a stream into a new directory; None = it has not begun.

    Raises `AuditUnavailableError`: the directory cannot be written; `ProofError`, `SpoolError`, `CheckpointError`.
    """
    try:
        note = layout.checkpoint(stream).read_bytes()
    except FileNotFoundError:
        return None
    checkpoint = _verified(note, keys)
    hashes = proven_hashes(layout, keys, stream, checkpoint)
    try:
        directory.mkdir(parents=True)
        first = _write_bundles(
            layout, keys, stream, size=checkpoint.size, directory=directory, hashes=hashes, progress=progress
        )
        for tile in tiles_of(checkpoint.size):
            if (tile.number + 1) << HEIGHT * (tile.level + 1) > first:
                base = tile.number << HEIGHT
                nodes = (hashes.node(HEIGHT * tile.level, base + i) for i in range(tile.width))
                _write(directory / tile.path, b"".join(nodes))
        cosigned, cosigned_size = _cosigned(layout, keys, stream, checkpoint)
        if cosigned_size == checkpoint.size:
            note = cosigned
        elif cosigned:
            _write(directory / COSIGNED, cosigned)
        _write(directory / CHECKPOINT, note)  # last: a directory without it is not finished
    except OSError as exc:
        raise AuditUnavailableError(
            f"{exc.filename or directory}: cannot be written: {os.strerror(exc.errno or 0).lower()}"
        ) from exc
    return TilesWritten(stream, checkpoint.origin, checkpoint.size, first, cosigned_size)


def _verified(note: bytes, keys: AuditKeys) -> Checkpoint:
    return verify_checkpoint(note, keys.vkey(note.partition(b"\n")[0].decode("utf-8", "replace")))


def _cosigned(layout: Layout, keys: AuditKeys, stream: Stream, newest: Checkpoint) -> tuple[bytes, int]:
    try:
        note = layout.cosigned(stream).read_bytes()
    except FileNotFoundError:
        return b"", 0
    checkpoint = _verified(note, keys)
    if checkpoint.origin != newest.origin or checkpoint.size > newest.size:
        raise ProofError(f"{stream}: what witnesses cosigned is not in the log; run gateway audit verify")
    return note, checkpoint.size


def _write_bundles(
    layout: Layout,
    keys: AuditKeys,
    stream: Stream,
    *,
    size: int,
    directory: Path,
    hashes: HashStore,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Write every bundle whose entries are all kept; returns the first entry that is in one."""
    first = at = _oldest(layout, keys, stream, size)
    reader = SpoolReader(layout.directory, keys, stream, first)
    try:
        while at < size:
            bundle = _take(reader, min(WIDTH, size - at), size)
            for i, entry in enumerate(bundle):
                if hash_leaf(entry) != hashes.node(0, at + i):
                    raise ProofError(f"entry {at + i} of {stream} is not the one that was signed")
            partial = "" if len(bundle) == WIDTH else f".p/{len(bundle)}"
            data = b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in bundle)
            _write(directory / "tile" / "entries" / f"{encode_number(at >> HEIGHT)}{partial}", data)
            at += len(bundle)
            if progress is not None:
                progress(at, size)
    finally:
        reader.close()
    return first


def _oldest(layout: Layout, keys: AuditKeys, stream: Stream, size: int) -> int:
    """Return where the first bundle begins that is kept as a whole (tlog-tiles, Pruning)."""
    if not size:
        return 0
    reader = SpoolReader(layout.directory, keys, stream, 0)
    try:
        reader.read(1, size)
    except PrunedError as exc:
        return min(size, -(-exc.first // WIDTH) * WIDTH)
    finally:
        reader.close()
    return 0


def _take(reader: SpoolReader, count: int, size: int) -> list[bytes]:
    """Return exactly `count` entries. Raises `PrunedError`, `SpoolError`, `ProofError`."""
    found: list[bytes] = []
    while len(found) < count:
        more = reader.read(count - len(found), size)
        if not more:
            raise ProofError("the log is shorter than its checkpoint says; run gateway audit verify")
        found += more
    return found


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
