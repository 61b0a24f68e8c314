"""Tiles as large as the last checkpoint, that lead to its root, whatever happened to them before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.audit.checkpoint import parse_checkpoint, split_note
from gateway.audit.merkle import hash_leaf, verify_inclusion
from gateway.audit.proof import prove_inclusion, tree_root
from gateway.audit.tiles import TileNodes, tiles_of
from gateway.custody.tail import Extent
from gateway.custody.tiling import TilesError, TileWriter, TilingDuty, TilingGauges
from gateway.ledger.hashes import TileFiles
from tests.unit.custody.conftest import STREAM, Custody


def grow(custody: Custody, records: int) -> None:
    log = custody.bench.open(capacity=1 << 20)
    custody.bench.append(log, records)
    log.close()


def duty_of(custody: Custody) -> TilingDuty:
    station = custody.station()
    tail = station.tails[STREAM]
    tail.look()
    return TilingDuty(station, tail, TilingGauges(station))


def catch_up(custody: Custody) -> TilingDuty:
    """Run the duty once, as it would run before it waits."""
    duty = duty_of(custody)
    asyncio.run(duty._grow())
    duty.measure()
    return duty


def proven(custody: Custody, index: int) -> None:
    tail = custody.station().tails[STREAM]
    tail.look()
    extent = tail.extent()
    assert extent is not None
    checkpoint = parse_checkpoint(split_note(extent.note)[0])
    nodes = TileNodes(TileFiles(custody.bench.layout.tiles / STREAM, extent.size).read)
    assert tree_root(nodes, extent.size) == checkpoint.root
    [raw] = asyncio.run(tail.read(index, 1))
    proof = prove_inclusion(nodes, index, extent.size)
    verify_inclusion(index, extent.size, hash_leaf(raw), proof, checkpoint.root)


def tile_names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()} - {"state.json"}


@pytest.mark.parametrize("sizes", [(1,), (300,), (255, 1, 1), (256, 256), (100, 700, 3)])
def test_the_tiles_are_those_of_the_log_and_prove_its_entries(custody: Custody, sizes: tuple[int, ...]) -> None:
    duty = None
    for size in sizes:
        grow(custody, size)
        if duty is None:
            duty = catch_up(custody)
        duty._tail.look()
        asyncio.run(duty._grow())
        proven(custody, 0)
    total = sum(sizes)
    proven(custody, total - 1)
    proven(custody, total // 2)
    durable = sizes[0]  # the first state was synced and is kept until another is
    expected = {tile.path for size in (durable, total) for tile in tiles_of(size)}
    assert tile_names(custody.bench.layout.tiles / STREAM) - expected == set()
    assert {tile.path for tile in tiles_of(total)} <= tile_names(custody.bench.layout.tiles / STREAM)


def test_a_state_that_did_not_survive_is_made_again_from_the_durable_one(custody: Custody) -> None:
    grow(custody, 300)
    before = catch_up(custody)
    grow(custody, 50)
    before._tail.look()
    asyncio.run(before._grow())
    directory = custody.bench.layout.tiles / STREAM
    (directory / "tile/0/001.p/94").write_bytes(b"")  # as after a power failure
    reads = []
    duty = duty_of(custody)
    tail = duty._tail
    read = tail.read

    async def counted(first: int, most: int) -> list[bytes]:
        reads.append(first)
        return await read(first, most)

    tail.read = counted  # type: ignore[method-assign]
    asyncio.run(duty._grow())
    assert reads == [300]
    proven(custody, 349)


def test_damaged_tiles_are_made_again_from_the_entries(custody: Custody) -> None:
    grow(custody, 300)
    catch_up(custody)
    path = custody.bench.layout.tiles / STREAM / "tile/0/001.p/44"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    catch_up(custody)
    proven(custody, 1)


@pytest.mark.parametrize("junk", [b"", b"{", b'{"origin":"another","size":300,"root":""}'])
def test_a_lost_state_is_made_again_from_the_entries(custody: Custody, junk: bytes) -> None:
    grow(custody, 300)
    catch_up(custody)
    (custody.bench.layout.tiles / STREAM / "state.json").write_bytes(junk)
    catch_up(custody)
    proven(custody, 299)


def test_lost_tiles_of_a_pruned_log_are_said_to_be_lost(custody: Custody, tmp_path: Path) -> None:
    extent = Extent(origin="o", first=100, size=200, note=b"")
    with pytest.raises(TilesError, match="restore the directory from the backup"):
        TileWriter(tmp_path / "tiles").resume(extent)


def test_entries_that_do_not_lead_to_the_signed_root_are_noticed(custody: Custody) -> None:
    grow(custody, 10)
    duty = catch_up(custody)
    with pytest.raises(TilesError, match="do not lead to the root that was signed"):
        duty.writer.publish("o", bytes(32), sync=False)


def test_pruned_entries_take_their_hashes_with_them_and_the_rest_stays_provable(custody: Custody) -> None:
    grow(custody, 600)
    grow(custody, 300)
    duty = catch_up(custody)
    asyncio.run(duty.prune(600))
    names = tile_names(custody.bench.layout.tiles / STREAM)
    assert "tile/0/000" not in names
    assert "tile/0/001" not in names
    assert "tile/0/002" in names
    proven(custody, 600)
    proven(custody, 899)
    grow(custody, 10)
    catch_up(custody)
    proven(custody, 905)


def test_the_lag_is_measured(custody: Custody) -> None:
    grow(custody, 20)
    duty = duty_of(custody)
    duty.measure()
    [gauge] = [sample for sample in duty_metrics(custody) if sample[0] == "gateway_audit_tile_lag_entries"]
    assert gauge[1] == {("security",): 20.0}
    asyncio.run(duty._grow())
    duty.measure()
    [gauge] = [sample for sample in duty_metrics(custody) if sample[0] == "gateway_audit_tile_lag_entries"]
    assert gauge[1] == {("security",): 0.0}


def duty_metrics(custody: Custody) -> list[tuple[str, dict[tuple[str, ...], float]]]:
    return [(sample.name, dict(sample.values)) for sample in custody.stations[0].metrics.dump()]


def test_the_duty_follows_the_log(custody: Custody) -> None:
    grow(custody, 5)

    async def follow() -> None:
        duty = duty_of(custody)
        task = asyncio.create_task(duty.run())
        async with asyncio.timeout(20):
            while duty.writer.size < 5:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(grow, custody, 7)
            duty._tail.look()
            duty._tail.wake()
            while duty.writer.size < 12:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(follow())
