"""Names, widths and contents of tiles, against the specification's own numbers and a tree in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.merkle import Tree, hash_leaf, verify_consistency, verify_inclusion
from gateway.audit.proof import LeafHashes, prove_consistency, prove_inclusion
from gateway.audit.tiles import WIDTH, Tile, TileError, TileNodes, encode_number, new_tiles, tiles_of


def tile_set(leaves: list[bytes]) -> dict[tuple[int, int], bytes]:
    store = LeafHashes(leaves)
    return {
        (tile.level, tile.number): b"".join(
            store.node(8 * tile.level, tile.number * WIDTH + i) for i in range(tile.width)
        )
        for tile in tiles_of(len(leaves))
    }


def test_a_tree_of_seventy_thousand_has_the_tiles_that_the_specification_lists() -> None:
    tiles = list(tiles_of(70_000))
    widths = {level: [tile.width for tile in tiles if tile.level == level] for level in (0, 1, 2)}
    assert widths[0] == [256] * 273 + [112]
    assert widths[1] == [256, 17]
    assert widths[2] == [1]
    assert {tile.level for tile in tiles} == {0, 1, 2}


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "000"), (67, "067"), (999, "999"), (1000, "x001/000"), (1_234_067, "x001/x234/067")],
)
def test_a_number_is_written_in_groups_of_three(number: int, text: str) -> None:
    assert encode_number(number) == text


def test_a_partial_tile_says_its_width_in_its_name() -> None:
    assert Tile(0, 273, 112).path == "tile/0/273.p/112"
    assert Tile(1, 0, 256).path == "tile/1/000"


@given(st.integers(0, 200_000), st.integers(0, 70_000))
def test_new_tiles_are_those_that_the_smaller_tree_lacks(before: int, more: int) -> None:
    size = before + more
    assert set(new_tiles(before, size)) == set(tiles_of(size)) - set(tiles_of(before))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_proofs_from_tiles_verify(size: int) -> None:
    leaves = [hash_leaf(b"%d" % i) for i in range(size)]
    tree = Tree()
    tree.extend(leaves)
    tiles = tile_set(leaves)
    store = TileNodes(lambda level, number: tiles[level, number])
    for index in {0, size // 2, size - 1}:
        verify_inclusion(index, size, leaves[index], prove_inclusion(store, index, size), tree.root())
    first = max(1, size // 3)
    smaller = Tree()
    smaller.extend(leaves[:first])
    verify_consistency(first, size, smaller.root(), tree.root(), prove_consistency(store, first, size))


def test_a_tile_that_is_too_short_is_an_error_and_no_wrong_hash() -> None:
    store = TileNodes(lambda _level, _number: bytes(32) * 3)
    with pytest.raises(TileError, match="3 hashes; 4 are needed"):
        store.node(0, 3)
    with pytest.raises(TileError, match="4 are needed"):
        store.node(2, 0)
