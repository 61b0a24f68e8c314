"""Holds the hash tiles that lie beside a log against the tree heads that the log signed; needs no keys.

Tiles are derived: where they are gone, nothing is wrong and nothing is shown. Where they are there, each must
lead to a signed root, because proofs for others are made from them. A log file is judged without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from gateway.audit.finding import Finding, Kind
from gateway.audit.merkle import HASH_BYTES
from gateway.audit.proof import HashStore, tree_root
from gateway.audit.tiles import HEIGHT, WIDTH, Tile, TileError, TileNodes, tiles_of
from gateway.ledger.hashes import TileFiles


class JudgedTiles(msgspec.Struct, frozen=True):
    """What the tiles of a log are worth."""

    findings: tuple[Finding, ...]
    hashes: HashStore
    size: int
    """Entries of the largest signed tree that they hold."""
    root: bytes
    """Which was signed."""


class _State(msgspec.Struct, frozen=True):
    """What is read of the state of the custodian's tiles."""

    origin: str


def judge_tiles(directory: Path, origin: str, heads: Sequence[tuple[int, bytes]]) -> JudgedTiles | None:
    """Hold tiles of a log against its signed sizes and roots; None = they hold none of these trees, or are another log's."""
    try:
        if msgspec.json.decode((directory / "state.json").read_bytes(), type=_State).origin != origin:
            return None  # of the log before this one: they are made again when the custodian starts
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        pass  # a copy has the tiles alone
    for size, root in sorted(set(heads), reverse=True):
        files = TileFiles(directory, size)
        hashes = TileNodes(files.read)
        try:
            found = tree_root(hashes, size) if size else b""
        except TileError:
            continue  # they follow the log at some distance
        if not size:
            break
        findings = tuple(_changed(files, size, directory.name))
        if found != root and not findings:
            message = f"the hash tiles give another root for {size} entries than the signed one"
            findings = (Finding(kind=Kind.BITFLIP, message=message, file=f"tiles/{directory.name}"),)
        return JudgedTiles(findings, hashes, size, root)
    return None


def _changed(files: TileFiles, size: int, stream: str) -> Iterator[Finding]:
    """Compare each full tile with its hash in the tile above it."""
    for tile in tiles_of(size):
        if tile.width < WIDTH:
            continue
        above, at = divmod(tile.number, WIDTH)
        try:
            hashes = files.read(tile.level, tile.number)
            parent = files.read(tile.level + 1, above)[at * HASH_BYTES : (at + 1) * HASH_BYTES]
        except TileError:
            continue  # pruned with its entries, or lost
        if _root_of(hashes) != parent:
            span = WIDTH << HEIGHT * tile.level
            yield Finding(
                kind=Kind.BITFLIP,
                message="the hashes in this tile are not those that the tile above it was made from",
                file=f"tiles/{stream}/{Tile(tile.level, tile.number, WIDTH).path}",
                first_index=tile.number * span,
                last_index=(tile.number + 1) * span - 1,
            )


def _root_of(tile: bytes) -> bytes:
    hashes = [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return hashes[0]
