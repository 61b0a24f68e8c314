"""Small files that are replaced as a whole, and can be replaced again when there is no room."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from gateway.ledger.spare import SPARE_SUFFIX, replace_file
from tests.mounts import run_apart
from tests.unit.ledger.full_disk import CHANGES


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_on_a_full_disk_what_was_written_before_is_written_again_and_again(tmp_path: Path, kind: str) -> None:
    """T-41: cursors, holds, rules and journal; what has no room yet says so."""
    told = json.loads(run_apart("tests.unit.ledger.full_disk", tmp_path / "small", kind, is_root=kind == "ext4"))
    newest = 2 + CHANGES
    assert told["cursors"] == [newest, newest]
    assert told["previous"] == newest - 1
    assert told["journal"] == str(newest)
    assert told["rules"]
    assert told["holds"] == ["2026/17", "2026/18"]
    assert told["refusal"].endswith("no space left on device")


def test_the_file_is_replaced_as_a_whole_and_its_room_stays(tmp_path: Path) -> None:
    path = tmp_path / "note"
    spare = path.with_name(f".note{SPARE_SUFFIX}")
    inodes = set()
    for content in (b"first", b"second, longer", b"3", b"4"):
        replace_file(path, content)
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_nlink == 1
        inodes.add(frozenset({path.stat().st_ino, spare.stat().st_ino}))
    assert len(inodes) == 1, "two files take turns"
    assert sorted(found.name for found in tmp_path.iterdir()) == [spare.name, "note"]


def test_the_one_before_is_kept_under_its_name(tmp_path: Path) -> None:
    path, previous = tmp_path / "cursor", tmp_path / "previous"
    for content in (b"1", b"2", b"3", b"4"):
        replace_file(path, content, previous=previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"4", b"3")


@pytest.mark.parametrize("step", ["posix_fallocate", "pwrite", "fsync"])
def test_a_change_that_fails_leaves_what_was_there_and_the_next_one_works(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, previous = tmp_path / "cursor", tmp_path / "previous"
    for content in (b"1", b"2"):
        replace_file(path, content, previous=previous)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space"):
            replace_file(path, b"3", previous=previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"2", b"1")
    replace_file(path, b"4", previous=previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"4", b"2")


def test_what_a_crash_left_in_between_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "note"
    replace_file(path, b"1")
    path.with_name(".note.new").hardlink_to(path)
    path.with_name(f".note{SPARE_SUFFIX}").write_bytes(b"half of something that was never the file" * 9)
    replace_file(path, b"2")
    replace_file(path, b"3")
    assert path.read_bytes() == b"3"
