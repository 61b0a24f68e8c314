from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.custody.indexing import IndexingDuty
from gateway.ledger import search, search_index

Custody = Any


@pytest.fixture(autouse=True)
def small_files_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WORTH_AN_INDEX", 1)
    monkeypatch.setattr(search_index, "FREE", 0.0)  # whatever else fills the disk of this machine


def indexes(custody: Custody) -> list[str]:
    return sorted(path.name for path in Path(custody.bench.state_dir / "index").iterdir())


def test_closed_files_are_indexed_and_counted(custody: Custody) -> None:
    custody.fill(files=3)
    station = custody.station()
    duty = IndexingDuty(station)
    duty.look()
    assert indexes(custody) == ["security-000000000001.index", "security-000000000002.index"]
    duty.look()
    made = next(sample for sample in station.metrics.dump() if sample.name == "gateway_audit_indexes_made_total")
    assert dict(made.values) == {(): 2}


def test_a_damaged_file_is_tried_once_and_holds_up_no_other(custody: Custody) -> None:
    custody.fill(files=3)
    path = next(custody.directory.glob("security-000000000001.log"))
    data = bytearray(path.read_bytes())
    data[-300] ^= 1
    path.write_bytes(data)
    duty = IndexingDuty(custody.station())
    duty.look()
    duty.look()
    assert indexes(custody) == ["security-000000000002.index"]
    assert duty._given_up == {"security-000000000001"}


async def test_it_goes_on_until_it_is_cancelled(custody: Custody) -> None:
    duty = IndexingDuty(custody.station(), pause_s=0.001)
    running = asyncio.create_task(duty.run())
    await asyncio.to_thread(custody.fill, 2)
    deadline = asyncio.get_running_loop().time() + 15
    while not indexes(custody):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
