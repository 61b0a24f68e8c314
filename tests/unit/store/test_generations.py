import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.generations import SLOTS, Generations, slot_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "generations"


def test_a_fresh_table_has_a_number_in_every_slot(path: Path) -> None:
    table = Generations(path, create=True)
    assert len(table.slots) == SLOTS
    assert 0 not in table.slots
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_creating_twice_keeps_the_numbers(path: Path) -> None:
    first = Generations(path, create=True)
    assert Generations(path, create=True).slots[7] == first.slots[7]


def test_zero_never_comes_out_of_the_random_source(path: Path) -> None:
    table = Generations(path, create=True, random=bytes)
    assert set(table.slots) == {1}


def test_slots_are_zero_inside_a_change_and_fresh_after_it_in_every_process(path: Path) -> None:
    writer, reader = Generations(path, create=True), Generations(path)
    before = reader.slots[5]
    untouched = reader.slots[6]
    with writer.changing() as invalidate:
        invalidate([5])
        assert reader.slots[5] == 0
    assert reader.slots[5] not in {0, before}
    assert reader.slots[6] == untouched


def test_a_change_that_fails_leaves_fresh_numbers_too(path: Path) -> None:
    table = Generations(path, create=True)
    before = table.slots[5]

    def fail() -> None:
        with table.changing() as invalidate:
            invalidate([5])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert table.slots[5] not in {0, before}


def test_a_second_writer_waits_and_then_gives_up(path: Path) -> None:
    first, second = Generations(path, create=True), Generations(path)
    with first.changing(), pytest.raises(StoreUnavailableError, match="locked by another process"), second.changing():
        pass


def test_threads_of_one_process_exclude_each_other(path: Path) -> None:
    table = Generations(path, create=True)
    refused: list[str] = []

    def other() -> None:
        try:
            with table.changing():
                pass
        except StoreUnavailableError as exc:
            refused.append(str(exc))

    with table.changing():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_a_writer_killed_in_the_middle_leaves_zero_and_no_lock(path: Path) -> None:
    table = Generations(path, create=True)
    script = (
        "import os, signal, sys; from pathlib import Path; from gateway.store.generations import Generations\n"
        "with Generations(Path(sys.argv[1])).changing() as invalidate:\n"
        "    invalidate([9]); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == -9
    assert table.slots[9] == 0
    assert table.heal() == 1
    assert table.slots[9] != 0
    assert table.heal() == 0


def test_a_replaced_file_is_followed_and_a_missing_one_is_an_error(path: Path) -> None:
    table = Generations(path, create=True)
    view = table.slots
    path.unlink()
    with pytest.raises(StoreUnavailableError, match="is gone"):
        table.refresh()
    other = Generations(path, create=True)
    table.refresh()
    assert table.slots[0] == other.slots[0]
    assert len(view) == SLOTS  # an older view stays readable


def test_a_file_of_the_wrong_size_is_refused(path: Path) -> None:
    path.write_bytes(b"\0" * 8)
    with pytest.raises(StoreUnavailableError, match="has 8 bytes"):
        Generations(path)


def test_a_missing_file_or_directory_is_named(path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot be opened"):
        Generations(path)
    with pytest.raises(StoreUnavailableError, match="cannot be created"):
        Generations(path.parent / "nowhere" / "generations", create=True)


def test_rows_spread_over_all_slots() -> None:
    assert slot_of(bytes(32)) == 0
    assert slot_of(b"\xff" * 32) == SLOTS - 1
    assert len({slot_of(os.urandom(32)) for _ in range(1000)}) > 900
