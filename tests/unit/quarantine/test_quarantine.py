"""What was refused is kept sealed, listed, given out whole, and goes in time."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.upload.source import Held
from gateway.quarantine.errors import QuarantineError
from gateway.quarantine.pieces import PIECE_BYTES
from gateway.quarantine.quarantine import Item, Quarantine, is_id, new_id

KEY = bytes(range(32))
NOW = 1_790_000_000.0


def item(size: int, now: float = NOW) -> Item:
    return Item(
        id=new_id(now), at=now, until=now + 100, request_id="r1", route="upload", tenant="acme", user="alice", client="192.0.2.1", objection="infected", signature="Test",
        name="O'Brien.pdf", field="file", declared="application/pdf", kind="pdf", size=size, digest="00",
    )  # fmt: skip


def quarantine(directory: Path, **changes: float) -> Quarantine:
    return Quarantine(
        directory / "quarantine",
        KEY,
        max_bytes=int(changes.get("max_bytes", 1 << 30)),
        kept_free=int(changes.get("kept_free", 0)),
    )


def keep(kept: Quarantine, data: bytes, now: float = NOW) -> Item:
    made = item(len(data), now)
    assert kept.add(made, Held(data))
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Quarantine:
    return quarantine(tmp_path_factory.mktemp("shared"))


@given(
    st.sampled_from((0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES)),
    st.binary(min_size=1, max_size=9),
)
def test_a_file_comes_out_byte_for_byte(shared: Quarantine, size: int, seed: bytes) -> None:
    data = (seed * (size // len(seed) + 1))[:size]
    kept = keep(shared, data)
    assert shared.item(kept.id) == kept
    assert b"".join(shared.pieces(kept.id)) == data
    assert shared.delete(kept.id)
    assert not shared.delete(kept.id)


def test_what_is_kept_is_listed_in_order_and_sealed(tmp_path: Path) -> None:
    kept = quarantine(tmp_path)
    first, second = keep(kept, b"what is bad" * 10), keep(kept, b"b", NOW + 1)
    assert kept.items() == [first, second]
    files = list((tmp_path / "quarantine").iterdir())
    assert len(files) == 2
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        for secret in (b"what is bad", b"O'Brien", b"alice", b"infected"):
            assert secret not in file.read_bytes()
    assert (tmp_path / "quarantine").stat().st_mode & 0o777 == 0o700


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    kept = keep(quarantine(tmp_path), b"x")
    other = Quarantine(tmp_path / "quarantine", bytes(32), max_bytes=1 << 20)
    assert other.items() == []
    with pytest.raises(QuarantineError, match="another keyring"):
        other.item(kept.id)


def test_a_file_under_another_name_does_not_open(tmp_path: Path) -> None:
    kept = quarantine(tmp_path)
    first = keep(kept, b"x")
    other = new_id(NOW)
    (path,) = (tmp_path / "quarantine").iterdir()
    path.rename(path.with_name(path.name.replace(first.id, other)))
    with pytest.raises(QuarantineError, match="does not open"):
        kept.item(other)


@pytest.mark.parametrize("change", ["flip", "cut", "cut a piece", "extend", "no magic", "empty"])
def test_a_changed_file_is_not_given_out(tmp_path: Path, change: str) -> None:
    kept = quarantine(tmp_path)
    made = keep(kept, b"x" * (2 * PIECE_BYTES))
    (path,) = (tmp_path / "quarantine").iterdir()
    data = path.read_bytes()
    path.write_bytes(
        {
            "flip": data[:-1] + bytes((data[-1] ^ 1,)),
            "cut": data[:-1],
            "cut a piece": data[: -PIECE_BYTES - 32],
            "extend": data + b"x",
            "no magic": b"x" + data[1:],
            "empty": b"",
        }[change]
    )
    with pytest.raises(QuarantineError):
        list(kept.pieces(made.id))


def test_files_go_when_their_time_is_over(tmp_path: Path) -> None:
    kept = quarantine(tmp_path)
    keep(kept, b"x", NOW - 200)
    young = keep(kept, b"y", NOW)
    assert kept.items() == [young]
    assert kept.prune(NOW + 50) == 0
    assert kept.prune(NOW + 100) == 1
    assert kept.items() == []


def test_the_oldest_go_where_there_is_no_room(tmp_path: Path) -> None:
    kept = quarantine(tmp_path, max_bytes=250_000)
    keep(kept, b"x" * 100_000)
    second, third = keep(kept, b"y" * 100_000, NOW + 1), keep(kept, b"z" * 100_000, NOW + 2)
    assert kept.items() == [second, third]
    assert not kept.add(item(300_000), Held(b"x" * 300_000))


def test_a_full_disk_keeps_nothing_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QuarantineError, match="nearly full"):
        quarantine(tmp_path, kept_free=1 << 60).add(item(1), Held(b"x"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QuarantineError, match="No space left"):
        quarantine(tmp_path).add(item(1), Held(b"x"))
    assert list((tmp_path / "quarantine").iterdir()) == []


def test_what_a_crash_left_is_removed_later(tmp_path: Path) -> None:
    kept = quarantine(tmp_path)
    keep(kept, b"x")
    left = tmp_path / "quarantine" / "q_0.unfinished"
    left.write_bytes(b"")
    os.utime(left, (NOW, NOW))
    kept.prune(NOW + 10)
    assert left.exists()
    kept.prune(NOW + 4000)
    assert not left.exists()


@pytest.mark.parametrize("name", ["", "q_", "../x", "q_" + "g" * 24, "q_" + "0" * 24 + "/"])
def test_nothing_but_an_id_names_a_file(tmp_path: Path, name: str) -> None:
    kept = quarantine(tmp_path)
    for ask in (kept.item, kept.delete, lambda one: list(kept.pieces(one))):
        with pytest.raises(QuarantineError, match="no id"):
            ask(name)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    kept = quarantine(tmp_path)
    assert kept.items() == []
    with pytest.raises(QuarantineError, match="there is no"):
        kept.item(new_id(NOW))


def test_ids_sort_by_time() -> None:
    made = [new_id(NOW + second) for second in range(3)]
    assert made == sorted(made)
    assert all(map(is_id, made))
    assert msgspec.json.decode(msgspec.json.encode(item(1)), type=Item).name == "O'Brien.pdf"
