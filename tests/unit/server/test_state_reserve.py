"""What the supervisor says of the room that the state keeps for a full disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.server.state_reserve import LOW_LOOKS, StateReserve
from gateway.store.keyring import Keyring
from gateway.store.measured import MeasuredRows
from gateway.store.reserve import RESERVE_BYTES
from gateway.store.state import Store, open_store

KEYRING = Keyring.generate(os.urandom, 1_800_000_000.0)


class _Status(NamedTuple):
    f_bavail: int
    f_frsize: int


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "state", KEYRING, create=True)
    yield store
    store.close()


def bytes_of(reserve: StateReserve) -> float:
    (sample,) = reserve.samples()
    assert (sample.name, sample.kind) == ("gateway_state_reserve_bytes", "gauge")
    ((_, value),) = sample.values
    return value


def test_a_reserve_is_made_at_the_start_and_nothing_is_said(store: Store) -> None:
    reserve = StateReserve(store)
    assert bytes_of(reserve) == RESERVE_BYTES
    assert reserve.degraded() == {}


def test_too_little_is_said_when_it_lasts_and_until_there_is_room(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("gateway.store.reserve.os.statvfs", lambda _: _Status(RESERVE_BYTES, 1))
        reserve = StateReserve(store)
        assert reserve.degraded() == {}, "one look says nothing"
        for _ in range(LOW_LOOKS):
            reserve._look()
        assert "free space on the volume of state_dir" in reserve.degraded()["state"]
        assert bytes_of(reserve) < RESERVE_BYTES // 2
    reserve._look()
    assert reserve.degraded() == {}
    assert bytes_of(reserve) == RESERVE_BYTES


def test_a_state_that_cannot_be_used_is_for_others_to_tell(store: Store, tmp_path: Path) -> None:
    reserve = StateReserve(store)
    shutil.rmtree(tmp_path / "state")
    reserve._look()
    assert (bytes_of(reserve), reserve.degraded()) == (RESERVE_BYTES, {})


async def test_a_state_elsewhere_has_no_reserve(store: Store, tmp_path: Path) -> None:
    """Whatever is no file of ours: here, rows behind something else."""
    elsewhere = Store(MeasuredRows(store.rows, lambda *_: None), KEYRING)
    reserve = StateReserve(elsewhere)
    assert (reserve.samples(), reserve.degraded()) == ([], {})
    await reserve.keep()
    assert (tmp_path / "state" / "state.sqlite3").stat().st_size < 1 << 20
