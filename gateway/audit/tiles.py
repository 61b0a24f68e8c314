"""Merkle tiles as C2SP tlog-tiles cuts them: which there are, what they are called, what a proof finds in them.

A tile of level L holds up to 256 hashes, each the root of a perfect subtree of 256**L leaves. This
module knows names and widths, not files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gateway.audit.merkle import HASH_BYTES, ProofError, hash_children

HEIGHT = 8
"""Levels of the tree in one tile."""
WIDTH = 1 << HEIGHT
"""Hashes of a full tile."""
FULL_BYTES = WIDTH * HASH_BYTES
_GROUP = 1000


class TileError(ProofError):
    """A tile that a proof needs is not there, or is too short."""


class Tile(NamedTuple):
    """One tile of a tree."""

    level: int
    number: int
    width: int
    """Hashes in it: 256, or fewer at the right edge."""

    @property
    def path(self) -> str:
        """Where it stands: `tile/<L>/<N>[.p/<W>]`."""
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{encode_number(self.number)}{partial}"


def encode_number(number: int) -> str:
    """Write a number as tlog-tiles does: groups of three digits, all but the last with an x before them."""
    groups = [f"{number % _GROUP:03d}"]
    while number := number // _GROUP:
        groups.append(f"x{number % _GROUP:03d}")
    return "/".join(reversed(groups))


def tiles_of(size: int) -> Iterator[Tile]:
    """Yield every tile of a tree of `size` leaves, lowest level first."""
    level = 0
    while size:
        for number in range(size >> HEIGHT):
            yield Tile(level, number, WIDTH)
        if width := size % WIDTH:
            yield Tile(level, size >> HEIGHT, width)
        size >>= HEIGHT
        level += 1


def new_tiles(before: int, size: int) -> Iterator[Tile]:
    """Yield the tiles that a tree of `size` leaves has and one of `before` did not have, lowest level first."""
    level = 0
    while size:
        for number in range(before >> HEIGHT, size >> HEIGHT):
            yield Tile(level, number, WIDTH)
        if (width := size % WIDTH) and before != size:
            yield Tile(level, size >> HEIGHT, width)
        before >>= HEIGHT
        size >>= HEIGHT
        level += 1


class TileNodes:
    """The hash store of `proof`, in tiles; `read` returns the hashes of the tile at level and number, as many as there are."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read

    def node(self, level: int, index: int) -> bytes:
        """Return a node, from the tile that holds it or the hashes beneath it. Raises `TileError`."""
        tile_level, above = divmod(level, HEIGHT)
        first = index << above
        number, at = divmod(first, WIDTH)
        tile = self._read(tile_level, number)
        stop = at + (1 << above)
        if len(tile) < stop * HASH_BYTES:
            raise TileError(f"tile {tile_level}/{number} has {len(tile) // HASH_BYTES} hashes; {stop} are needed")
        hashes = [tile[i * HASH_BYTES : (i + 1) * HASH_BYTES] for i in range(at, stop)]
        while len(hashes) > 1:
            hashes = [hash_children(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
        return hashes[0]
