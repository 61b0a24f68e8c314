from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.audit.checkpoint import Checkpoint, verify_checkpoint
from gateway.audit.merkle import HASH_BYTES, ProofError, verify_consistency, verify_inclusion
from gateway.audit.proof import prove_consistency, prove_inclusion, tree_root
from gateway.audit.tiles import TileError, TileNodes, tiles_of
from gateway.exchange.stream import Stream
from gateway.ledger.hashes import TileFiles, leaf_hashes, proven_hashes
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.spool import SpoolError

STREAM = Stream.ACCESS
SIZE = 700


class Site:
    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory / "state")
        self.keys = AuditKeys.generate(origin="gateway/node", created="2026-11-23T00:00:00Z", random=os.urandom)
        log = open_log(self.layout.state_dir, self.keys, STREAM, boot="b", capacity=1 << 18)
        log.append([(0, range(1, SIZE + 1), [b"%d" % i for i in range(SIZE)])], is_safe=True, now_ns=1)
        log.close()
        note = self.layout.checkpoint(STREAM).read_bytes()
        self.head = verify_checkpoint(note, self.keys.vkey(note.partition(b"\n")[0].decode()))

    @property
    def tiles(self) -> Path:
        return self.layout.tiles / STREAM

    def write_tiles(self, size: int) -> None:
        leaves = leaf_hashes(self.layout, self.keys, STREAM, SIZE)
        for tile in tiles_of(size):
            path = self.tiles / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            first = tile.number << 8
            path.write_bytes(b"".join(leaves.node(8 * tile.level, first + i) for i in range(tile.width)))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def check(site: Site, *, most_hashed: int | None = None) -> None:
    store = proven_hashes(site.layout, site.keys, STREAM, site.head, most_hashed=most_hashed)
    leaves = leaf_hashes(site.layout, site.keys, STREAM, SIZE)
    for index in (0, 255, 256, 511, 512, SIZE - 1):
        proof = prove_inclusion(store, index, SIZE)
        verify_inclusion(index, SIZE, leaves.node(0, index), proof, site.head.root)
    for first in (1, 255, 256, 300, 512, 699, SIZE):
        proof = prove_consistency(store, first, SIZE)
        verify_consistency(first, SIZE, tree_root(store, first), site.head.root, proof)


def test_proofs_come_from_the_tiles(site: Site) -> None:
    site.write_tiles(SIZE)
    check(site, most_hashed=0)


def test_without_tiles_the_entries_are_hashed_again(site: Site) -> None:
    seen: list[tuple[int, int]] = []
    proven_hashes(site.layout, site.keys, STREAM, site.head, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (SIZE, SIZE)
    check(site)


def test_no_more_entries_are_hashed_than_allowed(site: Site) -> None:
    with pytest.raises(ProofError, match=r"tile/1/000\.p/2 is not there"):
        proven_hashes(site.layout, site.keys, STREAM, site.head, most_hashed=SIZE - 1)
    check(site, most_hashed=SIZE)


def test_a_partial_tile_that_is_gone_is_the_beginning_of_a_wider_one(site: Site) -> None:
    site.write_tiles(SIZE)
    for size in (600, 520, 512, 300, 256, 100):
        store = TileNodes(TileFiles(site.tiles, size).read)
        assert len(tree_root(store, size)) == HASH_BYTES
        verify_consistency(
            size, SIZE, tree_root(store, size), site.head.root,
            prove_consistency(TileNodes(TileFiles(site.tiles, SIZE).read), size, SIZE),
        )  # fmt: skip


@pytest.mark.parametrize("name", ["tile/1/000.p/2", "tile/0/002.p/188"])
def test_tiles_that_were_changed_are_not_believed(site: Site, name: str) -> None:
    site.write_tiles(SIZE)
    path = site.tiles / name
    data = bytearray(path.read_bytes())
    data[33] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ProofError, match="another root"):
        proven_hashes(site.layout, site.keys, STREAM, site.head, most_hashed=0)
    check(site)


def test_a_head_that_the_entries_do_not_lead_to_proves_nothing(site: Site) -> None:
    forged = Checkpoint(site.head.origin, SIZE, b"r" * 32)
    with pytest.raises(ProofError, match="run gateway audit verify"):
        proven_hashes(site.layout, site.keys, STREAM, forged)
    with pytest.raises(SpoolError):
        proven_hashes(site.layout, site.keys, STREAM, Checkpoint(site.head.origin, SIZE + 1, site.head.root))


def test_a_tile_beyond_the_tree_is_not_read(site: Site) -> None:
    with pytest.raises(TileError, match="has no tile"):
        TileFiles(site.tiles, 10).read(0, 1)
