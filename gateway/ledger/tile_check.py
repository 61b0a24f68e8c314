"""Holds the hash tiles that lie beside a log against the tree heads that the log signed; needs no keys.

Tiles are derived: where they are gone, nothing is wrong and nothing is shown. Where they are there, each must
lead to a signed root, because proofs for others are made from them. A log file is judged without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from gateway.audit.finding import Finding, Kind
from gateway.audit.merkle import HASH_BYTES
from gateway.audit.proof import HashStore, tree_root
from gateway.audit.tiles import HEIGHT, WIDTH, Tile, TileError, TileNodes, tiles_of
from gateway.ledger.hashes import TileFiles

STATE_NAME = "state.json"


class JudgedTiles(msgspec.Struct, frozen=True):
    """What the tiles of a log are worth."""

    findings: tuple[Finding, ...]
    hashes: HashStore
    size: int
    """Entries of the largest signed tree that they hold; 0 = they hold none."""
    root: bytes
    """Which was signed."""


class KeptTiles(msgspec.Struct, frozen=True, kw_only=True):
    """What the custodian says that the tiles of a log hold. Only `judge_tiles` proves it."""

    origin: str
    size: int
    root: bytes
    durable: int
    durable_root: bytes
    first_tile: int

    @property
    def trees(self) -> tuple[tuple[int, bytes], ...]:
        """Size and root of each tree that the tiles are said to hold."""
        said = ((self.size, self.root), (self.durable, self.durable_root))
        return tuple((size, root) for size, root in said if size)


def read_kept(directory: Path) -> KeptTiles | Finding | None:
    """Read what the tiles are said to hold; None = nobody says. Read it before the log: a live log only grows."""
    try:
        data = (directory / STATE_NAME).read_bytes()
    except OSError:
        return None  # a copy has the tiles alone
    if not data.strip(b"\0"):
        return None  # a power failure left its name and no contents; the custodian makes it again
    try:
        return msgspec.json.decode(data, type=KeptTiles)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _changed_state(directory, "cannot be read")


def judge_tiles(
    directory: Path, origin: str, heads: Mapping[int, bytes], kept: KeptTiles | Finding | None, *, known: range
) -> JudgedTiles | None:
    """Hold tiles of a log against its signed sizes and roots; None = they are another log's.

    `known` are the sizes of which `heads` has each that the log signed.
    """
    findings = [kept] if isinstance(kept, Finding) else []
    said = {size for size, _ in kept.trees} if isinstance(kept, KeptTiles) else set()
    is_ours = not isinstance(kept, KeptTiles) or kept.origin == origin
    judged: JudgedTiles | None = None
    for size in sorted((size for size in heads if size), reverse=True):
        if judged is not None and size not in said:
            continue  # smaller trees are in the largest, but for the ends of one that is kept by itself
        files = TileFiles(directory, size)
        hashes = TileNodes(files.read)
        try:
            is_right = tree_root(hashes, size) == heads[size]
        except TileError:
            continue  # they follow the log at some distance
        if judged is None:
            if not (is_right or is_ours):
                return None  # of the log before this one: they are made again when the custodian starts
            findings += _changed(files, size, directory.name)
            judged = JudgedTiles((), hashes, size, heads[size])
        if not is_right and not findings:
            message = f"the hash tiles give another root for {size} entries than the signed one"
            findings.append(Finding(kind=Kind.BITFLIP, message=message, file=f"tiles/{directory.name}"))
    if isinstance(kept, KeptTiles) and (is_ours or judged is not None):
        findings += _contradicted(directory, origin, heads, kept, known)
    if judged is None:
        judged = JudgedTiles((), TileNodes(TileFiles(directory, 0).read), 0, b"")
    return msgspec.structs.replace(judged, findings=tuple(findings))


def _contradicted(
    directory: Path, origin: str, heads: Mapping[int, bytes], kept: KeptTiles, known: range
) -> Iterator[Finding]:
    """Compare what the tiles are said to hold with what was signed."""
    if kept.origin != origin:
        yield _changed_state(directory, f"names the log {kept.origin} for tiles that are of {origin}")
    for size, root in kept.trees:
        if size not in heads and size in known:
            yield _changed_state(directory, f"says {size} entries, where no tree head of the log stands")
        elif size in heads and heads[size] != root:
            yield _changed_state(directory, f"names another root for {size} entries than the signed one")


def _changed_state(directory: Path, what: str) -> Finding:
    return Finding(kind=Kind.BITFLIP, message=f"what is said of the hash tiles {what}", file=_named(directory))


def _named(directory: Path) -> str:
    return f"tiles/{directory.name}/{STATE_NAME}"


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
