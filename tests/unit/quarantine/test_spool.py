"""Where uploads wait: sealed, nameless, and never at the cost of the log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.quarantine.errors import SpoolError
from gateway.quarantine.pieces import PIECE_BYTES
from gateway.quarantine.spool import IN_MEMORY_BYTES, SealedRoom, Spool


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    made = Spool(tmp_path_factory.mktemp("state") / "spool", kept_free=0)
    made.sweep()
    return made


@pytest.fixture
def large(spool: Spool) -> Iterator[SealedRoom]:
    room = spool.room()
    room.append(b"secret" * 100_000)
    yield room
    room.close()


@given(
    st.lists(st.sampled_from((0, 1, 100, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 200_000)), max_size=6),
    st.integers(min_value=0, max_value=700_000),
    st.integers(min_value=0, max_value=700_000),
)
def test_what_is_appended_is_read_back_from_anywhere(spool: Spool, lengths: list[int], at: int, length: int) -> None:
    room = spool.room()
    whole = b"".join(bytes((65 + number,)) * size for number, size in enumerate(lengths))
    done = 0
    for size in lengths:
        room.append(whole[done : done + size])
        done += size
    assert room.size == len(whole)
    assert room.read(at, length) == whole[at : at + length]
    assert room.read(0, len(whole)) == whole
    room.close()


def test_small_uploads_touch_no_disk(spool: Spool) -> None:
    room = spool.room()
    room.append(b"x" * IN_MEMORY_BYTES)
    assert (spool.rooms, spool.on_disk) == (1, 0)
    room.append(b"x")
    assert spool.on_disk > 0
    room.close()
    room.close()
    assert (spool.rooms, spool.on_disk) == (0, 0)


def test_nothing_readable_is_ever_in_the_directory(spool: Spool, large: SealedRoom) -> None:
    """A crash leaves what is there now: nothing."""
    descriptor = large._descriptor
    assert list(spool._directory.iterdir()) == []
    assert os.fstat(descriptor).st_nlink == 0
    assert b"secret" not in os.pread(descriptor, 1 << 20, 0)
    assert os.stat(spool._directory).st_mode & 0o777 == 0o700


def test_two_uploads_have_two_keys(spool: Spool, large: SealedRoom) -> None:
    other = spool.room()
    other.append(b"secret" * 100_000)
    assert os.pread(other._descriptor, 1000, 0) != os.pread(large._descriptor, 1000, 0)
    other.close()


def test_a_changed_file_is_not_read(large: SealedRoom) -> None:
    os.pwrite(large._descriptor, b"x", 10)
    with pytest.raises(SpoolError, match="changed"):
        large.read(0, 10)


def test_a_room_that_is_closed_gives_out_nothing(spool: Spool) -> None:
    room = spool.room()
    room.append(b"x" * 300_000)
    room.close()
    assert room.read(0, 10) == b""
    with pytest.raises(SpoolError):
        room.append(b"x")


def test_a_file_system_without_nameless_files_will_do(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = os.open

    def refusing(path: object, flags: int, *more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "not supported")
        return real(path, flags, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    room = spool.room()
    room.append(b"y" * 300_000)
    assert list(spool._directory.iterdir()) == []
    assert room.read(0, 2) == b"yy"
    room.close()


def test_what_a_crash_left_by_name_is_swept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.sweep()
    (tmp_path / "spool" / "00.spool").write_bytes(b"noise")
    spool.sweep()
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_last_of_a_disk_is_left_to_the_log(tmp_path: Path) -> None:
    spool = Spool(tmp_path, kept_free=1 << 60)
    room = spool.room()
    room.append(b"x" * IN_MEMORY_BYTES)
    with pytest.raises(SpoolError, match="nearly full") as caught:
        room.append(b"x")
    assert caught.value.reason is Reason.UPLOADS_UNAVAILABLE
    with pytest.raises(SpoolError):
        room.append(b"x")
    room.close()
    assert spool.on_disk == 0


def test_space_is_asked_for_while_an_upload_grows(tmp_path: Path) -> None:
    spool = Spool(tmp_path, kept_free=0)
    room = spool.room()
    room.append(b"x" * (1 << 20))
    spool._kept_free = 1 << 60
    with pytest.raises(SpoolError, match="nearly full"):
        room.append(b"x" * (5 << 20))
    room.close()


@pytest.mark.parametrize("fault", ["raises", "writes less"])
def test_a_full_disk_refuses_the_upload(spool: Spool, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def full(*_: object) -> int:
        if fault == "raises":
            raise OSError(28, "No space left on device")
        return 5

    room = spool.room()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SpoolError):
        room.append(b"x" * 400_000)
    room.close()


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError):
        Spool(tmp_path / "file" / "spool").sweep()
    room = Spool(tmp_path / "missing").room()
    with pytest.raises(SpoolError, match="cannot be kept"):
        room.append(b"x" * 300_000)
    room.close()
