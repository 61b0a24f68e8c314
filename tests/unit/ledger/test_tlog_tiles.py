from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.audit.checkpoint import split_note, verify_checkpoint
from gateway.audit.cosignature import Cosigner, cosignatures
from gateway.audit.merkle import ProofError, Tree, hash_leaf
from gateway.audit.tiles import tiles_of
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.tlog_tiles import write_tlog_tiles

STREAM = Stream.ACCESS
WITNESS = Cosigner("witness.example/w1", 4, b"w" * 32)


class Site:
    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory / "state")
        self.keys = AuditKeys.generate(origin="gateway/node", created="2026-11-23T00:00:00Z", random=os.urandom)
        self.size = 0
        self.out = directory / "out"

    def append(self, count: int) -> None:
        log = open_log(self.layout.state_dir, self.keys, STREAM, boot="b", capacity=1 << 18)
        rows = [b"%d" % (self.size + i) for i in range(count)]
        log.append([(0, range(self.size + 1, self.size + count + 1), rows)], is_safe=True, now_ns=1)
        log.close()
        self.size += count

    def cosign(self) -> None:
        note = self.layout.checkpoint(STREAM).read_bytes()
        path = self.layout.cosigned(STREAM)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(note + WITNESS.cosign(split_note(note)[0], 1000))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def leaves_of(directory: Path) -> list[bytes]:
    """Read every bundle back as the specification cuts it."""
    paths = sorted(path for path in (directory / "tile" / "entries").rglob("*") if path.is_file())
    found: list[bytes] = []
    for path in paths:
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
    return found


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_a_stream_is_written_as_the_specification_lays_it_out(site: Site, size: int) -> None:
    site.append(size)
    written = write_tlog_tiles(site.layout, site.keys, STREAM, site.out)
    assert written is not None
    assert (written.size, written.first, written.cosigned) == (size, 0, 0)
    head = verify_checkpoint((site.out / "checkpoint").read_bytes(), site.keys.vkey(written.origin))
    leaves = leaves_of(site.out)
    tree = Tree()
    tree.extend([hash_leaf(leaf) for leaf in leaves])
    assert (tree.size, tree.root()) == (size, head.root)
    names = {str(path.relative_to(site.out)) for path in site.out.rglob("*") if path.is_file()}
    bundles = {tile.path.replace("tile/0/", "tile/entries/") for tile in tiles_of(size) if tile.level == 0}
    assert names == {"checkpoint"} | {tile.path for tile in tiles_of(size)} | bundles


def test_the_checkpoint_carries_the_cosignatures_when_they_are_of_the_same_size(site: Site) -> None:
    site.append(10)
    site.cosign()
    written = write_tlog_tiles(site.layout, site.keys, STREAM, site.out)
    assert written is not None
    assert written.cosigned == 10
    assert len(cosignatures((site.out / "checkpoint").read_bytes(), [WITNESS.key])) == 1


def test_an_older_cosigned_checkpoint_stands_beside_the_newest(site: Site) -> None:
    site.append(10)
    site.cosign()
    site.append(5)
    written = write_tlog_tiles(site.layout, site.keys, STREAM, site.out)
    assert written is not None
    assert (written.size, written.cosigned) == (15, 10)
    assert cosignatures((site.out / "checkpoint").read_bytes(), [WITNESS.key]) == []
    assert len(cosignatures((site.out / "checkpoint.cosigned").read_bytes(), [WITNESS.key])) == 1


def test_what_witnesses_cosigned_and_the_log_does_not_hold_is_not_passed_over(site: Site) -> None:
    site.append(10)
    site.cosign()
    cosigned = site.layout.cosigned(STREAM).read_bytes()
    other = Site(site.out.parent / "other")
    other.keys = site.keys
    other.append(3)
    other.layout.cosigned(STREAM).parent.mkdir()
    other.layout.cosigned(STREAM).write_bytes(cosigned)
    with pytest.raises(ProofError, match="run gateway audit verify"):
        write_tlog_tiles(other.layout, other.keys, STREAM, other.out)


def test_a_stream_that_has_not_begun_is_nothing(site: Site) -> None:
    assert write_tlog_tiles(site.layout, site.keys, STREAM, site.out) is None
    assert not site.out.exists()


def test_nothing_is_written_over(site: Site) -> None:
    site.append(3)
    site.out.mkdir()
    with pytest.raises(AuditUnavailableError, match=r"out: cannot be written: file exists"):
        write_tlog_tiles(site.layout, site.keys, STREAM, site.out)


def test_a_directory_without_a_checkpoint_was_not_finished(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.append(3)

    def fail(_path: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(AuditUnavailableError, match="no space left"):
        write_tlog_tiles(site.layout, site.keys, STREAM, site.out)
    assert not (site.out / "checkpoint").exists()
